"""The constants of a law, by name: one before every term, and those within terms.

Engines write ``r*(r - 1.98)``, where the 1 before r² is as much a constant of nature as the 1.98; so every term of a
sum gets a constant, also where 1 or -1 stood there. Exponents that are no whole numbers are constants too. Thresholds
of cases stay as they are: no error has a gradient in them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import sympy

from distillery.laws.law import Law, own_part, sums
from distillery.physics import formula
from distillery.symbolic.forms import normal


def terms_of(expression: sympy.Expr) -> list[sympy.Expr]:
    """Return the terms of a sum, products of sums multiplied out; none of zero. What is below a fraction bar stays."""
    found: list[sympy.Expr] = []
    for term in sympy.Add.make_args(expression):
        total = next((factor for factor in sympy.Mul.make_args(term) if isinstance(factor, sympy.Add)), None)
        found += [term] if total is None else terms_of(sympy.Add(*(term / total * part for part in total.args)))
    return [term for term in sympy.Add.make_args(sympy.Add(*found)) if term != 0]


def named(law: Law, *, whole: bool) -> Law:
    """Return a law in which every number that can be fitted is a constant with a name, c1 or c2 and so on.

    Args:
        law: A law with numbers.
        whole: Whether every term of messages, of what nodes add, and of energies gets a constant. If not, only the
            numbers do that stand there: what lies between messages and nodes cannot be told apart then anyway.
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
    """Gives constants their names, one after the other."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def constant(self, value: Any) -> sympy.Symbol:
        name = f"c{len(self.values) + 1}"
        self.values[name] = float(value)
        return formula.symbol(name)

    def in_terms(self, expression: sympy.Expr) -> sympy.Expr:
        """Give a constant to every term, and to every number within one."""
        found = []
        for term in terms_of(expression):
            factors = sympy.Mul.make_args(term)
            cases = [factor for factor in factors if isinstance(factor, sympy.Piecewise)]
            if cases:
                # The constants of a case stand within it, so what stands before it goes there too.
                outside = sympy.Mul(*(factor for factor in factors if factor is not cases[0]))
                pieces = ((self.in_terms(outside * value), condition) for value, condition in cases[0].args)
                found.append(sympy.Piecewise(*pieces))
                continue
            coefficient, rest = normal(term).as_coeff_Mul()
            found.append(self.constant(coefficient) * self.of_numbers(rest))
        return sympy.Add(*found)

    def of_numbers(self, node: Any) -> Any:
        """Give a constant to every number that stands in an expression, but for whole ones and thresholds."""
        if node.is_Float or (node.is_Rational and not node.is_Integer):
            return self.constant(node)
        if isinstance(node, sympy.Piecewise):
            return sympy.Piecewise(*((self.of_numbers(value), condition) for value, condition in node.args))
        if not node.args:
            return node
        if isinstance(node, sympy.Pow) and node.exp.is_Rational:
            return node.func(self.of_numbers(node.base), node.exp)
        return node.func(*(self.of_numbers(argument) for argument in node.args))
