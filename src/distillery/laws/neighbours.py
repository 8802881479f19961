"""Neighbours of a vector law, for hill climbing on accelerations.

As in ``symbolic.neighbours``, a step changes one thing by a product of features: it multiplies a term, or all terms of
pairs or of bodies, or all of both by a product of the receiver's features; it adds such a product of a term; or it
removes a term. Drag on single bodies is a neighbour of every law. Every step is a candidate; the front of all
candidates decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import sympy

from distillery.laws import tuning
from distillery.laws.prefit import Prefit
from distillery.laws.vector import Term, Terms, by_receiver, cost_of_terms, ordered, products
from distillery.symbolic.hill_climbing import hill_climb

_PAIR, _BODY = ("r", "m1", "m2", "q1", "q2"), ("m", "q")


def hill_climbed(start: Terms, prefit: Prefit, unit_charges: bool) -> list[Terms]:
    """Return the laws on the way of a hill climb, without the start.

    Args:
        start: Terms of the first law.
        prefit: Data on which laws are compared.
        unit_charges: Whether all charges are 1 or -1.
    """
    factors = {
        along: products(names, tuning.PRODUCT_FEATURES, unit_charges) for along, names in (("d", _PAIR), ("", _BODY))
    }

    def cost(terms: Terms) -> float:
        return math.log(max(prefit.fit(terms)[0], 1e-300)) + tuning.COMPLEXITY_PRICE * cost_of_terms(terms)

    def promising(terms: Terms) -> list[Terms]:
        errors = {other: prefit.fit(other)[0] for other in _neighbours(terms, factors, unit_charges)}
        ranked = sorted(errors, key=lambda other: (errors[other], len(other), str(ordered(other))))
        return ranked[: tuning.COMPLEXITY_COMPUTED]

    return hill_climb(start, promising, cost, tuning.HILL_CLIMBING_ROUNDS)


def _neighbours(terms: Terms, factors: dict[str, list[sympy.Expr]], unit_charges: bool) -> Iterator[Terms]:
    pairs = frozenset(term for term in terms if term.along == "d")
    for group in (pairs, terms - pairs):
        for factor in factors["d" if group == pairs else ""] if group else ():
            changed = {term: term.times(factor, unit_charges) for term in ordered(group)}
            if len(group) > 1:
                yield (terms - group) | frozenset(changed.values())
            for term, other in changed.items():
                yield (terms - {term}) | {other}
                if len(terms) < tuning.MOST_CLIMBING_TERMS:
                    yield terms | {other}
    if pairs and terms - pairs:
        # Convert all forces to accelerations at once.
        yield from (by_receiver(terms, factor, unit_charges) for factor in factors[""])
    if len(terms) < tuning.MOST_CLIMBING_TERMS:
        for factor in (sympy.Integer(1), *factors[""]):
            yield terms | {Term(factor, "v")}
    if len(terms) > 1:
        for term in ordered(terms):
            yield terms - {term}


def shortened(start: Terms, prefit: Prefit) -> list[Terms]:
    """Remove the least important term again and again until one is left; return the laws on the way.

    Args:
        start: Terms of the law.
        prefit: Data on which laws are compared.
    """
    found = []
    while len(start) > 1:
        start = min((start - {term} for term in ordered(start)), key=lambda terms: prefit.fit(terms)[0])
        found.append(start)
    return found
