"""Piecewise formulas in one form: ``abs``, ``min`` and ``max`` are written as cases too.

Derivatives of cases are cases of derivatives, so that a force is exact on either side of where its potential has a
kink or a jump, and what happens there is left to whoever integrates it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import sympy

from distillery.errors import DistilleryError

_GREATER, _LESS = (sympy.StrictGreaterThan, sympy.GreaterThan), (sympy.StrictLessThan, sympy.LessThan)


def in_cases(expression: Any) -> Any:
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


def cases_of(expression: sympy.Basic) -> tuple[sympy.Expr, ...]:
    """Return the outermost cases of a formula, in an order that does not depend on the process."""
    if isinstance(expression, sympy.Piecewise):
        return (expression,)
    found = dict.fromkeys(case for argument in expression.args for case in cases_of(argument))
    return tuple(sorted(found, key=sympy.default_sort_key))


def surface(condition: Any) -> tuple[sympy.Expr, bool]:
    """Return a level and whether the condition holds where it is positive (or where it is negative).

    Conditions with the same surface have the same level, however they are written.

    Args:
        condition: A comparison.

    Raises:
        DistilleryError: It is something else.
    """
    if not isinstance(condition, (*_GREATER, *_LESS)):
        raise DistilleryError(f"condition {condition} is not a comparison with < or >; write 'A if r > 2 else B'")
    level, above = condition.lhs - condition.rhs, isinstance(condition, _GREATER)
    return (-level, not above) if level.could_extract_minus_sign() else (level, above)


def decide(condition: Any, yes: Any, no: Any, compare: Callable[[Any, Any, Any], Any]) -> Any:
    """Return one of two cases by a condition, which SymPy may have put together from several comparisons.

    Args:
        condition: Comparisons, alone or joined.
        yes: The case where it holds.
        no: The case where it does not.
        compare: Chooses by one comparison.

    Raises:
        DistilleryError: It is something else.
    """
    parts = condition.args
    match condition:
        case sympy.And():
            return functools.reduce(lambda found, part: decide(part, found, no, compare), parts, yes)
        case sympy.Or():
            return functools.reduce(lambda found, part: decide(part, yes, found, compare), parts, no)
        case sympy.Not():
            return decide(parts[0], no, yes, compare)
        case sympy.ITE():
            first, second = (decide(part, yes, no, compare) for part in parts[1:])
            return decide(parts[0], first, second, compare)
    if condition in (sympy.true, sympy.false):
        return yes if condition == sympy.true else no
    surface(condition)
    return compare(condition, yes, no)


def require_comparisons(expression: sympy.Expr) -> None:
    """Refuse a formula with conditions other than comparisons.

    Raises:
        DistilleryError: It has one.
    """
    for case in expression.atoms(sympy.Piecewise):
        for _, condition in case.args:
            decide(condition, None, None, lambda *_: None)
