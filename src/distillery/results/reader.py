"""A quick reader of the result store, for questions from the command line.

It knows only what ``store.write`` writes (Zarr v3, one zstd chunk per variable) and so needs neither
xarray nor zarr, whose imports alone take longer than an answer may.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int

from distillery import files
from distillery.errors import DistilleryError
from distillery.results.columns import (
    CELLS,
    CONDITION_DIMS,
    CONDITIONS,
    DIMS,
    EQUATIONS,
    FRONT_DIMS,
    LATER,
    OF_MESSAGES,
    OF_NODES,
    TEXT_DIMS,
    UNPLANNED,
)
from distillery.results.swap import followed
from distillery.workflow.cell import STORE, Cell, Experiment

_T = TypeVar("_T")
_ATTEMPTS = 5


@dataclasses.dataclass(frozen=True)
class Frame:
    """Columns of equal length.

    Attributes:
        columns: By name an array with one row per cell (or equation): text as objects, absent ones
            empty; numbers and flags as float64, absent ones NaN; with a second axis where a cell has
            several, and ``lengths`` says how many are real.
        rows: The number of rows.
        lengths: By column with a second axis, how many entries of each row are real.
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
    """Read the cells of a result store; combinations outside the sweep are left out.

    Args:
        results: The results folder.
        names: Columns wanted beside the coordinates; all but those of every message component by default.

    Raises:
        DistilleryError: There is no store, or it is damaged or of another version.
    """
    return _pinned(results, lambda store: _cells(store, names))


def read_equations(results: Path) -> Frame:
    """Read all Pareto fronts, one row per equation, with the coordinates of their cells.

    Raises:
        DistilleryError: There is no store, or it is damaged or of another version.
    """
    return _pinned(results, _equations)


def read_conditions(results: Path) -> Frame:
    """Read what was tested under other conditions, one row per condition and predictor, with their cells' coordinates.

    Raises:
        DistilleryError: There is no store, or it is damaged or of another version.
    """
    return _pinned(results, _conditions)


