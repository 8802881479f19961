"""Which form of law takes a network's place is decided by the data, not by what the network's messages are like.

The paper's rule chooses the form of messages by their error against the network's messages. Where the network is not
quite right, neither is that choice, though the right form may stand further along a front, on the front of another
axis, or a step beside. So forms of messages and nodes that stand on any axis's front are put together to laws without
a favourite axis, their constants are fitted to accelerations, and of the errors on other simulations the paper's rule
chooses once more: the largest fall of the logarithm of the error for each unit of complexity. A law of nature falls by
orders of magnitude there, a better approximation by a little. What is chosen is never worse than what the messages'
own choice gives: that law stays where the rule prefers none with a smaller error.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import sympy
from sympy.core.relational import Relational

from distillery.distill.front import choose, scored
from distillery.errors import DistilleryError
from distillery.replace.choice import Candidate
from distillery.replace.clean import fitted
from distillery.replace.climb import climbed, shortened
from distillery.replace.law import Law, own_part
from distillery.replace.problem import Data
from distillery.replace.refit import Fit
from distillery.replace.screen import Screen, rows_checked
from distillery.replace.shown import accelerations
from distillery.replace.soften import softened
from distillery.replace.threshold import moved
from distillery.replace.vector import (
    Terms,
    cost_of,
    cost_of_terms,
    of_messages,
    of_node,
    ordered,
    put_together,
    vector_law,
    without_numbers,
)
from distillery.settings import ReplacementSettings

# Snapshots on which forms are tried, half of them to fit constants, half to judge.
_SNAPSHOTS = 800
# Laws that are tried at most, those made of the simplest expressions first; terms that one may have.
_MOST_LAWS, _MOST_TERMS = 300, 8
# How many of the best are shortened, climbed from, and fitted with all their constants.
_SHORTENED, _CLIMBED, _FITTED = 8, 2, 3
# Of so many with a threshold it is fitted before the others are compared with it.
_SHARPENED = 2
# How often a law is evaluated at most to fit its constants here.
_EVALUATIONS = 30
# As in ``distill.front``: of the error of no force at all, what is smaller is rounding.
_FLOOR = 1e-6
# Of the error of the messages' own choice: what takes its place must have less.
_BETTER = 0.9


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The law whose constants are to be fitted.

    Attributes:
        law: The law.
        source: Where its form is from: ``messages``, the choice by the network's messages; ``fronts``, another one that
            stands on fronts; ``neighbours``, a step beside these.
        error: Its mean error on simulations that its constants were not fitted to, relative to the size of each body's
            acceleration and the typical one together.
        own_error: The same of the choice by messages.
    """

    law: Law
    source: str
    error: float
    own_error: float


def chosen_by_data(
    own: Law,
    fronts: tuple[Sequence[Sequence[Candidate]], Sequence[Sequence[Candidate]]] | None,
    data: Data,
    settings: ReplacementSettings,
    draws: np.random.Generator,
) -> Chosen:
    """Return the law that the data choose among those that what was distilled makes possible.

    Args:
        own: The law that the choice by messages gives.
        fronts: Of messages and of nodes the front of each axis, in this order; None where components have no axes.
        data: Training snapshots.
        settings: Loss.
        draws: Source of starts.

    Raises:
        SingularError: The messages' own choice is not finite on the data.
    """
    once = settings.model_copy(update={"starts": 1})
    data = _some(data)
    checked = rows_checked(data)
    if fronts is None or checked.all() or not checked.any():
        return Chosen(own, "messages", math.nan, math.nan)
    screen, part = Screen(data), data.part(~checked)

    def settled(law: Law) -> tuple[Law, float]:
        fit = _settled(law, part, once, draws)
        return fit.law, screen.error(accelerations(fit.law, data.graphs))

    _, own_error = settled(own)
    nothing, _ = screen.of(frozenset())
    if own_error <= _FLOOR * nothing:
        return Chosen(own, "messages", own_error, own_error)
    on_fronts = {terms: screen.of(terms)[0] for terms in _laws(*fronts, data.unit_charges)}
    on_fronts |= {terms: screen.of(terms)[0] for terms in _sharpened(on_fronts, screen, part)}
    for terms in _best(on_fronts)[:_SHORTENED]:
        on_fronts |= {shorter: screen.of(shorter)[0] for shorter in shortened(terms, screen)}
    tried, costs = dict(on_fronts), {terms: cost_of_terms(terms) for terms in _best(on_fronts)}
    starts = [] if min(tried.values(), default=0.0) <= _FLOOR * nothing else _promising(tried, costs, nothing)
    for start in starts[:_CLIMBED]:
        for terms in climbed(start, screen, data.unit_charges):
            tried[terms], costs[terms] = screen.of(terms)[0], cost_of_terms(terms)
    laws: dict[Terms | None, Law] = {None: own}
    errors: dict[Terms | None, float] = {None: own_error} | tried
    for terms in _promising(tried, costs, nothing)[:_FITTED]:
        law = vector_law(terms, screen.of(terms)[1], data.graphs.position.shape[-1])
        if law is None:
            continue
        try:
            laws[terms], errors[terms] = settled(law)
        except DistilleryError:
            continue
    by_cost: dict[Terms | None, int] = {None: _cost(own)} | costs
    best = _by_the_rule(errors, by_cost, nothing, own_error, laws)
    source = "messages" if best is None else "fronts" if best in on_fronts else "neighbours"
    return Chosen(laws[best], source, errors[best], own_error)


