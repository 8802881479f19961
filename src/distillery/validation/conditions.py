"""Conditions outside of the training data: other numbers of bodies, positions, velocities and masses.

A condition changes the distribution of a system's initial conditions and nothing else. Trajectories are integrated and
saved like those of the experiment, so that errors compare with those on held-out simulations.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError
from distillery.physics.systems import System
from distillery.simulate.integrator import Integrator
from distillery.simulate.simulations import integrated
from distillery.validation.settings import ConditionSettings

_UNREACHED = "simulations do not reach their end under this condition"


def varied(system: System, condition: ConditionSettings) -> System:
    """Return the system with initial conditions drawn as a condition says.

    Args:
        system: The experiment's system.
        condition: Factors of its scales.

    Raises:
        DistilleryError: The masses would be spread too far.
    """
    spread = system.mass_spread * condition.masses
    most = 3.0
    if spread > most:
        raise DistilleryError(
            f"generalisation.conditions: masses: {condition.masses:g} times the spread {system.mass_spread:g} of this "
            f"system's masses is more than {most:g}; choose a smaller factor"
        )
    return system.model_copy(
        update={
            "position_scale": system.position_scale * condition.positions,
            "velocity_scale": system.velocity_scale * condition.velocities,
            "mass_spread": spread,
        }
    )


def trajectories(
    system: System,
    condition: ConditionSettings,
    name: str,
    *,
    dim: int,
    bodies: int,
    seed: int,
    simulations: int,
    times: Float[np.ndarray, "time"],
    tolerance: float,
) -> Trajectories | str:
    """Integrate simulations under a condition.

    Args:
        system: The system without the condition.
        condition: The condition.
        name: Its name, which names the random streams of the initial conditions.
        dim: Dimensions of space.
        bodies: Number of bodies without the condition.
        seed: Seed of the data.
        simulations: Number of simulations.
        times: Times to save (dimensionless).
        tolerance: Relative tolerance of an integration step.

    Returns:
        The trajectories in float64, or the reason why there are none.
    """
    try:
        changed = varied(system, condition)
        integrator = Integrator(changed, dim, condition.bodies or bodies, tolerance)
        found, motion, _ = integrated(integrator, seed, f"generalise {name}", range(simulations), times)
    except DistilleryError as error:
        return f"{_UNREACHED}: {error}"
    return Trajectories(
        *(motion.position, times, motion.velocity, motion.acceleration, found.mass, found.charge),
        acceleration_source="formula",
        graph=system.graph,
    )
