"""Laws without a favourite axis: terms that are a factor times the displacement, the velocity or the place.

A force that looks alike from all sides is, of pairs, Σ g(r, m1, m2, q1, q2)·Δ, and of bodies h(m, q)·v or h(m, q)·x
(as far as it is linear in these). Only what of a distilled expression has this form can be the law of all axes; a term
across the axis, or an offset, is what the network or the alignment of its messages left over.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import sympy
from sympy.core.relational import Relational

from distillery.laws import tuning
from distillery.laws.compose import RECEIVER, unit_charged
from distillery.laws.law import Law, sums
from distillery.laws.sharing import as_vector
from distillery.laws.terms import named, terms_of
from distillery.networks.functions import AXES
from distillery.physics import formula
from distillery.symbolic.complexity import complexity
from distillery.symbolic.forms import collected, multiplied_out, normal
from distillery.symbolic.hill_climbing import power_products

_PAIR = {formula.symbol(name) for name in ("r", "m1", "m2", "q1", "q2")}
_BODY = {formula.symbol(name) for name in ("m", "q")}
_TO_PAIR = {own: name for name, own in RECEIVER.items()}
# What is not finite without the other axes, or has cases within cases.
_NO_TERM = (sympy.nan, sympy.zoo, sympy.oo, sympy.I, sympy.Piecewise)


@dataclasses.dataclass(frozen=True)
class Term:
    """A term of a vector law, without the constant before it.

    Attributes:
        factor: What stands before the vector: of pairs in r, m1, m2, q1, q2, of bodies in m, q.
        along: The vector: ``d`` displacement (the term is of pairs), ``v`` velocity, empty for the place.
        condition: Where the term acts, of pairs only; None for everywhere.
        otherwise: Whether it acts where the condition does not hold.
    """

    factor: sympy.Expr
    along: Literal["d", "v", ""]
    condition: Relational | None = None
    otherwise: bool = False

    def times(self, factor: sympy.Expr, unit_charges: bool) -> Term:
        """Return the term times a factor."""
        return dataclasses.replace(self, factor=_unit(self.factor * factor, unit_charges)[1])

    @property
    def value(self) -> sympy.Expr:
        """The factor, 0 where the term does not act."""
        if self.condition is None:
            return self.factor
        yes, no = (0, self.factor) if self.otherwise else (self.factor, 0)
        return sympy.Piecewise((yes, self.condition), (no, True))


Terms = frozenset[Term]


def of_messages(message: sympy.Expr, axis: int, dim: int, unit_charges: bool) -> Terms:
    """Return the terms of a message along its own axis; none where it has parts that are no such terms.

    Args:
        message: Expression of the component of an axis.
        axis: The axis, from 0 for x.
        dim: Dimensions of space.
        unit_charges: Whether all charges are 1 or -1.
    """
    own = formula.symbol(f"d{AXES[axis]}")
    others = {formula.symbol(f"d{name}"): sympy.Integer(0) for name in AXES[:dim] if name != AXES[axis]}
    found = set()
    for part, condition, otherwise in _cases(message.xreplace(others)):
        if part.has(*_NO_TERM):
            continue
        factor = _unit(part / own, unit_charges)[1]
        if factor != 0 and factor.free_symbols <= _PAIR:
            found.add(Term(factor, "d", condition, otherwise))
    return frozenset(found)


def of_node(node: sympy.Expr, axis: int, unit_charges: bool) -> tuple[frozenset[sympy.Expr], Terms]:
    """Return what a node makes of what arrives along its axis, and its terms along its own velocity and place.

    Of nodes that are not linear it is the part that is, for small sums and velocities.

    Args:
        node: Expression of the acceleration along an axis.
        axis: The axis.
        unit_charges: Whether all charges are 1 or -1.

    Returns:
        Factors of what arrives, in m1 and q1, and the node's own terms.
    """
    name = AXES[axis]
    vectors = {"s": formula.symbol(f"s{axis + 1}"), "v": formula.symbol(f"v{name}"), "": formula.symbol(name)}
    zero = {symbol: sympy.Integer(0) for symbol in node.free_symbols - _BODY}
    factors: set[sympy.Expr] = set()
    own: set[Term] = set()
    for along, vector in vectors.items():
        slope = sympy.diff(node, vector).xreplace(zero)
        if slope.has(*_NO_TERM):
            continue
        for term in _terms(slope):
            if term == 0:
                continue
            factor = _unit(term, unit_charges)[1]
            if along == "s":
                factors.add(factor.xreplace(_TO_PAIR))
            else:
                own.add(Term(factor, "v" if along == "v" else ""))
    return frozenset(factors), frozenset(own)


def put_together(messages: Terms, factors: Iterable[sympy.Expr], own: Terms, unit_charges: bool) -> Terms:
    """Return the terms of the law that a message and a node are together."""
    return frozenset(term.times(factor, unit_charges) for term in messages for factor in factors) | own


def by_receiver(terms: Terms, factor: sympy.Expr, unit_charges: bool) -> Terms:
    """Return the terms of a law whose accelerations are multiplied by a factor in the receiver's m and q."""
    of_pairs = factor.xreplace(_TO_PAIR)
    return frozenset(term.times(of_pairs if term.along == "d" else factor, unit_charges) for term in terms)


