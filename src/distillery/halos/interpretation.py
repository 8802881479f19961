"""Measurements of a trained halo network or formula in held-out space, and samples for symbolic regression."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.errors import NotFiniteError
from distillery.halos.features import HaloGraph
from distillery.halos.law import HaloLaw
from distillery.halos.names import MESSAGE_UNITS
from distillery.halos.regions import Regions
from distillery.halos.samples import Reading, message_problem, node_problem, random_edges, reading_of
from distillery.halos.spectrum import Spectrum, spectrum
from distillery.halos.training import Trained
from distillery.physics import formula
from distillery.randomness import stream
from distillery.symbolic.settings import DistillationSettings

# Halos drawn in the report; edges and distance bins of the mean message by distance.
_DRAWN, _EDGES, _BINS = 2000, 20_000, 40
# Largest number of components kept while the others are set to zero.
_KEPT = 10
# Largest ratio of the error with the principal axis alone to that with the component of largest deviation alone at
# which the principal axis is distilled instead.
_CLEARLY = 0.98


def measure_formula(graph: HaloGraph, regions: Regions, law: HaloLaw) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure a formula.

    Args:
        graph: The halos.
        regions: Their division in space.
        law: The formula.

    Returns:
        Results as JSON has them, and arrays: true and predicted overdensities of some test halos (dimensionless).

    Raises:
        NotFiniteError: Predicted overdensities are not finite.
    """
    found, arrays = _errors(graph, regions, law.predict(graph, regions.test))
    return found | {"kernel": _kernel_of(law, graph), "kept": []}, arrays


def measure_network(
    graph: HaloGraph, regions: Regions, trained: Trained, settings: DistillationSettings, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure a trained network and sample its message and node functions.

    Args:
        graph: The halos.
        regions: Their division in space.
        trained: The network.
        settings: Numbers of samples.
        seed: Seed of the edges from which the message's direction is read.

    Returns:
        Results as JSON has them, and arrays: those of ``measure_formula`` and the samples.

    Raises:
        NotFiniteError: Predicted overdensities are not finite.
    """
    # Choices are made on validation halos; test halos give the reported errors only.
    measured = spectrum(trained, graph, regions.validation, _KEPT)
    if not np.isfinite(measured.error):
        raise NotFiniteError("predicted overdensities are not finite on validation halos; lower learning_rate")
    by_axes = bool(measured.error_axes[1] < _CLEARLY * measured.error_std[1])
    found, arrays = _errors(graph, regions, trained.predict(graph, regions.test))
    std = np.empty(len(measured.std))
    std[measured.order] = measured.std
    found |= {
        "message_std": std.tolist(),
        "reading": "principal" if by_axes else "std",
        **_kept(measured, by_axes),
    }
    reading = reading_of(trained, graph, regions.train, measured.direction(axes=by_axes), seed=seed)
    found["kernel"] = _kernel(reading, graph, regions)
    return found, arrays | _samples(settings, reading, graph, regions)


def _errors(
    graph: HaloGraph, regions: Regions, predicted: Float[np.ndarray, " halo"]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return errors in held-out space in the columns of all cells, and a part of the predictions."""
    true = graph.overdensity[regions.test]
    apart = np.abs(predicted - true)
    if not np.isfinite(apart).all():
        raise NotFiniteError("predicted overdensities are not finite in held-out space; lower learning_rate")
    found = {
        "test_mae": float(apart.mean()),
        "test_medae": float(np.median(apart)),
        "label_std": float(true.std()),
        "message_std": [],
        "significance": [],
        "reading": "",
        "explained": {},
        "fits": {},
        "halos": {name: len(getattr(regions, name)) for name in ("train", "validation", "test")},
    }
    every = max(1, len(true) // _DRAWN)
    return found, {"true": true[::every], "predicted": predicted[::every]}


def _kept(measured: Spectrum, by_axes: bool) -> dict[str, Any]:
    """Return the errors with the k most significant components alone, for both readings, and with all components."""
    both = {
        name: [float(value) for k, value in enumerate(errors) if 0 < k < len(measured.std)]
        for name, errors in (("std", measured.error_std), ("principal", measured.error_axes))
    }
    own = both["principal" if by_axes else "std"]
    whole = {"components": len(measured.std), "mae": float(measured.error)}
    return {
        "kept": [*({"components": k, "mae": value} for k, value in enumerate(own, start=1)), whole],
        **{f"kept_{name}": errors for name, errors in both.items()},
        "enough": measured.enough(axes=by_axes),
    }


def _samples(settings: DistillationSettings, reading: Reading, graph: HaloGraph, regions: Regions) -> dict[str, Any]:
    message = message_problem(reading, graph, regions.train, regions.validation, settings)
    node = node_problem(reading, graph, regions.train, regions.validation, settings)
    arrays: dict[str, Any] = {}
    for prefix, problem in (("", message), ("node_", node)):
        held_out = np.repeat([False, True], [len(problem.target), len(problem.held_out_target)])
        target = np.concatenate([problem.target, problem.held_out_target])[:, None]
        arrays[f"{prefix}features"] = np.vstack([problem.features, problem.held_out_features])
        arrays[f"{prefix}target" if prefix else "message"] = target
        arrays[f"{prefix}held_out"] = held_out
    return arrays


def _kernel(reading: Reading, graph: HaloGraph, regions: Regions) -> dict[str, list[float]]:
    """Return the mean message by distance, in units of its largest value."""
    edges = random_edges(graph, regions.test, _EDGES, stream(0, "halos", "kernel"))
    place = np.minimum((_BINS * edges.distance / graph.neighbours.radius).astype(int), _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    total = np.bincount(place, weights=reading.along(graph, edges), minlength=_BINS)
    some = count > 0
    return _shape(((np.arange(_BINS) + 0.5) * graph.neighbours.radius / _BINS)[some], total[some] / count[some])


def _kernel_of(law: HaloLaw, graph: HaloGraph) -> dict[str, list[float]]:
    """Return the message of a formula between two median halos by distance, in units of its largest value."""
    if not law.has_messages:
        return {"r": [], "value": []}
    r = (np.arange(_BINS) + 0.5) * graph.neighbours.radius / _BINS
    mass, speed = float(np.median(graph.mass)), float(np.median(graph.speed))
    usual = {name: mass if name.startswith("m") else speed for name in MESSAGE_UNITS}
    return _shape(r, np.broadcast_to(formula.evaluate(law.message, {**law.constants, **usual, "r": r}), r.shape))


def _shape(r: Float[np.ndarray, " bin"], value: Float[np.ndarray, " bin"]) -> dict[str, list[float]]:
    largest = float(np.abs(value).max()) or 1.0
    return {"r": r.tolist(), "value": (value / largest).tolist()}
