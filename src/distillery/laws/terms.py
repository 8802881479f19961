"""Name the constants of a law: one coefficient for every term, and those within terms.

Engines write ``r*(r - 1.98)``, where the coefficient 1 of r² is as much a constant as 1.98; so every term of a sum gets
a coefficient, also in place of 1 or -1. Fractional exponents are constants too. Thresholds stay numbers: no error has a
gradient in them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import sympy

from distillery.laws.law import Law, own_part, sums
from distillery.physics import formula
from distillery.symbolic.constants import replace_numbers
from distillery.symbolic.forms import normal


def terms_of(expression: sympy.Expr) -> list[sympy.Expr]:
    """Return the terms of a sum with products of sums multiplied out, denominators excepted; none for zero."""
    found: list[sympy.Expr] = []
    for term in sympy.Add.make_args(expression):
        total = next((factor for factor in sympy.Mul.make_args(term) if isinstance(factor, sympy.Add)), None)
        found += [term] if total is None else terms_of(sympy.Add(*(term / total * part for part in total.args)))
    return [term for term in sympy.Add.make_args(sympy.Add(*found)) if term != 0]


def named(law: Law, *, whole: bool) -> Law:
    """Return a law in which every number that can be fitted is a named constant, c1, c2 and so on.

    Args:
        law: A law with numbers.
        whole: Whether every term of messages, of node terms and of energies gets a coefficient. Otherwise only existing
            numbers are named: scales of messages and nodes cannot be determined separately then.
    """
    names = _Names()
    if law.energies:
        energies = tuple(names.in_terms(energy) for energy in law.energies)
        return dataclasses.replace(law, energies=energies, constants=names.values)
    if not whole:
        messages = tuple(names.of_numbers(normal(message)) for message in law.messages)
        nodes = tuple(names.of_numbers(normal(node)) for node in law.nodes)
        return dataclasses.replace(law, messages=messages, nodes=nodes, constants=names.values)
    messages, nodes = (), ()
    for k, (message, s) in enumerate(zip(law.messages, sums(len(law.messages)), strict=True)):
        messages = (*messages, names.in_terms(message))
        nodes = (*nodes, s + names.in_terms(own_part(law, k)))
    return dataclasses.replace(law, messages=messages, nodes=nodes, constants=names.values)


class _Names:
    """Assigns names to constants, one after the other."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def constant(self, value: Any) -> sympy.Symbol:
        name = f"c{len(self.values) + 1}"
        self.values[name] = float(value)
        return formula.symbol(name)

    def in_terms(self, expression: sympy.Expr) -> sympy.Expr:
        """Name a coefficient of every term, and every number within a term."""
        found = []
        for term in terms_of(expression):
            factors = sympy.Mul.make_args(term)
            cases = [factor for factor in factors if isinstance(factor, sympy.Piecewise)]
            if cases:
                # Constants of a branch stand within it, so a factor of the piecewise part moves into it.
                outside = sympy.Mul(*(factor for factor in factors if factor is not cases[0]))
                branches = ((self.in_terms(outside * value), condition) for value, condition in cases[0].args)
                found.append(sympy.Piecewise(*branches))
                continue
            coefficient, rest = normal(term).as_coeff_Mul()
            found.append(self.constant(coefficient) * self.of_numbers(rest))
        return sympy.Add(*found)

    def of_numbers(self, node: Any) -> Any:
        """Name every number in an expression, except integers and thresholds."""
        return replace_numbers(node, self.constant, exponents=True)
