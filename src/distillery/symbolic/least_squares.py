"""Nonlinear least squares with exact derivatives, independent of the units of parameters and residuals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.optimize
from jaxtyping import Float

_Vector = Float[np.ndarray, " parameter"]


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
    """Minimum of a sum of squares.

    Attributes:
        values: The parameters.
        residual: Their residuals.
        cost: Mean of the loss, half the square of small residuals.
    """

    values: Float[np.ndarray, " parameter"]
    residual: Float[np.ndarray, " residual"]
    cost: float


def least_squares(
    residual: Callable[[_Vector], Float[np.ndarray, " residual"]],
    jacobian: Callable[[_Vector], Float[np.ndarray, "residual parameter"]],
    start: Float[np.ndarray, " parameter"],
    *,
    scale: float | None = None,
    bounds: tuple[Float[np.ndarray, " parameter"], Float[np.ndarray, " parameter"]] | None = None,
    evaluations: int,
    tolerance: float = 1e-14,
) -> Solution:
    """Minimise a sum of squares by SciPy's trust region.

    Each parameter is measured in a power of two near its start, so that 1/(1 + c·r) is fitted as well with r of 1e11 as
    with r of 1; a power of two changes no digit of residuals and derivatives. A parameter that starts at 0 keeps its
    unit.

    Args:
        residual: Residuals of some parameters.
        jacobian: Their exact derivatives by the parameters.
        start: Parameters to start from.
        scale: Size of the residual beyond which the loss grows linearly (soft L1); None for squares everywhere.
        bounds: Lower and upper bounds of the parameters.
        evaluations: Evaluations of the residuals at most.
        tolerance: Relative change of cost, parameters and gradient at which the search ends.

    Raises:
        ValueError: Residuals or derivatives are not finite.
        OverflowError: The same.
    """
    unit = units(start)
    low, high = (-np.inf, np.inf) if bounds is None else (bounds[0] / unit, bounds[1] / unit)
    answer = scipy.optimize.least_squares(
        lambda inner: residual(inner * unit),
        start / unit,
        lambda inner: jacobian(inner * unit) * unit,
        bounds=(low, high),
        method="trf",
        x_scale="jac",
        loss="linear" if scale is None else "soft_l1",
        f_scale=1.0 if scale is None else scale,
        ftol=tolerance,
        xtol=tolerance,
        gtol=tolerance,
        max_nfev=evaluations,
    )
    return Solution(answer.x * unit, answer.fun, float(answer.cost) / len(answer.fun))


def units(values: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " parameter"]:
    """Return the power of two nearest to the size of each parameter, 1 for a parameter of 0."""
    return np.asarray(2.0 ** np.round(np.log2(np.abs(np.where(values == 0, 1.0, values)))))
