"""Neighbours of a vector law: what lies a step beside what was distilled, tried on accelerations.

As in ``distill.neighbours`` a step changes one thing by a product of features: a term, or all terms of pairs or of
bodies, is multiplied by it, or all of both by one of the receiver, such a product of a term is added, or a term goes.
Drag, which single bodies may feel, is a neighbour of every law. Each step on the way is a candidate, and it is the
front of all candidates that decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import sympy

from distillery.laws import tuning
from distillery.laws.prefit import Screen
from distillery.laws.vector import Term, Terms, by_receiver, cost_of_terms, ordered, products
from distillery.symbolic.hill_climbing import hill_climb

_PAIR, _BODY = ("r", "m1", "m2", "q1", "q2"), ("m", "q")


def climbed(start: Terms, screen: Screen, unit_charges: bool) -> list[Terms]:
    """Return the laws on the way from one law over ever better neighbours, the start not among them.

    Args:
        start: Terms of the law to begin with.
        screen: Data on which laws are tried.
        unit_charges: Whether all charges are 1 or -1.
    """
    factors = {
        along: products(names, tuning.PRODUCT_FEATURES, unit_charges) for along, names in (("d", _PAIR), ("", _BODY))
    }

    def cost(terms: Terms) -> float:
        return math.log(max(screen.of(terms)[0], 1e-300)) + tuning.COMPLEXITY_PRICE * cost_of_terms(terms)

    def promising(terms: Terms) -> list[Terms]:
        errors = {other: screen.of(other)[0] for other in _neighbours(terms, factors, unit_charges)}
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
        # Forces become accelerations all at once.
        yield from (by_receiver(terms, factor, unit_charges) for factor in factors[""])
    if len(terms) < tuning.MOST_CLIMBING_TERMS:
        for factor in (sympy.Integer(1), *factors[""]):
            yield terms | {Term(factor, "v")}
    if len(terms) > 1:
        for term in ordered(terms):
            yield terms - {term}


def shortened(start: Terms, screen: Screen) -> list[Terms]:
    """Return what is left of a law when its least important term goes, and the next, until one is left.

    Args:
        start: Terms of the law.
        screen: Data on which laws are tried.
    """
    found = []
    while len(start) > 1:
        start = min((start - {term} for term in ordered(start)), key=lambda terms: screen.of(terms)[0])
        found.append(start)
    return found
