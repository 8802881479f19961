"""Which function does a stage for which kind of experiment: the one place where bodies and halos part ways.

Stages are imported when they are done: no job waits for libraries that it does not need.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from distillery.errors import DistilleryError
from distillery.util.importing import importing
from distillery.workflow.cell import Cell, Experiment, Job, Split, Stage
from distillery.workflow.jobs import work, work_together
from distillery.workflow.sweep import Kind, Sweep

# Where the stages of a kind are; each module has a function of the stage's name. Expressions are fitted alike.
_PACKAGES: dict[Kind, str] = {"bodies": "distillery.workflow.stages", "halos": "distillery.workflow.stages.halos"}
_COMMON = ("distill",)
# Stages whose function takes cells side by side; those of the others take one cell.
_SIDE_BY_SIDE: tuple[Stage, ...] = ("train", "distill")


def simulate(sweep: Sweep, experiment: Experiment, split: Split, ranks: int) -> None:
    """Make a split of an experiment's data.

    Args:
        sweep: The sweep.
        experiment: The experiment.
        split: Which of its data.
        ranks: MPI ranks that this was started with.
    """
    _function(sweep.kind(experiment), "simulate")(sweep, experiment, split, ranks)


def carry_out(sweep: Sweep, stage: Stage, job: Job) -> None:
    """Do a stage for the cells of a job; see ``jobs.work`` for what happens to cells that break.

    Args:
        sweep: The sweep.
        stage: The stage.
        job: The job.
    """
    work(sweep, stage, job, _doing(sweep, stage, job), together=stage == "distill")


def train_together(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Train the cells of several jobs, those of equal shape side by side.

    Args:
        sweep: The sweep.
        jobs: Jobs of one kind of experiment.

    Raises:
        DistilleryError: The kinds differ.
    """
    kinds = {sweep.kind(job.experiment) for job in jobs}
    if len(kinds) > 1:
        raise DistilleryError(f"{jobs[0]} and others: are of {' and '.join(sorted(kinds))}; train one kind at a time")
    work_together(sweep, jobs, _doing(sweep, "train", jobs[0]))


def _doing(sweep: Sweep, stage: Stage, job: Job) -> Callable[[Sequence[Cell]], None]:
    function = _function(sweep.kind(job.experiment), stage)
    if stage in _SIDE_BY_SIDE:
        return lambda cells: function(sweep, cells)
    return lambda cells: function(sweep, *cells)


def _function(kind: Kind, stage: str) -> Callable[..., Any]:
    with importing():
        module = importlib.import_module(f"{_PACKAGES['bodies' if stage in _COMMON else kind]}.{stage}")
    function: Callable[..., Any] = getattr(module, stage)
    return function
