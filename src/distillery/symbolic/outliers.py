"""Exclude outliers from a fit: the few samples whose target is far from all others.

Forces like 1/r² grow without bound in close encounters. A handful of samples then contributes nearly the whole error,
networks are least accurate there, and the softening of the potential, which no other sample depends on, decides
whether the law beats a constant. The target alone defines an outlier, never an expression.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from distillery.symbolic import tuning
from distillery.symbolic.engine import Problem


@dataclasses.dataclass(frozen=True)
class Range:
    """Range of a target's usual values.

    Attributes:
        centre: Their median (dimensionless).
        reach: Their largest distance from it (dimensionless).
    """

    centre: float
    reach: float

    def contains(self, target: Float[np.ndarray, " sample"]) -> Bool[np.ndarray, " sample"]:
        """Return for each sample whether it lies in the range."""
        return np.abs(target - self.centre) <= self.reach


def usual_range(target: Float[np.ndarray, " sample"]) -> Range:
    """Return the range of a target without outliers.

    Args:
        target: Training target (dimensionless).
    """
    centre = float(np.median(target))
    usual, most = np.quantile(np.abs(target - centre), [tuning.USUAL_SHARE, 1.0 - tuning.MOST_OUTLIERS])
    return Range(centre, max(tuning.USUAL_MULTIPLE * float(usual), float(most)))


def without_outliers(problem: Problem) -> Problem:
    """Return a problem without outliers among training and held-out samples.

    Args:
        problem: The problem. Held-out samples are kept if all of them are outliers.
    """
    usual = usual_range(problem.target)
    train, held_out = usual.contains(problem.target), usual.contains(problem.held_out_target)
    if not held_out.any():
        held_out[:] = True
    return dataclasses.replace(
        problem,
        features=problem.features[train],
        target=problem.target[train],
        held_out_features=problem.held_out_features[held_out],
        held_out_target=problem.held_out_target[held_out],
    )
