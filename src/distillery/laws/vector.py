"""Vector laws: one functional form shared by all axes, as terms that multiply displacement, velocity or position.

An isotropic force is, for pairs, Σ g(r, m1, m2, q1, q2)·Δ, and for bodies h(m, q)·v or h(m, q)·x (as far as it is
linear in these). Only such parts of a distilled expression can belong to a vector law; a term across the axis, or an
offset, is an error of the network or of the alignment of its messages.
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
# Parts that are singular without the other axes, or nested piecewise parts.
_NO_TERM = (sympy.nan, sympy.zoo, sympy.oo, sympy.I, sympy.Piecewise)


@dataclasses.dataclass(frozen=True)
class Term:
    """A term of a vector law, without its coefficient.

    Attributes:
        factor: Factor of the vector: for pairs in r, m1, m2, q1, q2, for bodies in m, q.
        along: The vector: ``d`` displacement (a term of pairs), ``v`` velocity, empty for the position.
        condition: Condition under which the term acts, for pairs only; None for everywhere.
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


def message_terms(message: sympy.Expr, axis: int, dim: int, unit_charges: bool) -> Terms:
    """Return the terms of a message along its own axis; parts of another form are omitted.

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


def node_terms(node: sympy.Expr, axis: int, unit_charges: bool) -> tuple[frozenset[sympy.Expr], Terms]:
    """Return the factors of a node for the sums along its axis, and its terms along its own velocity and position.

    For a nonlinear node it is the linear part, at small sums and velocities.

    Args:
        node: Expression of the acceleration along an axis.
        axis: The axis.
        unit_charges: Whether all charges are 1 or -1.

    Returns:
        Factors of sums, in m1 and q1, and the node's own terms.
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


def combined_terms(messages: Terms, factors: Iterable[sympy.Expr], own: Terms, unit_charges: bool) -> Terms:
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
    """Return the law of some terms, with one coefficient of each for all axes; None if they have no such law.

    Args:
        terms: The terms.
        values: Their coefficients, in the order of ``ordered``.
        dim: Dimensions of space.
    """
    messages, nodes = [], []
    for axis, s in zip(AXES[:dim], sums(dim), strict=True):
        message, own = _expressions(terms, values, axis)
        messages.append(message)
        nodes.append(s + own)
    return as_vector(named(Law(dim, tuple(messages), tuple(nodes), {}), whole=True))


def ordered(terms: Terms) -> list[Term]:
    """Return terms in an order that is the same in every run."""
    return sorted(terms, key=text_of)


@functools.lru_cache(maxsize=4096)
def text_of(term: Term) -> tuple[str, str, str, bool]:
    """Return a term as text, by which terms are ordered."""
    return term.along, str(term.factor), str(term.condition), term.otherwise


def cost_of(messages: sympy.Expr, own: sympy.Expr) -> int:
    """Return the complexity of a law along one axis: that of a pair's acceleration and of a body's own terms."""
    parts = [complexity(collected(part)) for part in (messages, own) if part != 0]
    return max(sum(parts) + len(parts) - 1, 1)


@functools.lru_cache(maxsize=4096)
def cost_of_terms(terms: Terms) -> int:
    """Return the complexity of the law of some terms, for any coefficients."""
    # Numbers that are not products of each other, so that none is merged.
    return cost_of(*_expressions(terms, [1.37 + 0.211 * k for k in range(len(terms))], AXES[0]))


def _expressions(terms: Terms, values: Sequence[float], axis: str) -> tuple[sympy.Expr, sympy.Expr]:
    """Return a pair's acceleration along an axis, and a body's own terms."""
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
    """Yield the terms of an expression, each with its condition; omit parts with more than two branches."""
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
    """Return the terms of an expression multiplied out; none if there would be many."""
    found = multiplied_out(expression, tuning.MOST_VECTOR_TERMS)
    return [] if found is None else terms_of(found)


def _unit(expression: sympy.Expr, unit_charges: bool) -> tuple[Any, sympy.Expr]:
    """Split off the coefficient of a term."""
    found: tuple[Any, sympy.Expr] = normal(unit_charged(expression, unit_charges)).as_coeff_Mul()
    return found


def products(names: Sequence[str], most: int, unit_charges: bool) -> list[sympy.Expr]:
    """Return the products of powers ±1 of these symbols.

    Args:
        names: The symbols.
        most: Symbols in a product at most.
        unit_charges: Whether the inverse of a charge is the charge.
    """

    def signs(name: str) -> tuple[int, ...]:
        return (1,) if unit_charges and name[0] == "q" else (1, -1)

    return [
        sympy.Mul(*(formula.symbol(name) ** exponent for name, exponent in product))
        for product in power_products(names, most, signs)
    ]
