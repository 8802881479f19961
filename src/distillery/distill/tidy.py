"""Tidying: from what an engine gives to short expressions with well-fitted constants.

Engines return redundant expressions (operon weighs every variable and wraps a scale and an offset).
Each is brought to its cheapest form; then constants and terms that matter least are taken out one by
one, the rest refitted each time. Every step on the way is a candidate: the Pareto front decides.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import sympy
from jaxtyping import Float

from distillery import formula
from distillery.distill.complexity import complexity

_ITERATIONS = 12
# Once the error has grown by this factor, shorter forms are better sought from shorter starting points.
_GIVE_UP = 2.0
_MOST_TERMS = 12


def tidied(
    expressions: list[sympy.Expr],
    features: Mapping[str, Float[np.ndarray, " sample"]],
    target: Float[np.ndarray, " sample"],
) -> list[sympy.Expr]:
    """Return short forms of expressions with refitted constants.

    Args:
        expressions: What an engine found.
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
        if not np.isfinite(fit.error):
            return
        first = fit.error if first is None else first
        if fit.error > _GIVE_UP * first:
            return
        yield fit.expression
        product = products(fit.expression)
        if product is not None and complexity(product) < complexity(fit.expression):
            yield from _prunings(product, features, target, seen)
        shorter = next(_deletions(skeleton, fit), None)
        if shorter is None:
            return
        expression = cheapest(shorter)


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """An expression whose constants have become parameters.

    Attributes:
        expression: The expression in the features and the parameters.
        values: The parameters' values, by name.
    """

    expression: sympy.Expr
    values: dict[str, float]

    def filled(self, values: Mapping[str, float]) -> sympy.Expr:
        """Return the expression with these values in place of its parameters."""
        return self.expression.xreplace({formula.symbol(n): sympy.Float(float(v)) for n, v in values.items()})


def parametrise(expression: sympy.Expr) -> Skeleton:
    """Make every constant of an expression a parameter, except exponents.

    Args:
        expression: An expression as ``cheapest`` gives it.
    """
    values: dict[str, float] = {}

    def walk(node: Any) -> Any:
        if node.is_Float or (node.is_Rational and not node.is_Integer):
            name = f"c_{len(values)}"
            values[name] = float(node)
            return formula.symbol(name)
        if not node.args:
            return node
        if isinstance(node, sympy.Pow):
            return node.func(walk(node.base), node.exp)
        return node.func(*(walk(argument) for argument in node.args))

    return Skeleton(walk(expression), values)


@dataclasses.dataclass(frozen=True)
class Fit:
    """Constants fitted to data.

    Attributes:
        expression: The expression with the fitted constants.
        values: The fitted parameters, by name.
        error: Mean absolute error on the training data; infinite where the expression is singular there.
        covariance: Inverse of the Gauss-Newton matrix.
    """

    expression: sympy.Expr
    values: dict[str, float]
    error: float
    covariance: Float[np.ndarray, "parameter parameter"]

    def growth(self, name: str, value: float) -> float:
        """Return by how much the squared error grows to second order when a parameter is set to ``value``."""
        index = list(self.values).index(name)
        variance = self.covariance[index, index]
        return (self.values[name] - value) ** 2 / variance if variance > 0 else np.inf


def refit(
    skeleton: Skeleton,
    features: Mapping[str, Float[np.ndarray, " sample"]],
    target: Float[np.ndarray, " sample"],
    iterations: int = _ITERATIONS,
) -> Fit:
    """Fit the parameters of a skeleton to data: least squares reweighted towards least absolute deviations.

    The Levenberg-Marquardt steps minimise Σ ρ(residual) with ρ quadratic within the typical residual and
    linear beyond (Huber), so that a few close encounters with their huge forces do not outweigh all else.

    Args:
        skeleton: Expression with parameters and their starting values.
        features: Training inputs by name.
        target: Training target.
        iterations: Most Levenberg-Marquardt steps.
    """
    names = list(skeleton.values)
    inputs = {name: column[None, :] for name, column in features.items()}

    def predict(rows: Float[np.ndarray, "row parameter"]) -> Float[np.ndarray, "row sample"]:
        columns = {name: rows[:, k, None] for k, name in enumerate(names)}
        found = formula.evaluate(skeleton.expression, {**inputs, **columns})
        return np.broadcast_to(found, (len(rows), len(target)))

    values = np.array([skeleton.values[name] for name in names])
    residual = target - predict(values[None, :])[0]
    if not np.all(np.isfinite(residual)):
        return Fit(skeleton.filled(skeleton.values), skeleton.values, np.inf, np.eye(len(names)))
    damping, curvature = 1e-3, np.eye(len(names))
    for _ in range(iterations if names else 0):
        scale = max(float(np.median(np.abs(residual))), 1e-12 * float(np.abs(target).max(initial=0.0)), 1e-300)
        weight = 1.0 / np.maximum(np.abs(residual) / scale, 1.0)
        steps = 1e-6 * np.maximum(np.abs(values), 1e-3)
        shifted = predict(values + np.diag(steps))
        jacobian = (shifted - (target - residual)) / steps[:, None]
        curvature = (jacobian * weight) @ jacobian.T
        gradient = (jacobian * weight) @ residual
        if not np.all(np.isfinite(curvature)):
            break
        loss, improved = float(np.sum(weight * residual**2)), False
        for _ in range(6):
            damped = curvature + np.diag(damping * np.maximum(np.diag(curvature), 1e-300))
            trial = values + np.linalg.lstsq(damped, gradient, rcond=None)[0]
            moved = target - predict(trial[None, :])[0]
            after = float(np.sum(weight * moved**2))
            if np.isfinite(after) and after < loss:
                improved, damping = True, max(damping / 10, 1e-12)
                break
            damping *= 10
        if not improved:
            break
        values, residual = trial, moved
        if after > (1 - 1e-7) * loss:
            break
    fitted = {name: float(value) for name, value in zip(names, values, strict=True)}
    with np.errstate(all="ignore"):
        covariance = np.linalg.pinv(curvature, hermitian=True) if np.all(np.isfinite(curvature)) else np.eye(len(names))
    return Fit(skeleton.filled(fitted), fitted, float(np.mean(np.abs(residual))), covariance)


