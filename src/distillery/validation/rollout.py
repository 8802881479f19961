"""Errors of rollouts: distance from the true motion, horizon of prediction, and growth of errors."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

# Distances below this fraction of the system's size are rounding errors.
_ROUNDING = 1e-9
# Fewest saved times from which a growth rate is estimated.
_FEWEST = 4


def distance(
    found: Float[np.ndarray, "time simulation body dim"], true: Float[np.ndarray, "time simulation body dim"]
) -> Float[np.ndarray, "time simulation"]:
    """Return how far bodies are from where they should be: root mean square, in units of the system's size.

    The size of a system is the root mean square distance of its bodies from their centre, over the whole time; a
    simulation that left all bounds is infinitely far.

    Args:
        found: Positions.
        true: True positions.
    """
    size = np.sqrt(((true - true.mean(axis=2, keepdims=True)) ** 2).sum(-1).mean(axis=(0, 2)))
    with np.errstate(invalid="ignore"):
        off = np.sqrt(((found - true) ** 2).sum(-1).mean(-1)) / size
    return np.where(np.isfinite(off), off, np.inf)


def horizon(off: Float[np.ndarray, "time simulation"], times: Float[np.ndarray, "time"], limit: float) -> float:
    """Return the time up to which half of the simulations are within a distance of the true ones.

    Args:
        off: Distances over time.
        times: The times (dimensionless).
        limit: The distance.

    Returns:
        The median over simulations of the first time at which the distance is above the limit; the last time where it
        never is.
    """
    over = off > limit
    first = np.where(over.any(axis=0), over.argmax(axis=0), len(times) - 1)
    return float(np.median(times[first]))


def doubling_time(
    off: Float[np.ndarray, "time simulation"], times: Float[np.ndarray, "time"], limit: float
) -> float | None:
    """Return the time in which the distance from the true motion doubles while it grows: log 2 / λ of exp(λt).

    λ is the slope of log distance over time, the median over all pairs of saved times (Theil 1950, Sen 1968), from the
    first at which the distance is beyond rounding to the last before it is above a limit, where it begins to saturate.
    For errors that grow by the chaos of the motion it is the largest finite-time Lyapunov exponent.

    Args:
        off: Distances over time, in units of the system's size.
        times: The times (dimensionless).
        limit: Distances above it say no more than that the true motion is lost.

    Returns:
        The median over those simulations that have at least four such times, those that do not grow counted as
        infinite; None where it is infinite, or where there is no such simulation.
    """
    found = []
    for own in off.T:
        beyond, over = own > _ROUNDING, own > limit
        if not beyond.any():
            continue
        first, end = int(beyond.argmax()), int(over.argmax()) if over.any() else len(own)
        if end - first < _FEWEST:
            continue
        one, other = np.triu_indices(end - first, 1)
        logs, when = np.log(np.maximum(own[first:end], _ROUNDING)), times[first:end]
        growth = float(np.median((logs[other] - logs[one]) / (when[other] - when[one])))
        found.append(np.log(2.0) / growth if growth > 0 else np.inf)
    middle = float(np.median(found)) if found else np.inf
    return middle if np.isfinite(middle) else None
