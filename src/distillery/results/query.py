"""Ask the result store: filters, SQL, and the answer as a table, CSV or JSON.

Nothing heavy is imported here: an answer about ten thousand cells takes less than a second, start included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distillery.errors import DistilleryError
from distillery.results.columns import CELLS, CONDITIONS, DIMS, EQUATIONS
from distillery.results.filters import FLAGS, Filter, entries, nearest, shortened
from distillery.results.reader import Frame, read_cells, read_conditions, read_equations
from distillery.util.text import Output, Table, render

_IDENTITY = (*DIMS, "experiment", "cell")
CELL_NAMES = (*_IDENTITY, *(column.name for column in CELLS))
EQUATION_NAMES = (*_IDENTITY, "engine", "function", "component", "rank", *(column.name for column in EQUATIONS))
_OWN_CONDITION_NAMES = (*_IDENTITY, "condition", "predictor", *(column.name for column in CONDITIONS))
# Which law holds is asked of conditions, and the law stands with its cell: columns of cells can be asked for as well.
CONDITION_NAMES = (*_OWN_CONDITION_NAMES, *(name for name in CELL_NAMES if name not in _OWN_CONDITION_NAMES))

BRIEF_CELLS = (
    "cell",
    "status",
    "recovered",
    "form",
    "test_mae",
    "force_r2_robust",
    "acceleration_r2_robust",
    "equation",
)
BRIEF_EQUATIONS = (
    "cell",
    "engine",
    "function",
    "component",
    "rank",
    "chosen",
    "passes",
    "complexity",
    "mae",
    "score",
    "expression",
)
BRIEF_CONDITIONS = (
    "cell",
    "condition",
    "predictor",
    "holds",
    "mae",
    "medae",
    "horizon",
    "doubling_time",
    "distance",
    "energy_drift",
    "reason",
    "law",
)

Rows = Literal["cells", "equations", "conditions"]
_NAMES: dict[Rows, tuple[str, ...]] = {
    "cells": CELL_NAMES,
    "equations": EQUATION_NAMES,
    "conditions": _OWN_CONDITION_NAMES,
}
_SELECTABLE: dict[Rows, tuple[str, ...]] = {**_NAMES, "conditions": CONDITION_NAMES}
_BRIEF: dict[Rows, tuple[str, ...]] = {
    "cells": BRIEF_CELLS,
    "equations": BRIEF_EQUATIONS,
    "conditions": BRIEF_CONDITIONS,
}
# So many columns are named where one is unknown.
_NEAREST = 4
# Beside the cells, one table of several rows per cell each.
_FINER: dict[Rows, Callable[[Path], Frame]] = {"equations": read_equations, "conditions": read_conditions}


def query(
    results: Path,
    where: Sequence[str] = (),
    sql: str | None = None,
    rows: Rows = "cells",
    columns: Sequence[str] | None = None,
) -> Table:
    """Ask the result store.

    Args:
        results: The results folder.
        where: Filters such as ``system=spring``, ``model=l1,bottleneck``, ``recovered=yes``,
            ``test_mae<0.1`` or ``equation~q1`` (contains); rows must satisfy all of them.
        sql: A query on the tables ``cells``, ``equations`` and ``conditions``, of what the filters leave.
        rows: What the rows are: cells, the equations of their Pareto fronts, or conditions under which their
            networks and laws were tested.
        columns: Columns to return, of conditions also those of their cells; by default all of the table that is
            asked, but the spread of every message component.

    Raises:
        DistilleryError: There is no store, or a filter, a column or the SQL is wrong.
    """
    filters = [Filter.parse(text) for text in where]
    names = _NAMES[rows]
    _require_columns(columns, sql, rows)
    finer: dict[Rows, list[Filter]] = {table: [] for table in _FINER}
    of_cells: list[Filter] = []
    for wanted in filters:
        table = _table_of(wanted, rows)
        (of_cells if table == "cells" else finer[table]).append(wanted)
    cells = _filtered(read_cells(results, _wanted(of_cells, sql, columns, rows)), of_cells)
    frames: dict[Rows, Frame] = {"cells": cells}
    for table, own in finer.items():
        if own or rows == table or (sql is not None and table in sql.lower()):
            frame = _FINER[table](results)
            kept = frame.columns["cell"].astype(str)
            chosen = np.isin(kept, cells.columns["cell"].astype(str)) if of_cells else np.ones(len(kept), dtype=bool)
            frames[table] = _filtered(frame, own, chosen)
    if sql is not None:
        from distillery.results.sql import ask

        return ask(sql, {str(name): frame for name, frame in frames.items()})
    for table, own in finer.items():
        if own and rows != table:
            raise DistilleryError(
                f"where {shortened(own[0].text)}: {own[0].name} is a column of {table}; add --{table}"
            )
    frame = frames[rows]
    if rows != "cells":
        frame = _joined(frame, cells, [name for name in columns or () if name not in names])
    return _table(frame, tuple(columns) if columns else tuple(name for name in names if name in frame.columns))


def columns_from(text: str) -> list[str]:
    """Return the columns that are named in a list with commas.

    Args:
        text: Such as ``cell, model``.

    Raises:
        DistilleryError: The list has an empty entry.
    """
    return entries(text, "columns")


def _require_columns(columns: Sequence[str] | None, sql: str | None, rows: Rows) -> None:
    """Refuse columns that the table lacks, that stand twice, or that a query in SQL would not return."""
    if columns is not None and sql is not None:
        raise DistilleryError("columns: a query in SQL names its own columns; leave out --columns")
    for place, name in enumerate(columns or ()):
        if name not in _SELECTABLE[rows]:
            raise DistilleryError(f"columns: {_unknown(name, rows)}")
        if name in (columns or ())[:place]:
            raise DistilleryError(f"columns: {name} stands twice; name it once")


def _unknown(name: str, rows: Rows) -> str:
    """Return that a table has no such column, and the nearest ones or the table that has it."""
    elsewhere = next((table for table, names in _NAMES.items() if name in names), None)
    if elsewhere is not None:
        return f"{name} is a column of {elsewhere}; add --{elsewhere}"
    near = nearest(name, _SELECTABLE[rows], _NEAREST)
    remedy = f'`distillery query --sql "DESCRIBE {rows}"` lists all'
    return f"unknown column {shortened(name)}; " + (f"similar are {', '.join(near)}; {remedy}" if near else remedy)


def _table_of(wanted: Filter, rows: Rows) -> Rows:
    """Return the table that a filter is about: the one that is asked for, or that of cells, before another one."""
    if not any(wanted.name in names for names in _NAMES.values()):
        raise DistilleryError(f"where {shortened(wanted.text)}: {_unknown(wanted.name, rows)}")
    if rows != "cells" and wanted.name in _NAMES[rows] and wanted.name not in _IDENTITY:
        return rows
    return next(table for table, names in _NAMES.items() if wanted.name in names)


def answer(
    results: Path,
    where: Sequence[str] = (),
    sql: str | None = None,
    rows: Rows = "cells",
    columns: Sequence[str] | None = None,
    output: Output = "table",
    width: int | None = None,
) -> str:
    """Return the answer of ``query`` as text; a table for the eye shows the most telling columns.

    Args:
        results: The results folder.
        where: See ``query``.
        sql: See ``query``.
        rows: See ``query``.
        columns: See ``query``.
        output: Aligned text, CSV or JSON.
        width: Characters per line of aligned text; None for as many as it takes.

    Raises:
        DistilleryError: There is no store, or a filter, a column or the SQL is wrong.
    """
    if columns is None and output == "table" and sql is None:
        columns = _BRIEF[rows]
    return render(query(results, where, sql, rows, columns), output, width)


def _wanted(filters: Sequence[Filter], sql: str | None, columns: Sequence[str] | None, rows: Rows) -> list[str] | None:
    """Return the columns of cells to read; None for the usual ones."""
    filtered = [f.name for f in filters]
    if sql is None and rows != "cells":
        return [*filtered, *(name for name in columns or () if name not in _NAMES[rows])]
    if sql is None and columns:
        return [*filtered, *columns]
    usual = [column.name for column in CELLS if column.dims != ("message",)]
    named = [c.name for c in CELLS if c.dims == ("message",) and sql is not None and c.name in sql.lower()]
    return [*usual, *filtered, *named]


def _filtered(frame: Frame, filters: Sequence[Filter], chosen: np.ndarray | None = None) -> Frame:
    """Return the chosen rows that satisfy all filters; these are checked against the values of the whole table."""
    masks = [wanted.mask(frame) for wanted in filters] + ([] if chosen is None else [chosen])
    return frame.take(np.logical_and.reduce(masks)) if masks else frame


def _joined(frame: Frame, cells: Frame, names: Sequence[str]) -> Frame:
    """Return rows with columns of the cells that they are about."""
    if not names:
        return frame
    places = {cell: place for place, cell in enumerate(cells.columns["cell"].tolist())}
    index = np.array([places[cell] for cell in frame.columns["cell"].tolist()], dtype=np.int64)
    columns = {name: cells.columns[name][index] for name in names}
    lengths = {name: cells.lengths[name][index] for name in names if name in cells.lengths}
    return Frame({**frame.columns, **columns}, frame.rows, {**frame.lengths, **lengths})


def _table(frame: Frame, names: tuple[str, ...]) -> Table:
    columns = [_python(frame, name) for name in names]
    return Table(names, tuple(zip(*columns, strict=True)))


def _python(frame: Frame, name: str) -> list[Any]:
    values = frame.columns[name]
    given: list[Any] = values.tolist()
    if values.dtype.kind == "f":
        flag = name in FLAGS
        flat = [None if v != v else bool(v) if flag else v for v in values.ravel().tolist()]  # noqa: PLR0124 (NaN)
        if values.ndim == 1:
            return flat
        given = [flat[start : start + values.shape[1]] for start in range(0, len(flat), values.shape[1])]
    if values.ndim == 1:
        return given
    return [entries[:length] for entries, length in zip(given, frame.lengths[name].tolist(), strict=True)]
