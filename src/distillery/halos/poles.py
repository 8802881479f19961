"""Singularities of a law: denominators and arguments of roots and logarithms must keep their signs.

A refit may find constants with which a denominator has a zero between the halos it was fitted to. Elsewhere, for
heavier halos or in denser places, the law then has a pole. All variables of halos are positive or zero, so an
expression whose constants keep their signs mostly keeps its own; that gives bounds to a refit. What it came to is
looked at again on a domain wider than the data.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from distillery.halos.features import HaloGraph
from distillery.halos.law import HaloLaw, sums
from distillery.physics import formula
from distillery.physics.singularities import guarded
from distillery.randomness import stream

# Upper bound of the domain relative to the largest value among the halos.
_WIDER = 2.0
_DRAWS = 2_000
# Least absolute value of a constant that keeps its sign, relative to its initial value.
_LEAST = 1e-12
# Constants beyond these sizes are factors of powers, and keep their signs too: then a refit moves their logarithms.
_EXTREME = (1e-3, 1e3)


def bounded(law: HaloLaw) -> HaloLaw:
    """Return a law with bounds that keep the signs of constants in denominators, roots and logarithms.

    Args:
        law: A law with constants to start from; bounds that it has already stay.
    """
    parts = (*guarded(law.message), *guarded(law.node))
    names = {symbol.name for part in parts for symbol in part.free_symbols}
    bounds = dict(law.bounds)
    for name, value in law.constants.items():
        extreme = not _EXTREME[0] <= abs(value) <= _EXTREME[1]
        if (name in names or extreme) and name not in bounds and value != 0:
            bounds[name] = (_LEAST * value, np.inf) if value > 0 else (-np.inf, _LEAST * value)
    return dataclasses.replace(law, bounds=bounds)


@dataclasses.dataclass(frozen=True)
class Domain:
    """Ranges of the variables of messages and of nodes, in the units of ``features``.

    Attributes:
        message: Lowest and highest value by name.
        node: The same for nodes.
    """

    message: Mapping[str, tuple[float, float]]
    node: Mapping[str, tuple[float, float]]


def domain_of(law: HaloLaw, graph: HaloGraph, receivers: Int[np.ndarray, " receiver"]) -> Domain:
    """Return a domain wider than the halos that a law was fitted to: up to twice their largest values.

    Args:
        law: The law; the range of its sums depends on it.
        graph: The halos.
        receivers: Those that were fitted.
    """
    speed, mass = _WIDER * float(graph.speed.max()), (0.0, _WIDER * float(graph.mass.max()))
    arriving = sums(law.message, law.constants, graph, receivers) if law.has_messages else np.zeros(1)
    low, high = float(arriving.min()), float(arriving.max())
    speeds = {"dv": (0.0, 2 * speed), "v1": (0.0, speed), "v2": (0.0, speed)}
    return Domain(
        {"r": (1e-2, graph.neighbours.radius), **speeds, "m1": mass, "m2": mass},
        {"s": (min(low, _WIDER * low), max(high, _WIDER * high)), "m": mass, "v": (0.0, speed)},
    )


def has_poles(law: HaloLaw, domain: Domain) -> bool:
    """Return whether a term that must keep its sign changes it, or is not finite, in a domain.

    Args:
        law: The law.
        domain: Ranges of the variables.
    """
    message, node = law.filled()
    for expression, ranges in ((message, domain.message), (node, domain.node)):
        points = _points(ranges)
        for part in guarded(expression):
            values = formula.evaluate(part, points)
            if not (np.all(values >= 0) or np.all(values <= 0)):
                return True
    return False


def _points(ranges: Mapping[str, tuple[float, float]]) -> dict[str, Float[np.ndarray, " point"]]:
    corners = np.array(list(itertools.product(*ranges.values())))
    draws = stream(0, "halos", "poles").random((_DRAWS, len(ranges)))
    low, high = np.array(list(ranges.values())).T
    # Squared draws sample small values more densely, where most halos are.
    inside = low + (high - low) * draws**2
    return dict(zip(ranges, np.concatenate([corners, inside]).T, strict=True))
