"""The true law of a system, derived from its definition in the result store, in the form of distilled laws."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import sympy

from distillery.errors import DistilleryError
from distillery.laws import text
from distillery.laws.law import Law, sums
from distillery.networks.functions import AXES
from distillery.physics import formula
from distillery.physics.systems import BODY_SYMBOLS, PAIR_SYMBOLS, System

# Fractions with larger denominators come from decimal numbers.
_FRACTIONS = 4


@dataclasses.dataclass(frozen=True)
class Truth:
    """The true law of a system.

    Attributes:
        potentials: Formula of U, the potential of a pair, and V, that of a body, as defined.
        symbols: By potential, the names that may occur in it.
        notes: Constants, softening, damping, and which pairs interact.
        law: The accelerations, on one line as written by ``laws.text.line``; empty if they cannot be derived.
    """

    potentials: Mapping[str, str]
    symbols: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    law: str


def truth(definition: Mapping[str, Any], dim: int, bodies: int) -> Truth:
    """Return the true law of a system.

    Args:
        definition: The system, as in JSON.
        dim: Dimensions of space.
        bodies: Number of bodies.
    """
    constants = definition.get("constants", {})
    potentials = {"U": str(definition.get("potential", ""))}
    if definition.get("body_potential") is not None:
        potentials["V"] = str(definition["body_potential"])
    symbols = {name: (*known, *constants) for name, known in (("U", PAIR_SYMBOLS), ("V", BODY_SYMBOLS))}
    notes = [f"{name} = {_number(value)}" for name, value in constants.items()]
    if definition.get("softening"):
        notes.append(f"r + {_number(definition['softening'])} stands for r")
    if definition.get("damping"):
        notes.append(f"damping {_number(definition['damping'])}")
    if definition.get("graph") == "chain":
        notes.append("neighbours in a chain interact")
    try:
        system = System.model_validate_json(json.dumps(definition))
        line = text.line(true_law(system, dim, bodies))
    except (DistilleryError, ValueError):
        # A definition that this version cannot read is shown as text.
        line = ""
    return Truth(potentials, symbols, tuple(notes), line)


def true_law(system: System, dim: int, bodies: int) -> Law:
    """Return the accelerations of a system as a law, its constants filled in.

    Args:
        system: The system.
        dim: Dimensions of space.
        bodies: Number of bodies, on which damping depends.
    """
    values = {formula.symbol(name): sympy.Rational(str(value)) for name, value in system.parameters.items()}
    r, mass, receiver = (formula.symbol(name) for name in ("r", "m", "m1"))
    strength = _sum_of_terms(system.radial_force.xreplace(values), r * receiver)
    external, drag = system.external_potential.xreplace(values), sympy.Rational(str(system.damping)) * (bodies - 1)
    messages, nodes = [], []
    for axis, arriving in zip(AXES[:dim], sums(dim), strict=True):
        place, velocity = formula.symbol(axis), formula.symbol(f"v{axis}")
        messages.append(_decimal(_times(strength, formula.symbol(f"d{axis}"))))
        own = -sympy.diff(external, place) / mass - drag * velocity / (bodies * mass)
        nodes.append(arriving + _decimal(own.subs(formula.symbol("z"), 0) if dim == 2 else own))
    return Law(dim, tuple(messages), tuple(nodes), {})


def _sum_of_terms(force: sympy.Expr, divisor: sympy.Expr) -> sympy.Expr:
    """Return a force over a divisor, term by term in each of its branches, as distilled laws are written."""
    folded = sympy.piecewise_fold(force)
    if isinstance(folded, sympy.Piecewise):
        return sympy.Piecewise(*((_sum_of_terms(value, divisor), where) for value, where in folded.args))
    terms = sympy.expand(_decimal(folded), power_exp=False, power_base=False, multinomial=False)
    return sympy.Add(*(term / divisor for term in sympy.Add.make_args(terms)))


def _times(factor: sympy.Expr, delta: sympy.Symbol) -> sympy.Expr:
    if isinstance(factor, sympy.Piecewise):
        return sympy.Piecewise(*((_times(value, delta), where) for value, where in factor.args))
    return sympy.Add(*(term * delta for term in sympy.Add.make_args(factor)))


def _decimal(expression: sympy.Expr) -> sympy.Expr:
    """Return an expression with unusual fractions as decimal numbers."""
    return expression.xreplace(
        {n: sympy.Float(n) for n in expression.atoms(sympy.Rational) if not n.is_Integer and n.q > _FRACTIONS}
    )


def _number(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, (int, float)) else str(value)
