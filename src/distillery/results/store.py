"""The result store: records of all cells as one xarray DataTree, in Zarr v3.

``/cells`` holds a value per combination of the cells' coordinates, ``/equations`` every Pareto front, ``/conditions``
what networks and laws are worth where the networks never were.
Each variable is one compressed chunk with a checksum (zstd's), so that a store is a few hundred files.
"""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.chunk_key_encodings import DefaultChunkKeyEncoding

from distillery.errors import DistilleryError
from distillery.networks.functions import FUNCTIONS
from distillery.results.columns import (
    CELLS,
    CONDITION_DIMS,
    CONDITIONS,
    DIMS,
    EQUATIONS,
    FRONT_DIMS,
    TEXT_DIMS,
    UNPLANNED,
    Column,
)
from distillery.util.provenance import commit, versions
from distillery.validation.generalisation import LONG, PREDICTORS
from distillery.workflow.record import Record
from distillery.workflow.sweep import Sweep

# The store spans the product of all coordinates; beyond this many it would no longer fit a laptop's memory.
MAX_COMBINATIONS = 3_000_000


def build(sweep: Sweep, records: Sequence[Record]) -> xr.DataTree:
    """Return the result store in memory.

    Args:
        sweep: The sweep.
        records: One record per cell of it.

    Raises:
        DistilleryError: The experiments have so little in common that their coordinates span too much.
    """
    root = xr.Dataset(
        attrs={
            "title": "Results of a distillery sweep",
            "config": json.dumps(sweep.config.model_dump(mode="json"), sort_keys=True),
            "config_hash": sweep.config_hash,
            "systems": json.dumps(_systems(sweep), sort_keys=True),
            "git_commit": commit(),
            "versions": json.dumps(versions(), sort_keys=True),
        }
    )
    return xr.DataTree.from_dict(
        {
            "/": root,
            "/cells": _cells(sweep, records),
            "/equations": _equations(sweep, records),
            "/conditions": _conditions(sweep, records),
        }
    )


def _systems(sweep: Sweep) -> dict[str, Any]:
    """Return the definition of every system of a sweep, the built-in ones too, which another version may change."""
    return {e.system: sweep.system(e).model_dump(mode="json") for e in sweep.experiments if sweep.kind(e) == "bodies"}


def write(tree: xr.DataTree, folder: Path) -> None:
    """Write a result store into ``folder``, which must not hold one."""
    # Keys with dots keep a chunk from standing eight folders deep.
    layout = {
        "compressors": (ZstdCodec(level=3, checksum=True),),
        "chunk_key_encoding": DefaultChunkKeyEncoding(separator="."),
    }
    encoding: dict[str, dict[str, Any]] = {}
    for group in ("/cells", "/equations", "/conditions"):
        variables = tree[group].to_dataset().variables
        encoding[group] = {str(name): {**layout, "chunks": v.shape} for name, v in variables.items()}
    with warnings.catch_warnings(), zarr.config.set({"array.write_empty_chunks": True}):
        # Consolidated metadata make opening quick; zarr warns that not every other reader knows them.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        # Files are written side by side. Of a disk that is full the first that fails tells; what asyncio says of the
        # others, with a traceback, comes whenever they are forgotten, so its voice comes back only if all went well.
        told, level = logging.getLogger("asyncio"), logging.getLogger("asyncio").level
        told.setLevel(logging.CRITICAL)
        tree.to_zarr(folder, mode="w", zarr_format=3, consolidated=True, encoding=encoding)
        told.setLevel(level)


