"""Estimate how strongly a system accelerates its bodies, before anything is simulated or trained."""

from __future__ import annotations

import numpy as np
import sympy
from jaxtyping import Float

from distillery.data.graph import edges_of
from distillery.physics import formula
from distillery.physics.systems import BODY_SYMBOLS, System
from distillery.simulate.initial import draw

# Initial states that are looked at, and the most bodies of each.
_STATES, _BODIES = 64, 8
# Distances and places, in standard deviations of initial positions, at which a force may begin to act.
_REACH = np.geomspace(1e-6, 1e6, 241)
# Typical accelerations within these limits need no remark.
_WEAK, _STRONG = 1e-3, 1e3


def starting_accelerations(
    system: System, dim: int, bodies: int, seed: int
) -> Float[np.ndarray, "simulation body dim"]:
    """Return accelerations of bodies in initial states (dimensionless).

    Args:
        system: The system.
        dim: Dimensions of space.
        bodies: Number of bodies; of more than eight, eight are drawn.
        seed: Seed of the initial conditions.
    """
    bodies = min(bodies, _BODIES)
    states = draw(system, dim, bodies, seed, "train", range(_STATES), [0] * _STATES)
    senders, receivers = edges_of(system.graph, bodies)
    masses, charges = ((each[:, receivers], each[:, senders]) for each in (states.mass, states.charge))
    force = np.zeros_like(states.position)
    pairs = system.pair_force(states.position[:, receivers] - states.position[:, senders], masses, charges)
    for edge, receiver in enumerate(receivers):
        force[:, receiver] += pairs[:, edge]
    values = {**system.parameters, "m": states.mass, "q": states.charge}
    values |= {axis: np.zeros_like(states.mass) for axis in BODY_SYMBOLS[:3]}
    values |= {axis: states.position[..., k] for k, axis in enumerate(BODY_SYMBOLS[:dim])}
    for k, slope in enumerate(_slopes(system, dim)):
        force[..., k] -= formula.evaluate(slope, values)
    force -= system.damping * (bodies - 1) / bodies * states.velocity
    accelerations: np.ndarray = force / states.mass[..., None]
    return accelerations


def never_accelerates(system: System, dim: int) -> bool:
    """Return whether no body is ever accelerated, at whatever distance or place."""
    random = np.random.default_rng(0)
    mass = np.exp(system.mass_spread * random.normal(size=(2, len(_REACH))))
    charge = random.choice(system.charges, (2, len(_REACH)))
    reach = _REACH * system.position_scale
    pair = {**system.parameters, "r": reach, "m1": mass[0], "m2": mass[1], "q1": charge[0], "q2": charge[1]}
    place = {axis: random.choice((-1, 1), len(reach)) * random.permutation(reach) for axis in BODY_SYMBOLS[:dim]}
    body = {**system.parameters, **dict.fromkeys(BODY_SYMBOLS[:3], 0.0), **place, "m": mass[0], "q": charge[0]}
    forces = [formula.evaluate(system.radial_force, pair)]
    forces += [formula.evaluate(slope, body) for slope in _slopes(system, dim)]
    return not system.damping and not any(np.any(force) for force in forces)


def remedy(system: System) -> str:
    """Return what to change in a system that does not accelerate its bodies."""
    zeros = [f"constants.{name}" for name, value in system.constants.items() if value == 0]
    return f"set {' or '.join(zeros)} to another value than 0" if zeros else "change its potential"


def remarks_on(name: str, system: System, dim: int, bodies: int, seed: int) -> list[str]:
    """Return a line where initial accelerations are 0 or far from 1.

    Args:
        name: Name of the system, for the line.
        system: The system.
        dim: Dimensions of space.
        bodies: Number of bodies.
        seed: Seed of the initial conditions.
    """
    with np.errstate(all="ignore"):
        sizes = np.abs(starting_accelerations(system, dim, bodies, seed)).sum(-1)
    typical = float(np.median(sizes))
    place = f"systems.{name}"
    if not np.any(sizes):
        return [f"{place}: no body is accelerated where it starts; {remedy(system)}, or change position_scale"]
    if not np.isfinite(typical) or _WEAK <= typical <= _STRONG:
        return []
    return [
        f"{place}: accelerations of bodies are about {typical:.1g} where they start, and laws are found best where "
        "they are about 1; choose other units for its constants, position_scale and time_step"
    ]


def _slopes(system: System, dim: int) -> list[sympy.Expr]:
    if system.body_potential is None:
        return []
    return [sympy.diff(system.external_potential, formula.symbol(axis)) for axis in BODY_SYMBOLS[:dim]]
