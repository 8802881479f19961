"""Initial conditions of simulations: one stream of random numbers for each, so that none depends on another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from distillery.physics.systems import System
from distillery.randomness import stream
from distillery.workflow.cell import Experiment


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
        """Put other bodies in the place of the chosen simulations."""
        for mine, other in zip(vars(self).values(), vars(others).values(), strict=True):
            mine[list(chosen)] = other


def draw(
    system: System, experiment: Experiment, purpose: str, simulations: Sequence[int], attempts: Sequence[int]
) -> Bodies:
    """Draw initial conditions as arXiv:2006.11287, appendix B, does.

    Masses are LogNormal(0, 1), charges ±1 with equal odds, components of positions and velocities normal
    with mean 0; a system may have other standard deviations and charges.

    Args:
        system: Table entry of the experiment's system.
        experiment: Gives dimension, number of bodies and seed.
        purpose: What they are for, such as a split; each has streams of its own.
        simulations: Which simulations of it.
        attempts: For each of them, how often it was drawn before.

    Returns:
        The bodies at time 0.
    """
    shape = (experiment.bodies, experiment.dim)
    mass, charge, position, velocity = [], [], [], []
    for simulation, attempt in zip(simulations, attempts, strict=True):
        random = stream(experiment.seed, "simulate", purpose, simulation, attempt)
        mass.append(random.lognormal(0.0, system.mass_spread, experiment.bodies))
        position.append(random.normal(0.0, system.position_scale, shape))
        velocity.append(random.normal(0.0, system.velocity_scale, shape))
        charge.append(random.choice(system.charges, experiment.bodies))
    return Bodies(np.array(mass), np.array(charge), np.array(position), np.array(velocity))
