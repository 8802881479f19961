"""Drawings of a cell for the page, each with its caption."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from distillery.networks.functions import Function
from distillery.report.cells import Details
from distillery.report.document import Grid, code
from distillery.report.front import Point, draw_front
from distillery.report.messages import TARGET_NAMES, MessageFit, draw_fit, r2_shown, share_outside
from distillery.report.style import typeset
from distillery.report.svg import drawing
from distillery.report.trajectories import draw_paths
from distillery.util.text import show

_POINTS = 300
_PATHS = {"true": "true", "network": "by the network", "refitted": "by the law"}
# Predicted paths are cut off outside this many times the extent of the true ones.
_FRAME = 1.5


def sent_name(kind: str) -> str:
    """Return the name of a message of a kind of model."""
    return "force of the energy" if kind == "hamiltonian" else "message"


def label_of(kind: str, function: Function, component: int) -> tuple[str, str]:
    """Return the name of a component in words and in an equation.

    Args:
        kind: Kind of the model.
        function: The function that was distilled.
        component: Number of the component.
    """
    if kind == "hamiltonian":
        return ("energy of a pair", "H12") if function == "message" else ("energy of a body", "H1")
    axis = "xyz"[component : component + 1]
    if kind == "control":
        return f"acceleration, {axis}", f"a{axis}"
    return (f"node, {axis}", f"a{axis}") if function == "node" else (f"message {component + 1}", f"s{component + 1}")


def message_picture(sent: str, fit: MessageFit) -> tuple[Markup, str]:
    """Return a drawing of a message component against its fit, and its caption.

    Args:
        sent: Name of a message.
        fit: The fit.
    """

    def draw(axes: Any) -> None:
        draw_fit(axes, fit, _POINTS)
        axes.set_ylabel(f"{sent} (dimensionless)")

    title = f"{sent} {fit.component + 1} against {TARGET_NAMES[fit.target]}"
    outside = share_outside(fit)
    rest = f", {outside:.1%} outside" if outside else ""
    return drawing(title, draw), f"{title}: R² {r2_shown(fit.r2)}, robust {r2_shown(fit.r2_robust)}{rest}"


def front_picture(words: str, front: Sequence[Point], *, judged: bool = True) -> tuple[Markup, str] | None:
    """Return a drawing of a Pareto front, and its caption; None if it has no expression.

    Args:
        words: Name of the component.
        front: The points.
        judged: Whether the expressions were compared with a true law.
    """
    if not any(math.isfinite(point.mae) for point in front):
        return None
    drawn = drawing(f"Pareto front, {words}", functools.partial(draw_front, front=front))
    return drawn, f"front of {words}; ring: the choice" + (", green: the law" if judged else "")


def front_grid(front: Sequence[Point]) -> Grid:
    """Return the expressions of a front as a table.

    Args:
        front: The points.
    """
    rows = [
        [
            f"{'○' if point.chosen else ''}{'✓' if point.passes else ''}",
            show(point.complexity),
            show(point.mae),
            code(typeset(point.expression)),
        ]
        for point in front
    ]
    return Grid(("", "complexity", "error", "expression"), rows)


def path_pictures(details: Details) -> list[tuple[Markup, str]]:
    """Return drawings of how bodies move: truly, by the network and by the law.

    Args:
        details: Data of a cell.
    """
    if "true" not in details.paths:
        return []
    true = details.paths["true"]
    low, high = true.min(axis=(0, 1)), true.max(axis=(0, 1))
    room = (high - low).max() * (_FRAME - 1) / 2
    return [
        (
            drawing(_PATHS[name], functools.partial(draw_paths, position=np.clip(path, low - room, high + room))),
            f"paths until time {details.duration:.3g}, {_PATHS[name]}",
        )
        for name, path in details.paths.items()
    ]
