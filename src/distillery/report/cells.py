"""The cells that a report shows in full: their values and Pareto fronts, read from the result store at once."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distillery.networks.functions import Function
from distillery.report.front import Point
from distillery.report.study import Beyond, Found, read_beyond
from distillery.results.columns import CELLS
from distillery.results.reading import Frame, read_cells, read_equations
from distillery.results.swap import followed
from distillery.workflow.cell import STORE, Cell
from distillery.workflow.estimates import SHOWN

Fronts = Mapping[Function, Sequence[Sequence[Point]]]


@dataclasses.dataclass(frozen=True)
class Shown:
    """A cell and everything its store holds of it.

    Attributes:
        cell: The cell.
        values: By column: text; a number, NaN where absent; or a list with one of these per component.
        fronts: By function the Pareto front of each component, as the cell's own engine found it.
        beyond: By condition and predictor what was found under other conditions, by column; absent numbers left out.
    """

    cell: Cell
    values: Mapping[str, Any]
    fronts: Fronts
    beyond: Beyond = dataclasses.field(default_factory=dict)

    def number(self, name: str, component: int | None = None) -> float:
        """Return a number or flag, or that of a component; NaN where it is absent."""
        value = self.values.get(name, math.nan)
        if component is not None:
            value = value[component] if isinstance(value, list) and component < len(value) else math.nan
        return float(value) if isinstance(value, (int, float)) else math.nan

    def text(self, name: str) -> str:
        """Return a text; nothing where it is absent."""
        return str(self.values.get(name, ""))

    def list(self, name: str) -> list[Any]:
        """Return the values of all components; nothing where they are absent."""
        values = self.values.get(name, [])
        return values if isinstance(values, list) else []


def chosen_cells(cells: Sequence[Found], limit: int | None = None) -> list[Found]:
    """Return the finished cells that are shown: of every experiment and model its first seeds, as far as a limit goes.

    Args:
        cells: All cells.
        limit: How many are shown at most; ``estimates.SHOWN`` unless told.

    Returns:
        Some of the cells, in their order.
    """
    before: Counter[tuple[str, str]] = Counter()
    ranked = []
    for place, found in enumerate(cells):
        if found.status != "ok":
            continue
        group = str(found.row), found.cell.model
        ranked.append((before[group], place))
        before[group] += 1
    kept = sorted(place for _, place in sorted(ranked)[: SHOWN if limit is None else limit])
    return [cells[place] for place in kept]


def read_shown(results: Path, cells: Sequence[Cell]) -> list[Shown]:
    """Read everything about some cells from a result store.

    Args:
        results: The results folder.
        cells: Which of its cells.

    Raises:
        DistilleryError: There is no store, or it is damaged or of another version.
    """
    there = [column.name for column in CELLS if (followed(results / STORE) / "cells" / column.name).is_dir()]
    frame, equations = read_cells(results, there), read_equations(results)
    rows = {name: row for row, name in enumerate(frame.columns["cell"].tolist())}
    wanted = {str(cell) for cell in cells}
    fronts = _fronts(equations.take(np.array([name in wanted for name in equations.columns["cell"]], dtype=bool)))
    beyond = read_beyond(results)
    shown = []
    for cell in cells:
        values = _values(frame, rows[str(cell)])
        own = fronts.get((str(cell), values.get("engine", "")), {})
        shown.append(Shown(cell, values, own, beyond.get(str(cell), {})))
    return shown


def _values(frame: Frame, row: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, column in frame.columns.items():
        entry = column[row]
        values[name] = entry[: frame.lengths[name][row]].tolist() if name in frame.lengths else entry
    return values


def _fronts(equations: Frame) -> dict[tuple[str, str], dict[Function, list[list[Point]]]]:
    """Return the fronts by cell and engine; the rows of each component stand together, in the order of their ranks."""
    names = ("cell", "engine", "function", "component", "expression", "complexity", "mae", "chosen", "passes")
    found: dict[tuple[str, str], dict[Function, list[list[Point]]]] = {}
    for row in zip(*(equations.columns[name].tolist() for name in names), strict=True):
        cell, engine, function, component, expression, complexity, mae, chosen, passes = row
        fronts = found.setdefault((cell, engine), {}).setdefault(function, [])
        fronts += [[] for _ in range(component + 1 - len(fronts))]
        fronts[component].append(Point(expression, complexity, mae, chosen == 1.0, passes == 1.0))
    return found