def without_numbers(terms: Terms, unit_charges: bool) -> Terms:
    """Return terms without the numbers that are added to something within them: 1/(m + 0.4) becomes 1/m."""

    def bare(factor: sympy.Expr) -> sympy.Expr:
        return factor.replace(lambda node: node.is_Add, lambda node: node - node.as_coeff_Add()[0])

    factors = {term: _unit(bare(term.factor), unit_charges)[1] for term in terms}
    return frozenset(
        dataclasses.replace(t, factor=f) for t, f in factors.items() if not f.has(sympy.zoo, sympy.nan) and f != 0
    )


def vector_law(terms: Terms, values: Sequence[float], dim: int) -> Law | None:
    """Return the law of some terms, with one constant before each for all axes; None where they have no such law.

    Args:
        terms: The terms.
        values: The constants before them, in the order of ``ordered``.
        dim: Dimensions of space.
    """
    messages, nodes = [], []
    for axis, s in zip(AXES[:dim], sums(dim), strict=True):
        message, own = _expressions(terms, values, axis)
        messages.append(message)
        nodes.append(s + own)
    return as_vector(named(Law(dim, tuple(messages), tuple(nodes), {}), whole=True))


def ordered(terms: Terms) -> list[Term]:
    """Return terms in an order that does not change from run to run."""
    return sorted(terms, key=text_of)


@functools.lru_cache(maxsize=4096)
def text_of(term: Term) -> tuple[str, str, str, bool]:
    """Return a term as text: what terms are ordered by."""
    return term.along, str(term.factor), str(term.condition), term.otherwise


def cost_of(messages: sympy.Expr, own: sympy.Expr) -> int:
    """Return the complexity of a law along one axis: that of a pair's acceleration and of what the body adds."""
    parts = [complexity(collected(part)) for part in (messages, own) if part != 0]
    return max(sum(parts) + len(parts) - 1, 1)


@functools.lru_cache(maxsize=4096)
def cost_of_terms(terms: Terms) -> int:
    """Return the complexity of the law of some terms, whatever its constants are."""
    # Numbers that are no products of each other, so that none is merged.
    return cost_of(*_expressions(terms, [1.37 + 0.211 * k for k in range(len(terms))], AXES[0]))


def _expressions(terms: Terms, values: Sequence[float], axis: str) -> tuple[sympy.Expr, sympy.Expr]:
    """Return the acceleration that a pair gives along an axis, and what the body itself adds."""
    pairs: Any = sympy.Integer(0)
    own: Any = sympy.Integer(0)
    cases: dict[Any, list[Any]] = {}
    for term, value in zip(ordered(terms), values, strict=True):
        part = sympy.Float(value) * term.factor * formula.symbol(f"{term.along}{axis}")
        if term.condition is not None:
            cases.setdefault(term.condition, [sympy.Integer(0), sympy.Integer(0)])[term.otherwise] += part
        elif term.along == "d":
            pairs += part
        else:
            own += part
    pairs += sympy.Add(*(sympy.Piecewise((yes, condition), (no, True)) for condition, (yes, no) in cases.items()))
    return pairs, own


def _cases(expression: sympy.Expr) -> Iterator[tuple[sympy.Expr, Relational | None, bool]]:
    """Yield the terms of an expression, each with where it acts; what has more than two cases is left out."""
    for term in _terms(expression):
        factors = sympy.Mul.make_args(term)
        case = next((factor for factor in factors if isinstance(factor, sympy.Piecewise)), None)
        if case is None:
            yield term, None, False
            continue
        (value, condition), *others = case.args
        simple = isinstance(condition, Relational) and condition.free_symbols <= _PAIR and condition.rhs.is_number
        if len(others) == 1 and others[0][1] == sympy.true and simple:
            outside = sympy.Mul(*(factor for factor in factors if factor is not case))
            for part, otherwise in ((value, False), (others[0][0], True)):
                yield from ((inner, condition, otherwise) for inner in _terms(outside * part))


def _terms(expression: sympy.Expr) -> list[sympy.Expr]:
    """Return the terms of an expression multiplied out; none where they would be many."""
    found = multiplied_out(expression, tuning.MOST_VECTOR_TERMS)
    return [] if found is None else terms_of(found)


def _unit(expression: sympy.Expr, unit_charges: bool) -> tuple[Any, sympy.Expr]:
    """Split off the constant before a term."""
    found: tuple[Any, sympy.Expr] = normal(unit_charged(expression, unit_charges)).as_coeff_Mul()
    return found


def products(names: Sequence[str], most: int, unit_charges: bool) -> list[sympy.Expr]:
    """Return the products of powers ±1 of up to so many of these symbols.

    Args:
        names: The symbols.
        most: How many of them at most.
        unit_charges: Whether the inverse of a charge is the charge.
    """

    def signs(name: str) -> tuple[int, ...]:
        return (1,) if unit_charges and name[0] == "q" else (1, -1)

    return [
        sympy.Mul(*(formula.symbol(name) ** exponent for name, exponent in product))
        for product in power_products(names, most, signs)
    ]
