"""The Pareto front of each component: error against complexity, with the chosen expression."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from pathlib import Path
from typing import Any

from matplotlib.ticker import LogLocator, NullFormatter

from distillery.errors import DistilleryError
from distillery.networks.functions import FUNCTIONS, Function
from distillery.report.style import BLUE, FAINT, GREEN, ORANGE, QUIET, picture, say, typeset
from distillery.results.columns import EQUATIONS
from distillery.workflow.cell import Cell
from distillery.workflow.record import read_record
from distillery.workflow.state import cell_states
from distillery.workflow.sweep import Sweep

_SUBJECTS = {"graph": "the messages", "hamiltonian": "the energies", "control": "the raw system"}
_LINE = 44
_LINES = 3
# Below this an error is rounding; it would stretch the axis over decades of nothing.
_FLOOR = 1e-9


@dataclasses.dataclass(frozen=True)
class Point:
    """An expression on a front.

    Attributes:
        expression: Its text.
        complexity: By the paper's count.
        mae: Mean absolute error on held-out samples (dimensionless).
        chosen: Whether it is the paper's choice.
        passes: Whether it is the true law up to its gauge.
    """

    expression: str
    complexity: float
    mae: float
    chosen: bool
    passes: bool


def front_figure(sweep: Sweep, cell: Cell, path: Path) -> None:
    """Draw the Pareto fronts of a cell, the chosen points marked, their equations as titles.

    Args:
        sweep: The sweep.
        cell: One of its cells.
        path: The picture, ``.svg`` or ``.png``; it says so if the cell diverged or failed.

    Raises:
        DistilleryError: The cell is not distilled yet.
    """
    state = cell_states(sweep, cell)["distill"]
    if state.state in ("diverged", "failed"):
        say(path, f"{cell}: Pareto fronts", f"{state.state}: {state.reason}")
        return
    rows = {function: found for function in FUNCTIONS if (found := pareto_fronts(sweep, cell, function))}
    widest = max(len(fronts) for fronts in rows.values())
    with picture(path, 4.0 * widest + 0.2, 3.9 * len(rows)) as figure:
        panels = figure.subplots(len(rows), widest, squeeze=False)
        for line, (function, fronts) in zip(panels, rows.items(), strict=True):
            for axes in line[len(fronts) :]:
                axes.set_axis_off()
            for component, (axes, front) in enumerate(zip(line, fronts, strict=False)):
                draw_front(axes, front)
                axes.set_title(_title(_label(sweep, cell, function, component), front), fontsize=9)
        figure.suptitle(f"{cell}: expressions for {_SUBJECTS[sweep.model(cell).kind]}", x=0.01, ha="left", fontsize=11)


def _label(sweep: Sweep, cell: Cell, function: Function, component: int) -> str:
    if sweep.model(cell).kind == "hamiltonian":
        return "energy of a pair" if function == "message" else "energy of a body"
    return f"{'node, ' if function == 'node' else ''}component {component + 1}"


def pareto_fronts(sweep: Sweep, cell: Cell, function: Function = "message") -> list[list[Point]]:
    """Return the Pareto front of each component of a function of a cell; nothing where it was not distilled.

    Args:
        sweep: The sweep.
        cell: One of its cells, distilled.
        function: Which of its functions.

    Raises:
        DistilleryError: The cell is not distilled yet, or its outcome is damaged.
    """
    record = read_record(sweep, cell, {})
    fronts = record.fronts.get(sweep.config.distillation.engine)
    if not fronts:
        reason = record.values["reason"] or "no expression"
        raise DistilleryError(f"{cell}: has no Pareto front ({reason}); run the sweep first")
    names = {column.name for column in EQUATIONS}
    return [
        [
            Point(
                expression=entry["expression"],
                complexity=entry["complexity"],
                mae=entry["mae"],
                chosen=bool(entry["chosen"]),
                passes=bool(entry.get("passes", 0.0)),
            )
            for entry in front
            if entry.keys() <= names
        ]
        for front in fronts.get(function, [])
    ]


def draw_front(axes: Any, front: list[Point]) -> None:
    """Draw a front as steps; expressions that are the law are green, the chosen one is a large dot.

    Args:
        axes: Where.
        front: Its points.
    """
    points = sorted((point for point in front if math.isfinite(point.mae)), key=lambda point: point.complexity)
    x = [point.complexity for point in points]
    y = [max(point.mae, _FLOOR) for point in points]
    axes.step(x, y, where="post", color=QUIET, lw=1.0, zorder=1)
    for point, height in zip(points, y, strict=True):
        colour = GREEN if point.passes else BLUE
        if point.chosen:
            axes.scatter([point.complexity], [height], s=130, color="white", edgecolor=ORANGE, linewidth=2.0, zorder=2)
        axes.scatter([point.complexity], [height], s=26, color=colour, linewidth=0, zorder=3)
    axes.set_yscale("log")
    if y and max(y) < 30 * min(y):
        # Less than a decade and a half has too few powers of ten to label.
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("complexity (nodes, weighted)")
    axes.set_ylabel("mean absolute error (dimensionless)")
    for label, colour, edge, size in (("chosen", "white", ORANGE, 60), ("true law", GREEN, GREEN, 26)):
        axes.scatter([], [], s=size, color=colour, edgecolor=edge, linewidth=1.6, label=label)
    axes.legend(loc="upper right", handletextpad=0.2)


def _title(label: str, front: list[Point]) -> str:
    chosen = next((point for point in front if point.chosen), None)
    if chosen is None:
        return f"{label}: no expression"
    lines = textwrap.wrap(typeset(chosen.expression), _LINE)
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], lines[_LINES - 1] + " …"]
    verdict = "the true law" if chosen.passes else "not the law"
    return "\n".join([f"{label}, {verdict}:", *lines])
