"""Trajectories of a few held-out simulations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.report.style import BODIES, picture
from distillery.workflow.cell import Experiment
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import read_trajectories

_SHOWN = 3


def trajectories_figure(sweep: Sweep, experiment: Experiment, path: Path) -> None:
    """Draw the first held-out simulations of an experiment.

    Args:
        sweep: The sweep.
        experiment: One of its experiments.
        path: The picture, ``.svg`` or ``.png``.

    Raises:
        DistilleryError: The trajectories are missing or damaged.
    """
    found = read_trajectories(sweep, experiment, "test")
    shown = min(_SHOWN, len(found.position))
    with picture(path, 3.2 * shown, 3.5) as figure:
        panels = figure.subplots(1, shown, squeeze=False)[0]
        for simulation, axes in enumerate(panels):
            draw_paths(axes, found.position[simulation], found.mass[simulation])
            axes.set_title(f"held-out simulation {simulation}")
        duration = found.time[-1] - found.time[0]
        projection = ", seen along z" if experiment.dim == 3 else ""
        figure.suptitle(f"{experiment}: {duration:.3g} units of time{projection}", x=0.01, ha="left", fontsize=11)


def draw_paths(
    axes: Any, position: Float[np.ndarray, "time particle space"], mass: Float[np.ndarray, " particle"]
) -> None:
    """Draw the paths of all bodies of one simulation; a dot marks the end, its area the mass.

    Args:
        axes: Where.
        position: Positions (dimensionless); of three dimensions the first two are drawn.
        mass: Masses (dimensionless).
    """
    for body in range(position.shape[1]):
        colour = BODIES[body % len(BODIES)]
        x, y = position[:, body, 0], position[:, body, 1]
        axes.plot(x, y, color=colour, lw=1.4, alpha=0.75, solid_capstyle="round")
        axes.plot(x[:1], y[:1], marker="o", ms=3.5, mfc="white", mec=colour, mew=1.0, ls="none")
        area = float(np.clip(28 * mass[body] ** (2 / 3), 10, 160))
        axes.scatter(x[-1:], y[-1:], s=area, color=colour, edgecolor="white", linewidth=0.8, zorder=3)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("x (dimensionless)")
    axes.set_ylabel("y (dimensionless)")
