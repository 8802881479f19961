"""Piecewise formulas in one form: ``abs``, ``min`` and ``max`` are written as cases too.

Derivatives of cases are cases of derivatives, so that a force is exact on either side of where its potential has a
kink or a jump, and what happens there is left to whoever integrates it.
"""

from __future__ import annotations

import functools

import sympy

from distillery.errors import DistilleryError

_GREATER, _LESS = (sympy.StrictGreaterThan, sympy.GreaterThan), (sympy.StrictLessThan, sympy.LessThan)


def in_cases(expression: sympy.Expr) -> sympy.Expr:
    """Return the same formula with ``abs``, ``min`` and ``max`` as cases; one without them comes back as it is."""
    if not expression.has(sympy.Abs, sympy.Min, sympy.Max):
        return expression
    arguments = [in_cases(argument) for argument in expression.args]
    if isinstance(expression, sympy.Abs):
        (inner,) = arguments
        return sympy.Piecewise((inner, inner >= 0), (-inner, True))
    if isinstance(expression, sympy.Max):
        return functools.reduce(lambda a, b: sympy.Piecewise((a, a >= b), (b, True)), arguments)
    if isinstance(expression, sympy.Min):
        return functools.reduce(lambda a, b: sympy.Piecewise((a, a <= b), (b, True)), arguments)
    return expression.func(*arguments)


def cases_of(expression: sympy.Expr) -> tuple[sympy.Expr, ...]:
    """Return the outermost cases of a formula, in an order that does not depend on the process."""
    if isinstance(expression, sympy.Piecewise):
        return (expression,)
    found = dict.fromkeys(case for argument in expression.args for case in cases_of(argument))
    return tuple(sorted(found, key=sympy.default_sort_key))


def surface(condition: sympy.Basic) -> tuple[sympy.Expr, bool]:
    """Return a level and whether the condition holds where it is positive (or where it is negative).

    Conditions with the same surface have the same level, however they are written.

    Args:
        condition: A comparison.

    Raises:
        DistilleryError: It is something else.
    """
    if not isinstance(condition, (*_GREATER, *_LESS)):
        raise DistilleryError(
            f"condition {condition} is not a comparison with < or >; write nested 'A if r > 2 else B'"
        )
    level, above = condition.lhs - condition.rhs, isinstance(condition, _GREATER)
    return (-level, not above) if level.could_extract_minus_sign() else (level, above)


def comparisons(expression: sympy.Expr) -> tuple[sympy.Basic, ...]:
    """Return all comparisons of a formula's cases.

    Raises:
        DistilleryError: A condition is something else.
    """
    conditions = {
        condition
        for case in expression.atoms(sympy.Piecewise)
        for _, condition in case.args
        if condition not in (sympy.true, sympy.false)
    }
    for condition in conditions:
        surface(condition)
    return tuple(sorted(conditions, key=sympy.default_sort_key))
