"""Laws, graphs and errors for tests of refits."""

from __future__ import annotations

import numpy as np

from distillery.data.graph import edges_of
from distillery.laws.compose import composed, composed_energies
from distillery.laws.composed import HeldOut, errors, through_nodes
from distillery.laws.law import Law, momentum_names, own_names
from distillery.laws.problem import Data
from distillery.laws.settings import ReplacementSettings
from distillery.networks.functions import feature_names
from distillery.physics import formula
from distillery.physics.systems import SYSTEMS

PLAIN = {"experiments": [{"system": "spring"}], "models": ["bottleneck"]}


SETTINGS = ReplacementSettings()


def graphs(system: str = "spring", dim: int = 2, count: int = 400, seed: int = 0, noise: float = 0.0) -> Data:
    """Return random states with noisy true accelerations; ten snapshots of each simulation."""
    draws, bodies = np.random.default_rng(seed), 4
    mass = np.repeat(np.exp(draws.normal(size=(count // 10, bodies))), 10, axis=0)
    charge = np.repeat(draws.choice([-1.0, 1.0], (count // 10, bodies)), 10, axis=0)
    position, velocity = draws.normal(size=(2, count, bodies, dim))
    senders, receivers = edges_of("complete", bodies)
    force = SYSTEMS[system].pair_force(
        position[:, receivers] - position[:, senders],
        (mass[:, receivers], mass[:, senders]),
        (charge[:, receivers], charge[:, senders]),
    )
    total = np.zeros_like(position)
    np.add.at(total, (slice(None), receivers), force)
    acceleration = total / mass[..., None] + noise * draws.normal(size=position.shape)
    found = HeldOut(position, velocity, mass, charge, acceleration, receivers, senders)
    return Data(found, np.arange(count) // 10)


def law(messages: tuple[str, ...], nodes: tuple[str, ...], dim: int = 2, arriving: int | None = 3) -> Law:
    sums = tuple(f"s{k + 1}" for k in range(len(messages)))
    return composed(
        [formula.parse(message, feature_names(dim)) for message in messages],
        [formula.parse(node, (*sums, *own_names(dim))) for node in nodes],
        arriving,
        unit_charges=True,
    )


def error(found: Law, data: Data) -> float:
    value = errors(data.graphs, through_nodes(data.graphs, found.filled(found.messages), found.filled(found.nodes)))
    assert value["mae"] is not None
    return value["mae"]


def draws() -> np.random.Generator:
    return np.random.default_rng(0)


def hamiltonian(body: str, pair: str = "r*(r - 1.98)") -> Law:
    parsed = formula.parse(pair, feature_names(2)), formula.parse(body, momentum_names(2))
    return composed_energies(*parsed, 2, unit_charges=True)


KINETIC = "px^2/(2*m) + py^2/(2*m)"
