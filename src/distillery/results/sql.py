"""SQL on the tables of the result store, restricted to one SELECT."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import duckdb

from distillery.errors import DistilleryError
from distillery.results.columns import Rows
from distillery.util.text import Table

_TABLES = "the tables are cells, equations and conditions; DESCRIBE lists the columns of one, as in: DESCRIBE cells"


def ask(connection: duckdb.DuckDBPyConnection, sql: str, tables: Mapping[Rows, str]) -> Table:
    """Answer a query in SQL.

    Args:
        connection: A connection that may read nothing but the tables.
        sql: The query, in DuckDB's dialect.
        tables: By name of a table, the SELECT statement of its rows. Absent numbers and flags are NULL, absent texts
            empty.

    Raises:
        DistilleryError: The query is wrong, or does more than read the tables.
    """
    for name, selection in tables.items():
        connection.execute(f"CREATE VIEW {name} AS {selection}")
    try:
        statements = connection.extract_statements(sql)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise DistilleryError(f"sql: is not a single query; write one SELECT or WITH … SELECT\n{_TABLES}")
        connection.execute(statements[0])
        names = tuple(entry[0] for entry in connection.description or ())
        rows = connection.fetchall()
    except duckdb.Error as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or ["cannot be answered"]
        raise DistilleryError("\n".join([f"sql: {lines[0]}", *lines[1:], _TABLES])) from None
    return Table(_distinct(names), tuple(tuple(_plain(value) for value in row) for row in rows))


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return names with a number added to repeated ones, because an object of JSON has each name once."""
    found: dict[str, None] = {}
    for name in names:
        numbered = (f"{name}_{number}" for number in itertools.count(1))
        found[name if name not in found else next(n for n in numbered if n not in found and n not in names)] = None
    return tuple(found)


def _plain(value: Any) -> Any:
    """Return a value with decimal numbers as integers or floating-point numbers, also within lists and structures."""
    match value:
        case Decimal():
            return int(value) if value.as_tuple().exponent == 0 else float(value)
        case list() | tuple():
            return [_plain(entry) for entry in value]
        case dict():
            return {_plain(key): _plain(entry) for key, entry in value.items()}
    return value
