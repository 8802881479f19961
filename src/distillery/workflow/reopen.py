"""Find what stands for done and is not, so that Snakemake does it again.

Snakemake judges a job by its marker and by its own notes about it. That a cell in it failed, or that the outcomes of
its cells were written since by another run that put cells together in other jobs, does not show there.
"""

from __future__ import annotations

from pathlib import Path

from distillery import files
from distillery.errors import DistilleryError
from distillery.workflow.cell import STAGES, STORE_MARKER, Job, Stage
from distillery.workflow.outcome import failed, key_of
from distillery.workflow.sweep import Sweep


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


def is_stale(sweep: Sweep, stage: Stage, job: Job) -> bool:
    """Tell whether a job's outcome or marker is there, but it or that of a cell was made with other settings.

    A damaged one counts as stale. In a job of several cells so does a cell's that is missing: the marker says that it
    was there. What Snakemake has noted about the files is not looked at; another run may have written them since, from
    another directory, or with cells put together in other jobs.

    Args:
        sweep: The sweep, with the section ``execution`` of the run.
        stage: The stage.
        job: The job.
    """
    found = key_of(job.outcome(sweep.results, stage))
    if found is None:
        return False
    if found != sweep.job_key(stage, job):
        return True
    if len(job.cells) == 1:
        return False
    return any(key_of(cell.outcome(sweep.results, stage)) != sweep.key(stage, cell) for cell in job.cells)


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
