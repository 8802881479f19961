"""Ask the result store: filters, SQL, and the answer as a table, CSV or JSON.

Nothing heavy is imported here: an answer about ten thousand cells takes less than a second, start included.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distillery.collect.columns import CELLS, CONDITIONS, DIMS, EQUATIONS
from distillery.collect.reader import Frame, read_cells, read_conditions, read_equations
from distillery.collect.text import Output, Table, render
from distillery.errors import DistilleryError

_IDENTITY = (*DIMS, "experiment", "cell")
CELL_NAMES = (*_IDENTITY, *(column.name for column in CELLS))
EQUATION_NAMES = (*_IDENTITY, "engine", "function", "component", "rank", *(column.name for column in EQUATIONS))
_OWN_CONDITION_NAMES = (*_IDENTITY, "condition", "predictor", *(column.name for column in CONDITIONS))
# Which law holds is asked of conditions, and the law stands with its cell: columns of cells can be asked for as well.
CONDITION_NAMES = (*_OWN_CONDITION_NAMES, *(name for name in CELL_NAMES if name not in _OWN_CONDITION_NAMES))
_FLAGS = frozenset(column.name for column in (*CELLS, *EQUATIONS, *CONDITIONS) if column.kind == "flag")

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
# Beside the cells, one table of several rows per cell each.
_FINER: dict[Rows, Callable[[Path], Frame]] = {"equations": read_equations, "conditions": read_conditions}

_FILTER = re.compile(r"\s*(\w+)\s*(!=|<=|>=|=|<|>|~)(.*)", re.DOTALL)
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


@dataclasses.dataclass(frozen=True)
class _Filter:
    name: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> _Filter:
        match = _FILTER.fullmatch(text)
        if match is None:
            raise DistilleryError(
                f"where {text!r}: is no filter; write it like system=spring, 'test_mae<0.1' or 'equation~q1'"
            )
        name, sign, value = match.groups()
        if not any(name in names for names in _NAMES.values()):
            raise DistilleryError(f"where {text!r}: unknown column {name!r}; {_known(CELL_NAMES)}")
        return cls(name, sign, value.strip())

    def mask(self, frame: Frame) -> np.ndarray:
        """Return which rows hold; of several components all must hold, what is absent never does."""
        values = frame.columns[self.name]
        holds = self._text(values) if values.dtype == object else self._number(values)
        if values.ndim == 1:
            return holds
        lengths = frame.lengths[self.name]
        beyond = np.arange(values.shape[1]) >= lengths[:, None]
        return np.asarray((holds | beyond).all(axis=1) & (lengths > 0))

    def _text(self, values: np.ndarray) -> np.ndarray:
        if self.sign in _ORDER:
            raise DistilleryError(f"where: {self.name} is text; compare it with =, != or ~ (contains)")
        if self.sign == "~":
            found = [self.value in value for value in values.ravel().tolist()]
            return np.array(found, dtype=bool).reshape(values.shape)
        return np.isin(values.astype(str), self.value.split(",")) ^ (self.sign == "!=")

    def _number(self, values: np.ndarray) -> np.ndarray:
        if self.sign == "~":
            raise DistilleryError(f"where: {self.name} is a number; compare it with = != < <= > >=")
        numbers = [self._parsed(text) for text in self.value.split(",")]
        if self.sign in _ORDER:
            if len(numbers) > 1:
                raise DistilleryError(
                    f"where: {self.name}{self.sign}{self.value} compares with several numbers; give one, "
                    "or a list with = or !="
                )
            return np.asarray(_ORDER[self.sign](values, numbers[0]))
        return (np.isin(values, numbers) ^ (self.sign == "!=")) & ~np.isnan(values)

    def _parsed(self, text: str) -> float:
        text = text.strip().lower()
        if self.name in _FLAGS and text in _WORDS:
            return _WORDS[text]
        try:
            return float(text)
        except ValueError:
            wanted = "yes or no" if self.name in _FLAGS else "a number"
            raise DistilleryError(f"where: {self.name} is compared with {text!r}; give {wanted}") from None


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
            ``test_mae<0.1`` or ``equation~q1`` (contains); all must hold.
        sql: A query on the tables ``cells``, ``equations`` and ``conditions``, of what the filters leave.
        rows: What the rows are: cells, the equations of their Pareto fronts, or conditions under which their
            networks and laws were tested.
        columns: Columns to return, of conditions also those of their cells; by default all of the table that is
            asked, but the spread of every message component.

    Raises:
        DistilleryError: There is no store, or a filter, a column or the SQL is wrong.
    """
    filters = [_Filter.parse(text) for text in where]
    names = _NAMES[rows]
    for name in columns or ():
        if name not in _SELECTABLE[rows]:
            raise DistilleryError(f"columns: unknown column {name!r}; {_known(_SELECTABLE[rows])}")
    finer: dict[Rows, list[_Filter]] = {table: [] for table in _FINER}
    of_cells: list[_Filter] = []
    for wanted in filters:
        table = _table_of(wanted, rows)
        (of_cells if table == "cells" else finer[table]).append(wanted)
    cells = _filtered(read_cells(results, _wanted(of_cells, sql, columns, rows)), of_cells)
    frames: dict[Rows, Frame] = {"cells": cells}
    for table, own in finer.items():
        if own or rows == table or (sql is not None and table in sql.lower()):
            frame = _FINER[table](results)
            if of_cells:
                frame = frame.take(np.isin(frame.columns["cell"].astype(str), cells.columns["cell"].astype(str)))
            frames[table] = _filtered(frame, own)
    if sql is not None:
        from distillery.collect.sql import ask

        return ask(sql, {str(name): frame for name, frame in frames.items()})
    for table, own in finer.items():
        if own and rows != table:
            raise DistilleryError(f"where: {own[0].name} is a column of {table}; ask for {table}")
    frame = frames[rows]
    if rows != "cells":
        frame = _joined(frame, cells, [name for name in columns or () if name not in names])
    return _table(frame, tuple(columns) if columns else tuple(name for name in names if name in frame.columns))


def _table_of(wanted: _Filter, rows: Rows) -> Rows:
    """Return the table that a filter is about: the one that is asked for, or that of cells, before another one."""
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


def _wanted(filters: Sequence[_Filter], sql: str | None, columns: Sequence[str] | None, rows: Rows) -> list[str] | None:
    """Return the columns of cells to read; None for the usual ones."""
    filtered = [f.name for f in filters]
    if sql is None and rows != "cells":
        return [*filtered, *(name for name in columns or () if name not in _NAMES[rows])]
    if sql is None and columns:
        return [*filtered, *columns]
    usual = [column.name for column in CELLS if column.dims != ("message",)]
    named = [c.name for c in CELLS if c.dims == ("message",) and sql is not None and c.name in sql.lower()]
    return [*usual, *filtered, *named]


def _filtered(frame: Frame, filters: Sequence[_Filter]) -> Frame:
    for wanted in filters:
        frame = frame.take(wanted.mask(frame))
    return frame


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
        flag = name in _FLAGS
        flat = [None if v != v else bool(v) if flag else v for v in values.ravel().tolist()]  # noqa: PLR0124 (NaN)
        if values.ndim == 1:
            return flat
        given = [flat[start : start + values.shape[1]] for start in range(0, len(flat), values.shape[1])]
    if values.ndim == 1:
        return given
    return [entries[:length] for entries, length in zip(given, frame.lengths[name].tolist(), strict=True)]


def _known(names: Sequence[str]) -> str:
    return f"known are {', '.join(names)}"
