"""The constants of the true law, moved within their tolerance to where an expression fits best."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy
from scipy.optimize import minimize

from distillery.laws.limits import bounded
from distillery.laws.settings import VerificationSettings
from distillery.physics import formula
from distillery.physics.systems import BODY_SYMBOLS, PAIR_SYMBOLS, SOFTENING, System
from distillery.util import budget

# A mean residual above which no constants within the tolerance help.
_HOPELESS = 0.3
# Points per axis of the grid on which the search begins, by the number of constants.
_POINTS = {1: 5, 2: 5, 3: 4, 4: 3}
# Evaluations of the search: so many, and so many more for each constant beyond the second.
_EVALUATIONS, _MORE = 150, 50
# A mean residual below which no better constants are looked for.
_ENOUGH = 1e-4
_NUMBER = "number{}"


def with_numbers_named(system: System) -> System:
    """Return a system in whose formulas every number has a name, so that it is a constant like any other.

    A potential means the same whether its numbers are named or not. Exponents and signs stay as they are, and so does a
    factor of the whole formula. Equal numbers that are added to or compared with something are one constant, as the
    rest length of a rope that ends there.

    Args:
        system: The system.
    """
    numbers = _Numbers(frozenset(system.constants))

    def named(text: str, symbols: tuple[str, ...]) -> str:
        factor, rest = formula.parse(text, (*symbols, *system.constants)).as_coeff_Mul()
        return formula.to_text(factor * numbers.named(rest))

    changes: dict[str, object] = {"potential": named(system.potential, PAIR_SYMBOLS)}
    if system.body_potential is not None:
        changes["body_potential"] = named(system.body_potential, BODY_SYMBOLS)
    return system.model_copy(update=changes | {"constants": {**system.constants, **numbers.values}})


class _Numbers:
    """Names for the numbers of formulas; their values are sizes, without signs."""

    def __init__(self, taken: frozenset[str]) -> None:
        self.values: dict[str, float] = {}
        self._taken = taken
        self._terms: dict[float, sympy.Symbol] = {}

    def named(self, expression: Any) -> Any:
        """Return an expression with symbols in the place of its numbers."""
        if isinstance(expression, sympy.Number):
            size = abs(float(expression))
            if size == 0:
                return expression
            if size not in self._terms:
                self._terms[size] = self._new(size)
            return sympy.sign(expression) * self._terms[size]
        if isinstance(expression, sympy.Pow):
            return sympy.Pow(self.named(expression.base), expression.exp)
        if isinstance(expression, sympy.Mul):
            factor, rest = expression.as_coeff_Mul()
            size = abs(float(factor))
            own = sympy.sign(factor) * (1 if size == 1 else self._new(size))
            return own * sympy.Mul(*(self.named(part) for part in sympy.Mul.make_args(rest)))
        if not expression.args:
            return expression
        return expression.func(*(self.named(argument) for argument in expression.args))

    def _new(self, size: float) -> sympy.Symbol:
        name = _NUMBER.format(len(self.values))
        while name in self._taken:
            name += "_"
        self.values[name] = size
        return formula.symbol(name)


def fit_constants(
    residual_of: Callable[[dict[str, float]], np.ndarray],
    system: System,
    settings: VerificationSettings,
    law: sympy.Expr,
    distance: float,
) -> dict[str, float]:
    """Return the constants and the softening with the smallest residuals.

    Both move the distance at which a law has its features (r + softening - rest_length), so they share one allowance:
    the more of the softening's range is used, the less of the constants' tolerance is left.

    A search that exceeds the budget of its stage ends with the best constants found so far.

    Args:
        residual_of: Gives the relative residuals with other constants.
        system: The system whose law is the truth.
        settings: How far constants may move.
        law: The formula in which the constants stand; one that is not in it keeps its value.
        distance: Typical distance of the data's pairs, of which the softening's range is a share.
    """
    # Constants of the body potential alone say nothing about pairs, and the softening nothing about single bodies.
    known = {symbol.name for symbol in law.free_symbols}
    own = system.softening
    reach = settings.max_softening * distance if SOFTENING in known else 0.0
    least, most = max(own - reach, 0.0), own + reach
    free = [
        name
        for name, value in system.constants.items()
        if name in known and value != 0 and settings.constant_tolerance > 0
    ]
    dimensions = len(free) + (reach > 0)

    def constants(unit: np.ndarray) -> dict[str, float]:
        moves = np.clip(unit, 0.0, 1.0)
        softening = least + (most - least) * float(moves[-1]) if reach > 0 else own
        used = abs(softening - own) / reach if reach > 0 else 0.0
        tolerance = settings.constant_tolerance * (1.0 - used)
        moved = {
            name: system.constants[name] * (1.0 + tolerance * (2.0 * float(move) - 1.0))
            for name, move in zip(free, moves, strict=False)
        }
        return {**system.constants, **moved, SOFTENING: softening}

    best_loss, best = np.inf, np.zeros(dimensions)

    def loss(unit: np.ndarray) -> float:
        nonlocal best_loss, best
        budget.spend()
        # Bounded, so that a few bad places do not decide; a logarithm, so that the slope does not die out before errors
        # are far within their limits.
        size = float(np.mean(np.minimum(bounded(residual_of(constants(unit))), 1.0)))
        outside = float(np.sum(np.abs(unit - np.clip(unit, 0.0, 1.0))))
        found = float(np.log(size + _ENOUGH)) + outside
        if found < best_loss:
            best_loss, best = found, np.copy(unit)
        return found

    if dimensions:
        with contextlib.suppress(budget.OutOfBudget):
            _search(loss, dimensions)
    return constants(best) if np.isfinite(best_loss) else {**system.constants, SOFTENING: own}


def _search(loss: Callable[[np.ndarray], float], dimensions: int) -> None:
    """Evaluate a loss on a grid of the unit cube and then downhill from the best point of it.

    Args:
        loss: The loss, which keeps its best argument.
        dimensions: Dimensions of the cube.
    """
    points = _POINTS.get(dimensions, 2)
    grid = [np.array(point) for point in itertools.product(np.linspace(0, 1, points), repeat=dimensions)]
    if dimensions > max(_POINTS):
        # A grid would be too large; the law's own values, with each softening, are close enough to begin with.
        grid = [np.append(np.full(dimensions - 1, 0.5), last) for last in np.linspace(0, 1, 5)]
    losses = [loss(point) for point in grid]
    best = grid[int(np.argmin(losses))]
    if np.exp(min(losses)) > _HOPELESS:
        return
    inwards = np.diag(np.where(best > 0.5, -1.0, 1.0)) / (points - 1)
    evaluations = _EVALUATIONS + _MORE * max(dimensions - 2, 0)
    simplex = np.vstack([best, best + inwards])
    options = {"maxfev": evaluations, "xatol": 1e-3, "fatol": 1e-3, "initial_simplex": simplex}
    minimize(loss, best, method="Nelder-Mead", options=options)
