"""Tables of a result store in Parquet: one row per cell, per equation of a Pareto front, and per condition.

They stand in the folder ``tables`` within the folder of the Zarr store, so that both are replaced in one step. Readers
that open the store by its consolidated metadata, as xarray does, do not see them. Nothing heavy is imported.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from distillery import files
from distillery.errors import DistilleryError
from distillery.results.columns import Rows

FOLDER = "tables"
# SHA-256 of each file: Parquet has no checksums of its own that DuckDB verifies.
CHECKSUMS = "checksums.json"
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "temp_directory": "",
    "memory_limit": "2GB",
}


def connect() -> duckdb.DuckDBPyConnection:
    """Return a connection to an empty database in memory that loads no extensions and writes no temporary files."""
    return duckdb.connect(":memory:", config=_SETTINGS)


@contextlib.contextmanager
def opened(store: Path, tables: Sequence[Rows]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a DuckDB connection that may read tables of a store and no other file.

    Args:
        store: Folder of the store, without symbolic links.
        tables: The tables that are read; the others are not verified.

    Raises:
        DistilleryError: A table is missing, damaged or of another version.
    """
    for table in tables:
        _verify(store, table)
    with connect() as connection:
        paths = ", ".join(literal(str(file_of(store, table))) for table in tables)
        connection.execute(f"SET allowed_paths = [{paths}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            yield connection
        except duckdb.Error as error:
            raise _damaged(store / FOLDER, str(error).splitlines()[0]) from None


def _verify(store: Path, table: Rows) -> None:
    path = file_of(store, table)
    try:
        expected = json.loads((path.parent / CHECKSUMS).read_text(encoding="utf-8"))[path.name]
        if files.checksum(path) != expected:
            raise _damaged(path, "its checksum differs")
    except FileNotFoundError as error:
        raise _damaged(path, f"no file {Path(error.filename).name}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, reason: str) -> DistilleryError:
    return DistilleryError(
        f"{path}: damaged, or written by another version of distillery ({reason}); run `distillery collect` again"
    )


def source(store: Path, table: Rows) -> str:
    """Return the SQL expression of a table, with the column ``file_row_number``."""
    return f"read_parquet({literal(str(file_of(store, table)))}, file_row_number = true)"


def literal(value: str | float | bool) -> str:
    """Return a text, number or truth value as SQL has it.

    Args:
        value: The value; a floating-point number keeps all of its digits.
    """
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"'{value!r}'::DOUBLE" if isinstance(value, float) else str(value)


def file_of(store: Path, table: Rows) -> Path:
    """Return the file of a table."""
    return store / FOLDER / f"{table}.parquet"
