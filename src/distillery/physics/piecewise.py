"""Piecewise formulas in one form: ``abs``, ``min`` and ``max`` are written as cases too.

Derivatives of cases are cases of derivatives, so that a force is exact on either side of where its potential has a
kink or a jump, and what happens there is left to whoever integrates it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import sympy

from distillery.errors import DistilleryError
from distillery.physics import formula

# Places of a line between which a condition is looked for that changes; halvings until they stand next to each other.
_PLACES, _HALVINGS = 401, 60
# What a formula of size 1 changes by between two such neighbours is rounding below this.
_JUMP = 1e-6
_KINKED = (sympy.Abs, sympy.Min, sympy.Max)
_GREATER, _LESS = (sympy.StrictGreaterThan, sympy.GreaterThan), (sympy.StrictLessThan, sympy.LessThan)


def in_cases(expression: Any) -> Any:
    """Return the same formula with the values of ``abs``, ``min`` and ``max`` as cases.

    Conditions keep ``abs``, ``min`` and ``max``, and no argument is written twice as a value, so that the result is
    about as long as the formula; see ``surface`` for the level of such a condition. A formula without these functions
    comes back as it is.
    """
    if isinstance(expression, sympy.Piecewise):
        return sympy.Piecewise(*((in_cases(value), condition) for value, condition in expression.args))
    if not expression.has(*_KINKED):
        return expression
    arguments = [in_cases(argument) for argument in expression.args]
    if isinstance(expression, sympy.Abs):
        (inner,), (argument,) = arguments, expression.args
        if inner.has(sympy.Piecewise):
            return inner * sympy.Piecewise((1, argument >= 0), (-1, True))
        return sympy.Piecewise((inner, argument >= 0), (-inner, True))
    if isinstance(expression, (sympy.Max, sympy.Min)):
        holds = sympy.Ge if isinstance(expression, sympy.Max) else sympy.Le
        *cases, last = zip(arguments, expression.args, strict=True)
        return sympy.Piecewise(
            *(
                (value, sympy.And(*(holds(own, other) for other in expression.args[index + 1 :])))
                for index, (value, own) in enumerate(cases)
            ),
            (last[0], True),
        )
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


def jumps(expression: sympy.Expr, starts: Mapping[str, Any], ends: Mapping[str, Any]) -> bool:
    """Tell whether a formula has two values where it changes from one case to another, somewhere along some lines.

    Where a condition changes is found by bisection to rounding; a formula without a jump changes there by rounding too.

    Args:
        expression: The formula.
        starts: For every symbol its values at one end of each line, or one number for all of them.
        ends: The same at the other ends.
    """
    levels = levels_of(expression)
    first, last = (dict(zip(starts, _as_rows(values), strict=True)) for values in (starts.values(), ends.values()))

    def at(parts: np.ndarray, lines: Any = slice(None)) -> dict[str, np.ndarray]:
        return {name: first[name][lines] * (1 - parts) + last[name][lines] * parts for name in first}

    parts = np.linspace(0.0, 1.0, _PLACES)
    for level in levels:
        above = np.broadcast_to(
            formula.evaluate(level, at(parts, (slice(None), None))) > 0, (len(next(iter(first.values()))), _PLACES)
        )
        lines, places = np.nonzero(above[:, 1:] != above[:, :-1])
        low, high, side = parts[places], parts[places + 1], above[lines, places]
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            same = (formula.evaluate(level, at(middle, lines)) > 0) == side
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        before, after = (
            np.broadcast_to(formula.evaluate(expression, at(part, lines)), lines.shape) for part in (low, high)
        )
        if np.any(np.abs(after - before) > _JUMP * np.maximum(1.0, np.maximum(np.abs(before), np.abs(after)))):
            return True
    return False


def levels_of(expression: sympy.Expr) -> list[sympy.Expr]:
    """Return what changes its sign where a formula changes from one case to another, in the same order always."""
    found = expression.atoms(*_GREATER, *_LESS)
    return [condition.lhs - condition.rhs for condition in sorted(found, key=sympy.default_sort_key)]


def _as_rows(values: Iterable[Any]) -> list[np.ndarray]:
    return list(np.broadcast_arrays(*(np.atleast_1d(np.asarray(value, dtype=float)) for value in values)))
