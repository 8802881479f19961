"""The fits of a cell: one for each component of each function that is distilled, from the samples of its models."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from distillery.errors import DistilleryError
from distillery.halos import names as halo_names
from distillery.networks.functions import Function, components, message_names, node_names
from distillery.symbolic.engine import Problem
from distillery.symbolic.outliers import without_tails
from distillery.workflow.cell import Cell
from distillery.workflow.sweep import Sweep

_Arrays = Mapping[str, np.ndarray]
Names = dict[Function, tuple[str, ...]]
_Samples = tuple[np.ndarray, np.ndarray, np.ndarray]


def problems(sweep: Sweep, cell: Cell) -> dict[tuple[Function, int], Problem]:
    """Return the fits of a cell, by function and component, from what was sampled.

    Raises:
        DistilleryError: The file of samples is missing, damaged or of another shape.
    """
    path = cell.messages(sweep.results)
    remedy = f"delete {cell.outcome(sweep.results, 'interpret')} and run the sweep again"
    settings = sweep.distillation(cell.experiment)
    names, counts, kind = _functions(sweep, cell)
    asked = {f: count for f, count in counts.items() if f in settings.functions}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        samples = {function: _READERS[function](arrays, kind) for function in asked}
    except FileNotFoundError:
        raise DistilleryError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DistilleryError(f"{path}: damaged ({error}); {remedy}") from None
    found: dict[tuple[Function, int], Problem] = {}
    for function, count in asked.items():
        features, target, held_out = samples[function]
        shapes = [(len(held_out), len(names[function])), (len(held_out), count)]
        if held_out.ndim != 1 or [features.shape, target.shape] != shapes:
            raise DistilleryError(f"{path}: written by another version of distillery; {remedy}")
        if not (np.isfinite(features).all() and np.isfinite(target).all()):
            raise DistilleryError(f"{path}: holds values that are not finite; {remedy}")
        usual = smallest(target, settings.share)
        features, target, held_out = features[usual], target[usual], held_out[usual]
        if held_out.all() or not held_out.any():
            raise DistilleryError(f"{path}: lacks training or held-out samples; {remedy}")
        features, offered = _varying(features, names[function])
        for component, values in enumerate(target.T.astype(np.float64)):
            whole = Problem(
                names=offered,
                features=features[~held_out],
                target=values[~held_out],
                held_out_features=features[held_out],
                held_out_target=values[held_out],
                settings=settings,
            )
            found[function, component] = without_tails(whole)
    return found


def _varying(
    features: Float[np.ndarray, "sample feature"], names: tuple[str, ...]
) -> tuple[Float[np.ndarray, "sample left"], tuple[str, ...]]:
    """Return the features that differ between samples, with their names; all of them where none does.

    A feature that is the same everywhere, such as the charge where all bodies have one, is a constant of every
    expression, and would only stand for a number in a law.
    """
    varies = np.ptp(features, axis=0) > 0
    if not varies.any():
        return features, names
    return features[:, varies], tuple(name for name, kept in zip(names, varies, strict=True) if kept)


def _functions(sweep: Sweep, cell: Cell) -> tuple[Names, dict[Function, int], str]:
    """Return of each function what its expressions may be made of and how many components it has; and who sends."""
    if sweep.kind(cell.experiment) == "halos":
        halo_model = sweep.halo_model(cell)
        halo_counts: dict[Function, int] = {} if halo_model.kind == "formula" else {"message": 1, "node": 1}
        own: Names = {
            "message": halo_names.message_names(halo_model.masses),
            "node": halo_names.node_names(halo_model.masses),
        }
        return own, halo_counts, "halos"
    system, model, experiment = sweep.system(cell.experiment), sweep.model(cell), cell.experiment
    names: Names = {
        "message": message_names(model, experiment.dim, experiment.bodies, place=system.acts_on_bodies),
        "node": node_names(model, experiment.dim, place=system.acts_on_bodies),
    }
    return names, components(model, experiment.dim), model.kind


def _message(arrays: _Arrays, kind: str) -> _Samples:
    """Return features, target and the flags of held-out samples."""
    target, held_out = arrays["energy" if kind == "hamiltonian" else "message"], arrays["held_out"]
    if kind in ("control", "halos"):
        return arrays["features"].astype(np.float64), target, held_out
    columns = [arrays["displacement"], np.linalg.norm(arrays["displacement"], axis=1), arrays["mass"], arrays["charge"]]
    if len({len(column) for column in columns}) > 1:
        return np.empty((0, 0)), target, held_out
    return np.column_stack(columns).astype(np.float64), target, held_out


def _node(arrays: _Arrays, kind: str) -> _Samples:
    return arrays["node_features"].astype(np.float64), arrays["node_target"], arrays["node_held_out"]


_READERS = {"message": _message, "node": _node}


def smallest(target: Float[np.ndarray, "sample component"], share: float) -> Bool[np.ndarray, " sample"]:
    """Return which samples lie closest to the median of all components, in units of their typical deviation.

    Args:
        target: Values of a function's components (dimensionless).
        share: How many of the samples, of 1.
    """
    apart = np.abs(target - np.median(target, axis=0))
    # Beyond an edge most values may be one and the same: what does not deviate is no measure of deviation.
    typical = [np.median(own[own > 0]) if np.any(own > 0) else 1.0 for own in apart.T]
    size = np.linalg.norm(apart / np.array(typical), axis=1)
    return size <= np.quantile(size, share)
