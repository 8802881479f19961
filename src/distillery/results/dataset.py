"""The Zarr store of all results: an xarray DataTree, written in Zarr v3.

``/cells`` holds one value per combination of the cells' coordinates, ``/equations`` every Pareto front,
``/conditions`` the errors of networks and laws outside the training conditions. Each variable is one compressed chunk
with a checksum (zstd's), so that a store is a few hundred files.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
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
from distillery.results.record import Collection, Record
from distillery.util.provenance import commit, versions
from distillery.validation.generalisation import PREDICTORS

# The store spans the product of all coordinates; more combinations than this exceed the memory of a laptop.
MAX_COMBINATIONS = 3_000_000


def build(collection: Collection) -> xr.DataTree:
    """Return the result store in memory.

    Args:
        collection: Everything that the store holds.

    Raises:
        DistilleryError: The coordinates of the cells span too many combinations.
    """
    attributes = {
        "title": "Results of a distillery sweep",
        **collection.attributes,
        "git_commit": commit(),
        "versions": json.dumps(versions(), sort_keys=True),
    }
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=attributes),
            "/cells": _cells(collection),
            "/equations": _equations(collection),
            "/conditions": _conditions(collection),
        }
    )


def write(tree: xr.DataTree, folder: Path) -> None:
    """Write a result store into ``folder``, which must be empty.

    Args:
        tree: The store.
        folder: Its folder.
    """
    # Dots instead of slashes in chunk keys avoid eight nested folders per variable.
    layout = {
        "compressors": (ZstdCodec(level=3, checksum=True),),
        "chunk_key_encoding": DefaultChunkKeyEncoding(separator="."),
    }
    encoding: dict[str, dict[str, Any]] = {}
    for group in ("/cells", "/equations", "/conditions"):
        variables = tree[group].to_dataset().variables
        encoding[group] = {str(name): {**layout, "chunks": v.shape} for name, v in variables.items()}
    with warnings.catch_warnings(), zarr.config.set({"array.write_empty_chunks": True}), _asyncio_muted():
        # Zarr warns that some readers do not support consolidated metadata, which make opening quick.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        tree.to_zarr(folder, mode="w", zarr_format=3, consolidated=True, encoding=encoding)


@contextlib.contextmanager
def _asyncio_muted() -> Iterator[None]:
    """Suppress log messages of asyncio; unless the block raises, restore them.

    Zarr writes files concurrently. If the disk is full, the first failure is raised. asyncio logs the others with a
    traceback whenever it destroys them, which may be long after the block.
    """
    logger = logging.getLogger("asyncio")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


def _cells(collection: Collection) -> xr.Dataset:
    records = collection.records
    coordinates = collection.coordinates
    shape = tuple(len(values) for values in coordinates.values())
    if math.prod(shape) > MAX_COMBINATIONS:
        raise DistilleryError(
            f"experiments: their systems, dims, bodies and seeds span {math.prod(shape):,} combinations for "
            f"{len(records):,} cells, more than {MAX_COMBINATIONS:,}; give experiments equal seeds, or make two sweeps"
        )
    places = {name: {value: index for index, value in enumerate(values)} for name, values in coordinates.items()}
    indices = [tuple(places[name][record.coordinates[name]] for name in DIMS) for record in records]
    sizes = {"message": collection.messages, "component": _space(records)}
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


def _space(records: Sequence[Record]) -> int:
    return max(int(record.coordinates["dim"]) for record in records)


def _equations(collection: Collection) -> xr.Dataset:
    records, engines = collection.records, list(collection.engines)
    fronts = [
        (row, engines.index(engine), FUNCTIONS.index(function), component, front)
        for row, record in enumerate(records)
        for engine, by_function in record.fronts.items()
        for function, components in by_function.items()
        for component, front in enumerate(components)
    ]
    components = max(_space(records), *(component + 1 for *_, component, _ in fronts), 0)
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
        "cell": _texts([record.cell for record in records]),
        "engine": _texts(engines),
        "function": _texts(FUNCTIONS),
        "component": np.arange(components),
        "rank": np.arange(shape[-1]),
    }
    return xr.Dataset(variables, coords=coordinates)


def _conditions(collection: Collection) -> xr.Dataset:
    records, names = collection.records, list(collection.conditions)
    shape = (len(records), len(names), len(PREDICTORS))
    variables = {}
    for column in CONDITIONS:
        array = _empty(column, shape)
        for row, record in enumerate(records):
            for condition, predictors in record.conditions.items():
                for predictor, values in predictors.items():
                    if column.name in values and condition in names:
                        array[row, names.index(condition), PREDICTORS.index(predictor)] = values[column.name]
        variables[column.name] = (CONDITION_DIMS, array, _attributes(column))
    coordinates = {
        "cell": _texts([record.cell for record in records]),
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


def _texts(values: Sequence[str | int]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
