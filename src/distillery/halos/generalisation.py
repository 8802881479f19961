"""Errors where a model was trained and where it was not: other places, denser ones, other universes.

Networks and laws are asked alike, by ``predict(graph, receivers)``.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from distillery.halos.conditions import DENSE
from distillery.halos.features import HaloGraph


@runtime_checkable
class Model(Protocol):
    """What gives overdensities."""

    def predict(self, graph: HaloGraph, receivers: Int[np.ndarray, " receiver"]) -> Float[np.ndarray, " receiver"]:
        """Return δ̂ of some halos."""


@dataclasses.dataclass(frozen=True)
class Error:
    """A mean absolute error.

    Attributes:
        mean: Mean |δ - δ̂| (dimensionless); NaN where there is no halo.
        standard: Its standard error, as if halos were independent; halos closer than the smoothing radius are not.
        halos: How many there are.
    """

    mean: float
    standard: float
    halos: int


def error_of(model: Model, graph: HaloGraph, receivers: Int[np.ndarray, " receiver"]) -> Error:
    """Return the error of a model on some halos.

    Args:
        model: A trained network or a law.
        graph: The halos, of whatever universe.
        receivers: Those to be asked about.
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
