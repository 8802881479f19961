"""Fit the thresholds of a law, such as 2 in ``r > 2``, to accelerations, although no error has a gradient in them.

Between two distances that occur in the data a threshold changes nothing. So all of them are compared at once: the edges
of a body cross the threshold one by one, and the changes of its error are summed over all bodies in the order of
distances. The other constants are fitted again in between.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import sympy
from jaxtyping import Float
from sympy.core.relational import Relational

from distillery.laws import tuning
from distillery.laws.compose import by_hamilton
from distillery.laws.law import Law
from distillery.laws.problem import Data
from distillery.laws.refit import Fit, refit
from distillery.laws.settings import ReplacementSettings
from distillery.physics import formula
from distillery.util.budget import OutOfBudget

_ABOVE, _BELOW = (sympy.StrictGreaterThan, sympy.GreaterThan), (sympy.StrictLessThan, sympy.LessThan)


def with_thresholds(fit: Fit, data: Data, settings: ReplacementSettings, draws: np.random.Generator) -> Fit:
    """Return a fit with its law's thresholds fitted too, if that lowers the loss.

    Args:
        fit: The fitted law.
        data: Snapshots that it was fitted to.
        settings: Loss.
        draws: Source of starts.
    """
    once = settings.model_copy(update={"starts": 1})
    for _ in range(tuning.THRESHOLD_ROUNDS):
        law = with_optimal_thresholds(fit.law, data)
        if law == fit.law:
            break
        try:
            found = refit(law, data, once, draws)
        except OutOfBudget:
            break
        if not found.cost < fit.cost:
            break
        fit = found
    return fit


def with_optimal_thresholds(law: Law, data: Data) -> Law:
    """Return a law with each threshold at the minimum of the summed absolute errors; other constants stay.

    Args:
        law: A law whose nodes add up messages, or a Hamiltonian one. Other laws, and conditions in several features,
            stay as they are.
        data: The snapshots.
    """
    if not law.added:
        return law
    conditions = {c for message in law.messages for c in message.atoms(Relational)}
    for condition in sorted(conditions, key=str):
        name, threshold = condition.args
        if not (name.is_Symbol and threshold.is_number and isinstance(condition, (*_ABOVE, *_BELOW))):
            continue
        put = {condition: condition.func(name, sympy.Float(_best(law, data, condition)))}
        if law.energies:
            energies = tuple(energy.xreplace(put) for energy in law.energies)
            law = by_hamilton(dataclasses.replace(law, energies=energies))
        else:
            law = dataclasses.replace(law, messages=tuple(message.xreplace(put) for message in law.messages))
    return law


def _best(law: Law, data: Data, condition: Any) -> float:
    graphs, edges, nodes = data.graphs, data.graphs.edges, data.graphs.nodes
    sides = [
        [_along(message.xreplace({condition: truth}), edges) for message in law.filled(law.messages)]
        for truth in (sympy.true, sympy.false)
    ]
    above, below = sides if isinstance(condition, _ABOVE) else sides[::-1]
    own = {f"s{k + 1}": graphs.summed(side, graphs.receivers) for k, side in enumerate(below)}
    values = [formula.evaluate(node, {**nodes, **own}) for node in law.filled(law.nodes)]
    # Velocities of a Hamiltonian law follow too, but edges of pairs do not change them.
    start = np.stack([np.broadcast_to(v, graphs.mass.shape) for v in values]) - data.targets(law)[: len(values)]
    step = np.stack(above) - np.stack(below)
    feature, current = edges[condition.args[0].name], float(condition.args[1])
    places, changes = [], []
    for body in range(graphs.mass.shape[1]):
        arriving = graphs.receivers == body
        at = feature[:, arriving]
        order = np.argsort(-at, axis=1)
        steps = np.take_along_axis(step[:, :, arriving], order[None], axis=2)
        first = start[:, :, body, None]
        off = np.abs(np.concatenate([first, first + np.cumsum(steps, axis=2)], axis=2))
        errors = (off * data.weights(law)[: len(values), :, body, None]).sum(axis=0)
        places.append(np.take_along_axis(at, order, axis=1).ravel())
        changes.append(np.diff(errors, axis=1).ravel())
    return _least(np.concatenate(places), np.concatenate(changes), current)


def _least(places: Float[np.ndarray, " edge"], changes: Float[np.ndarray, " edge"], current: float) -> float:
    """Return the threshold of least error: the simplest number between two places."""
    order = np.argsort(-places)
    places = places[order]
    total = np.concatenate([[0.0], np.cumsum(changes[order])])
    if not np.all(np.isfinite(total)):
        return current
    # A threshold lies between two different places; beyond all of them only one branch would be left.
    inside = np.flatnonzero(places[:-1] > places[1:]) + 1
    if not len(inside):
        return current
    k = int(inside[np.argmin(total[inside])])
    low, high = float(places[k]), float(places[k - 1])
    return current if low <= current < high else simplest_between(low, high)


def simplest_between(low: float, high: float) -> float:
    """Return the number of fewest decimals between two numbers, the nearest to their middle of these."""
    middle = (low + high) / 2
    return next((n for n in (round(middle, k) for k in range(16)) if low < n < high), middle)


def _along(expression: sympy.Expr, edges: dict[str, np.ndarray]) -> Float[np.ndarray, "graph edge"]:
    return np.asarray(np.broadcast_to(formula.evaluate(expression, edges), edges["r"].shape))