def _deletions(skeleton: Skeleton, fit: Fit) -> Iterator[sympy.Expr]:
    """Yield the shorter expressions that 0, 1 or -1 in place of a parameter gives, the least harmful first."""
    before = complexity(fit.expression)
    moves = [(fit.growth(name, value), name, value) for name in skeleton.values for value in (0.0, 1.0, -1.0)]
    filled: dict[Any, Any] = {formula.symbol(name): sympy.Float(value) for name, value in fit.values.items()}
    for growth, name, value in sorted(moves):
        shorter = skeleton.expression.xreplace({**filled, formula.symbol(name): sympy.Integer(int(value))})
        if np.isfinite(growth) and not shorter.has(sympy.zoo, sympy.nan, sympy.oo, sympy.I):
            shorter = _normal(shorter)
            if complexity(shorter) < before:
                yield shorter


def cheapest(expression: sympy.Expr) -> sympy.Expr:
    """Return the form of least complexity among the equal ones that are tried.

    Constants are merged; where it stays small the expression is also multiplied out and common factors
    of its terms are taken out again.

    Args:
        expression: Any expression with numeric constants.
    """
    forms = [_normal(expression)]
    expanded = _expanded(expression)
    if expanded is not None:
        forms.append(_normal(_collected(expanded)))
    return min(forms, key=complexity)


def _expanded(expression: sympy.Expr) -> sympy.Expr | None:
    """Multiply out, or return nothing where that would give many terms (it may give millions)."""
    return sympy.expand_mul(sympy.expand_multinomial(expression)) if _terms(expression) <= _MOST_TERMS else None


def _terms(node: Any) -> int:
    """Return how many terms multiplying out would give, at most."""
    if isinstance(node, sympy.Add):
        return sum(_terms(argument) for argument in node.args)
    if isinstance(node, sympy.Mul):
        return math.prod(_terms(argument) for argument in node.args)
    if isinstance(node, sympy.Pow) and node.exp.is_Integer and node.exp > 0:
        return int(_terms(node.base) ** min(int(node.exp), 9))
    return 1


def _normal(node: Any) -> Any:
    """Merge constants: each sum that is a factor or a base gets one coefficient 1, the rest moves outside."""
    if node.is_number:
        return _number(node)
    if not node.args:
        return node
    if isinstance(node, sympy.Pow) and node.exp.is_number:
        coefficient, base = _unit(_normal(node.base))
        outside = coefficient**node.exp if node.exp.is_Integer or coefficient > 0 else None
        if outside is None:
            return _normal(node.base) ** node.exp
        return _number(outside) * base**node.exp
    if isinstance(node, sympy.Mul):
        total: Any = sympy.Integer(1)
        factors = []
        for argument in node.args:
            coefficient, rest = _unit(_normal(argument))
            total *= coefficient
            factors.append(rest)
        return _multiplied(total, factors)
    rebuilt = node.func(*(_normal(argument) for argument in node.args))
    return _flattened(rebuilt) if isinstance(rebuilt, sympy.Add) else rebuilt


def _multiplied(coefficient: Any, factors: list[Any]) -> Any:
    """Multiply, with the coefficient inside of a sum where that is cheaper: (1.2 - 1.1/r)·x, not 1.1·(1.09 - 1/r)·x."""
    if abs(float(coefficient)) == 1.0 and float(coefficient) > 0:
        return sympy.Mul(*factors)
    forms = [sympy.Mul(_number(coefficient), *factors)]
    for index, factor in enumerate(factors):
        if isinstance(factor, sympy.Add):
            scaled = sympy.Add(*(_scaled(term, 1 / coefficient) for term in factor.args))
            forms.append(sympy.Mul(*factors[:index], scaled, *factors[index + 1 :]))
    return min(forms, key=complexity)


