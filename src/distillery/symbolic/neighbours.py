"""Neighbours of an expression, for hill climbing from the expressions of a search.

Genetic programming stops early in forms like dx·m2/r² although dx·m1·m2/r³ is better. A step changes one thing by a
product of features: it multiplies a part of the expression, or adds such a product of a term. All products are compared
at once with coefficients from linear least squares; the best few are refitted, and the climb continues from the best.
Every step is a candidate; the Pareto front decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import sympy
from jaxtyping import Float

from distillery.physics import formula
from distillery.symbolic import tuning
from distillery.symbolic.complexity import complexity
from distillery.symbolic.forms import cheapest
from distillery.symbolic.hill_climbing import hill_climb, power_products
from distillery.symbolic.tidying import Fit, parametrise, refit

_STEP = formula.symbol("step_")


def hill_climbed(
    start: sympy.Expr,
    features: Mapping[str, Float[np.ndarray, " sample"]],
    target: Float[np.ndarray, " sample"],
) -> list[sympy.Expr]:
    """Return the expressions on the way of a hill climb over neighbours, without the start.

    Args:
        start: Expression to start from.
        features: Training inputs by name (dimensionless).
        target: Training target (dimensionless).
    """
    near, far = (_products(features, most) for most in (tuning.PRODUCT_FEATURES, tuning.NEW_TERM_FEATURES))

    def cost(fit: Fit) -> float:
        return float(np.log(max(fit.error, 1e-300))) + tuning.COMPLEXITY_PRICE * complexity(fit.expression)

    def neighbours(fit: Fit) -> Iterator[Fit]:
        if not np.isfinite(fit.error) or sympy.count_ops(fit.expression) > tuning.LARGEST_EXPRESSION:
            return
        for neighbour in (
            *_multiplied(fit.expression, near, features, target),
            *_added(fit.expression, far, features, target),
        ):
            found = refit(parametrise(cheapest(neighbour)), features, target)
            if np.isfinite(found.error):
                yield found

    first = refit(parametrise(cheapest(start)), features, target)
    steps = hill_climb(first, neighbours, cost, tuning.HILL_CLIMBING_ROUNDS)
    return [fit.expression for fit in steps]


class _Products:
    """Products of powers ±1 of a few features: expressions, and their values on all samples."""

    def __init__(self, factors: list[Any], values: Float[np.ndarray, "product sample"]) -> None:
        self.factors, self.values = factors, values


def _products(features: Mapping[str, Float[np.ndarray, " sample"]], most: int) -> _Products:
    factors: list[Any] = []
    rows: list[np.ndarray] = []
    # There are (n choose k) sets of k features, each with up to 2^k signs.
    sizes = [math.comb(len(features), count) * 2**count for count in range(1, most + 1)]
    allowed = max((k for k in range(1, most + 1) if sum(sizes[:k]) <= tuning.MOST_PRODUCTS), default=1)
    # The inverse of a feature that is ±1 is the feature itself.
    signs = {name: (1,) if np.ptp(np.abs(column)) == 0 else (1, -1) for name, column in features.items()}
    for product in power_products(features, allowed, signs.__getitem__):
        with np.errstate(all="ignore"):
            row = np.prod([features[name] ** float(exponent) for name, exponent in product], axis=0)
        if np.all(np.isfinite(row)):
            factors.append(sympy.Mul(*(formula.symbol(name) ** exponent for name, exponent in product)))
            rows.append(row)
    return _Products(factors, np.array(rows).reshape(len(rows), -1))


def _multiplied(
    expression: sympy.Expr, products: _Products, features: Mapping[str, np.ndarray], target: np.ndarray
) -> Iterator[sympy.Expr]:
    """Yield the best expressions in which one part is multiplied by a product."""
    weight = _weight(target - np.median(target))
    ranked: list[tuple[float, int, int, Any]] = []
    inputs = {**{name: column[None, :] for name, column in features.items()}, _STEP.name: products.values}
    for place, part in enumerate(_parts(expression)):
        changed = expression.xreplace({part: part * _STEP})
        values = np.broadcast_to(formula.evaluate(changed, inputs), products.values.shape)
        error = _linear_error(values, target, weight)
        for index in np.argsort(error, kind="stable")[: tuning.NEIGHBOURS_REFITTED]:
            ranked += [(float(error[index]), place, int(index), changed)]
    for least, _, index, changed in sorted(ranked, key=lambda each: each[:3])[: tuning.NEIGHBOURS_REFITTED]:
        if np.isfinite(least):
            yield _free(changed.xreplace({_STEP: products.factors[index]}))


def _parts(expression: sympy.Expr) -> list[Any]:
    """Return the parts that may be multiplied: all but numbers, exponents and piecewise parts."""
    found: dict[Any, None] = {}

    def walk(node: Any) -> None:
        if node.is_number or isinstance(node, sympy.Piecewise):
            return
        found[node] = None
        for argument in node.args[:1] if isinstance(node, sympy.Pow) else node.args:
            walk(argument)

    walk(expression)
    constant, rest = expression.as_coeff_Add()
    if constant != 0:
        found.pop(expression, None)
        found = {rest: None, **found} if rest in expression.args else found
    return list(found)


def _free(expression: sympy.Expr) -> sympy.Expr:
    """Add a scale and an offset to be fitted to an expression."""
    constant, rest = expression.as_coeff_Add()
    return sympy.Float(1.01) * rest + (constant if constant != 0 else sympy.Float(0.01))


def _added(
    expression: sympy.Expr, products: _Products, features: Mapping[str, np.ndarray], target: np.ndarray
) -> Iterator[sympy.Expr]:
    """Yield the best expressions with an additional term that is a term times a product."""
    residual = target - formula.evaluate(expression, features)
    weight = np.sqrt(_weight(residual))
    terms = [term for term in sympy.Add.make_args(expression) if not term.is_number]
    columns = [np.ones_like(target), *(np.broadcast_to(formula.evaluate(t, features), target.shape) for t in terms)]
    basis, _ = np.linalg.qr(np.column_stack(columns) * weight[:, None])
    wanted = residual * weight
    wanted = wanted - basis @ (basis.T @ wanted)
    ranked: list[tuple[float, int, int, float]] = []
    for place, column in enumerate(columns[1:]):
        rows = column * products.values * weight
        with np.errstate(all="ignore"):
            rows = rows - (rows @ basis) @ basis.T
            size = np.einsum("ps,ps->p", rows, rows)
            along = rows @ wanted
            gain = np.where(size > 1e-12 * len(target), along**2 / size, 0.0)
        gain[~np.isfinite(gain)] = 0.0
        for index in np.argsort(-gain, kind="stable")[: tuning.NEIGHBOURS_REFITTED]:
            if gain[index] > 0:
                ranked += [(-float(gain[index]), place, int(index), float(along[index] / size[index]))]
    for _, place, index, coefficient in sorted(ranked)[: tuning.NEIGHBOURS_REFITTED]:
        yield expression + sympy.Float(coefficient) * terms[place] * products.factors[index]


def _weight(distance: np.ndarray) -> np.ndarray:
    """Return weights with which squares count as absolute values beyond the median."""
    size = np.abs(distance)
    return 1.0 / np.maximum(size / max(float(np.median(size)), 1e-300), 1.0)


def _linear_error(values: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted mean absolute error of each row with its best scale and offset."""
    share = weight / weight.sum()
    with np.errstate(all="ignore"):
        centred = values - (values @ share)[:, None]
        wanted = target - target @ share
        slope = (centred @ (wanted * share)) / ((centred**2) @ share)
        error = np.abs(wanted - slope[:, None] * centred) @ share
    return np.where(np.isfinite(error), error, np.inf)
