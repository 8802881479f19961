"""Initial conditions of simulations; each simulation has a random stream of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from distillery.physics.systems import System
from distillery.randomness import stream


@dataclasses.dataclass(frozen=True)
class Bodies:
    """The bodies of some simulations at one time; all dimensionless, float64.

    Attributes:
        mass: Masses.
        charge: Charges.
        position: Positions.
        velocity: Velocities.
    """

    mass: Float[np.ndarray, "simulation particle"]
    charge: Float[np.ndarray, "simulation particle"]
    position: Float[np.ndarray, "simulation particle space"]
    velocity: Float[np.ndarray, "simulation particle space"]

    def __getitem__(self, chosen: Sequence[int]) -> Bodies:
        """Return the bodies of the chosen simulations, in that order."""
        which = list(chosen)
        return Bodies(self.mass[which], self.charge[which], self.position[which], self.velocity[which])

    def replace(self, chosen: Sequence[int], others: Bodies) -> None:
        """Replace the bodies of the chosen simulations."""
        for mine, other in zip(vars(self).values(), vars(others).values(), strict=True):
            mine[list(chosen)] = other


def draw(
    system: System,
    dim: int,
    bodies: int,
    seed: int,
    purpose: str,
    simulations: Sequence[int],
    attempts: Sequence[int],
) -> Bodies:
    """Draw initial conditions as in arXiv:2006.11287, appendix B.

    Masses are LogNormal(0, 1), charges ±1 with equal odds, components of positions and velocities normal
    with mean 0; a system may have other standard deviations and charges.

    Args:
        system: The system.
        dim: Dimensions of space.
        bodies: Number of bodies.
        seed: Seed of the data.
        purpose: Name of the data, such as a split; each has random streams of its own.
        simulations: Numbers of the simulations.
        attempts: Number of earlier draws of each simulation.

    Returns:
        The bodies at time 0.
    """
    shape = (bodies, dim)
    mass, charge, position, velocity = [], [], [], []
    for simulation, attempt in zip(simulations, attempts, strict=True):
        random = stream(seed, "simulate", purpose, simulation, attempt)
        mass.append(random.lognormal(0.0, system.mass_spread, bodies))
        position.append(random.normal(0.0, system.position_scale, shape))
        velocity.append(random.normal(0.0, system.velocity_scale, shape))
        charge.append(random.choice(system.charges, bodies))
    return Bodies(np.array(mass), np.array(charge), np.array(position), np.array(velocity))
