"""Convert formulas to one piecewise form, including ``abs``, ``min`` and ``max``.

Derivatives of piecewise formulas are piecewise derivatives, so a force is exact on either side of a kink or a jump of
its potential; the integrator handles the kink or jump itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import sympy

from distillery.errors import DistilleryError
from distillery.physics import formula

# Places along a line between which a change of a condition is located; bisections down to neighbouring floats.
_PLACES, _HALVINGS = 401, 60
# A change below this, relative to the size of the formula, is rounding.
_JUMP = 1e-6
_KINKED = (sympy.Abs, sympy.Min, sympy.Max)
_GREATER, _LESS = (sympy.StrictGreaterThan, sympy.GreaterThan), (sympy.StrictLessThan, sympy.LessThan)


def as_piecewise(expression: Any) -> Any:
    """Return the same formula with the values of ``abs``, ``min`` and ``max`` as piecewise expressions.

    Conditions keep ``abs``, ``min`` and ``max``, and no argument is written twice as a value, so that the result is
    about as long as the formula; see ``surface`` for the level of such a condition. A formula without these functions
    is returned unchanged.
    """
    if isinstance(expression, sympy.Piecewise):
        return sympy.Piecewise(*((as_piecewise(value), condition) for value, condition in expression.args))
    if not expression.has(*_KINKED):
        return expression
    arguments = [as_piecewise(argument) for argument in expression.args]
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


def outermost(expression: sympy.Basic) -> tuple[sympy.Expr, ...]:
    """Return the outermost piecewise parts of a formula, in an order that is the same in every process."""
    if isinstance(expression, sympy.Piecewise):
        return (expression,)
    found = dict.fromkeys(case for argument in expression.args for case in outermost(argument))
    return tuple(sorted(found, key=sympy.default_sort_key))


def surface(condition: Any) -> tuple[sympy.Expr, bool]:
    """Return a level and whether the condition holds for positive (or for negative) values of it.

    Equivalent conditions have the same level in any notation.

    Args:
        condition: A comparison.

    Raises:
        DistilleryError: The condition is not a comparison.
    """
    if not isinstance(condition, (*_GREATER, *_LESS)):
        raise DistilleryError(f"condition {condition} is not a comparison with < or >; write 'A if r > 2 else B'")
    level, above = condition.lhs - condition.rhs, isinstance(condition, _GREATER)
    return (-level, not above) if level.could_extract_minus_sign() else (level, above)


def decide(condition: Any, yes: Any, no: Any, compare: Callable[[Any, Any, Any], Any]) -> Any:
    """Return one of two branches by a condition, which SymPy may have combined from several comparisons.

    Args:
        condition: Comparisons, alone or combined.
        yes: The branch where it holds.
        no: The branch where it does not.
        compare: Chooses by one comparison.

    Raises:
        DistilleryError: The condition contains anything but comparisons.
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
        DistilleryError: The formula has one.
    """
    for case in expression.atoms(sympy.Piecewise):
        for _, condition in case.args:
            decide(condition, None, None, lambda *_: None)


def jumps(expression: sympy.Expr, starts: Mapping[str, Any], ends: Mapping[str, Any]) -> bool:
    """Return whether a formula jumps where it changes between branches, somewhere along some lines.

    Bisection locates the change of a condition to rounding; a formula without a jump changes there by rounding only.

    Args:
        expression: The formula.
        starts: Values of every symbol at one end of each line, or one number for all lines.
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
    """Return the levels whose signs select the branches of a formula, in a fixed order."""
    found = expression.atoms(*_GREATER, *_LESS)
    return [condition.lhs - condition.rhs for condition in sorted(found, key=sympy.default_sort_key)]


def _as_rows(values: Iterable[Any]) -> list[np.ndarray]:
    return list(np.broadcast_arrays(*(np.atleast_1d(np.asarray(value, dtype=float)) for value in values)))
