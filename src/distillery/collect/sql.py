"""SQL on the result store: DuckDB in memory, locked so that a query reaches nothing but the tables."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import numpy as np

from distillery.collect.columns import CELLS, CONDITIONS, EQUATIONS
from distillery.collect.reader import Frame
from distillery.collect.text import Table
from distillery.errors import DistilleryError

_FLAGS = frozenset(column.name for column in (*CELLS, *EQUATIONS, *CONDITIONS) if column.kind == "flag")
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
                raise DistilleryError(f"sql: is no question; write one SELECT or WITH … SELECT; {_tables(frames)}")
            connection.execute(statements[0])
            names = tuple(entry[0] for entry in connection.description or ())
            rows = connection.fetchall()
        except duckdb.Error as error:
            problem = (str(error).splitlines() or ["cannot be answered"])[0].rstrip(" .!")
            raise DistilleryError(f"sql: {problem}; {_tables(frames)}") from None
    return Table(names, tuple(tuple(row) for row in rows))


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
    return f"CAST({number} AS BOOLEAN)" if name in _FLAGS else number


def _tables(frames: Mapping[str, Frame]) -> str:
    shown = [f"{name}({', '.join(frame.columns)})" for name, frame in frames.items()]
    return f"the tables are {' and '.join(shown)}"
