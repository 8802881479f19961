"""Accelerations that expressions of messages and nodes give on snapshots, and their errors.

Sums and inputs of nodes are those of ``messages.samples``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import sympy
from jaxtyping import Float, Int

from distillery.data.graph import edges_of
from distillery.data.trajectories import Trajectories
from distillery.laws.hamilton import acceleration, momenta
from distillery.laws.limits import Verdict, floored, not_finite, within_limits
from distillery.laws.settings import VerificationSettings
from distillery.networks.functions import AXES, feature_names
from distillery.physics import formula


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out snapshots; all dimensionless.

    Attributes:
        position: Positions.
        velocity: Velocities.
        mass: Masses.
        charge: Charges.
        acceleration: True accelerations.
        receivers: Of each directed edge of the graph the body that receives.
        senders: The one that sends.
    """

    position: Float[np.ndarray, "graph body dim"]
    velocity: Float[np.ndarray, "graph body dim"]
    mass: Float[np.ndarray, "graph body"]
    charge: Float[np.ndarray, "graph body"]
    acceleration: Float[np.ndarray, "graph body dim"]
    receivers: Int[np.ndarray, " edge"]
    senders: Int[np.ndarray, " edge"]

    @property
    def edges(self) -> dict[str, Float[np.ndarray, "graph edge"]]:
        """Inputs of expressions of messages, by name."""
        delta = self.position[:, self.receivers] - self.position[:, self.senders]
        mass = (self.mass[:, self.receivers], self.mass[:, self.senders])
        charge = (self.charge[:, self.receivers], self.charge[:, self.senders])
        columns = [*np.moveaxis(delta, -1, 0), np.linalg.norm(delta, axis=-1), *mass, *charge]
        return dict(zip(feature_names(delta.shape[-1]), columns, strict=True))

    @property
    def nodes(self) -> dict[str, Float[np.ndarray, "graph body"]]:
        """Inputs of expressions of nodes besides the sums of messages, by name."""
        found = {"m": self.mass, "q": self.charge}
        for k, axis in enumerate(AXES[: self.position.shape[-1]]):
            found |= {axis: self.position[..., k], f"v{axis}": self.velocity[..., k]}
            found[f"p{axis}"] = self.mass * self.velocity[..., k]
        return found

    @property
    def raw(self) -> dict[str, Float[np.ndarray, "graph body"]]:
        """The raw system as each body sees it, by name."""
        found = {f"{name}1": values for name, values in self.nodes.items()}
        bodies = self.position.shape[1]
        others = np.array([[k for k in range(bodies) if k != body] for body in range(bodies)])
        for place in range(bodies - 1):
            other = others[:, place]
            delta = self.position - self.position[:, other]
            found |= {f"d{axis}{place + 2}": delta[..., k] for k, axis in enumerate(AXES[: delta.shape[-1]])}
            found[f"r{place + 2}"] = np.linalg.norm(delta, axis=-1)
            found |= {f"m{place + 2}": self.mass[:, other], f"q{place + 2}": self.charge[:, other]}
        return found

    def summed(self, along: Float[np.ndarray, "graph edge"], at: Int[np.ndarray, " edge"]) -> np.ndarray:
        """Return for each body the sum over the edges at one end of which it is."""
        with np.errstate(all="ignore"):
            return np.stack([along[:, at == body].sum(axis=1) for body in range(self.mass.shape[1])], axis=1)