def read_attributes(results: Path) -> dict[str, Any]:
    """Read the attributes of a result store.

    Args:
        results: The results folder.

    Returns:
        ``config``, the configuration of its sweep, as JSON has it; ``systems``, the definition of each of its systems,
        empty in a store of an earlier version; ``config_hash``; ``git_commit``, of the program that collected it.

    Raises:
        DistilleryError: There is no store, or it is damaged.
    """
    path = followed(results / STORE) / "zarr.json"
    try:
        content = files.read_json(path, "run `distillery collect` again")["attributes"]
        config, systems = json.loads(content["config"]), json.loads(content.get("systems", "{}"))
        if not (isinstance(config, dict) and isinstance(systems, dict)):
            raise TypeError("config or systems is no mapping")
        return {
            "config": config,
            "systems": systems,
            **{name: str(content[name]) for name in ("config_hash", "git_commit")},
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DistilleryError(
            f"{path}: lacks what it should hold ({error!r}); run `distillery collect` again"
        ) from None


def _pinned(results: Path, read: Callable[[Path], _T]) -> _T:
    """Read from the store that the link leads to now, all from the same one."""
    link = results / STORE
    for _ in range(_ATTEMPTS):
        store = followed(link)
        problem: DistilleryError | None = None
        try:
            found = read(store)
        except DistilleryError as error:
            problem = error
        if link.is_dir() and not store.exists():
            continue  # Two collects went by meanwhile and took it away.
        if not store.is_dir():
            raise DistilleryError(
                f"{link}: there is no result store yet; run `distillery collect` (or the sweep) first"
            )
        if problem is not None:
            raise DistilleryError(str(problem).replace(str(store), str(link)))
        return found
    raise DistilleryError(f"{link}: is being replaced faster than it can be read; try again")


def _cells(store: Path, names: Sequence[str] | None) -> Frame:
    coordinates = [_array(store, "cells", name) for name in DIMS]
    shape = tuple(len(values) for values in coordinates)
    status = _array(store, "cells", "status")
    if status.shape != shape:
        raise _damaged(store / "cells" / "status", "its shape is not that of the coordinates")
    planned = np.flatnonzero(status.ravel() != UNPLANNED)
    columns: dict[str, np.ndarray] = {}
    for name, values, index in zip(DIMS, coordinates, np.unravel_index(planned, shape), strict=True):
        columns[name] = values[index].astype(object if name in TEXT_DIMS else np.int64)
    identities = [
        Cell(Experiment(system, dim, bodies, data_seed), model, seed)
        for system, dim, bodies, data_seed, model, seed in zip(*(columns[name].tolist() for name in DIMS), strict=True)
    ]
    columns["experiment"] = _objects([str(cell.experiment) for cell in identities])
    columns["cell"] = _objects([str(cell) for cell in identities])
    lengths = {}
    given = {column.name for column in CELLS} if names is None else set(names)
    if given & {*OF_MESSAGES, *OF_NODES}:
        distilled, nodes = (_components(store, len(shape), name)[planned] for name in ("fit", "node_equation"))
        # What is not distilled yet has as many components as space has dimensions, all absent.
        distilled = np.where(distilled > 0, distilled, columns["dim"])
    for column in CELLS:
        if column.name not in names if names is not None else column.dims == ("message",):
            continue
        values = _array(store, "cells", column.name)
        columns[column.name] = values.reshape(-1, *values.shape[len(DIMS) :])[planned]
        if column.name in OF_MESSAGES:
            lengths[column.name] = distilled
        elif column.name in OF_NODES:
            lengths[column.name] = nodes
        elif column.dims == ("component",):
            lengths[column.name] = np.minimum(columns["dim"], values.shape[-1])
        elif column.dims:
            lengths[column.name] = np.isfinite(columns[column.name]).sum(axis=-1)
    return Frame(columns, len(planned), lengths)


def _components(store: Path, dims: int, name: str) -> Int[np.ndarray, " combination"]:
    """Return how many components each cell has, by a column that is not empty for the last one."""
    values = _array(store, "cells", name)
    there = values.reshape(-1, *values.shape[dims:]) != ""
    return np.asarray(np.where(there, np.arange(1, there.shape[1] + 1), 0).max(axis=1, initial=0))


def _equations(store: Path) -> Frame:
    cells = _array(store, "equations", "cell").astype(object)
    expressions = _array(store, "equations", "expression")
    engines = _array(store, "equations", "engine").astype(object)
    if expressions.ndim != len(FRONT_DIMS):
        raise _damaged(store / "equations", "its dimensions are other ones")
    functions = _array(store, "equations", "function").astype(object)
    index, engine, function, component, rank = np.nonzero(expressions != "")
    columns = _of_cells(cells, index)
    columns |= {"engine": engines[engine], "function": functions[function], "component": component, "rank": rank}
    for column in EQUATIONS:
        array = expressions if column.name == "expression" else _array(store, "equations", column.name)
        columns[column.name] = array[index, engine, function, component, rank]
    return Frame(columns, len(index))


def _conditions(store: Path) -> Frame:
    cells, names, predictors = (
        _array(store, "conditions", name).astype(object) for name in ("cell", "condition", "predictor")
    )
    there_are = [c.name for c in CONDITIONS if c.name not in LATER or (store / "conditions" / c.name).is_dir()]
    arrays = {name: _array(store, "conditions", name) for name in there_are}
    arrays |= {name: np.full(arrays["mae"].shape, np.nan) for name in LATER if name not in arrays}
    if arrays["mae"].ndim != len(CONDITION_DIMS):
        raise _damaged(store / "conditions", "its dimensions are other ones")
    # A row without any number has a reason, or was not tested.
    there = np.any(
        [values != "" if values.dtype == object else np.isfinite(values) for values in arrays.values()], axis=0
    )
    index, condition, predictor = np.nonzero(there)
    columns = _of_cells(cells, index) | {"condition": names[condition], "predictor": predictors[predictor]}
    columns |= {column.name: arrays[column.name][index, condition, predictor] for column in CONDITIONS}
    return Frame(columns, len(index))


def _of_cells(cells: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
    """Return the coordinates of the cells that rows are about."""
    identities = [Cell.parse(cell) for cell in cells]
    coordinates = [identity.coordinates for identity in identities]
    columns: dict[str, np.ndarray] = {}
    for name in DIMS:
        values = np.array([place[name] for place in coordinates], dtype=object if name in TEXT_DIMS else np.int64)
        columns[name] = values[index]
    columns["experiment"] = _objects([str(identity.experiment) for identity in identities])[index]
    columns["cell"] = cells[index]
    return columns


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "zarr.json").read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(folder, str(error)) from None
    if not isinstance(content, dict) or content.get("zarr_format") != 3:
        raise _damaged(folder, "it is not Zarr v3")
    return content


def _array(store: Path, group: str, name: str) -> np.ndarray:
    folder = store / group / name
    metadata = _metadata(folder)
    try:
        shape = tuple(metadata["shape"])
        if metadata["chunk_grid"]["configuration"]["chunk_shape"] != metadata["shape"]:
            raise _damaged(folder, "it has more than one chunk")
        chunk = (folder / ".".join(["c", *("0" for _ in shape)])).read_bytes()
        content = _decompressed(chunk)
        match [codec["name"] for codec in metadata["codecs"]], metadata["data_type"]:
            case ["vlen-utf8", "zstd"], "string":
                return _strings(content, math.prod(shape)).reshape(shape)
            case ["bytes", "zstd"], ("float64" | "int64") as kind:
                return np.frombuffer(content, dtype=f"<{kind[0]}8").reshape(shape)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _damaged(folder, str(error)) from None
    raise _damaged(folder, "its encoding is not known here")


def _decompressed(chunk: bytes) -> bytes:
    from numcodecs.zstd import Zstd  # type: ignore[import-untyped]

    return bytes(Zstd().decode(chunk))


def _strings(content: bytes, count: int) -> np.ndarray:
    """Decode Zarr's vlen-utf8: the number of strings, then for each its length in bytes and itself."""
    from numcodecs.vlen import VLenUTF8  # type: ignore[import-untyped]

    decoded = VLenUTF8().decode(content)
    if len(decoded) != count:
        raise ValueError(f"it holds {len(decoded)} strings instead of {count}")
    return np.asarray(decoded, dtype=object)


def _objects(values: list[str]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _damaged(path: Path, why: str) -> DistilleryError:
    return DistilleryError(
        f"{path}: damaged, or written by another version of distillery ({why}); run `distillery collect` again"
    )
