"""Delete completion markers that are no longer valid, so that Snakemake repeats their jobs.

Snakemake judges a job by its marker and its own records, which do not show that a cell failed, or that another run with
other jobs has rewritten the outcomes of its cells.
"""

from __future__ import annotations

from pathlib import Path

from distillery import files
from distillery.errors import DistilleryError
from distillery.workflow.cell import STAGES, STORE_MARKER, Job, Stage
from distillery.workflow.outcome import failed, key_of
from distillery.workflow.sweep import Sweep


def reopen(sweep: Sweep) -> list[Path]:
    """Delete the markers of jobs in which a cell failed or lost its outcome.

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
    """Return whether a job's outcome or marker exists, but it or that of a cell was made with other settings.

    A damaged outcome counts as stale, and so does a missing outcome of a cell in a job of several. Snakemake's records
    are ignored, because another run may have written the files since.

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
        # A complete store would hide from Snakemake that its inputs are missing.
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
