"""Rollouts: bodies moved by the accelerations that a network or a law gives.

The classical Runge-Kutta method of fourth order with a fixed step: a network is a piecewise linear function, at whose
kinks an adaptive method of high order would take ever smaller steps, and all predictors are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from distillery.laws.composed import HeldOut
from distillery.simulate.initial import Bodies
from distillery.util import budget

Acceleration = Callable[[HeldOut], Float[np.ndarray, "graph body dim"]]
# A rollout is aborted once a body is this many times farther away than the size of the system.
_FAR = 1e6


def rolled_out(
    acceleration: Acceleration,
    bodies: Bodies,
    edges: Int[np.ndarray, "2 edge"],
    times: Float[np.ndarray, "time"],
    steps: int,
) -> tuple[Float[np.ndarray, "time simulation body dim"], Float[np.ndarray, "time simulation body dim"]]:
    """Return positions and velocities of bodies that accelerations move; NaN from where one leaves all bounds.

    Args:
        acceleration: Gives the accelerations of states.
        bodies: Bodies at the first time.
        edges: Senders and receivers of the graph.
        times: Times to save, evenly spaced (dimensionless).
        steps: Steps between two of them.

    Raises:
        OutOfBudget: The budget was spent before the last time.
    """
    senders, receivers = edges
    position, velocity = bodies.position.astype(np.float64), bodies.velocity.astype(np.float64)
    step = (times[1] - times[0]) / steps

    def pull(at: np.ndarray, moving: np.ndarray) -> np.ndarray:
        budget.spend()
        return acceleration(HeldOut(at, moving, bodies.mass, bodies.charge, np.zeros_like(at), receivers, senders))

    saved = [(position, velocity)]
    with np.errstate(all="ignore"):
        for _ in times[1:]:
            for _ in range(steps):
                first = pull(position, velocity)
                half = velocity + step / 2 * first
                second = pull(position + step / 2 * velocity, half)
                again = velocity + step / 2 * second
                third = pull(position + step / 2 * half, again)
                whole = velocity + step * third
                fourth = pull(position + step * again, whole)
                position = position + step / 6 * (velocity + 2 * half + 2 * again + whole)
                velocity = velocity + step / 6 * (first + 2 * second + 2 * third + fourth)
            lost = ~(np.abs(position).max(axis=(1, 2)) < _FAR)
            position, velocity = (np.where(lost[:, None, None], np.nan, part) for part in (position, velocity))
            saved.append((position, velocity))
    positions, velocities = zip(*saved, strict=True)
    return np.stack(positions), np.stack(velocities)
