"""Replace one function of a network by expressions, to tell whether messages or nodes cause the error.

Expressions of messages describe the components that were read from a network's messages, in a fixed gauge. Before they
enter the network's own node function, the gauge of each receiver is applied again, and whole messages are estimated
from these components by linear regression: exact for messages without other components. For a Hamiltonian network, the
node function is the energy of single bodies: it determines how bodies move under the force of pairs and alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sympy
import torch
from jaxtyping import Float
from torch import Tensor

from distillery.data.graph import edges_of
from distillery.laws import tuning
from distillery.laws.composed import HeldOut, arriving, errors, moved_by_energy, through_energies
from distillery.messages.gauge import Reading
from distillery.messages.samples import node_model
from distillery.networks.batches import Graphs
from distillery.networks.hamiltonian import HamiltonianNetwork
from distillery.networks.network import Network
from distillery.physics import formula
from distillery.physics.systems import System

Errors = dict[str, float | None]


@torch.no_grad()
def network_errors(
    network: Network,
    reading: Reading | None,
    system: System,
    names: Sequence[str],
    graphs: HeldOut,
    messages: Sequence[sympy.Expr] | None,
    nodes: Sequence[sympy.Expr] | None,
) -> dict[str, Errors]:
    """Return mean and median errors of a network, and of the network with one function replaced by expressions.

    Args:
        network: A trained network.
        reading: Components of its messages that were distilled; None for a Hamiltonian network.
        system: Table entry of the system.
        names: Names that expressions of nodes use.
        graphs: Held-out graphs.
        messages: Chosen expressions of messages, or the energy of a pair; None if one is missing.
        nodes: Chosen expressions of nodes, or the energy of a body; None if one is missing.

    Returns:
        ``network``; ``messages``, with expressions for messages; ``nodes``, with expressions for nodes.
    """
    rows = _rows(graphs)
    if isinstance(network, HamiltonianNetwork):
        return _of_energies(network, rows, graphs, messages, nodes)
    assert reading is not None
    features, flat = node_model(network, reading, rows, place=system.acts_on_bodies)
    found = {"network": errors(graphs, flat.reshape(graphs.acceleration.shape))}
    if nodes is not None:
        values = dict(zip(names, features.T, strict=True))
        given = [np.broadcast_to(formula.evaluate(node, values), len(features)) for node in nodes]
        found["nodes"] = errors(graphs, np.stack(given, axis=-1).reshape(graphs.acceleration.shape))
    if messages is not None:
        whole = _whole_messages(network, reading, rows, graphs, messages)
        accelerations = network.accelerations(_tensor(rows.nodes), _tensor(whole))[0].double().numpy()
        found["messages"] = errors(graphs, accelerations)
    return found


def _rows(graphs: HeldOut) -> Graphs:
    per_body = np.stack([graphs.charge, graphs.mass], axis=-1)
    return Graphs(np.concatenate([graphs.position, graphs.velocity, per_body], axis=-1), graphs.acceleration)


def _whole_messages(
    network: Network, reading: Reading, rows: Graphs, graphs: HeldOut, expressions: Sequence[sympy.Expr]
) -> Float[np.ndarray, "row message"]:
    """Estimate the sums of whole messages at every body from expressions of some components."""
    bodies = rows.nodes.shape[1]
    sums = arriving(graphs, expressions)
    read = np.stack([sums[f"s{k + 1}"] for k in range(len(expressions))], axis=-1)
    count = np.bincount(graphs.receivers, minlength=bodies).astype(np.float64)
    if reading.gauge is not None:
        offset, factor = reading.gauge.of(network, reading.axes, rows.nodes.reshape(-1, rows.nodes.shape[-1]))
        read = read * factor.reshape(*read.shape[:2], 1) + count[:, None] * offset.reshape(read.shape)
    known = network.messages(_tensor(rows.nodes[: tuning.REGRESSION_SNAPSHOTS]))[0].double().numpy()
    inputs = np.column_stack([known @ reading.axes, np.ones(len(known))])
    weights = np.linalg.lstsq(inputs, known, rcond=None)[0]
    whole = np.concatenate([read, np.broadcast_to(count[:, None], (*read.shape[:2], 1))], axis=-1) @ weights
    return whole.reshape(-1, whole.shape[-1])


def _of_energies(
    network: HamiltonianNetwork,
    rows: Graphs,
    graphs: HeldOut,
    messages: Sequence[sympy.Expr] | None,
    nodes: Sequence[sympy.Expr] | None,
) -> dict[str, Errors]:
    bodies, dim = rows.nodes.shape[1], graphs.position.shape[-1]
    whole = network(_tensor(rows.nodes)).acceleration[0].double().numpy()
    senders, receivers = edges_of(network.graph, bodies)
    ends = [_tensor(rows.nodes[:, side].reshape(-1, rows.nodes.shape[-1])) for side in (receivers, senders)]
    force = network.message_of(*ends)[0].double().numpy().reshape(len(rows.nodes), len(receivers), dim)
    pairs = np.stack([graphs.summed(force[..., k], receivers) for k in range(dim)], axis=-1) / graphs.mass[..., None]
    found = {"network": errors(graphs, whole)}
    if messages is not None:
        found["messages"] = errors(graphs, whole - pairs + through_energies(graphs, messages[0], None))
    if nodes is not None:
        found["nodes"] = errors(graphs, moved_by_energy(graphs, pairs * graphs.mass[..., None], nodes[0]))
    return found


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[None]
