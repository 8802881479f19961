"""Pictures of halos: maps of the universes, and predictions of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.halos.catalogue import read_catalogue
from distillery.report import paper
from distillery.report.cells import HaloData
from distillery.report.halo_kernel import draw_kernel
from distillery.report.style import BLUE, add_dots, add_line, picture

# Share of the box, along the line of sight, that a map shows.
_SLICE = 0.2
_POINTS = 1000


def map_figure(name: str, catalogues: Mapping[str, Path], smoothing: float, path: Path) -> None:
    """Draw a slice through universes, halos coloured by their overdensity.

    Args:
        name: Name of the data set.
        catalogues: The catalogue of each universe, by condition.
        smoothing: Radius of the overdensity in Mpc/h.
        path: The picture, ``.svg`` or ``.png``.

    Raises:
        DistilleryError: A catalogue is missing or damaged.
    """
    with picture(path, 4.4 * len(catalogues), 4.0) as figure:
        panels = figure.subplots(1, len(catalogues), squeeze=False)[0]
        for axes, (condition, source) in zip(panels, catalogues.items(), strict=True):
            halos = read_catalogue(source)
            inside = halos.position[:, 2] < _SLICE * halos.box
            place, size = halos.position[inside], np.clip(3e-13 * halos.mass[inside], 2, 120)
            found = axes.scatter(place[:, 0], place[:, 1], s=size, c=halos.smoothed(smoothing)[inside], cmap="viridis")
            figure.colorbar(found, ax=axes, label="δ")
            axes.set(xlabel="x (Mpc/h)", ylabel="y (Mpc/h)", box_aspect=1, title=condition)
        depth = f"{_SLICE:.0%} of the box along z"
        figure.suptitle(f"{name}: halos, area by mass, {depth}", x=0.01, ha="left", fontsize=11)


def predicted_figure(name: str, found: HaloData, path: Path) -> None:
    """Draw predicted against true overdensities in held-out space, and the message by distance.

    Args:
        name: Name of the cell.
        found: Its data.
        path: The picture, ``.svg`` or ``.png``.
    """
    with_kernel = bool(found.kernel["r"])
    with picture(path, 4.0 * (1 + with_kernel) + 0.2, 4.0) as figure:
        panels = figure.subplots(1, 1 + with_kernel, squeeze=False)[0]
        draw_predicted(panels[0], found.true, found.predicted)
        panels[0].set_title(f"mean |δ − δ̂| {np.abs(found.true - found.predicted).mean():.4f}")
        if with_kernel:
            draw_kernel(panels[1], found.kernel)
            panels[1].set_title("by distance, on average")
            panels[1].get_legend().set_title(f"paper: scaled to it, 1 = {paper.LENGTH:.0f} Mpc/h", {"size": 7})
        figure.suptitle(f"{name}: halos in held-out space", x=0.01, ha="left", fontsize=11)


def draw_predicted(
    axes: Any, true: Float[np.ndarray, " halo"], predicted: Float[np.ndarray, " halo"], points: int = _POINTS
) -> None:
    """Draw predicted against true overdensities.

    Args:
        axes: The panel.
        true: True overdensities (dimensionless).
        predicted: Predicted overdensities (dimensionless).
        points: Largest number of halos that are drawn.
    """
    low, high = (float(edge) for edge in np.quantile(true, [0.0, 0.995]))
    room = 0.05 * (high - low) or 1.0
    low, high = low - room, high + room
    x, y = true[:points], predicted[:points]
    inside = (x >= low) & (x <= high) & (y >= low) & (y <= high)
    add_line(axes, [low, high], [low, high])
    add_dots(axes, x[inside], y[inside], BLUE, 3.0, alpha=0.4)
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="true δ", ylabel="predicted δ")
    axes.grid()
