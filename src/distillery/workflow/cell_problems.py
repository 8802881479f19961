"""Read the samples of a cell and build its problems of symbolic regression."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping

import numpy as np

from distillery.errors import DistilleryError
from distillery.networks.functions import Function
from distillery.symbolic.engine import Problem
from distillery.symbolic.problems import Samples, problems
from distillery.workflow.cell import Cell
from distillery.workflow.sweep import Sweep

_Arrays = Mapping[str, np.ndarray]
_Read = tuple[np.ndarray, np.ndarray, np.ndarray]


def cell_problems(sweep: Sweep, cell: Cell) -> dict[tuple[Function, int], Problem]:
    """Return the problems of a cell, by function and component.

    Raises:
        DistilleryError: The file of samples is missing, damaged or of another shape.
    """
    path = cell.messages(sweep.results)
    remedy = f"delete {cell.outcome(sweep.results, 'interpret')} and run the sweep again"
    settings = sweep.distillation(cell.experiment)
    functions = sweep.source(cell.experiment).functions(cell)
    names, counts, kind = functions.names, functions.counts, functions.layout
    wanted = {f: count for f, count in counts.items() if f in settings.functions}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        read = {function: _READERS[function](arrays, kind) for function in wanted}
    except FileNotFoundError:
        raise DistilleryError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DistilleryError(f"{path}: damaged ({error}); {remedy}") from None
    for function, (features, target, held_out) in read.items():
        shapes = [(len(held_out), len(names[function])), (len(held_out), wanted[function])]
        if held_out.ndim != 1 or [features.shape, target.shape] != shapes:
            raise DistilleryError(f"{path}: written by another version of distillery; {remedy}")
    samples = {function: Samples(names[function], *own) for function, own in read.items()}
    try:
        return problems(samples, settings)
    except DistilleryError as error:
        raise DistilleryError(f"{path}: {error}; {remedy}") from None


def _message(arrays: _Arrays, kind: str) -> _Read:
    """Return features, target and the flags of held-out samples."""
    target, held_out = arrays["energy" if kind == "hamiltonian" else "message"], arrays["held_out"]
    if kind in ("control", "halos"):
        return arrays["features"].astype(np.float64), target, held_out
    columns = [arrays["displacement"], np.linalg.norm(arrays["displacement"], axis=1), arrays["mass"], arrays["charge"]]
    if len({len(column) for column in columns}) > 1:
        return np.empty((0, 0)), target, held_out
    return np.column_stack(columns).astype(np.float64), target, held_out


def _node(arrays: _Arrays, kind: str) -> _Read:
    return arrays["node_features"].astype(np.float64), arrays["node_target"], arrays["node_held_out"]


_READERS = {"message": _message, "node": _node}
