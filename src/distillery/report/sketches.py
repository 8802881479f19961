"""Drawings that cards of all kinds of cells have: the spread of message components, and a Pareto front."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from distillery.report.front import Point
from distillery.report.html import escape, figure
from distillery.report.plot import Axis, axis, bars, dots, drawing, stairs

_BARS = 40
# Below this an error is rounding; it would stretch the axis over decades of nothing.
_FLOOR = 1e-9


def spread_sketch(stds: Sequence[float], dark: int) -> str:
    """Return the standard deviations of message components as bars; nothing where no component varies.

    Args:
        stds: Of each component (dimensionless); NaN where there is none.
        dark: How many of the largest are told apart.
    """
    known = np.sort(np.array([value for value in stds if math.isfinite(value)], dtype=float))[::-1]
    if not len(known) or known[0] <= 0:
        return ""
    drawn = known[:_BARS]
    across = Axis("message components, sorted", 0.4, len(drawn) + 0.6)
    up = Axis("std (dimensionless)", 0.0, 1.06 * float(known[0]))
    share = float((known[:dark] ** 2).sum() / (known**2).sum())
    left = f", {len(known) - _BARS} smaller ones left out" if len(known) > _BARS else ""
    first = f"the first {dark} carry" if dark > 1 else "the first carries"
    return figure(
        drawing("spread of the message components", across, up, [bars(across, up, drawn, dark)], bare_x=True),
        f"{len(known)} message components{left}: {first} {share:.1%} of the variance",
    )


def front_sketch(words: str, front: Collection[Point], *, judged: bool = True) -> str:
    """Return a Pareto front with its choice; nothing where it has no expression.

    Args:
        words: What it is the front of.
        front: Its points.
        judged: Whether its expressions were held against a true law.
    """
    points = sorted((point for point in front if math.isfinite(point.mae)), key=lambda point: point.complexity)
    if not points:
        return ""
    x = np.array([point.complexity for point in points], dtype=float)
    y = np.maximum(np.array([point.mae for point in points], dtype=float), _FLOOR)
    across, up = axis("complexity", x), axis("error (dimensionless)", y, log=True)
    chosen, passes = (np.array([getattr(p, name) for p in points]) for name in ("chosen", "passes"))
    marks = [stairs(across, up, x, y)]
    for mask, kind in ((chosen, "ring"), (~passes, "point"), (passes, "point law")):
        if mask.any():
            marks.append(dots(across, up, x[mask], y[mask], kind))
    caption = f"front of {escape(words)}; ring: the choice" + (", green: the law" if judged else "")
    return figure(drawing(f"Pareto front, {words}", across, up, marks), caption)
