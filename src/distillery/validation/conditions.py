"""Conditions that no network has seen: other numbers of bodies, places, speeds and masses.

A condition changes by what a system's initial conditions are drawn and nothing else; trajectories are integrated and
saved like those of the experiment, so that its errors compare with those on held-out simulations.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from distillery.data.store import Trajectories
from distillery.errors import DistilleryError
from distillery.physics.systems import System
from distillery.simulate.integrator import Integrator
from distillery.validation.settings import ConditionSettings, GeneralisationSettings
from distillery.workflow.cell import Experiment
from distillery.workflow.stages.simulate import integrated
from distillery.workflow.sweep import Sweep

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


def trajectories(sweep: Sweep, experiment: Experiment, name: str) -> Trajectories | str:
    """Integrate simulations under a condition.

    Args:
        sweep: The sweep.
        experiment: The data set whose system, dimension, length and seed they have.
        name: Which of ``generalisation.conditions``; initial conditions have streams of its name.

    Returns:
        The trajectories; or why there are none.
    """
    settings = sweep.config.generalisation
    condition = settings.conditions[name]
    try:
        system = varied(sweep.system(experiment), condition)
        other = dataclasses.replace(experiment, bodies=condition.bodies or experiment.bodies)
        integrator = Integrator(system, other.dim, other.bodies, sweep.config.simulation.tolerance)
        times = saved_times(sweep, experiment, settings)
        bodies, motion, _ = integrated(integrator, other, f"generalise {name}", range(settings.simulations), times)
    except DistilleryError as error:
        return f"{_UNREACHED}: {error}"
    return Trajectories(motion.position, motion.velocity, motion.acceleration, bodies.mass, bodies.charge, times)


def saved_times(sweep: Sweep, experiment: Experiment, settings: GeneralisationSettings) -> np.ndarray:
    """Return the times at which states are taken: evenly spread over the length of the experiment's trajectories."""
    length = sweep.settings[experiment].steps * sweep.system(experiment).time_step
    return np.arange(settings.snapshots) * (length / settings.snapshots)
