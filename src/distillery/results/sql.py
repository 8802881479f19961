"""SQL on the result store: DuckDB in memory, locked so that a query reaches nothing but the tables."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np

from distillery.errors import DistilleryError
from distillery.results.filters import FLAGS
from distillery.results.reader import Frame
from distillery.util.text import Table

_TABLES = "the tables are cells, equations and conditions; DESCRIBE lists the columns of one, as in: DESCRIBE cells"
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "temp_directory": "",
    "memory_limit": "2GB",
}


def ask(sql: str, frames: Mapping[str, Frame]) -> Table:
    """Answer an SQL query.

    Args:
        sql: A query on the tables of ``frames``, in DuckDB's dialect.
        frames: The tables by name. Columns with a second axis become lists; what is absent becomes
            NULL (numbers, flags) or empty text.

    Raises:
        DistilleryError: The query is wrong, or wants anything else than the tables.
    """
    with duckdb.connect(":memory:", config=_SETTINGS) as connection:
        for name, frame in frames.items():
            _create(connection, name, frame)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
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
    """Return names with a number added to those that stood before: an object of JSON has each name once."""
    found: dict[str, None] = {}
    for name in names:
        numbered = (f"{name}_{number}" for number in itertools.count(1))
        found[name if name not in found else next(n for n in numbered if n not in found and n not in names)] = None
    return tuple(found)


def _plain(value: Any) -> Any:
    """Return a value with decimal numbers as numbers, inside of lists and structures too."""
    match value:
        case Decimal():
            return int(value) if value.as_tuple().exponent == 0 else float(value)
        case list() | tuple():
            return [_plain(entry) for entry in value]
        case dict():
            return {_plain(key): _plain(entry) for key, entry in value.items()}
    return value


def _create(connection: duckdb.DuckDBPyConnection, table: str, frame: Frame) -> None:
    arrays: dict[str, np.ndarray] = {}
    selections = []
    for name, values in frame.columns.items():
        if values.ndim == 1:
            arrays[name] = values
            selections.append(f'{_expression(name, name, values)} AS "{name}"')
            continue
        parts = []
        for index in range(values.shape[1]):
            part = f"{name}:{index}"
            arrays[part] = values[:, index]
            parts.append(_expression(name, part, values))
        arrays[f"{name}:length"] = np.asarray(frame.lengths[name], dtype=np.int64)
        selections.append(f'list_slice([{", ".join(parts)}], 1, "{name}:length") AS "{name}"')
    connection.register("given", arrays)
    connection.execute(f"CREATE TABLE {table} AS SELECT {', '.join(selections)} FROM given")
    connection.unregister("given")


def _expression(name: str, part: str, values: np.ndarray) -> str:
    if values.dtype == object:
        return f'CAST("{part}" AS VARCHAR)'
    if values.dtype.kind == "i":
        return f'"{part}"'
    number = f"""nullif("{part}", 'nan'::DOUBLE)"""
    return f"CAST({number} AS BOOLEAN)" if name in FLAGS else number
