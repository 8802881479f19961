"""Rows of the tables of a result store, written to Parquet by DuckDB."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from distillery import files
from distillery.errors import no_room
from distillery.networks.functions import FUNCTIONS
from distillery.results.columns import CELLS, CONDITIONS, MESSAGE_LISTS, NODE_LISTS, TABLES, Column, Rows
from distillery.results.parquet import CHECKSUMS, FOLDER, connect, file_of, literal
from distillery.results.record import Collection, Record, Values
from distillery.validation.generalisation import PREDICTORS


def write_tables(collection: Collection, store: Path) -> None:
    """Write the tables of a result store; equal collections give equal bytes.

    Args:
        collection: Everything that the store holds.
        store: Folder of the store.

    Raises:
        OSError: A file cannot be written.
    """
    folder = store / FOLDER
    folder.mkdir()
    rows: dict[Rows, Iterator[Values]] = {
        "cells": (_cell_row(record) for record in collection.in_order),
        "equations": _equation_rows(collection),
        "conditions": _condition_rows(collection),
    }
    with connect() as connection:
        for table, own in rows.items():
            _write_table(connection, table, own, file_of(store, table))
    checksums = {file_of(store, table).name: files.checksum(file_of(store, table)) for table in rows}
    files.write_json(folder / CHECKSUMS, checksums)


def _write_table(connection: duckdb.DuckDBPyConnection, table: Rows, rows: Iterator[Values], path: Path) -> None:
    source, columns = path.with_suffix(".json"), TABLES[table]
    with source.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({column.name: _plain(column, row.get(column.name)) for column in columns}) + "\n")
    types = ", ".join(f"{literal(column.name)}: {literal(column.sql_type)}" for column in columns)
    given = f"read_json({literal(str(source))}, format = 'newline_delimited', columns = {{{types}}})"
    try:
        connection.execute(f"COPY (FROM {given}) TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)")
    except duckdb.Error as error:
        number = errno.ENOSPC if no_room(error) else errno.EIO
        raise OSError(number, str(error).splitlines()[0], str(path)) from error
    source.unlink()


def _plain(column: Column, value: Any) -> Any:
    """Return a value as JSON has it: without NaN, and a truth value for a flag."""
    if isinstance(value, list):
        return [_plain(column, entry) for entry in value]
    if column.kind == "text":
        return value or ""
    if column.kind == "integer":
        return value
    if value is None or not math.isfinite(value):
        return None
    return bool(value) if column.kind == "flag" else float(value)


def _identity(record: Record) -> dict[str, Any]:
    return {**record.coordinates, "experiment": record.experiment, "cell": record.cell}


def _cell_row(record: Record) -> Values:
    """Return a row of the table of cells, each list as long as the function or space of the cell demands."""
    dim = int(record.coordinates["dim"])
    # A message function without fits yet counts as one with a component per dimension of space.
    message, node = _given(record.values.get("fit")) or dim, _given(record.values.get("node_equation"))
    row = _identity(record)
    for column in CELLS:
        value = record.values.get(column.name)
        if "component" in column.dims:
            size = message if column.name in MESSAGE_LISTS else node if column.name in NODE_LISTS else dim
            absent = "" if column.kind == "text" else math.nan
            row[column.name] = [*(value or ()), *[absent] * size][:size]
        elif column.dims:
            row[column.name] = list(value or ())
        else:
            row[column.name] = value
    return row


def _given(texts: Sequence[str] | None) -> int:
    """Return the number of texts up to the last that is not empty."""
    return max((place for place, text in enumerate(texts or (), start=1) if text), default=0)


def _equation_rows(collection: Collection) -> Iterator[Values]:
    for record in collection.records:
        for engine in collection.engines:
            for function in FUNCTIONS:
                for component, front in enumerate(record.fronts.get(engine, {}).get(function, ())):
                    for rank, entry in enumerate(front):
                        if entry["expression"]:
                            place = {"engine": engine, "function": function, "component": component, "rank": rank}
                            yield {**_identity(record), **place, **entry}


def _condition_rows(collection: Collection) -> Iterator[Values]:
    for record in collection.records:
        for condition in collection.conditions:
            for predictor in PREDICTORS:
                values = record.conditions.get(condition, {}).get(predictor, {})
                # A row without a number has a reason, or was not tested.
                if any(_plain(column, values.get(column.name)) not in (None, "") for column in CONDITIONS):
                    yield {**_identity(record), "condition": condition, "predictor": predictor, **values}
