"""Choose the form of a law by the data, not by the network's messages.

The paper's rule chooses the form of messages by their error against the network's messages. If the network is not quite
right, that choice is not either, although the right form may stand further along the front, on the front of another
axis, or among the neighbours of these forms. So the forms of messages and nodes on the fronts of all axes are combined
to vector laws, one form for all axes; their constants are fitted to accelerations; and the paper's rule chooses by the
errors on other simulations: the largest drop of log(error) per unit of complexity. A law of nature drops by orders of
magnitude, a better approximation by little. The chosen law is never worse than the messages' own choice, which stays if
the rule prefers no law of smaller error. Only a law that is exact up to rounding is replaced by a plainer one that is
as exact.
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
from distillery.laws.neighbours import hill_climbed, shortened
from distillery.laws.prefit import Prefit, prefit_data, validation_rows
from distillery.laws.problem import Data
from distillery.laws.refit import Fit
from distillery.laws.settings import ReplacementSettings
from distillery.laws.shown import accelerations
from distillery.laws.softening import softened
from distillery.laws.threshold import with_optimal_thresholds
from distillery.laws.vector import (
    Terms,
    combined_terms,
    cost_of,
    cost_of_terms,
    message_terms,
    node_terms,
    ordered,
    vector_law,
    without_numbers,
)
from distillery.physics import formula
from distillery.symbolic.front import Point, choose, scored
from distillery.symbolic.shared_form import Candidate
from distillery.util import budget
from distillery.util.budget import OutOfBudget

# A law by its terms; None for the messages' own choice.
_Key = TypeVar("_Key", Terms, Terms | None)
_Fronts = tuple[Sequence[Sequence[Candidate]], Sequence[Sequence[Candidate]]]


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A law whose form is chosen.

    Attributes:
        law: The law.
        source: Origin of its form: ``messages``, the choice by the network's messages; ``fronts``, another form on the
            fronts; ``neighbours``, a neighbour of these.
        error: Its mean error on simulations that its constants were not fitted to, relative to the sum of each body's
            and the typical acceleration.
        own_error: The same error of the choice by messages.
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
    """Choose a law among those that the distilled expressions make possible.

    Args:
        own: The law of the choice by messages.
        fronts: Fronts of messages and of nodes, one for each axis, in this order; None if components have no axes.
        data: Training snapshots.
        settings: Loss.
        draws: Source of starts.

    Raises:
        SingularError: The messages' own choice is not finite on the data.
    """
    once, some = settings.model_copy(update={"starts": 1}), prefit_data(data)
    checked = validation_rows(some)
    if fronts is None or checked.all() or not checked.any():
        return Chosen(own, "messages", math.nan, math.nan)
    prefit, part = Prefit(some), some.part(~checked)

    def fitted_with_error(law: Law) -> tuple[Fit, float]:
        fit = softened(fitted(law, part, once, draws, tuning.COMPARISON_EVALUATIONS), part, once, draws)
        return fit, prefit.error(accelerations(fit.law, some.graphs))

    try:
        own_fit, own_error = fitted_with_error(own)
    except OutOfBudget:
        return Chosen(own, "messages", math.nan, math.nan)
    no_force, _ = prefit.fit(frozenset())
    exact = tuning.EXACT * no_force
    # An exact law with nodes of its own is effectively linear over the observed range, such as c·s/(c' + s) with a c'
    # larger than all sums.
    effectively_linear = own_error <= exact and not own.energies and not cleaned(own_fit, part, once, draws).law.added
    if own_error <= exact and not effectively_linear:
        return Chosen(own, "messages", own_error, own_error)
    on_fronts = _on_fronts(fronts, prefit, part)
    tried, laws = dict(on_fronts), dict[Terms, Law]()

    def one_is_plain() -> bool:
        # Terms with numbers of their own may be exact in combination, as 1/(m·(m + c)) and 1/(m + c), which make 1/m.
        return any(tried[terms] <= exact and not any(term.factor.has(sympy.Float) for term in terms) for terms in laws)

    def fit_the_best() -> None:
        for terms in [] if budget.is_spent() else _promising(tried, no_force)[: tuning.FITTED]:
            law = None if terms in laws else _prefitted(terms, prefit, part)
            if law is not None and not one_is_plain():
                # A law that cannot be fitted with all its constants keeps the error of the prefit.
                with contextlib.suppress(DistilleryError, OutOfBudget):
                    fit, tried[terms] = fitted_with_error(law)
                    laws[terms] = fit.law

    fit_the_best()
    if effectively_linear:
        plain = [
            terms
            for terms in laws
            if tried[terms] <= max(tuning.AS_EXACT * own_error, tuning.EXACT_ROUNDING * no_force)
        ]
        if plain:
            return Chosen(laws[plain[0]], "fronts", tried[plain[0]], own_error)
        return Chosen(own, "messages", own_error, own_error)
    if not one_is_plain():
        tried = _climbed_errors(on_fronts, prefit, part, no_force) | tried
        fit_the_best()
    # A law that is hardly better than the messages' own choice mostly has the same form.
    known = {terms: error for terms, error in tried.items() if terms in laws or error > tuning.BETTER * own_error}
    costs = {terms: cost_of_terms(terms) for terms in known}
    better = [
        (point, terms if point.mae <= tuning.BETTER * own_error else None)
        for point, terms in _front({None: own_error} | known, {None: _cost(own)} | costs, no_force)
        if point.mae <= own_error
    ]
    place = choose([point for point, _ in better])
    chosen = None if place is None else better[place][1]
    if chosen is None:
        return Chosen(own, "messages", own_error, own_error)
    return Chosen(laws[chosen], "fronts" if chosen in on_fronts else "neighbours", tried[chosen], own_error)


def _on_fronts(fronts: _Fronts, prefit: Prefit, data: Data) -> dict[Terms, float]:
    """Return the errors of laws made of expressions on the fronts, and of the best of them without some terms."""
    found = {terms: prefit.fit(terms)[0] for terms in _laws(*fronts, data.unit_charges)}
    # With fitted thresholds other terms matter, and other laws remain after the removal of terms.
    for _ in range(2):
        found |= {terms: prefit.fit(terms)[0] for terms in _with_fitted_thresholds(found, prefit, data)}
        _shorten(found, prefit)
    return {terms: error for terms, error in found.items() if math.isfinite(error)}


def _shorten(tried: dict[Terms, float], prefit: Prefit) -> None:
    """Add the best laws without some of their terms."""
    for terms in _best(tried)[: tuning.SHORTENED]:
        tried |= {shorter: prefit.fit(shorter)[0] for shorter in shortened(terms, prefit)}


def _climbed_errors(on_fronts: dict[Terms, float], prefit: Prefit, data: Data, no_force: float) -> dict[Terms, float]:
    """Return the errors of laws that hill climbing from the most promising ones finds."""
    found: dict[Terms, float] = {}
    # Start from simple laws: a complex one may be exact only in combination.
    for start in sorted(_promising(on_fronts, no_force)[: tuning.HILL_CLIMBING_STARTS], key=cost_of_terms):
        found |= {terms: prefit.fit(terms)[0] for terms in hill_climbed(start, prefit, data.unit_charges)}
        if min(found.values(), default=np.inf) <= tuning.EXACT * no_force:
            break
    _shorten(found, prefit)
    return found


def _with_fitted_thresholds(tried: dict[Terms, float], prefit: Prefit, data: Data) -> list[Terms]:
    """Return laws with a threshold that is fitted to accelerations, for the best laws that have one threshold.

    Networks smooth edges, so the thresholds of messages are inaccurate; their error would hide all other differences
    between forms.
    """
    found: list[Terms] = []
    with_one = [terms for terms in _best(tried) if len(_conditions(terms)) == 1]
    for terms in [] if budget.is_spent() else with_one[: tuning.THRESHOLDS_FITTED]:
        law = _prefitted(terms, prefit, data)
        if law is None:
            continue
        found += [
            frozenset(term if term.condition is None else dataclasses.replace(term, condition=c) for term in other)
            for other in with_one
            for c in _conditions_of(with_optimal_thresholds(law, data))
            if {(own.func, own.lhs) for own in _conditions(other)} == {(c.func, c.lhs)}
        ]
    return found


def _prefitted(terms: Terms, prefit: Prefit, data: Data) -> Law | None:
    """Return the law of some terms with the constants of the prefit, or None if there is none."""
    _, values = prefit.fit(terms)
    return vector_law(terms, values, data.graphs.position.shape[-1]) if len(values) == len(terms) else None


def _conditions(terms: Terms) -> set[Relational]:
    return {term.condition for term in terms if term.condition is not None}


def _conditions_of(law: Law) -> set[Relational]:
    return {condition for message in law.messages for condition in message.atoms(Relational)}


def _front(errors: Mapping[_Key, float], costs: Mapping[_Key, int], no_force: float) -> list[tuple[Point, _Key]]:
    """Return the front of laws with their scores; the point before the first one is no force at all."""
    keys = list(errors)
    least: dict[int, tuple[float, str]] = {1: (no_force, "")}
    for number, key in enumerate(keys):
        least[costs[key]] = min(least.get(costs[key], (math.inf, "")), (errors[key], str(number)))
    return [(point, keys[int(point.expression)]) for point in scored(least, no_force) if point.expression]


def _promising(tried: Mapping[Terms, float], no_force: float) -> list[Terms]:
    """Return the laws on the front, largest score first."""
    front = _front(tried, {terms: cost_of_terms(terms) for terms in tried}, no_force)
    return [terms for _, terms in sorted(front, key=lambda one: -one[0].score)]


def _best(tried: dict[Terms, float]) -> list[Terms]:
    return sorted(
        (terms for terms in tried if math.isfinite(tried[terms])), key=lambda terms: (tried[terms], str(ordered(terms)))
    )


def _laws(
    messages: Sequence[Sequence[Candidate]], nodes: Sequence[Sequence[Candidate]], unit_charges: bool
) -> list[Terms]:
    """Return the laws of all combinations of message and node forms on the fronts, simplest first."""
    sent: dict[Terms, int] = {}
    for axis, front in enumerate(messages):
        for one in front:
            # SymPy's recursion fails on some expressions of engines; these are no candidates.
            with contextlib.suppress(RecursionError, TypeError):
                terms = message_terms(one.expression, axis, len(messages), unit_charges)
                sent[terms] = min(sent.get(terms, one.complexity), one.complexity)
    # Messages may be accelerations or, by Newton's second law, forces, whatever form of nodes was found.
    made: dict[tuple[frozenset[sympy.Expr], Terms], int] = {
        (frozenset({sympy.Integer(1)}), frozenset()): 1,
        (frozenset({1 / formula.symbol("m1")}), frozenset()): 3,
    }
    for axis, front in enumerate(nodes):
        for one in front:
            with contextlib.suppress(RecursionError, TypeError):
                node = node_terms(one.expression, axis, unit_charges)
                made[node] = min(made.get(node, one.complexity), one.complexity)
    found: dict[Terms, int] = {}
    for terms, cost in sent.items():
        for (factors, own), more in made.items():
            law = combined_terms(terms, factors, own, unit_charges)
            for form in (law, without_numbers(law, unit_charges)):
                if 0 < len(form) <= tuning.MOST_FRONT_TERMS:
                    found[form] = min(found.get(form, cost + more), cost + more)
    return sorted(found, key=lambda terms: (found[terms], len(terms), str(ordered(terms))))[: tuning.MOST_LAWS]


def _cost(law: Law) -> int:
    """Return the complexity of a law: the largest of its components."""
    if law.added:
        parts = [(message, own_part(law, k)) for k, message in enumerate(law.filled(law.messages))]
        return max(cost_of(message, own) for message, own in parts)
    return max(cost_of(message, node) for message, node in zip(law.messages, law.nodes, strict=False))