def _number(value: Any) -> Any:
    """Return 0 and ±1 as Integer (they are structure), all else as Float (a constant to fit)."""
    plain = float(value)
    return sympy.Integer(int(plain)) if abs(plain) in {0.0, 1.0} else sympy.Float(plain)


def _unit(node: Any) -> tuple[Any, Any]:
    """Split off a coefficient so that what remains needs one constant less."""
    coefficient, rest = node.as_coeff_Mul()
    if not isinstance(rest, sympy.Add):
        return coefficient, rest
    inner = [term.as_coeff_Mul()[0] for term in rest.args if not term.is_number]
    if any(abs(float(c)) == 1.0 for c in inner):
        return coefficient, rest
    # The term of largest coefficient is made 1: it is the least likely to vanish later.
    largest = max(inner, key=lambda c: abs(float(c)))
    scaled = [_scaled(term, largest) for term in rest.args]
    return coefficient * largest, sympy.Add(*scaled)


def _scaled(term: Any, divisor: Any) -> Any:
    coefficient, rest = term.as_coeff_Mul()
    return _number(coefficient / divisor) * rest


def _flattened(node: Any) -> Any:
    """Multiply out constants that stand before sums inside a sum, so that like terms meet."""
    terms = []
    for term in node.args:
        coefficient, rest = term.as_coeff_Mul()
        if isinstance(rest, sympy.Add):
            terms += [coefficient * inner for inner in rest.args]
        else:
            terms.append(term)
    return sympy.Add(*terms)


def _collected(node: Any) -> Any:
    """Take common factors out of a sum, greedily, the most frequent first."""
    if not isinstance(node, sympy.Add):
        return node
    factors = [_factors(term) for term in node.args]
    counts = collections.Counter(factor for found in factors for factor in found)
    if not counts or max(counts.values()) < 2:
        return node
    factor = min(counts, key=lambda f: (-counts[f], str(f)))
    inside = [term / factor for term, found in zip(node.args, factors, strict=True) if factor in found]
    outside = [term for term, found in zip(node.args, factors, strict=True) if factor not in found]
    return sympy.Mul(factor, _collected(sympy.Add(*inside))) + _collected(sympy.Add(*outside))


def products(expression: sympy.Expr) -> sympy.Expr | None:
    """Return a nearby expression that is a product of two sums, (Σ aᵢ·uᵢ)(Σ bₖ·vₖ) + rest, if there is one.

    Messages are rotated forces, such as (a·dx + b·dy)(1 - 1/r). An engine often finds the same terms with
    free coefficients, a·dx + b·dy + c·dx/r + d·dy/r; the nearest product has fewer constants. It is only
    close to the given expression, so its constants must be refitted.

    Args:
        expression: Any expression with numeric constants.
    """
    expanded = _expanded(expression)
    if not isinstance(expanded, sympy.Add):
        return None
    terms = {rest: float(coefficient) for coefficient, rest in (term.as_coeff_Mul() for term in expanded.args)}
    cofactors: dict[Any, set[Any]] = collections.defaultdict(set)
    for term in terms:
        for factor in set(_factors(term)):
            cofactors[factor].add(term / factor)
    found: list[tuple[list[Any], list[Any]]] = []
    for first, second in itertools.combinations(sorted(cofactors, key=str), 2):
        shared = cofactors[first] & cofactors[second]
        if len(shared) > 1:
            found.append(([u for u in sorted(cofactors, key=str) if shared <= cofactors[u]], sorted(shared, key=str)))
    if not found:
        return None
    rows, columns = max(found, key=lambda pair: (len(pair[0]) * len(pair[1]), -len(pair[0])))
    grid = np.array([[terms[u * v] for v in columns] for u in rows])
    left, size, right = np.linalg.svd(grid)
    product = sympy.Add(*(_number(a) * u for a, u in zip(left[:, 0] * size[0], rows, strict=True)))
    product *= sympy.Add(*(_number(b) * v for b, v in zip(right[0], columns, strict=True)))
    used = {u * v for u in rows for v in columns}
    rest = [_number(c) * term for term, c in terms.items() if term not in used]
    return _normal(product + _collected(sympy.Add(*rest)))


def _factors(term: Any) -> list[Any]:
    """Return the factors that may be taken out of a term: symbols, their inverses, sums."""
    factors: list[Any] = []
    for factor in sympy.Mul.make_args(term):
        if factor.is_number:
            continue
        if isinstance(factor, sympy.Pow) and factor.exp.is_Integer:
            factors.append(factor.base if factor.exp > 0 else 1 / factor.base)
        else:
            factors.append(factor)
    return factors
