"""The true energy of bodies, wherever a prediction has brought them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from distillery.laws.composed import HeldOut
from distillery.networks.functions import AXES
from distillery.physics import formula
from distillery.physics.systems import System


def total_energy(system: System, graphs: HeldOut) -> Float[np.ndarray, "graph"]:
    """Return kinetic and potential energy, H = Σ m v²/2 + Σ U(r_ij + softening) + Σ V(x_i), each pair once.

    Args:
        system: The system.
        graphs: States of its bodies.
    """
    once = graphs.senders < graphs.receivers
    edges = {name: values[:, once] for name, values in graphs.edges.items()}
    given = {**system.parameters, **{name: edges[name] for name in ("r", "m1", "m2", "q1", "q2")}}
    total = 0.5 * (graphs.mass[..., None] * graphs.velocity**2).sum(axis=(1, 2))
    with np.errstate(all="ignore"):
        pairs = np.broadcast_to(formula.evaluate(system.softened_potential, given), edges["r"].shape)
        total = total + pairs.sum(axis=1)
        if system.body_potential is not None:
            place = dict.fromkeys(AXES, np.zeros_like(graphs.mass))
            place |= {axis: graphs.position[..., k] for k, axis in enumerate(AXES[: graphs.position.shape[-1]])}
            values = {**system.parameters, **place, "m": graphs.mass, "q": graphs.charge}
            own = formula.evaluate(system.external_potential, values)
            total = total + np.broadcast_to(own, graphs.mass.shape).sum(axis=1)
    return np.asarray(total)


def drift(energy: Float[np.ndarray, "time simulation"], scale: Float[np.ndarray, "simulation"]) -> np.ndarray:
    """Return over time the median over simulations of how far the energy is from what it was, in units of a scale.

    Args:
        energy: Energies.
        scale: Of each simulation the energy that counts as one, such as its kinetic energy at the start.
    """
    off = np.abs(energy - energy[0]) / scale
    return np.asarray(np.median(np.where(np.isfinite(off), off, np.inf), axis=1))
