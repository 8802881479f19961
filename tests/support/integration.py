"""Systems, compiled integrators and initial conditions for tests of simulations."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.physics.systems import System
from distillery.simulate.initial import Bodies, draw
from distillery.simulate.integrator import Integrator

TOLERANCE = 1.4e-8


def made(potential: str, **more: Any) -> System:
    """Return a system with this potential, and a time step of 0.01 by default."""
    return System.model_validate({"potential": potential, "time_step": 0.01, **more})


@functools.cache
def _compiled(system: str, dim: int, bodies: int) -> Integrator:
    return Integrator(System.model_validate_json(system), dim, bodies, TOLERANCE)


def integrator(system: System, dim: int = 2, bodies: int = 4) -> Integrator:
    """Return the integrator of a system, compiled once."""
    return _compiled(system.model_dump_json(), dim, bodies)


def drawn(system: System, dim: int = 2, bodies: int = 4, count: int = 16) -> Bodies:
    """Return random initial conditions of ``count`` simulations."""
    return draw(system, dim, bodies, 5, "train", range(count), [0] * count)


def pair_distances(position: Float[np.ndarray, "*some particle space"]) -> Float[np.ndarray, "*some pair"]:
    """Return the distances of all pairs of bodies."""
    pairs = itertools.combinations(range(position.shape[-2]), 2)
    return np.stack([np.linalg.norm(position[..., i, :] - position[..., j, :], axis=-1) for i, j in pairs], axis=-1)


def kinetic(bodies: Bodies, velocity: Float[np.ndarray, "simulation time particle space"]) -> Any:
    """Return the kinetic energy of every simulation at every time."""
    return 0.5 * (bodies.mass[:, None, :, None] * velocity**2).sum((-1, -2))
