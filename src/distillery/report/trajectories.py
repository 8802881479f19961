"""Trajectories of a few simulations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.report.cells import Simulations
from distillery.report.style import BODIES, add_dots, picture


def trajectories_figure(name: str, found: Simulations, path: Path) -> None:
    """Draw held-out simulations of an experiment.

    Args:
        name: Name of the experiment.
        found: The simulations.
        path: The picture, ``.svg`` or ``.png``.
    """
    shown, dim = len(found.position), found.position.shape[-1]
    with picture(path, 3.2 * shown, 3.5) as figure:
        for simulation, axes in enumerate(figure.subplots(1, shown, squeeze=False)[0]):
            draw_paths(axes, found.position[simulation], found.mass[simulation])
            axes.set_title(f"held-out simulation {simulation}")
        projection = ", seen along z" if dim == 3 else ""
        figure.suptitle(f"{name}: {found.duration:.3g} units of time{projection}", x=0.01, ha="left", fontsize=11)


def draw_paths(
    axes: Any,
    position: Float[np.ndarray, "time body space"],
    mass: Float[np.ndarray, " body"] | None = None,
) -> None:
    """Draw the paths of all bodies of a simulation, with a dot at the end of each.

    Args:
        axes: The panel.
        position: Positions (dimensionless); of three dimensions the first two are drawn.
        mass: Masses (dimensionless), shown by the area of the dots.
    """
    for body in range(position.shape[1]):
        colour, (x, y) = BODIES[body % len(BODIES)], position[:, body, :2].T
        axes.plot(x, y, color=colour, lw=1.4, alpha=0.75, solid_capstyle="round")
        size = 9.0 if mass is None else float(np.sqrt(np.clip(35 * mass[body] ** (2 / 3), 12, 200)))
        add_dots(axes, x[-1:], y[-1:], colour, size, zorder=3)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("x (dimensionless)")
    axes.set_ylabel("y (dimensionless)")