def draw_snapshots(
    trajectories: Trajectories, most: int, draws: np.random.Generator
) -> tuple[HeldOut, Int[np.ndarray, " graph"]]:
    """Draw snapshots of trajectories, all of them where there are not more.

    Args:
        trajectories: The trajectories.
        most: Largest number of snapshots.
        draws: Source of the draws.

    Returns:
        The snapshots in float64, and the number of each one's simulation.
    """
    simulations, times, bodies, dim = trajectories.position.shape
    total = simulations * times
    drawn = np.sort(draws.choice(total, size=min(most, total), replace=False))
    position, velocity, acceleration = (
        values.reshape(total, bodies, dim)[drawn].astype(np.float64)
        for values in (trajectories.position, trajectories.velocity, trajectories.acceleration)
    )
    senders, receivers = edges_of(trajectories.graph, bodies)
    mass, charge = trajectories.mass[drawn // times], trajectories.charge[drawn // times]
    return HeldOut(position, velocity, mass, charge, acceleration, receivers, senders), drawn // times


def all_snapshots(trajectories: Trajectories) -> HeldOut:
    """Return all snapshots of trajectories in float64, simulation by simulation."""
    simulations, times, bodies, dim = trajectories.position.shape
    position, velocity, acceleration = (
        values.reshape(simulations * times, bodies, dim).astype(np.float64)
        for values in (trajectories.position, trajectories.velocity, trajectories.acceleration)
    )
    senders, receivers = edges_of(trajectories.graph, bodies)
    mass, charge = (np.repeat(values, times, axis=0) for values in (trajectories.mass, trajectories.charge))
    return HeldOut(position, velocity, mass, charge, acceleration, receivers, senders)


def through_nodes(
    graphs: HeldOut, messages: Sequence[sympy.Expr], nodes: Sequence[sympy.Expr]
) -> Float[np.ndarray, "graph body component"]:
    """Return what expressions of a node model make of expressions of messages.

    Args:
        graphs: Where.
        messages: One expression for each component that arrives.
        nodes: Expressions of the node model.
    """
    values = arriving(graphs, messages)
    return np.stack([np.broadcast_to(formula.evaluate(node, values), graphs.mass.shape) for node in nodes], axis=-1)


def arriving(graphs: HeldOut, messages: Sequence[sympy.Expr]) -> dict[str, Float[np.ndarray, "graph body"]]:
    """Return what expressions of nodes are made of, by name: sums of the messages that arrive, and nodes' own state."""
    edges, values = graphs.edges, graphs.nodes
    for k, message in enumerate(messages):
        along = np.broadcast_to(formula.evaluate(message, edges), edges["r"].shape)
        values[f"s{k + 1}"] = graphs.summed(along, graphs.receivers)
    return values


def through_energies(graphs: HeldOut, pair: sympy.Expr, body: sympy.Expr | None) -> Float[np.ndarray, "graph body dim"]:
    """Return the acceleration that energies give, H = Σ_{i<j} E_ij + Σ_i E_i.

    Args:
        graphs: Where.
        pair: Energy of a pair; of two ways to see it, the mean of what it says counts.
        body: Energy of a single body; None for p²/2m.
    """
    return moved_by_energy(graphs, forces_of_pairs(graphs, pair), body)


def forces_of_pairs(graphs: HeldOut, pair: sympy.Expr) -> Float[np.ndarray, "graph body dim"]:
    """Return the force -∂/∂x of the energy of pairs on each body, see ``through_energies``."""
    edges, dim = graphs.edges, graphs.position.shape[-1]
    by_distance = formula.evaluate(sympy.diff(pair, formula.symbol("r")), edges)
    forces = []
    with np.errstate(all="ignore"):
        for axis in AXES[:dim]:
            own = formula.evaluate(sympy.diff(pair, formula.symbol(f"d{axis}")), edges)
            along = np.broadcast_to(own + by_distance * edges[f"d{axis}"] / edges["r"], edges["r"].shape) / 2
            forces.append(graphs.summed(along, graphs.senders) - graphs.summed(along, graphs.receivers))
    return np.stack(forces, axis=-1)


def moved_by_energy(
    graphs: HeldOut, force: Float[np.ndarray, "graph body dim"], body: sympy.Expr | None
) -> Float[np.ndarray, "graph body dim"]:
    """Return the acceleration d/dt ∂E/∂p of bodies of energy E on which forces act, at momenta p = m·v.

    Args:
        graphs: Where.
        force: Force on each body besides that of its own energy.
        body: Its energy; None for p²/2m.
    """
    with np.errstate(all="ignore"):
        if body is None:
            return np.asarray(force / graphs.mass[..., None])
        dim = force.shape[-1]
        acting = [formula.symbol(f"f{axis}") for axis in AXES[:dim]]
        pulls = [f - sympy.diff(body, formula.symbol(axis)) for f, axis in zip(acting, AXES, strict=False)]
        values = graphs.nodes | {f.name: force[..., k] for k, f in enumerate(acting)}
        found = acceleration([sympy.diff(body, p) for p in momenta(dim)], pulls)
        return np.stack([np.broadcast_to(formula.evaluate(a, values), graphs.mass.shape) for a in found], axis=-1)


def errors(graphs: HeldOut, found: Float[np.ndarray, "graph body dim"]) -> dict[str, float | None]:
    """Return mean and median over bodies of Σ_d |a_d - â_d|; None where an expression is not finite too often."""
    with np.errstate(invalid="ignore"):
        own = np.abs(found - graphs.acceleration).sum(axis=-1).ravel()
    own = np.where(np.isfinite(own), own, np.inf)
    middle = np.sort(own)[(len(own) - 1) // 2 : len(own) // 2 + 1].mean()
    return {name: float(v) if np.isfinite(v) else None for name, v in (("mae", own.mean()), ("medae", middle))}


def judge_acceleration(
    graphs: HeldOut, found: np.ndarray, settings: VerificationSettings, component: int | None = None
) -> Verdict:
    """Decide whether accelerations are the true ones: residuals relative to the size of each.

    Where a body is hardly accelerated they are relative to a share of the typical size.

    Args:
        graphs: Where.
        found: Accelerations, or one component of them.
        settings: Limits.
        component: Which; None for all.
    """
    size = floored(np.linalg.norm(graphs.acceleration, axis=-1))
    true = graphs.acceleration if component is None else graphs.acceleration[..., component]
    with np.errstate(invalid="ignore", over="ignore"):
        residual = np.linalg.norm(found - true, axis=-1) / size if component is None else np.abs(found - true) / size
    if refusal := not_finite(residual, "held-out bodies"):
        return refusal
    median, p90, reason = within_limits(residual, settings)
    return Verdict(not reason, None if reason else "acceleration", reason, median, p90, {})
