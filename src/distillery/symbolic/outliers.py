"""Close encounters: the few samples whose target is far from all others are left out of a fit.

Forces like 1/r² grow without bound where bodies meet. A handful of samples then holds nearly the whole error,
networks are at their worst there, and the softening of a potential, which no other sample shows, decides whether the
law counts as better than a constant. Which samples are left out depends on the target alone, never on an expression.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from distillery.symbolic.engine import Problem

# At most so many samples are left out: a law that acts on few of them only (beyond an edge) must not be among these.
_MOST = 0.05
# Those that are more than so many times as far from the median as four fifths of all samples at most are.
_USUAL, _TIMES = 0.8, 4.0


@dataclasses.dataclass(frozen=True)
class Range:
    """Where a target's usual values lie.

    Attributes:
        centre: Their median (dimensionless).
        reach: How far from it they lie at most (dimensionless).
    """

    centre: float
    reach: float

    def holds(self, target: Float[np.ndarray, " sample"]) -> Bool[np.ndarray, " sample"]:
        """Return which samples lie in it."""
        return np.abs(target - self.centre) <= self.reach


def usual_range(target: Float[np.ndarray, " sample"]) -> Range:
    """Return the range of a target without the few values that are far from all others.

    Args:
        target: Training target (dimensionless).
    """
    centre = float(np.median(target))
    usual, most = np.quantile(np.abs(target - centre), [_USUAL, 1.0 - _MOST])
    return Range(centre, max(_TIMES * float(usual), float(most)))


def without_tails(problem: Problem) -> Problem:
    """Return a fit without the samples far from all others, of training and held-out ones alike.

    Args:
        problem: What is to be fitted. Where nothing would be held out any more, all of that stays.
    """
    usual = usual_range(problem.target)
    train, held_out = usual.holds(problem.target), usual.holds(problem.held_out_target)
    if not held_out.any():
        held_out[:] = True
    return dataclasses.replace(
        problem,
        features=problem.features[train],
        target=problem.target[train],
        held_out_features=problem.held_out_features[held_out],
        held_out_target=problem.held_out_target[held_out],
    )
