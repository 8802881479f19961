"""Tidy the expressions of an engine: short expressions with well-fitted constants.

Engines return redundant expressions (operon weights every variable and adds a scale and an offset). Each is brought to
its cheapest form; then the least important constants and terms are removed one by one, and the others refitted each
time. Thresholds of piecewise expressions have no gradient and are scanned. Every intermediate expression is a
candidate: the Pareto front decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import sympy
from jaxtyping import Float

from distillery.physics import formula
from distillery.symbolic import tuning
from distillery.symbolic.complexity import complexity
from distillery.symbolic.constants import replace_numbers
from distillery.symbolic.forms import cheapest, normal, products
from distillery.symbolic.least_squares import units
from distillery.symbolic.threshold_split import best_threshold


def tidied(
    expressions: list[sympy.Expr],
    features: Mapping[str, Float[np.ndarray, " sample"]],
    target: Float[np.ndarray, " sample"],
) -> list[sympy.Expr]:
    """Return short forms of expressions with refitted constants.

    Args:
        expressions: Expressions of an engine.
        features: Training inputs by name (dimensionless).
        target: Training target (dimensionless).
    """
    seen: set[Any] = set()
    return [
        candidate for expression in expressions for candidate in _prunings(cheapest(expression), features, target, seen)
    ]


def _prunings(
    expression: sympy.Expr,
    features: Mapping[str, Float[np.ndarray, " sample"]],
    target: Float[np.ndarray, " sample"],
    seen: set[Any],
) -> Iterator[sympy.Expr]:
    first: float | None = None
    while True:
        skeleton = parametrise(expression)
        if skeleton.expression in seen:
            return
        seen.add(skeleton.expression)
        fit = refit(skeleton, features, target)
        moved = scanned(fit.expression, features, target)
        if moved != fit.expression:
            skeleton = parametrise(moved)
            fit = refit(skeleton, features, target)
        if not np.isfinite(fit.error):
            return
        first = fit.error if first is None else first
        if fit.error > tuning.PRUNING_GROWTH * first:
            return
        yield fit.expression
        product = products(fit.expression)
        if product is not None and complexity(product) < complexity(fit.expression):
            yield from _prunings(product, features, target, seen)
        without_else = _without_else(fit.expression)
        if without_else is not None and complexity(without_else) < complexity(fit.expression):
            yield from _prunings(without_else, features, target, seen)
        shorter = next(_deletions(skeleton, fit), None)
        if shorter is None:
            return
        expression = cheapest(shorter)


def scanned(
    expression: sympy.Expr,
    features: Mapping[str, Float[np.ndarray, " sample"]],
    target: Float[np.ndarray, " sample"],
) -> sympy.Expr:
    """Return a piecewise expression with each threshold of a feature at the least mean absolute error.

    Args:
        expression: Any expression; one without conditions like ``r > 2`` stays as it is.
        features: Training inputs by name (dimensionless).
        target: Training target (dimensionless).
    """
    for condition in sorted(expression.atoms(sympy.StrictGreaterThan, sympy.StrictLessThan), key=str):
        name, threshold = condition.args
        if not (name.is_Symbol and threshold.is_number and name.name in features):
            continue
        yes, no = (
            np.abs(formula.evaluate(expression.xreplace({condition: truth}), features) - target)
            for truth in (sympy.true, sympy.false)
        )
        above, below = (yes, no) if isinstance(condition, sympy.StrictGreaterThan) else (no, yes)
        found = best_threshold(features[name.name], above, below, float(threshold))
        if found != float(threshold):
            expression = expression.xreplace({condition: condition.func(name, sympy.Float(found))})
    return expression


def _without_else(expression: sympy.Expr) -> sympy.Expr | None:
    """Return the expression with 0 for the last branch of its first piecewise part, if that is not 0 already."""
    for case in sorted(expression.atoms(sympy.Piecewise), key=str):
        *cases, (last, _) = case.args
        if last != 0:
            return cheapest(expression.xreplace({case: sympy.Piecewise(*cases, (0, True))}))
    return None


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """An expression whose constants are parameters.

    Attributes:
        expression: The expression in the features and the parameters.
        values: Values of the parameters, by name.
    """

    expression: sympy.Expr
    values: dict[str, float]

    def filled(self, values: Mapping[str, float]) -> sympy.Expr:
        """Return the expression with these values of its parameters."""
        return self.expression.xreplace({formula.symbol(n): sympy.Float(float(v)) for n, v in values.items()})


def parametrise(expression: sympy.Expr) -> Skeleton:
    """Replace every constant of an expression by a parameter, except exponents and thresholds.

    Args:
        expression: An expression as ``cheapest`` returns it.
    """
    values: dict[str, float] = {}

    def constant(value: Any) -> sympy.Expr:
        name = f"c_{len(values)}"
        values[name] = float(value)
        return formula.symbol(name)

    return Skeleton(replace_numbers(expression, constant, exponents=False), values)


@dataclasses.dataclass(frozen=True)
class Fit:
    """Constants fitted to data.

    Attributes:
        expression: The expression with the fitted constants.
        values: The fitted parameters, by name.
        error: Mean absolute error on the training data; infinite if the expression is singular there.
        covariance: Inverse of the Gauss-Newton matrix.
    """

    expression: sympy.Expr
    values: dict[str, float]
    error: float
    covariance: Float[np.ndarray, "parameter parameter"]

    def growth(self, name: str, value: float) -> float:
        """Return the second-order growth of the squared error if a parameter is set to ``value``."""
        index = list(self.values).index(name)
        variance = self.covariance[index, index]
        return (self.values[name] - value) ** 2 / variance if variance > 0 else np.inf


def refit(
    skeleton: Skeleton,
    features: Mapping[str, Float[np.ndarray, " sample"]],
    target: Float[np.ndarray, " sample"],
    iterations: int = tuning.FIT_STEPS,
) -> Fit:
    """Fit the parameters of a skeleton to data: least squares reweighted towards least absolute deviations.

    The Levenberg-Marquardt steps minimise Σ ρ(residual) with ρ quadratic within the typical residual and linear beyond
    (Huber), so that the huge forces of a few close encounters do not dominate.

    Args:
        skeleton: Expression with parameters and their starting values.
        features: Training inputs by name (dimensionless).
        target: Training target (dimensionless).
        iterations: Levenberg-Marquardt steps at most.
    """
    names = list(skeleton.values)
    inputs = {name: column[None, :] for name, column in features.items()}

    def predict(rows: Float[np.ndarray, "row parameter"]) -> Float[np.ndarray, "row sample"]:
        columns = {name: unit[k] * rows[:, k, None] for k, name in enumerate(names)}
        found = formula.evaluate(skeleton.expression, {**inputs, **columns})
        return np.broadcast_to(found, (len(rows), len(target)))

    unit = np.ones(len(names))
    values = np.array([skeleton.values[name] for name in names])
    predicted = predict(values[None, :])[0]
    residual = target - predicted
    if not np.all(np.isfinite(residual)):
        return Fit(skeleton.filled(skeleton.values), skeleton.values, np.inf, np.eye(len(names)))
    if np.any(coarse := np.abs(values) < tuning.TINY):
        # The smallest step of a derivative may be large for a constant that multiplies a large feature.
        change = np.abs(predict(values + 1e-9 * np.eye(len(names))) - predicted).max(axis=1)
        coarse &= ~(change <= tuning.COARSE * np.abs(target).max(initial=0.0))
        unit = np.where(coarse, units(values), 1.0)
        values = values / unit
    damping, curvature = 1e-3, np.eye(len(names))
    for _ in range(iterations if names else 0):
        scale = max(float(np.median(np.abs(residual))), 1e-12 * float(np.abs(target).max(initial=0.0)), 1e-300)
        weight = 1.0 / np.maximum(np.abs(residual) / scale, 1.0)
        steps = 1e-6 * np.maximum(np.abs(values), 1e-3)
        shifted = predict(values + np.diag(steps))
        jacobian = (shifted - predicted) / steps[:, None]
        curvature = (jacobian * weight) @ jacobian.T
        gradient = (jacobian * weight) @ residual
        if not np.all(np.isfinite(curvature)):
            break
        loss, improved = float(np.sum(weight * residual**2)), False
        for _ in range(6):
            damped = curvature + np.diag(damping * np.maximum(np.diag(curvature), 1e-300))
            trial = values + np.linalg.lstsq(damped, gradient, rcond=None)[0]
            ahead = predict(trial[None, :])[0]
            moved = target - ahead
            after = float(np.sum(weight * moved**2))
            if np.isfinite(after) and after < loss:
                improved, damping = True, max(damping / 10, 1e-12)
                break
            damping *= 10
        if not improved:
            break
        values, predicted, residual = trial, ahead, moved
        if after > (1 - 1e-7) * loss:
            break
    fitted = {name: float(value) for name, value in zip(names, values * unit, strict=True)}
    with np.errstate(all="ignore"):
        covariance = np.linalg.pinv(curvature, hermitian=True) if np.all(np.isfinite(curvature)) else np.eye(len(names))
    # A parameter without effect on the samples may still matter elsewhere: it counts as indispensable.
    covariance[np.diag(curvature) == 0] = 0.0
    covariance *= np.outer(unit, unit)
    return Fit(skeleton.filled(fitted), fitted, float(np.mean(np.abs(residual))), covariance)


def _deletions(skeleton: Skeleton, fit: Fit) -> Iterator[sympy.Expr]:
    """Yield the shorter expressions with 0, 1 or -1 in place of a parameter, the least harmful first."""
    before = complexity(fit.expression)
    moves = [(fit.growth(name, value), name, value) for name in skeleton.values for value in (0.0, 1.0, -1.0)]
    filled: dict[Any, Any] = {formula.symbol(name): sympy.Float(value) for name, value in fit.values.items()}
    for growth, name, value in sorted(moves):
        shorter = skeleton.expression.xreplace({**filled, formula.symbol(name): sympy.Integer(int(value))})
        if np.isfinite(growth) and not shorter.has(sympy.zoo, sympy.nan, sympy.oo, sympy.I):
            shorter = normal(shorter)
            if complexity(shorter) < before:
                yield shorter
