"""Draw the pictures of an experiment or of a cell where the sweep wants them."""

from __future__ import annotations

from distillery.cell import Cell, Experiment
from distillery.report.front import front_figure
from distillery.report.messages import messages_figure
from distillery.report.trajectories import trajectories_figure
from distillery.sweep import Sweep


def draw_experiment(sweep: Sweep, experiment: Experiment) -> None:
    """Draw the trajectories of an experiment.

    Args:
        sweep: The sweep.
        experiment: One of its experiments.

    Raises:
        DistilleryError: The trajectories are missing or damaged.
    """
    trajectories_figure(sweep, experiment, experiment.picture(sweep.results))


def draw_cell(sweep: Sweep, cell: Cell) -> None:
    """Draw the messages and the Pareto fronts of a cell; one that diverged or failed gets pictures that say so.

    Args:
        sweep: The sweep.
        cell: One of its cells.

    Raises:
        DistilleryError: The cell is not finished yet, or what it needs is damaged.
    """
    messages_figure(sweep, cell, cell.picture(sweep.results, "messages"))
    front_figure(sweep, cell, cell.picture(sweep.results, "front"))
