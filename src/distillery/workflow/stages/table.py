"""Dispatch of a stage to the module of its kind of experiment.

Modules are imported on demand: no job waits for libraries that it does not need.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from distillery.errors import DistilleryError
from distillery.util.importing import importing
from distillery.workflow.cell import Cell, Experiment, Job, Split, Stage
from distillery.workflow.jobs import work, work_together
from distillery.workflow.sources.source import Source
from distillery.workflow.sweep import Sweep

# Stages whose function takes several cells; the functions of the others take one cell.
_SEVERAL_CELLS: tuple[Stage, ...] = ("train", "distill")


def simulate(sweep: Sweep, experiment: Experiment, split: Split, ranks: int) -> None:
    """Make a split of an experiment's data.

    Args:
        sweep: The sweep.
        experiment: The experiment.
        split: The split.
        ranks: Number of MPI ranks that were started.
    """
    _function(sweep.source(experiment), "simulate")(sweep, experiment, split, ranks)


def carry_out(sweep: Sweep, stage: Stage, job: Job) -> None:
    """Carry out a stage for the cells of a job; see ``jobs.work`` for cells that fail.

    Args:
        sweep: The sweep.
        stage: The stage.
        job: The job.
    """
    work(sweep, stage, job, _stage_function(sweep, stage, job), together=stage == "distill")


def train_together(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Train the cells of several jobs; cells of equal shape train stacked.

    Args:
        sweep: The sweep.
        jobs: Jobs of one kind of experiment.

    Raises:
        DistilleryError: The kinds differ.
    """
    kinds = {sweep.kind(job.experiment) for job in jobs}
    if len(kinds) > 1:
        raise DistilleryError(f"{jobs[0]} and others: are of {' and '.join(sorted(kinds))}; train one kind at a time")
    work_together(sweep, jobs, _stage_function(sweep, "train", jobs[0]))


def _stage_function(sweep: Sweep, stage: Stage, job: Job) -> Callable[[Sequence[Cell]], None]:
    function = _function(sweep.source(job.experiment), stage)
    if stage in _SEVERAL_CELLS:
        return lambda cells: function(sweep, cells)
    return lambda cells: function(sweep, *cells)


def _function(source: Source, stage: str) -> Callable[..., Any]:
    with importing():
        module = importlib.import_module(source.stage_module(stage))
    function: Callable[..., Any] = getattr(module, stage)
    return function
