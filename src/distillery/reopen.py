"""Taking back what stands for done and is not, so that Snakemake does it again.

Snakemake judges a job by its marker: that a cell in it failed, or that the outcomes of its cells were written since by
another run that put cells together in other jobs, is not to be seen from there.
"""

from __future__ import annotations

from pathlib import Path

from distillery import files
from distillery.cell import STAGES, STORE_MARKER, Job, Stage
from distillery.collect.state import cell_states
from distillery.errors import DistilleryError
from distillery.outcome import failed
from distillery.sweep import Sweep


def reopen(sweep: Sweep) -> list[Path]:
    """Take back the markers of jobs in which a cell broke or lost its outcome, so that the next run does it again.

    Args:
        sweep: The sweep.

    Returns:
        The markers that were removed: those of the stage and of the stages after it.
    """
    removed: list[Path] = []
    for job in sweep.jobs.values():
        paths = [job.outcome(sweep.results, stage) for stage in STAGES]
        if len(job.cells) == 1:
            again = _failed(paths)
        else:
            again = next((paths[number:] for number, stage in enumerate(STAGES) if _is_open(sweep, stage, job)), [])
        removed += again
    return _removed(sweep, removed)


def drop_stale(sweep: Sweep) -> list[Path]:
    """Take back the markers of jobs of which a cell has an outcome that was made with other settings.

    It costs a look at every cell, and is for the start of a run only: other settings may have their run later.

    Args:
        sweep: The sweep, with the section ``execution`` of the run that starts.

    Returns:
        The markers that were removed: those of the stage and of the stages after it.
    """
    removed: list[Path] = []
    for job in sweep.jobs.values():
        states = [cell_states(sweep, cell, results=False) for cell in job.cells]
        stale = next((n for n, stage in enumerate(STAGES) if any(s[stage].state == "stale" for s in states)), None)
        if stale is not None:
            removed += [job.outcome(sweep.results, stage) for stage in STAGES[stale:]]
    return _removed(sweep, removed)


def _removed(sweep: Sweep, paths: list[Path]) -> list[Path]:
    found = [path for path in paths if path.exists()]
    if found:
        # While the store passes for whole, Snakemake does not ask for what it was made from.
        (sweep.results / STORE_MARKER).unlink(missing_ok=True)
    for path in found:
        path.unlink()
    return found


def _failed(outcomes: list[Path]) -> list[Path]:
    """Return the outcomes of a cell from the stage on that failed; a failure is passed on to all stages after it."""
    again = len(outcomes)
    for number in reversed(range(len(outcomes))):
        if failed(outcomes[number]):
            again = number
        elif outcomes[number].exists():
            break
    return outcomes[again:]


def _is_open(sweep: Sweep, stage: Stage, job: Job) -> bool:
    path = job.outcome(sweep.results, stage)
    if not path.exists():
        return True
    try:
        broken = bool(files.read_json(path, "").get("failed"))
    except (DistilleryError, AttributeError):
        return True
    return broken or not all(cell.outcome(sweep.results, stage).exists() for cell in job.cells)
