"""Pareto fronts: error against complexity, with the chosen expression marked."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import LogLocator, NullFormatter

from distillery.report.style import BLUE, FLOOR, GREEN, ORANGE, QUIET, add_dots, picture, typeset

_LINE = 44
_LINES = 3


@dataclasses.dataclass(frozen=True)
class Point:
    """An expression on a front.

    Attributes:
        expression: Its text.
        complexity: Its complexity as the paper counts it.
        mae: Mean absolute error on held-out samples (dimensionless).
        chosen: Whether it is the paper's choice.
        passes: Whether it is the true law up to its gauge.
    """

    expression: str
    complexity: float
    mae: float
    chosen: bool
    passes: bool


def fronts_figure(title: str, rows: Sequence[Mapping[str, Sequence[Point]]], path: Path) -> None:
    """Draw Pareto fronts with their chosen points marked, and the chosen expressions as titles.

    Args:
        title: Title of the picture.
        rows: The fronts of each row of panels by title.
        path: The picture, ``.svg`` or ``.png``.
    """
    widest = max(map(len, rows))
    with picture(path, 4.0 * widest + 0.2, 3.9 * len(rows)) as figure:
        panels = figure.subplots(len(rows), widest, squeeze=False)
        for line, fronts in zip(panels, rows, strict=True):
            for axes in line[len(fronts) :]:
                axes.set_axis_off()
            for axes, (label, front) in zip(line, fronts.items(), strict=False):
                draw_front(axes, front)
                add_legend(axes)
                axes.set_title(label, fontsize=9)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)


def title_of(label: str, front: Sequence[Point]) -> str:
    """Return the title of a panel: the chosen expression of a front and whether it is the true law.

    Args:
        label: Name of the component.
        front: Its points.
    """
    chosen = next((point for point in front if point.chosen), None)
    if chosen is None:
        return f"{label}: no expression"
    lines = textwrap.wrap(typeset(chosen.expression), _LINE)
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], lines[_LINES - 1] + " …"]
    return "\n".join([f"{label}, {'the true law' if chosen.passes else 'not the law'}:", *lines])


def draw_front(axes: Any, front: Sequence[Point]) -> dict[str, dict[str, str]]:
    """Draw a front as steps; expressions that are the law are green, the chosen one has a ring.

    Args:
        axes: The panel.
        front: The points.

    Returns:
        By gid of each point, its expression as the text that is shown under the pointer.
    """
    points = sorted((point for point in front if math.isfinite(point.mae)), key=lambda point: point.complexity)
    x, y = [point.complexity for point in points], [max(point.mae, FLOOR) for point in points]
    axes.set_yscale("log")
    axes.step(x, y, where="post", color=QUIET, lw=1.0, zorder=1)
    titles = {}
    for k, (point, height) in enumerate(zip(points, y, strict=True)):
        if point.chosen:
            add_dots(axes, [point.complexity], [height], ORANGE, 14.0, alpha=0.55)
        add_dots(axes, [point.complexity], [height], GREEN if point.passes else BLUE, 7.0, gid=f"point{k}", zorder=3)
        error = f"complexity {point.complexity:g}, error {point.mae:.3g}"
        titles[f"point{k}"] = {"title": f"{typeset(point.expression)} ({error})"}
    if y and max(y) < 30 * min(y):
        # Less than a decade and a half has too few powers of ten to label.
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid()
    axes.set_xlabel("complexity")
    axes.set_ylabel("error (dimensionless)")
    return titles


def add_legend(axes: Any) -> None:
    """Add a legend that explains the colours of a front.

    Args:
        axes: The panel.
    """
    for label, colour, size in (("chosen", ORANGE, 60), ("true law", GREEN, 26)):
        axes.scatter([], [], s=size, color=colour, label=label)
    axes.legend(loc="upper right", handletextpad=0.2)