def _sharpened(tried: dict[Terms, float], screen: Screen, data: Data) -> list[Terms]:
    """Return laws with the threshold that accelerations tell, where those with one are the best that they can be.

    Networks smooth edges, so thresholds of messages are off, and that would hide all other differences between forms.
    """
    found: list[Terms] = []
    with_one = [terms for terms in _best(tried) if len(_conditions(terms)) == 1]
    for terms in with_one[:_SHARPENED]:
        law = vector_law(terms, screen.of(terms)[1], data.graphs.position.shape[-1])
        if law is None:
            continue
        (old,), new = _conditions(terms), _conditions_of(moved(law, data))
        if new != {old}:
            found += [
                frozenset(term if term.condition is None else dataclasses.replace(term, condition=c) for term in other)
                for other in with_one
                for c in new
                if {(own.func, own.lhs) for own in _conditions(other)} == {(c.func, c.lhs)}
            ]
    return found


def _conditions(terms: Terms) -> set[Relational]:
    return {term.condition for term in terms if term.condition is not None}


def _conditions_of(law: Law) -> set[Relational]:
    return {condition for message in law.messages for condition in message.atoms(Relational)}


def _settled(law: Law, data: Data, settings: ReplacementSettings, draws: np.random.Generator) -> Fit:
    return softened(fitted(law, data, settings, draws, _EVALUATIONS), data, settings, draws)


def _by_the_rule(
    errors: dict[Terms | None, float],
    costs: dict[Terms | None, int],
    nothing: float,
    own_error: float,
    laws: dict[Terms | None, Law],
) -> Terms | None:
    """Return the law of the largest score on the front among those that are better than the messages' own choice."""
    keys = [key for key in errors if math.isfinite(errors[key]) and key in costs]
    least: dict[int, tuple[float, str]] = {1: (nothing, "")}
    for number, key in enumerate(keys):
        least[costs[key]] = min(least.get(costs[key], (math.inf, "")), (errors[key], str(number)))
    front = [
        point
        for point in scored(least, nothing)
        if point.expression
        and (point.mae <= _BETTER * own_error or keys[int(point.expression)] is None)
        and keys[int(point.expression)] in laws
    ]
    place = choose(front)
    return None if place is None else keys[int(front[place].expression)]


def _promising(tried: dict[Terms, float], costs: dict[Terms, int], nothing: float) -> list[Terms]:
    """Return the laws on the front of all that were tried, those of the largest scores first."""
    keys = [terms for terms in tried if math.isfinite(tried[terms]) and terms in costs]
    least: dict[int, tuple[float, str]] = {1: (nothing, "")}
    for number, key in enumerate(keys):
        least[costs[key]] = min(least.get(costs[key], (math.inf, "")), (tried[key], str(number)))
    front = [point for point in scored(least, nothing) if point.expression]
    return [keys[int(point.expression)] for point in sorted(front, key=lambda point: -point.score)]


def _best(tried: dict[Terms, float]) -> list[Terms]:
    return sorted((t for t in tried if math.isfinite(tried[t])), key=lambda t: (tried[t], len(t), str(ordered(t))))


def _laws(
    messages: Sequence[Sequence[Candidate]], nodes: Sequence[Sequence[Candidate]], unit_charges: bool
) -> list[Terms]:
    """Return laws of all forms of messages and of nodes that stand on fronts, those of the simplest ones first."""
    sent: dict[Terms, int] = {}
    for axis, front in enumerate(messages):
        for one in front:
            terms = of_messages(one.expression, axis, len(messages), unit_charges)
            sent[terms] = min(sent.get(terms, one.complexity), one.complexity)
    made: dict[tuple[frozenset[sympy.Expr], Terms], int] = {}
    for axis, front in enumerate(nodes):
        for one in front:
            node = of_node(one.expression, axis, unit_charges)
            made[node] = min(made.get(node, one.complexity), one.complexity)
    found: dict[Terms, int] = {}
    for terms, cost in sent.items():
        for (factors, own), more in made.items():
            law = put_together(terms, factors, own, unit_charges)
            for form in (law, without_numbers(law, unit_charges)):
                if 0 < len(form) <= _MOST_TERMS:
                    found[form] = min(found.get(form, cost + more), cost + more)
    return sorted(found, key=lambda terms: (found[terms], len(terms), str(ordered(terms))))[:_MOST_LAWS]


def _some(data: Data) -> Data:
    """Return as many snapshots as forms are tried on, evenly spread."""
    chosen = np.zeros(len(data.simulation), dtype=bool)
    chosen[np.unique(np.linspace(0, len(chosen) - 1, _SNAPSHOTS).astype(int))] = True
    return data.part(chosen)


def _cost(law: Law) -> int:
    """Return the complexity of a law: of its components the largest."""
    if law.added:
        parts = [(message, own_part(law, k)) for k, message in enumerate(law.filled(law.messages))]
        return max(cost_of(message, own) for message, own in parts)
    return max(cost_of(message, node) for message, node in zip(law.messages, law.nodes, strict=False))