def _cells(sweep: Sweep, records: Sequence[Record]) -> xr.Dataset:
    coordinates = _coordinates(records)
    shape = tuple(len(values) for values in coordinates.values())
    if math.prod(shape) > MAX_COMBINATIONS:
        raise DistilleryError(
            f"experiments: their systems, dims, bodies and seeds span {math.prod(shape):,} combinations for "
            f"{len(records):,} cells, more than {MAX_COMBINATIONS:,}; give experiments equal seeds, or make two sweeps"
        )
    places = {name: {value: index for index, value in enumerate(values)} for name, values in coordinates.items()}
    indices = [
        tuple(places[name][value] for name, value in record.cell.coordinates.items() if name in places)
        for record in records
    ]
    sizes = {
        "message": max(sweep.message_size(record.cell) for record in records),
        "component": max(record.cell.experiment.dim for record in records),
    }
    for column in CELLS:
        for dim in column.dims:
            sizes[dim] = max(sizes[dim], *(len(record.values.get(column.name, ())) for record in records))
    variables = {}
    for column in CELLS:
        array = _empty(column, (*shape, *(sizes[dim] for dim in column.dims)))
        if column.name == "status":
            array[...] = UNPLANNED
        for index, record in zip(indices, records, strict=True):
            value = record.values.get(column.name)
            if value is None:
                continue
            if column.dims:
                array[index][: len(value)] = value
            else:
                array[index] = value
        variables[column.name] = ((*DIMS, *column.dims), array, _attributes(column))
    texts = {name: _texts(values) if name in TEXT_DIMS else values for name, values in coordinates.items()}
    numbers = {dim: np.arange(size) for dim, size in sizes.items()}
    return xr.Dataset(variables, coords={**texts, **numbers})


def _coordinates(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return the values of each dimension: names in the order of the sweep, numbers sorted."""
    seen: dict[str, dict[Any, None]] = {name: {} for name in DIMS}
    for record in records:
        for name, value in record.cell.coordinates.items():
            seen[name].setdefault(value)
    return {name: list(values) if name in TEXT_DIMS else sorted(values) for name, values in seen.items()}


def _equations(sweep: Sweep, records: Sequence[Record]) -> xr.Dataset:
    engines: list[str] = list(sweep.config.distillation.engines)
    fronts = [
        (row, engines.index(name), FUNCTIONS.index(function), component, front)
        for row, record in enumerate(records)
        for name, found in record.fronts.items()
        for function, own in found.items()
        for component, front in enumerate(own)
    ]
    components = max(record.cell.experiment.dim for record in records)
    components = max(components, *(component + 1 for *_, component, _ in fronts), 0)
    ranks = max((len(front) for *_, front in fronts), default=1)
    shape = (len(records), len(engines), len(FUNCTIONS), components, max(ranks, 1))
    variables = {}
    for column in EQUATIONS:
        array = _empty(column, shape)
        for *place, front in fronts:
            for rank, entry in enumerate(front):
                if column.name in entry:
                    array[(*place, rank)] = entry[column.name]
        variables[column.name] = (FRONT_DIMS, array, _attributes(column))
    coordinates = {
        "cell": _texts([str(record.cell) for record in records]),
        "engine": _texts(engines),
        "function": _texts(FUNCTIONS),
        "component": np.arange(components),
        "rank": np.arange(shape[-1]),
    }
    return xr.Dataset(variables, coords=coordinates)


def _conditions(sweep: Sweep, records: Sequence[Record]) -> xr.Dataset:
    # Halos have conditions of their own, which their settings do not list.
    own = dict.fromkeys(name for record in records for name in record.beyond)
    of_bodies = [*sweep.config.generalisation.conditions, LONG] if sweep.settings else []
    names = list(dict.fromkeys([*of_bodies, *own])) or [LONG]
    shape = (len(records), len(names), len(PREDICTORS))
    variables = {}
    for column in CONDITIONS:
        array = _empty(column, shape)
        for row, record in enumerate(records):
            for condition, found in record.beyond.items():
                for predictor, values in found.items():
                    if column.name in values and condition in names:
                        array[row, names.index(condition), PREDICTORS.index(predictor)] = values[column.name]
        variables[column.name] = (CONDITION_DIMS, array, _attributes(column))
    coordinates = {
        "cell": _texts([str(record.cell) for record in records]),
        "condition": _texts(names),
        "predictor": _texts(PREDICTORS),
    }
    return xr.Dataset(variables, coords=coordinates)


def _empty(column: Column, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, "", dtype=object) if column.kind == "text" else np.full(shape, np.nan)


def _attributes(column: Column) -> dict[str, Any]:
    attributes: dict[str, Any] = {"description": column.description}
    if column.kind != "text":
        attributes["units"] = column.units
    if column.kind == "flag":
        attributes |= {"flag_values": [0.0, 1.0], "flag_meanings": "no yes"}
    return attributes


def _texts(values: Sequence[str]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
