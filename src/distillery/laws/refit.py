"""Fit all constants of a law together to accelerations, with their standard errors.

SciPy's trust-region least squares with the exact Jacobian (``laws.problem``), in float64, with each constant scaled by
its effect. Most constants are coefficients of terms, so the problem is nearly linear and a few steps suffice; automatic
differentiation would need no exact Jacobian but offers no second-order method.

Standard errors are those of an M-estimator with dependent residuals within a simulation (the sandwich A⁻¹BA⁻¹, A =
Σψ'JJᵀ, B = Σ over simulations of (ΣψJ)(ΣψJ)ᵀ). They hold for any distribution of the noise; for a law that is not the
true one they are those of the best constants.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.linalg
from jaxtyping import Float

from distillery.errors import DistilleryError
from distillery.laws import tuning
from distillery.laws.law import Law
from distillery.laws.problem import Data, Problem
from distillery.laws.settings import ReplacementSettings
from distillery.symbolic.least_squares import least_squares
from distillery.util import budget
from distillery.util.budget import OutOfBudget


class SingularError(DistilleryError):
    """A law is not finite on the data."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """Constants fitted to data.

    Attributes:
        law: The law with the fitted constants.
        errors: Standard errors of the fitted constants, by name.
        shares: Root mean square of the terms of each constant, in typical accelerations.
        undetermined: Constants that the data do not determine; they keep their values.
        running_away: Constants that grew without bound.
        cost: Mean of the loss; residuals in typical accelerations.
    """

    law: Law
    errors: dict[str, float]
    shares: dict[str, float]
    undetermined: tuple[str, ...]
    running_away: tuple[str, ...]
    cost: float


def refit(
    law: Law,
    data: Data,
    settings: ReplacementSettings,
    draws: np.random.Generator,
    evaluations: int = tuning.EVALUATIONS,
) -> Fit:
    """Fit all constants of a law together; if the budget ends, return the best constants so far.

    Args:
        law: The law with its starting constants.
        data: The snapshots.
        settings: Loss and number of starts.
        draws: Source of the other starts.
        evaluations: Evaluations of the law from each start, at most.

    Raises:
        SingularError: The law is not finite on the data, from any start.
        OutOfBudget: The budget was spent before.
    """
    budget.spend()
    names: tuple[str, ...] = tuple(law.constants)
    undetermined: tuple[str, ...] = ()
    while True:
        problem = Problem(law, data, names)
        start = np.array([law.constants[name] for name in names])
        found = (
            _searched(problem, law, data, start, settings, draws, evaluations) if names else _without_constants(problem)
        )
        jacobian = problem.jacobian(found.values) if names else np.zeros((found.residual.size, 0))
        fixed = _undetermined_constants(jacobian) if names else []
        if not fixed:
            break
        # With these held fixed, the others have a unique solution.
        undetermined = (*undetermined, *(names[k] for k in fixed))
        names = tuple(name for name in names if name not in undetermined)
    fitted = law.having(dict(zip(names, found.values.tolist(), strict=True)))
    errors = _standard_errors(found, jacobian, problem, data)
    size = np.sqrt(np.mean(jacobian**2, axis=0)) * np.abs(found.values)
    away = tuple(n for n in names if abs(fitted.constants[n]) > tuning.DIVERGED * max(abs(law.constants[n]), 1.0))
    return Fit(
        fitted,
        dict(zip(names, errors.tolist(), strict=True)),
        dict(zip(names, size.tolist(), strict=True)),
        undetermined,
        away,
        found.cost,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Found:
    values: Float[np.ndarray, " constant"]
    residual: Float[np.ndarray, " residual"]
    scale: float | None
    cost: float

    @property
    def influence(self) -> Float[np.ndarray, "2 residual"]:
        """The derivative of the loss by each residual, and its second derivative."""
        if self.scale is None:
            return np.stack([self.residual, np.ones_like(self.residual)])
        inside = 1 + (self.residual / self.scale) ** 2
        return np.stack([self.residual / np.sqrt(inside), inside**-1.5])


def _without_constants(problem: Problem) -> _Found:
    empty = np.zeros(0)
    residual = problem.residual(empty)
    if not np.all(np.isfinite(residual)):
        raise SingularError(_singular_reason(problem, residual))
    return _Found(empty, residual, None, float(np.mean(residual**2)) / 2)


def _searched(
    problem: Problem,
    law: Law,
    data: Data,
    start: np.ndarray,
    settings: ReplacementSettings,
    draws: np.random.Generator,
    evaluations: int,
) -> _Found:
    """Return the best of several starts; with many snapshots, compare the starts on some of them."""
    count = len(data.simulation)
    if count > tuning.START_SNAPSHOTS:
        some = np.zeros(count, dtype=bool)
        some[np.linspace(0, count - 1, tuning.START_SNAPSHOTS).astype(int)] = True
        try:
            near = _best(Problem(law, data.part(some), problem.free), start, settings, draws, evaluations).values
            residual = problem.residual(near)
            if np.all(np.isfinite(residual)):
                return _solved(problem, near, _scale(residual) if settings.robust else None, evaluations)
        except SingularError:
            # The message then counts the bodies of all snapshots.
            pass
    return _best(problem, start, settings, draws, evaluations)


def _best(
    problem: Problem, start: np.ndarray, settings: ReplacementSettings, draws: np.random.Generator, evaluations: int
) -> _Found:
    """Return the best of several starts: the given constants, and their products with random factors."""
    others = 0 if problem.linear else settings.starts - 1
    found: _Found | None = None
    scale: float | None = None
    for number in range(others + 1):
        if number and budget.is_spent():
            break
        values = start * np.exp(draws.normal(0.0, 0.5, start.shape)) if number else start
        residual = problem.residual(values)
        if not np.all(np.isfinite(residual)):
            continue
        if found is None and settings.robust:
            scale = _scale(residual)
        one = _solved(problem, values, scale, evaluations)
        if found is None or one.cost < found.cost:
            found = one
    if found is None:
        raise SingularError(_singular_reason(problem, problem.residual(start)))
    if scale is None:
        return found
    # The typical residual is known only after a first fit.
    return _solved(problem, found.values, _scale(found.residual), evaluations)


def _solved(problem: Problem, start: np.ndarray, scale: float | None, evaluations: int) -> _Found:
    best, least = start, np.inf

    def residual(values: np.ndarray) -> np.ndarray:
        nonlocal best, least
        budget.spend()
        found = problem.residual(values)
        cost = _cost(found, scale)
        if cost < least:
            best, least = values.copy(), cost
        return found

    def jacobian(values: np.ndarray) -> np.ndarray:
        budget.spend(len(problem.free))
        return problem.jacobian(values)

    try:
        answer = least_squares(residual, jacobian, start, scale=scale, evaluations=evaluations)
    except (ValueError, OverflowError) as error:
        # A derivative may be singular where the law is finite.
        raise SingularError(
            f"cannot be fitted ({str(error).splitlines()[0]}); look for a root or a power at 0"
        ) from None
    except OutOfBudget:
        found = problem.residual(best)
        return _Found(best, found, scale, _cost(found, scale))
    return _Found(answer.values, answer.residual, scale, answer.cost)


def _cost(residual: np.ndarray, scale: float | None) -> float:
    """Return the mean of SciPy's loss."""
    if scale is None:
        return float(np.mean(residual**2)) / 2
    return scale**2 * float(np.mean(np.sqrt(1 + (residual / scale) ** 2) - 1))


