"""The cells of a job, one after the other: a cell that breaks costs one cell, not the job."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from distillery import files
from distillery.cell import Cell, Job, Stage
from distillery.errors import explain
from distillery.models import Model
from distillery.outcome import failed, write_outcome
from distillery.sweep import Sweep

# A GPU that has no memory left or is lost breaks the cells after it too. Known by name: PyTorch is not imported here.
_OF_THE_DEVICE = ("OutOfMemoryError", "AcceleratorError")


def work(sweep: Sweep, stage: Stage, job: Job, do: Callable[[Sequence[Cell]], None], together: bool = False) -> None:
    """Do a stage for the cells of a job and write the job's completion marker last.

    A job of one cell has no marker of its own, and its errors are its caller's. In a job of several, a cell that
    breaks gets an outcome that says why, and the others go on; ``reopen`` gives it another chance later. What would
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
            if type(error).__name__ in _OF_THE_DEVICE:
                raise
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
    """Return the cells of a job in the groups that are worked on together: by model if stacked.

    Models that differ in the weight of their penalty alone go together.
    """
    if stage != "train" or not sweep.config.execution.stacked:
        return [(cell,) for cell in job.cells]
    by_model: dict[Model, list[Cell]] = {}
    for cell in job.cells:
        by_model.setdefault(sweep.model(cell).unweighted, []).append(cell)
    return list(by_model.values())
