"""The Pareto front of expressions, and the paper's choice from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import sympy
from jaxtyping import Float

from distillery.physics import formula
from distillery.symbolic import tuning
from distillery.symbolic.complexity import complexity


@dataclasses.dataclass(frozen=True)
class Point:
    """An expression on the front.

    Attributes:
        expression: Text that ``formula.parse`` reads.
        complexity: The paper's complexity.
        mae: Mean absolute error on held-out samples (dimensionless).
        score: -Δlog(mae)/Δcomplexity from the point before; 0 for the first.
    """

    expression: str
    complexity: int
    mae: float
    score: float


def pareto_front(
    expressions: Iterable[sympy.Expr],
    features: Mapping[str, Float[np.ndarray, " sample"]],
    target: Float[np.ndarray, " sample"],
) -> list[Point]:
    """Return the best expression of each complexity that improves on all simpler ones.

    The score is the paper's -Δlog(MAE)/Δcomplexity (arXiv:2006.11287, section 4). Errors below a millionth of the best
    constant's error count as equal, so that rounding errors on noise-free data gain no score. Expressions that are not
    finite on every sample are omitted.

    Args:
        expressions: Candidates.
        features: Held-out inputs by name (dimensionless).
        target: Held-out target (dimensionless).
    """
    best: dict[int, tuple[float, str]] = {}
    for found in expressions:
        expression = rounded(found)
        error = mean_absolute_error(expression, features, target)
        if not np.isfinite(error):
            continue
        candidate = (error, formula.to_text(expression))
        cost = complexity(expression)
        best[cost] = min(best.get(cost, candidate), candidate)
    return scored(best, float(np.mean(np.abs(target - np.median(target)))))


def scored(best: Mapping[int, tuple[float, str]], constant: float) -> list[Point]:
    """Return the front of the best expressions of each complexity, with their scores.

    Args:
        best: Error and text of an expression, by complexity.
        constant: Error of the best constant; see ``pareto_front``.
    """
    floor = max(tuning.ERROR_FLOOR * constant, 1e-300)
    front: list[Point] = []
    for cost, (error, text) in sorted(best.items()):
        if not front:
            front.append(Point(text, cost, error, 0.0))
        elif error < front[-1].mae:
            before = front[-1]
            gain = np.log(max(before.mae, floor) / max(error, floor))
            front.append(Point(text, cost, error, float(gain) / (cost - before.complexity)))
    return front


def rounded(expression: sympy.Expr) -> sympy.Expr:
    """Round the constants of an expression to six significant digits, so that errors are those of the stored text."""
    return expression.xreplace(
        {number: sympy.Float(f"{float(number):.6g}") for number in expression.atoms(sympy.Float)}
    )


def mean_absolute_error(
    expression: sympy.Expr,
    features: Mapping[str, Float[np.ndarray, " sample"]],
    target: Float[np.ndarray, " sample"],
) -> float:
    """Return the mean of |expression - target|; infinite if the expression is singular on a sample.

    Args:
        expression: Expression in the names of the features.
        features: Inputs by name (dimensionless).
        target: Target (dimensionless).
    """
    with np.errstate(all="ignore"):
        error = float(np.mean(np.abs(formula.evaluate(expression, features) - target)))
    return error if np.isfinite(error) else np.inf


def choose(front: list[Point]) -> int | None:
    """Return the index of the paper's choice: the largest score, the simpler point of equal ones.

    Args:
        front: A front of ``pareto_front``. The first point has no score and is chosen only if it is alone; an empty
            front has no choice.
    """
    if not front:
        return None
    return max(range(len(front)), key=lambda index: (front[index].score, -index))
