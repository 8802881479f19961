"""Linear fits of messages by true forces: raw, robust, and up to the receiver's gauge."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from distillery.messages.settings import InterpretationSettings
from distillery.randomness import stream

# Name of the fits of the distilled components among those of the readings.
DISTILLED = "distilled"
# Name of the snapshots of a training, in the findings and among the samples.
FRAMES = "frames"
SQUARES = ("r2", "r2_robust", "r2_gauge_free")
STARTS = 10
SETTLE = 50
# An R² is not reported of fewer samples than so many for each parameter: any samples are fitted by as many parameters.
SAMPLES_PER_PARAMETER = 10


@dataclasses.dataclass(frozen=True)
class Fit:
    """How well one message component is a linear combination of force components (all dimensionless).

    Attributes:
        r2: Coefficient of determination over all samples.
        r2_robust: The same of the fit that minimises the error over the samples with the smallest error,
            over these samples alone.
        r2_gauge_free: The same with a fit of its own for each bin of the receiver's mass; residuals and the
            variances about each bin's mean are pooled over the bins.

    Each is NaN where there are too few samples for its parameters, see ``SAMPLES_PER_PARAMETER``.
    """

    r2: float
    r2_robust: float
    r2_gauge_free: float


def fit_components(
    components: Float[np.ndarray, "sample component"],
    force: Float[np.ndarray, "sample dim"],
    receiver_mass: Float[np.ndarray, "sample"],
    settings: InterpretationSettings,
) -> dict[str, dict[str, list[float]]]:
    """Fit message components as ``fit_component`` does each.

    Args:
        components: Values of the components.
        force: True pair forces on the receiver.
        receiver_mass: Mass of each receiver.
        settings: The share of samples that robust fits keep, and the bins of the receiver's mass.

    Returns:
        By target and by a name of ``SQUARES`` one number per component.
    """
    found = [
        fit_component(component, force, receiver_mass, trim=settings.trim, bins=settings.mass_bins)
        for component in components.T
    ]
    return {
        target: {name: [getattr(fit[target], name) for fit in found] for name in SQUARES}
        for target in ("force", "acceleration")
    }


def fit_component(
    message: Float[np.ndarray, "sample"],
    force: Float[np.ndarray, "sample dim"],
    receiver_mass: Float[np.ndarray, "sample"],
    *,
    trim: float,
    bins: int,
) -> dict[str, Fit]:
    """Fit a message component by the components of the force, and by those of the acceleration F/m_receiver.

    The node function sees the receiver, so it can undo m_ij = A(receiver)·F_ij + b(receiver); the gauge-free
    fit leaves A and b free in each bin. Masses vary within a bin, the more so in the outermost; there A may be
    any combination of 1 and 1/m, so that forces and accelerations both fit exactly. It is one and the same
    for force and acceleration.

    Args:
        message: Values of the component.
        force: True pair forces on the receiver.
        receiver_mass: Mass of each receiver.
        trim: Share of samples that the robust fit keeps.
        bins: Quantile bins of the receiver's mass; fewer where each would hold too few samples.

    Returns:
        The fits by target, ``force`` and ``acceleration``.
    """
    acceleration = force / receiver_mass[:, None]
    one = np.ones((len(force), 1))
    both = np.hstack([force, acceleration, one])
    bins = min(bins, max(len(force) // (SAMPLES_PER_PARAMETER * both.shape[1]), 1))
    gauge_free = _r2_by_bin(both, message, quantile_bins(receiver_mass, bins))
    found = {}
    for name, target in (("force", force), ("acceleration", acceleration)):
        design = np.hstack([target, one])
        residual = message - design @ _solve(design, message)
        kept, robust_residual = trimmed_fit(design, message, trim)
        found[name] = Fit(
            _r2(residual, message, design.shape[1]),
            _r2(robust_residual[kept], message[kept], design.shape[1]),
            gauge_free,
        )
    return found


def trimmed_fit(
    design: Float[np.ndarray, "sample column"], target: Float[np.ndarray, "sample"], share: float
) -> tuple[Bool[np.ndarray, "sample"], Float[np.ndarray, "sample"]]:
    """Minimise the squared error over the share of samples with the smallest error (least trimmed squares).

    Fits and choices alternate until the choice stands still (Rousseeuw and Van Driessen 2006), from all samples
    and from small random subsets, because outliers can hold the first start in a poor optimum.

    Args:
        design: Columns of the linear model.
        target: What is fitted.
        share: Share of samples to keep.

    Returns:
        Which samples are kept, and the residuals of all.
    """
    samples, columns = design.shape
    count = max(round(share * samples), min(columns + 1, samples))
    draws = stream(0, "interpret", "trimmed fit")
    starts = [np.arange(samples)]
    starts += [draws.choice(samples, size=min(3 * columns, samples), replace=False) for _ in range(STARTS)]
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for start in starts:
        chosen = start
        for _ in range(SETTLE):
            residual = target - design @ _solve(design[chosen], target[chosen])
            following = np.sort(np.argpartition(np.abs(residual), count - 1)[:count])
            if np.array_equal(following, chosen):
                break
            chosen = following
        objective = float(np.square(residual[chosen]).sum())
        if best is None or objective < best[0]:
            best = objective, chosen, residual
    assert best is not None
    kept = np.zeros(samples, dtype=bool)
    kept[best[1]] = True
    return kept, best[2]


def quantile_bins(values: Float[np.ndarray, "sample"], bins: int) -> Int[np.ndarray, "sample"]:
    """Return for each value the number of its bin; bins hold equally many values, as far as ties allow."""
    edges = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, values, side="right")


def _r2_by_bin(design: np.ndarray, message: np.ndarray, bins: np.ndarray) -> float:
    unexplained = total = 0.0
    for number in np.unique(bins):
        own = bins == number
        if np.count_nonzero(own) < SAMPLES_PER_PARAMETER * design.shape[1]:
            continue
        residual = message[own] - design[own] @ _solve(design[own], message[own])
        unexplained += float(np.square(residual).sum())
        total += float(np.square(message[own] - message[own].mean()).sum())
    return 1 - unexplained / total if total > 0 else float("nan")


def _solve(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(design, target, rcond=None)[0]


def _r2(residual: np.ndarray, target: np.ndarray, parameters: int) -> float:
    total = float(np.square(target - target.mean()).sum())
    if total == 0 or len(target) < SAMPLES_PER_PARAMETER * parameters:
        return float("nan")
    return 1 - float(np.square(residual).sum()) / total
