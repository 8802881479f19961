"""Simulations of a system: initial conditions drawn from a seed and integrated; also as one call on values."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError
from distillery.physics.systems import System
from distillery.progress import progress
from distillery.simulate.initial import Bodies, draw
from distillery.simulate.integrator import Integrator, Motion
from distillery.simulate.settings import SimulationSettings

# A simulation that fails this often in a row is a fault of the system, not of the draw.
_ATTEMPTS = 20
# Simulations that are integrated at once.
_BLOCK = 64


def simulate(
    system: System,
    *,
    dim: int = 2,
    bodies: int = 4,
    simulations: int = 3000,
    snapshots: int = 50,
    steps: int = 1000,
    seed: int = 0,
    purpose: str = "train",
    tolerance: float | None = None,
    show_progress: bool = True,
) -> Trajectories:
    """Simulate a system from random initial conditions (arXiv:2006.11287, appendix B).

    The result is that of the stage ``simulate`` with the same numbers. All quantities are dimensionless.

    Args:
        system: The system, such as ``systems["spring"]``.
        dim: Dimensions of space, 2 or 3.
        bodies: Number of bodies.
        simulations: Number of simulations.
        snapshots: Saved times of each, evenly spread over its length.
        steps: Length of a simulation in the system's time steps; a multiple of ``snapshots``.
        seed: Seed of the initial conditions.
        purpose: Name of the data; each name has random streams of its own.
        tolerance: Relative tolerance of an integration step.
        show_progress: Whether progress is shown.

    Returns:
        Trajectories in float32, masses and charges in float64.

    Raises:
        DistilleryError: The numbers do not fit each other, or the system cannot be integrated.
    """
    if dim not in (2, 3) or bodies < 2 or simulations < 1 or snapshots < 1 or steps % snapshots:
        raise DistilleryError(
            f"simulate: dim {dim}, bodies {bodies}, simulations {simulations}, snapshots {snapshots}, steps {steps}: "
            "give 2 or 3 dimensions, two bodies or more, one simulation or more, and steps as a multiple of snapshots"
        )
    integrator = Integrator(system, dim, bodies, tolerance or SimulationSettings().tolerance)
    times = np.arange(snapshots) * (steps // snapshots) * system.time_step
    show = progress("simulate", simulations, "simulations") if show_progress else None
    parts: list[tuple[Bodies, Motion]] = []
    for start in range(0, simulations, _BLOCK):
        block = range(start, min(start + _BLOCK, simulations))
        found, motion, _ = integrated(integrator, seed, purpose, block, times, np.float32)
        parts.append((found, motion))
        if show:
            show(block.stop, "")
    return Trajectories(
        *(np.concatenate([motion.position for _, motion in parts]), times),
        velocity=np.concatenate([motion.velocity for _, motion in parts]),
        acceleration=np.concatenate([motion.acceleration for _, motion in parts]),
        mass=np.concatenate([found.mass for found, _ in parts]),
        charge=np.concatenate([found.charge for found, _ in parts]),
        acceleration_source="formula",
        graph=system.graph,
    )


def integrated(
    integrator: Integrator,
    seed: int,
    purpose: str,
    simulations: range,
    times: Float[np.ndarray, "time"],
    kind: type[np.floating[Any]] = np.float64,
    name: str = "simulate",
) -> tuple[Bodies, Motion, Int[np.ndarray, "simulation"]]:
    """Draw and integrate simulations; a simulation that does not reach its end is drawn again.

    Args:
        integrator: The system's equations of motion, with dimension and number of bodies.
        seed: Seed of the data.
        purpose: Name of the data, such as a split; each name has random streams of its own.
        simulations: Numbers of the simulations.
        times: Times to save (dimensionless).
        kind: Type that trajectories are rounded to.
        name: Name of the data set, for errors.

    Returns:
        The bodies at time 0, their motion, and the number of repeated draws of each simulation.

    Raises:
        DistilleryError: A simulation does not reach its end in any of its draws.
    """
    system, dim, count = integrator.system, integrator.dim, integrator.bodies
    attempts = [0] * len(simulations)
    bodies = draw(system, dim, count, seed, purpose, simulations, attempts)
    motion = integrator.propagate(bodies, times, kind)
    while not motion.reached.all():
        failed = [index for index, reached in enumerate(motion.reached) if not reached]
        for index in failed:
            attempts[index] += 1
        worst = max(failed, key=attempts.__getitem__)
        if attempts[worst] >= _ATTEMPTS:
            raise DistilleryError(
                f"{name}: simulation {simulations[worst]} ({purpose}) did not reach its end in {_ATTEMPTS} "
                "draws; check the system's potential, softening and time step"
            )
        numbers, again = [simulations[i] for i in failed], [attempts[i] for i in failed]
        others = draw(system, dim, count, seed, purpose, numbers, again)
        bodies.replace(failed, others)
        motion.replace(failed, integrator.propagate(others, times, kind))
    return bodies, motion, np.array(attempts)
