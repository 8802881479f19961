"""Replace one law for each axis by one vector law, if the components have the same form."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import sympy
from sympy.core.relational import Relational

from distillery.laws.law import Law
from distillery.physics import formula
from distillery.symbolic.shared_form import axis_exchange

_ANY = formula.symbol("any constant")


def as_vector(law: Law) -> Law | None:
    """Return a law whose components share their constants, or None if their forms differ.

    Forms are compared term by term, with x exchanged for the component's own axis in displacements, velocities,
    positions and sums; values of constants and thresholds are ignored. Shared constants start from the mean of the
    components, thresholds are those of the first component.

    Args:
        law: A law with a message and an acceleration for each axis; a Hamiltonian law is one function already.
    """
    if law.energies or law.shared or len(law.messages) != law.dim:
        return None
    exchanges = [axis_exchange(k) for k in range(law.dim)]
    forms = [
        [_forms(part.xreplace(swap), law) for part in (law.messages[k], law.nodes[k])]
        for k, swap in enumerate(exchanges)
    ]
    keys = [[collections.Counter(form for form, _ in part) for part in component] for component in forms]
    if any(own != keys[0] for own in keys[1:]) or any(max(part.values(), default=1) > 1 for part in keys[0]):
        return None
    starts: dict[str, float] = {}
    for part in range(2):
        for form, names in forms[0][part]:
            values = [[law.constants[n] for n in dict(component[part])[form]] for component in forms]
            starts |= {name: _middle([own[place] for own in values]) for place, name in enumerate(names)}
    return dataclasses.replace(
        law,
        messages=tuple(law.messages[0].xreplace(swap) for swap in exchanges),
        nodes=tuple(law.nodes[0].xreplace(swap) for swap in exchanges),
        constants=starts,
        shared=True,
    )


def _forms(part: sympy.Expr, law: Law) -> list[tuple[Any, tuple[str, ...]]]:
    """Return each term with its constants replaced by one symbol, and their names."""
    names = [formula.symbol(name) for name in law.constants]
    alike = dict.fromkeys(names, _ANY)
    return [
        (
            _any_threshold(term.xreplace(alike)),
            tuple(sorted((s.name for s in term.free_symbols if s in names), key=lambda name: int(name[1:]))),
        )
        for term in sympy.Add.make_args(part)
        if term != 0
    ]


def _any_threshold(term: sympy.Expr) -> sympy.Expr:
    """Return a term with the thresholds of its conditions replaced by one symbol."""
    conditions = {c: c.func(c.lhs, _ANY) for c in term.atoms(Relational) if c.rhs.is_number}
    return term.xreplace(conditions)


def _middle(values: list[float]) -> float:
    """Return the mean of values of one sign, else the first value."""
    return sum(values) / len(values) if all(value * values[0] > 0 for value in values) else values[0]
