"""Which form of law takes a network's place is decided by the data, not by what the network's messages are like.

The paper's rule chooses the form of messages by their error against the network's messages. Where the network is not
quite right, neither is that choice, though the right form may stand further along a front, on the front of another
axis, or a step beside. So forms of messages and nodes that stand on any axis's front are put together to laws without
a favourite axis, their constants are fitted to accelerations, and of the errors on other simulations the paper's rule
chooses once more: the largest fall of the logarithm of the error for each unit of complexity. A law of nature falls by
orders of magnitude there, a better approximation by a little. What is chosen is never worse than what the messages'
own choice gives: that law stays where the rule prefers none with a smaller error. Only a law that is right but for
rounding gives way to a plainer one that is as right.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import sympy
from sympy.core.relational import Relational

from distillery.errors import DistilleryError
from distillery.laws import tuning
from distillery.laws.clean import cleaned, fitted
from distillery.laws.law import Law, own_part
from distillery.laws.neighbours import climbed, shortened
from distillery.laws.prefit import Screen, rows_checked, tried_on
from distillery.laws.problem import Data
from distillery.laws.refit import Fit
from distillery.laws.settings import ReplacementSettings
from distillery.laws.shown import accelerations
from distillery.laws.softening import softened
from distillery.laws.threshold import moved
from distillery.laws.vector import (
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
from distillery.physics import formula
from distillery.symbolic.front import Point, choose, scored
from distillery.symbolic.shared_form import Candidate
from distillery.util import budget
from distillery.util.budget import OutOfBudget

# A law by its terms; None is the messages' own choice.
_Key = TypeVar("_Key", Terms, Terms | None)
_Fronts = tuple[Sequence[Sequence[Candidate]], Sequence[Sequence[Candidate]]]


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
    fronts: _Fronts | None,
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
    once, some = settings.model_copy(update={"starts": 1}), tried_on(data)
    checked = rows_checked(some)
    if fronts is None or checked.all() or not checked.any():
        return Chosen(own, "messages", math.nan, math.nan)
    screen, part = Screen(some), some.part(~checked)

    def settled(law: Law) -> tuple[Fit, float]:
        fit = softened(fitted(law, part, once, draws, tuning.COMPARISON_EVALUATIONS), part, once, draws)
        return fit, screen.error(accelerations(fit.law, some.graphs))

    try:
        own_fit, own_error = settled(own)
    except OutOfBudget:
        return Chosen(own, "messages", math.nan, math.nan)
    nothing, _ = screen.of(frozenset())
    exact = tuning.EXACT * nothing
    # What is right and keeps nodes of its own is a law in disguise, such as c s/(c' + s) with a c' beyond all sums.
    disguised = own_error <= exact and not own.energies and not cleaned(own_fit, part, once, draws).law.added
    if own_error <= exact and not disguised:
        return Chosen(own, "messages", own_error, own_error)
    on_fronts = _on_fronts(fronts, screen, part)
    tried, laws = dict(on_fronts), dict[Terms, Law]()

    def one_is_plain() -> bool:
        # Terms with numbers of their own may be exact in disguise, as 1/(m·(m + c)) and 1/(m + c), which make 1/m.
        return any(tried[terms] <= exact and not any(term.factor.has(sympy.Float) for term in terms) for terms in laws)

    def fit_the_best() -> None:
        for terms in [] if budget.is_spent() else _promising(tried, nothing)[: tuning.FITTED]:
            law = None if terms in laws else _screened(terms, screen, part)
            if law is not None and not one_is_plain():
                # What cannot be fitted with all its constants stands no better than it was.
                with contextlib.suppress(DistilleryError, OutOfBudget):
                    fit, tried[terms] = settled(law)
                    laws[terms] = fit.law

    fit_the_best()
    if disguised:
        plain = [
            terms for terms in laws if tried[terms] <= max(tuning.AS_EXACT * own_error, tuning.EXACT_ROUNDING * nothing)
        ]
        if plain:
            return Chosen(laws[plain[0]], "fronts", tried[plain[0]], own_error)
        return Chosen(own, "messages", own_error, own_error)
    if not one_is_plain():
        tried = _beside(on_fronts, screen, part, nothing) | tried
        fit_the_best()
    # What is hardly better than the messages' own choice speaks for it: most often it is the same form.
    known = {terms: error for terms, error in tried.items() if terms in laws or error > tuning.BETTER * own_error}
    costs = {terms: cost_of_terms(terms) for terms in known}
    better = [
        (point, terms if point.mae <= tuning.BETTER * own_error else None)
        for point, terms in _front({None: own_error} | known, {None: _cost(own)} | costs, nothing)
        if point.mae <= own_error
    ]
    place = choose([point for point, _ in better])
    chosen = None if place is None else better[place][1]
    if chosen is None:
        return Chosen(own, "messages", own_error, own_error)
    return Chosen(laws[chosen], "fronts" if chosen in on_fronts else "neighbours", tried[chosen], own_error)


def _on_fronts(fronts: _Fronts, screen: Screen, data: Data) -> dict[Terms, float]:
    """Return the errors of laws made of what stands on fronts, and of what is left of the best without some terms."""
    found = {terms: screen.of(terms)[0] for terms in _laws(*fronts, data.unit_charges)}
    # Of laws with their right thresholds other terms matter, and what is left of them has another best one.
    for _ in range(2):
        found |= {terms: screen.of(terms)[0] for terms in _sharpened(found, screen, data)}
        _shorten(found, screen)
    return {terms: error for terms, error in found.items() if math.isfinite(error)}


def _shorten(tried: dict[Terms, float], screen: Screen) -> None:
    """Add what is left of the best laws without some of their terms."""
    for terms in _best(tried)[: tuning.SHORTENED]:
        tried |= {shorter: screen.of(shorter)[0] for shorter in shortened(terms, screen)}


def _beside(on_fronts: dict[Terms, float], screen: Screen, data: Data, nothing: float) -> dict[Terms, float]:
    """Return the errors of laws on the way from the most promising ones over their neighbours."""
    found: dict[Terms, float] = {}
    # From simple ones first, for what is exact may be so in disguise.
    for start in sorted(_promising(on_fronts, nothing)[: tuning.HILL_CLIMBING_STARTS], key=cost_of_terms):
        found |= {terms: screen.of(terms)[0] for terms in climbed(start, screen, data.unit_charges)}
        if min(found.values(), default=np.inf) <= tuning.EXACT * nothing:
            break
    _shorten(found, screen)
    return found


def _sharpened(tried: dict[Terms, float], screen: Screen, data: Data) -> list[Terms]:
    """Return laws with the threshold that accelerations tell, where those with one are the best that they can be.

    Networks smooth edges, so thresholds of messages are off, and that would hide all other differences between forms.
    """
    found: list[Terms] = []
    with_one = [terms for terms in _best(tried) if len(_conditions(terms)) == 1]
    for terms in [] if budget.is_spent() else with_one[: tuning.THRESHOLDS_FITTED]:
        law = _screened(terms, screen, data)
        if law is None:
            continue
        found += [
            frozenset(term if term.condition is None else dataclasses.replace(term, condition=c) for term in other)
            for other in with_one
            for c in _conditions_of(moved(law, data))
            if {(own.func, own.lhs) for own in _conditions(other)} == {(c.func, c.lhs)}
        ]
    return found


def _screened(terms: Terms, screen: Screen, data: Data) -> Law | None:
    """Return the law of some terms with the constants that the screen fits, or None where there is none."""
    _, values = screen.of(terms)
    return vector_law(terms, values, data.graphs.position.shape[-1]) if len(values) == len(terms) else None


def _conditions(terms: Terms) -> set[Relational]:
    return {term.condition for term in terms if term.condition is not None}


def _conditions_of(law: Law) -> set[Relational]:
    return {condition for message in law.messages for condition in message.atoms(Relational)}


def _front(errors: Mapping[_Key, float], costs: Mapping[_Key, int], nothing: float) -> list[tuple[Point, _Key]]:
    """Return the front of laws with their scores, that of no force at all being the point before the first."""
    keys = list(errors)
    least: dict[int, tuple[float, str]] = {1: (nothing, "")}
    for number, key in enumerate(keys):
        least[costs[key]] = min(least.get(costs[key], (math.inf, "")), (errors[key], str(number)))
    return [(point, keys[int(point.expression)]) for point in scored(least, nothing) if point.expression]


def _promising(tried: Mapping[Terms, float], nothing: float) -> list[Terms]:
    """Return the laws on the front, those of the largest scores first."""
    front = _front(tried, {terms: cost_of_terms(terms) for terms in tried}, nothing)
    return [terms for _, terms in sorted(front, key=lambda one: -one[0].score)]


def _best(tried: dict[Terms, float]) -> list[Terms]:
    return sorted(
        (terms for terms in tried if math.isfinite(tried[terms])), key=lambda terms: (tried[terms], str(ordered(terms)))
    )


def _laws(
    messages: Sequence[Sequence[Candidate]], nodes: Sequence[Sequence[Candidate]], unit_charges: bool
) -> list[Terms]:
    """Return laws of all forms of messages and of nodes that stand on fronts, those of the simplest ones first."""
    sent: dict[Terms, int] = {}
    for axis, front in enumerate(messages):
        for one in front:
            # SymPy loses itself in some of what engines write; that is no candidate then.
            with contextlib.suppress(RecursionError, TypeError):
                terms = of_messages(one.expression, axis, len(messages), unit_charges)
                sent[terms] = min(sent.get(terms, one.complexity), one.complexity)
    # What messages carry may be accelerations or, by Newton's second law, forces, whatever was made of nodes.
    made: dict[tuple[frozenset[sympy.Expr], Terms], int] = {
        (frozenset({sympy.Integer(1)}), frozenset()): 1,
        (frozenset({1 / formula.symbol("m1")}), frozenset()): 3,
    }
    for axis, front in enumerate(nodes):
        for one in front:
            with contextlib.suppress(RecursionError, TypeError):
                node = of_node(one.expression, axis, unit_charges)
                made[node] = min(made.get(node, one.complexity), one.complexity)
    found: dict[Terms, int] = {}
    for terms, cost in sent.items():
        for (factors, own), more in made.items():
            law = put_together(terms, factors, own, unit_charges)
            for form in (law, without_numbers(law, unit_charges)):
                if 0 < len(form) <= tuning.MOST_FRONT_TERMS:
                    found[form] = min(found.get(form, cost + more), cost + more)
    return sorted(found, key=lambda terms: (found[terms], len(terms), str(ordered(terms))))[: tuning.MOST_LAWS]


def _cost(law: Law) -> int:
    """Return the complexity of a law: of its components the largest."""
    if law.added:
        parts = [(message, own_part(law, k)) for k, message in enumerate(law.filled(law.messages))]
        return max(cost_of(message, own) for message, own in parts)
    return max(cost_of(message, node) for message, node in zip(law.messages, law.nodes, strict=False))
