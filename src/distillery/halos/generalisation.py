"""Errors of networks and formulas under test conditions: other places, denser ones, other universes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from distillery.halos.conditions import CONDITIONS, DENSE, HELD_OUT, THICK, THIN
from distillery.halos.features import HaloGraph


@runtime_checkable
class Model(Protocol):
    """A predictor of overdensities."""

    def predict(self, graph: HaloGraph, receivers: Int[np.ndarray, " receiver"]) -> Float[np.ndarray, " receiver"]:
        """Return the predicted overdensities of some halos (dimensionless)."""


@dataclasses.dataclass(frozen=True)
class Error:
    """A mean absolute error.

    Attributes:
        mean: Mean |δ - δ̂| (dimensionless); NaN where there is no halo.
        standard: Its standard error under the assumption of independent halos (dimensionless).
        halos: Number of halos.
    """

    mean: float
    standard: float
    halos: int


def error_of(model: Model, graph: HaloGraph, receivers: Int[np.ndarray, " receiver"]) -> Error:
    """Return the error of a model on some halos.

    Args:
        model: A trained network or a law.
        graph: The halos of any universe.
        receivers: Indices of the halos that are predicted.
    """
    if len(receivers) == 0:
        return Error(float("nan"), float("nan"), 0)
    apart = np.abs(model.predict(graph, receivers) - graph.overdensity[receivers])
    standard = float(apart.std(ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else float("nan")
    return Error(float(apart.mean()), standard, len(receivers))


def below(
    graph: HaloGraph, receivers: Int[np.ndarray, " receiver"], threshold: float = DENSE
) -> Int[np.ndarray, " below"]:
    """Return the halos whose overdensity is at most the threshold."""
    return receivers[graph.overdensity[receivers] <= threshold]


def above(
    graph: HaloGraph, receivers: Int[np.ndarray, " receiver"], threshold: float = DENSE
) -> Int[np.ndarray, " above"]:
    """Return the halos whose overdensity is above the threshold."""
    return receivers[graph.overdensity[receivers] > threshold]


def halos_under(
    graph: HaloGraph, test: Int[np.ndarray, " test"], others: Mapping[str, HaloGraph]
) -> dict[str, tuple[HaloGraph, Int[np.ndarray, " receiver"]]]:
    """Return the halos of each test condition, in the order of ``conditions.CONDITIONS``.

    Args:
        graph: Halos of the training universes.
        test: Indices of the test halos among them.
        others: Halos of other universes, by condition.
    """
    found = {
        HELD_OUT: (graph, test),
        THIN: (graph, below(graph, test, DENSE)),
        THICK: (graph, above(graph, test, DENSE)),
        **{name: (other, np.arange(len(other))) for name, other in others.items()},
    }
    return {name: found[name] for name in CONDITIONS if name in found}


def errors_under(
    predictors: Mapping[str, Model], graph: HaloGraph, receivers: Int[np.ndarray, " receiver"]
) -> dict[str, Any]:
    """Return the errors of several predictors under one condition, as JSON has them.

    Args:
        predictors: Networks and formulas, by name.
        graph: The halos.
        receivers: Indices of the halos that are predicted.
    """
    if not len(receivers):
        return {"reason": "there is no halo of this kind", "predictors": {}}
    found = {}
    for name, predictor in predictors.items():
        error = np.abs(predictor.predict(graph, receivers) - graph.overdensity[receivers])
        finite = bool(np.isfinite(error).all())
        found[name] = {
            "mae": float(error.mean()) if finite else None,
            "medae": float(np.median(error)) if finite else None,
            "holds": None,
            "halos": len(receivers),
        }
    return {"reason": "", "predictors": found}