def _scale(residual: np.ndarray) -> float:
    return max(1.4826 * float(np.median(np.abs(residual))), tuning.RESIDUAL_ROUNDING)


def _undetermined_constants(jacobian: Float[np.ndarray, "residual constant"]) -> list[int]:
    """Return constants that must be held fixed for all others to be determined."""
    norms = np.linalg.norm(jacobian, axis=0)
    dead = [k for k, norm in enumerate(norms) if not norm > 0]
    if dead:
        return dead
    triangle, order = scipy.linalg.qr(jacobian / norms, mode="r", pivoting=True)[:2]
    diagonal = np.abs(np.diag(triangle))[: len(norms)]
    return [int(order[k]) for k in np.flatnonzero(diagonal < tuning.UNDETERMINED * diagonal[0])]


def _standard_errors(
    found: _Found, jacobian: Float[np.ndarray, "residual constant"], problem: Problem, data: Data
) -> Float[np.ndarray, " constant"]:
    slope, curvature = found.influence
    norms = np.linalg.norm(jacobian, axis=0)
    scaled = jacobian / norms
    bread = np.linalg.pinv((scaled * curvature[:, None]).T @ scaled, hermitian=True)
    _, index = np.unique(data.simulation, return_inverse=True)
    count = int(index.max()) + 1
    by_graph = (scaled * slope[:, None]).reshape(*problem.shape, -1).sum(axis=(0, 2))
    by_simulation = np.zeros((count, jacobian.shape[1]))
    np.add.at(by_simulation, index, by_graph)
    meat = by_simulation.T @ by_simulation * count / max(count - 1, 1)
    return np.asarray(np.sqrt(np.maximum(np.diag(bread @ meat @ bread), 0.0)) / norms)


def _singular_reason(problem: Problem, residual: np.ndarray) -> str:
    bad = int((~np.isfinite(residual.reshape(problem.shape))).any(axis=0).sum())
    total = int(np.prod(problem.shape[1:]))
    return f"is not finite for {bad} of {total} bodies; look for a division by zero or a logarithm of a negative number"
