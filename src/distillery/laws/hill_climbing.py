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

from distillery.laws.prefit import Screen
from distillery.laws.vector import Term, Terms, by_receiver, cost_of_terms, ordered, products

_ROUNDS = 6
# A step must lower the logarithm of the error by so much for each unit of complexity, as in distillation.
_PRICE = 0.03
# At most so many features, or their inverses, are in a product, and so many terms in a law.
_CHANGES, _MOST_TERMS = 2, 6
_PAIR, _BODY = ("r", "m1", "m2", "q1", "q2"), ("m", "q")
# Of so many that fall most, complexity is asked for.
_LOOKED_AT = 12


def climbed(start: Terms, screen: Screen, unit_charges: bool) -> list[Terms]:
    """Return the laws on the way from one law over ever better neighbours, the start not among them.

    Args:
        start: Terms of the law to begin with.
        screen: Data on which laws are tried.
        unit_charges: Whether all charges are 1 or -1.
    """
    factors = {"d": products(_PAIR, _CHANGES, unit_charges), "": products(_BODY, _CHANGES, unit_charges)}

    def value(terms: Terms) -> float:
        return math.log(max(screen.of(terms)[0], 1e-300)) + _PRICE * cost_of_terms(terms)

    found: list[Terms] = []
    best, least = start, value(start)
    for _ in range(_ROUNDS):
        tried = {terms: screen.of(terms)[0] for terms in _neighbours(best, factors, unit_charges)}
        promising = sorted(tried, key=lambda terms: (tried[terms], len(terms), str(ordered(terms))))[:_LOOKED_AT]
        values = {terms: value(terms) for terms in promising}
        nearest = min(values, key=lambda terms: values[terms], default=best)
        if not values.get(nearest, math.inf) < least:
            break
        best, least = nearest, values[nearest]
        found.append(best)
    return found


def _neighbours(terms: Terms, factors: dict[str, list[sympy.Expr]], unit_charges: bool) -> Iterator[Terms]:
    pairs = frozenset(term for term in terms if term.along == "d")
    for group in (pairs, terms - pairs):
        for factor in factors["d" if group == pairs else ""] if group else ():
            changed = {term: term.times(factor, unit_charges) for term in ordered(group)}
            if len(group) > 1:
                yield (terms - group) | frozenset(changed.values())
            for term, other in changed.items():
                yield (terms - {term}) | {other}
                if len(terms) < _MOST_TERMS:
                    yield terms | {other}
    if pairs and terms - pairs:
        # Forces become accelerations all at once.
        yield from (by_receiver(terms, factor, unit_charges) for factor in factors[""])
    if len(terms) < _MOST_TERMS:
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
