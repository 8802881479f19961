"""Query the result store with filters or SQL; the answer is a table, CSV or JSON.

Nothing heavy is imported: an answer about ten thousand cells takes less than a second, start included.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from distillery.errors import DistilleryError
from distillery.results.columns import CELLS, IDENTITY, TABLES, Column, Rows
from distillery.results.filters import Filter, entries, nearest, shortened
from distillery.results.parquet import opened, source
from distillery.results.sql import ask
from distillery.results.swap import pinned
from distillery.util.text import Output, Table, render

_COLUMNS: dict[Rows, dict[str, Column]] = {
    table: {column.name: column for column in columns} for table, columns in TABLES.items()
}
# Rows of conditions may also show columns of their cells, such as the law whose error they give.
_SELECTABLE: dict[Rows, tuple[str, ...]] = {
    **{table: tuple(columns) for table, columns in _COLUMNS.items()},
    "conditions": tuple(_COLUMNS["conditions"] | _COLUMNS["cells"]),
}
# Long lists, shown only if the query names them.
_ON_REQUEST = frozenset(column.name for column in CELLS if column.dims == ("message",))
# The most important columns, which aligned text shows by default.
_BRIEF: dict[Rows, tuple[str, ...]] = {
    "cells": (
        "cell",
        "status",
        "recovered",
        "form",
        "test_mae",
        "force_r2_robust",
        "acceleration_r2_robust",
        "equation",
    ),
    "equations": (
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
    ),
    "conditions": (
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
    ),
}
# Number of similar names that an error about an unknown column lists.
_NEAREST = 4


def query(
    results: Path,
    where: Sequence[str] = (),
    sql: str | None = None,
    rows: Rows = "cells",
    columns: Sequence[str] | None = None,
) -> Table:
    """Query the result store.

    Args:
        results: A results folder, or a result store.
        where: Filters such as ``system=spring``, ``model=l1,bottleneck``, ``recovered=yes``, ``test_mae<0.1`` or
            ``equation~q1`` (contains); rows must satisfy all of them.
        sql: A query on the tables ``cells``, ``equations`` and ``conditions``, each reduced to the rows that satisfy
            the filters.
        rows: The table: cells, the equations of their Pareto fronts, or the conditions under which their networks and
            laws were tested.
        columns: Columns to return, for conditions also those of their cells; by default all columns of the table
            except lists over all message components.

    Raises:
        DistilleryError: There is no store, or a filter, a column or the SQL is wrong.
    """
    filters: dict[Rows, list[Filter]] = {table: [] for table in TABLES}
    parsed = [Filter.parse(text) for text in where]
    _check_columns(columns, sql, rows)
    for wanted in parsed:
        table = _table_of(wanted, rows)
        if sql is None and table not in ("cells", rows):
            raise DistilleryError(
                f"where {shortened(wanted.text)}: {wanted.name} is a column of {table}; add --{table}"
            )
        filters[table].append(wanted)
    tables: list[Rows] = list(TABLES) if sql is not None else ["cells"] if rows == "cells" else ["cells", rows]

    def usual(table: Rows) -> tuple[str, ...]:
        named = {wanted.name for wanted in parsed} | {name for name in _ON_REQUEST if name in (sql or "").lower()}
        return tuple(name for name in _COLUMNS[table] if name not in _ON_REQUEST or name in named)

    def read_store(store: Path) -> Table:
        with opened(store, tables) as connection:
            selection = _Selection(store, connection, filters)
            if sql is not None:
                return ask(connection, sql, {table: selection.of(table, usual(table)) for table in TABLES})
            names = tuple(columns) if columns else usual(rows)
            return Table(names, tuple(connection.execute(selection.of(rows, names)).fetchall()))

    return pinned(results, read_store)


def answer(
    results: Path,
    where: Sequence[str] = (),
    sql: str | None = None,
    rows: Rows = "cells",
    columns: Sequence[str] | None = None,
    output: Output = "table",
    width: int | None = None,
) -> str:
    """Return the answer of ``query`` as text; aligned text shows the most important columns by default.

    Args:
        results: See ``query``.
        where: See ``query``.
        sql: See ``query``.
        rows: See ``query``.
        columns: See ``query``.
        output: Aligned text, CSV or JSON.
        width: Characters per line of aligned text; None for no limit.

    Raises:
        DistilleryError: There is no store, or a filter, a column or the SQL is wrong.
    """
    if columns is None and output == "table" and sql is None:
        columns = _BRIEF[rows]
    return render(query(results, where, sql, rows, columns), output, width)


def columns_from(text: str) -> list[str]:
    """Return the names in a list with commas.

    Args:
        text: Such as ``cell, model``.

    Raises:
        DistilleryError: The list has an empty entry.
    """
    return entries(text, "columns")


@dataclasses.dataclass(frozen=True)
class _Selection:
    """The rows of a store that satisfy filters.

    Attributes:
        store: Folder of the store.
        connection: A connection that may read its tables.
        filters: The filters of each table; those of cells apply to the rows of all tables.
    """

    store: Path
    connection: duckdb.DuckDBPyConnection
    filters: dict[Rows, list[Filter]]

    def of(self, table: Rows, names: Sequence[str]) -> str:
        """Return the SELECT statement of the rows of a table, in the order of the store.

        Args:
            table: The table.
            names: Columns to select; those that the table lacks are columns of the cells.
        """
        conditions = self._conditions(table)
        if table != "cells" and (of_cells := self._conditions("cells")):
            cells = f"SELECT cell FROM {source(self.store, 'cells')} WHERE {' AND '.join(of_cells)}"
            conditions.append(f"cell IN ({cells})")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        rows = f"(FROM {source(self.store, table)}{where}) AS own"
        if any(name not in _COLUMNS[table] for name in names):
            rows += f" JOIN {source(self.store, 'cells')} AS cells USING (cell)"
        chosen = ", ".join(f'{"own" if name in _COLUMNS[table] else "cells"}."{name}"' for name in names)
        return f"SELECT {chosen} FROM {rows} ORDER BY own.file_row_number"

    def _conditions(self, table: Rows) -> list[str]:
        return [
            wanted.condition(_COLUMNS[table][wanted.name], functools.partial(self._values, table, wanted.name))
            for wanted in self.filters[table]
        ]

    def _values(self, table: Rows, name: str) -> list[Any]:
        """Return the different values of a column in the order of the store."""
        value = f'unnest("{name}")' if _COLUMNS[table][name].dims else f'"{name}"'
        rows = self.connection.execute(f"SELECT {value} FROM {source(self.store, table)}").fetchall()
        return list(dict.fromkeys(value for (value,) in rows))


def _check_columns(columns: Sequence[str] | None, sql: str | None, rows: Rows) -> None:
    """Refuse columns that the table lacks, that are repeated, or that a query in SQL would not return."""
    if columns is not None and sql is not None:
        raise DistilleryError("columns: a query in SQL names its own columns; leave out --columns")
    for place, name in enumerate(columns or ()):
        if name not in _SELECTABLE[rows]:
            raise DistilleryError(f"columns: {_unknown(name, rows)}")
        if name in (columns or ())[:place]:
            raise DistilleryError(f"columns: {name} stands twice; name it once")


def _unknown(name: str, rows: Rows) -> str:
    """Return that a table has no such column, and the most similar ones or the table that has it."""
    elsewhere = next((table for table, columns in _COLUMNS.items() if name in columns), None)
    if elsewhere is not None:
        return f"{name} is a column of {elsewhere}; add --{elsewhere}"
    near = nearest(name, _SELECTABLE[rows], _NEAREST)
    remedy = f'`distillery query --sql "DESCRIBE {rows}"` lists all'
    return f"unknown column {shortened(name)}; " + (f"similar are {', '.join(near)}; {remedy}" if near else remedy)


def _table_of(wanted: Filter, rows: Rows) -> Rows:
    """Return the table whose column a filter compares: the queried one, or that of cells, before another one."""
    if not any(wanted.name in columns for columns in _COLUMNS.values()):
        raise DistilleryError(f"where {shortened(wanted.text)}: {_unknown(wanted.name, rows)}")
    if rows != "cells" and wanted.name in _COLUMNS[rows] and all(wanted.name != column.name for column in IDENTITY):
        return rows
    return next(table for table, columns in _COLUMNS.items() if wanted.name in columns)
