"""Tables of a result store as arrays, and its attributes, for programs that read it whole."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from distillery import files
from distillery.errors import DistilleryError
from distillery.results.columns import IDENTITY, TABLES, Column, Rows
from distillery.results.query import query
from distillery.results.swap import followed, store_of


@dataclasses.dataclass(frozen=True)
class Frame:
    """Columns of equal length.

    Attributes:
        columns: By name an array with one row per cell, equation or condition: texts as objects, absent ones empty;
            numbers and flags as float64, absent ones NaN; integers as int64. Lists have a second axis.
        rows: Number of rows.
        lengths: By name of a column with a second axis, how many entries of each row are valid.
    """

    columns: Mapping[str, np.ndarray]
    rows: int
    lengths: Mapping[str, Int[np.ndarray, " rows"]] = dataclasses.field(default_factory=dict)

    def take(self, rows: np.ndarray) -> Frame:
        """Return the rows that a mask or an index array selects."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        lengths = {name: values[rows] for name, values in self.lengths.items()}
        count = int(rows.sum()) if rows.dtype == bool else len(rows)
        return Frame(columns, count, lengths)


def read_cells(results: Path, names: Sequence[str] | None = None) -> Frame:
    """Read the cells of a result store.

    Args:
        results: The results folder.
        names: Columns to read in addition to the identity of the cells; by default all.

    Raises:
        DistilleryError: There is no store, or it is damaged or of another version.
    """
    return _read(results, "cells", names)


def read_equations(results: Path) -> Frame:
    """Read all Pareto fronts, one row per equation, with the coordinates of their cells.

    Args:
        results: The results folder.

    Raises:
        DistilleryError: There is no store, or it is damaged or of another version.
    """
    return _read(results, "equations")


def read_conditions(results: Path) -> Frame:
    """Read the tests under other conditions, one row per condition and predictor, with the coordinates of their cells.

    Args:
        results: The results folder.

    Raises:
        DistilleryError: There is no store, or it is damaged or of another version.
    """
    return _read(results, "conditions")


def read_attributes(results: Path) -> dict[str, Any]:
    """Read the attributes of a result store.

    Args:
        results: The results folder.

    Returns:
        ``config``, the configuration of its sweep, as JSON has it; ``systems``, the definition of each of its systems;
        ``config_hash``; ``git_commit`` of the program that collected it.

    Raises:
        DistilleryError: There is no store, or it is damaged.
    """
    path = followed(store_of(results)) / "zarr.json"
    try:
        content = files.read_json(path, "run `distillery collect` again")["attributes"]
        found = {name: json.loads(content[name]) for name in ("config", "systems")}
        if not all(isinstance(value, dict) for value in found.values()):
            raise TypeError("config or systems is no mapping")
        return {**found, **{name: str(content[name]) for name in ("config_hash", "git_commit")}}
    except (KeyError, TypeError, ValueError) as error:
        raise DistilleryError(f"{path}: an attribute is missing ({error!r}); run `distillery collect` again") from None


def _read(results: Path, table: Rows, names: Sequence[str] | None = None) -> Frame:
    columns = [column for column in TABLES[table] if names is None or column.name in names or column in IDENTITY]
    found = query(results, rows=table, columns=[column.name for column in columns])
    arrays: dict[str, np.ndarray] = {}
    lengths: dict[str, np.ndarray] = {}
    for place, column in enumerate(columns):
        values = [row[place] for row in found.rows]
        if column.dims:
            lengths[column.name] = np.array([len(entries) for entries in values], dtype=np.int64)
            size = max(lengths[column.name], default=0)
            absent = "" if column.kind == "text" else None
            arrays[column.name] = _array(column, [[*entries, *[absent] * (size - len(entries))] for entries in values])
        else:
            arrays[column.name] = _array(column, values)
    return Frame(arrays, len(found.rows), lengths)


def _array(column: Column, values: Sequence[Any]) -> np.ndarray:
    match column.kind:
        case "text":
            return np.array(values, dtype=object)
        case "integer":
            return np.array(values, dtype=np.int64)
    return np.array(values, dtype=np.float64)
