"""Small data sets for tests of training: random states with true accelerations."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from distillery.data.graph import edges_of
from distillery.data.trajectories import Trajectories
from distillery.networks.functions import AXES
from distillery.physics import formula
from distillery.randomness import stream
from distillery.workflow.cell import Experiment
from distillery.workflow.sweep import Sweep


def read_trajectories(sweep: Sweep, experiment: Experiment, split: str) -> Trajectories:
    """Return random states instead of integrated ones; networks use single snapshots only."""
    settings, system = sweep.settings[experiment], sweep.system(experiment)
    count, bodies, dim = sweep.simulations(experiment, split), experiment.bodies, experiment.dim
    draws = stream(experiment.seed, "test orbits", split)
    mass = np.exp(draws.normal(size=(count, bodies)))
    charge = draws.choice([-1.0, 1.0], size=(count, bodies))
    position, velocity = draws.normal(size=(2, count, settings.snapshots, bodies, dim))
    senders, receivers = edges_of(system.graph, bodies)
    per_time = {
        name: np.broadcast_to(values[:, None], position.shape[:3]) for name, values in (("m", mass), ("q", charge))
    }
    force = system.pair_force(
        position[:, :, receivers] - position[:, :, senders],
        (per_time["m"][:, :, receivers], per_time["m"][:, :, senders]),
        (per_time["q"][:, :, receivers], per_time["q"][:, :, senders]),
    )
    total = np.zeros_like(position)
    np.add.at(total, (slice(None), slice(None), receivers), force)
    place = dict(zip(AXES, np.moveaxis(position, -1, 0), strict=False))
    for k, axis in enumerate(place):
        slope = sympy.diff(system.external_potential, formula.symbol(axis))
        total[..., k] -= formula.evaluate(slope, {**system.parameters, **per_time, **dict.fromkeys(AXES, 0.0), **place})
    acceleration = total / mass[:, None, :, None]
    return Trajectories(
        position, np.arange(float(settings.snapshots)), velocity, acceleration, mass, charge, graph=system.graph
    )


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all stages read these data instead of a store."""
    from distillery.workflow import trajectories
    from distillery.workflow.stages import interpret, train, verify

    for module in (trajectories, interpret, train, verify):
        monkeypatch.setattr(module, "read_trajectories", read_trajectories)
