"""The cells of a job, one after the other or stacked; the failure of a cell does not fail the job."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence

from distillery import files
from distillery.errors import explain
from distillery.workflow.cell import Cell, Job, Stage
from distillery.workflow.outcome import failed, write_outcome
from distillery.workflow.sweep import Sweep

# Errors of the GPU, which would fail all further cells too; by name, because PyTorch is not imported here.
_OF_THE_DEVICE = ("OutOfMemoryError", "AcceleratorError")


def work(sweep: Sweep, stage: Stage, job: Job, do: Callable[[Sequence[Cell]], None], together: bool = False) -> None:
    """Carry out a stage for the cells of a job and write the job's completion marker last.

    A job of one cell has no marker of its own and raises its errors. In a job of several, a failed cell gets an outcome
    with the reason, and the others go on; ``reopen`` deletes it later. An error that would fail every cell (a full
    disk, a missing device) stops the job.

    Args:
        sweep: The sweep.
        stage: The stage.
        job: The job.
        do: Carries out the stage for some cells, and skips finished ones.
        together: Whether all cells are passed to ``do`` at once, which then handles failures itself.

    Raises:
        DistilleryError: All cells failed; the reason of the first.
        OSError: Something could not be read or written.
        MemoryError: There is no memory left.
    """
    if len(job.cells) == 1:
        do(job.cells)
        return
    started = time.monotonic()
    failures = _attempted([job.cells] if together else groups(sweep, stage, job), do)
    _close(sweep, stage, [job], failures, started)


def work_together(sweep: Sweep, jobs: Sequence[Job], do: Callable[[Sequence[Cell]], None]) -> None:
    """Train the cells of several jobs, also of several experiments; cells of equal shape train stacked.

    Failures and markers are as in ``work`` for a job of several cells.

    Args:
        sweep: The sweep.
        jobs: The jobs.
        do: Trains cells of equal shape, and skips finished ones.

    Raises:
        DistilleryError: All cells failed; the reason of the first.
        OSError: Something could not be read or written.
        MemoryError: There is no memory left.
    """
    started = time.monotonic()
    failures = _attempted(_by_shape(sweep, [cell for job in jobs for cell in job.cells]), do)
    _close(sweep, "train", jobs, failures, started)


def _attempted(grouped: Sequence[Sequence[Cell]], do: Callable[[Sequence[Cell]], None]) -> dict[Cell, Exception]:
    """Carry out the work group by group and return the errors of failed cells."""
    failures: dict[Cell, Exception] = {}
    for group in grouped:
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
    return failures


def _close(sweep: Sweep, stage: Stage, jobs: Sequence[Job], failures: Mapping[Cell, Exception], started: float) -> None:
    """Write the outcomes of failed cells, and the markers of jobs of several cells."""
    if len(failures) == len({cell for job in jobs for cell in job.cells}):
        raise failures[jobs[0].cells[0]]
    for cell, failure in failures.items():
        path, key = cell.outcome(sweep.results, stage), sweep.key(stage, cell)
        write_outcome(path, key=key, started=started, result={}, status="failed", reason=explain(failure))
    for job in jobs:
        if len(job.cells) == 1:
            continue
        marker = {
            "key": sweep.job_key(stage, job),
            "cells": [str(cell) for cell in job.cells],
            # Includes failures that the stage itself has recorded.
            "failed": [str(cell) for cell in job.cells if failed(cell.outcome(sweep.results, stage))],
        }
        files.write_json(job.outcome(sweep.results, stage), marker)


def groups(sweep: Sweep, stage: Stage, job: Job) -> list[Sequence[Cell]]:
    """Return the cells of a job in groups: those of equal shape together if stacked."""
    if stage != "train" or not sweep.config.execution.stacked:
        return [(cell,) for cell in job.cells]
    return _by_shape(sweep, job.cells)


def _by_shape(sweep: Sweep, cells: Sequence[Cell]) -> list[Sequence[Cell]]:
    found: dict[Hashable, list[Cell]] = {}
    for cell in dict.fromkeys(cells):
        found.setdefault(sweep.source(cell.experiment).stacking_shape(cell), []).append(cell)
    return list(found.values())
