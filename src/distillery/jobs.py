"""The cells of a job, one after the other: a cell that breaks costs one cell, not the job."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from distillery import files
from distillery.cell import STAGES, Cell, Job, Stage
from distillery.errors import DistilleryError, explain
from distillery.outcome import failed, write_outcome
from distillery.sweep import Sweep


def work(sweep: Sweep, stage: Stage, job: Job, do: Callable[[Sequence[Cell]], None], together: bool = False) -> None:
    """Do a stage for the cells of a job and write the job's completion marker last.

    A job of one cell has no marker of its own, and its errors are its caller's. In a job of several, a cell that
    breaks gets an outcome that says why, and the others go on; `reopen` gives it another chance later. What would
    break every cell (a full disk, a device that is not there) stops the job.

    Args:
        sweep: The sweep.
        stage: The stage.
        job: The job.
        do: Does the stage for some cells, and leaves alone what is finished.
        together: Whether all cells are given to ``do`` at once, which then sees to failures itself.

    Raises:
        DistilleryError: All cells broke; the reason of the first.
        OSError: Something could not be read or written.
        MemoryError: There is no memory left.
    """
    if len(job.cells) == 1:
        do(job.cells)
        return
    failures: dict[Cell, Exception] = {}
    started = time.monotonic()
    for group in [job.cells] if together else groups(sweep, stage, job):
        try:
            do(group)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            failures |= dict.fromkeys(group, error)
            sys.stderr.write(f"distillery: {', '.join(map(str, group))}: {explain(error)}\n")
            sys.stderr.flush()
    if len(failures) == len(job.cells):
        raise failures[job.cells[0]]
    for cell, failure in failures.items():
        path, key = cell.outcome(sweep.results, stage), sweep.key(stage, cell)
        write_outcome(path, key=key, started=started, result={}, status="failed", reason=explain(failure))
    marker = {
        "key": sweep.job_key(stage, job),
        "cells": [str(cell) for cell in job.cells],
        # A stage that goes on by itself after a failure has written such outcomes too.
        "failed": [str(cell) for cell in job.cells if failed(cell.outcome(sweep.results, stage))],
    }
    files.write_json(job.outcome(sweep.results, stage), marker)


def groups(sweep: Sweep, stage: Stage, job: Job) -> list[Sequence[Cell]]:
    """Return the cells of a job in the groups that are worked on together: by model if trainings are stacked."""
    if stage != "train" or not sweep.config.execution.stacked:
        return [(cell,) for cell in job.cells]
    by_model: dict[str, list[Cell]] = {}
    for cell in job.cells:
        by_model.setdefault(cell.model, []).append(cell)
    return list(by_model.values())


def reopen(sweep: Sweep) -> list[Path]:
    """Take back the markers of jobs in which a cell broke or lost its outcome, so that the next run does it again.

    Args:
        sweep: The sweep.

    Returns:
        The markers that were removed: those of the stage and of the stages after it.
    """
    removed = []
    for job in sweep.jobs.values():
        paths = [job.outcome(sweep.results, stage) for stage in STAGES]
        if len(job.cells) == 1:
            again = _failed(paths)
        else:
            again = next((paths[number:] for number, stage in enumerate(STAGES) if _is_open(sweep, stage, job)), [])
        found = [path for path in again if path.exists()]
        for path in found:
            path.unlink()
        removed += found
    return removed


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
