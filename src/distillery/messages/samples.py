"""Samples of functions other than messages: node models, energies, and the raw system of the control.

All features are those that ``networks.functions`` names, in that order; a node's samples come graph by graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distillery.data.graph import edges_of
from distillery.messages.gauge import Reading
from distillery.messages.reading import CHUNK, Edges
from distillery.networks.batches import Graphs
from distillery.networks.hamiltonian import HamiltonianNetwork
from distillery.networks.network import Network
from distillery.randomness import stream

Rows = tuple[Float[np.ndarray, "node feature"], Float[np.ndarray, "node target"]]


def node_samples(
    rows_of: Callable[[Graphs], Rows], seen: Graphs, held_out: Graphs, counts: tuple[int, int], seed: int
) -> dict[str, np.ndarray]:
    """Return samples of a function of nodes, from training graphs and from held-out ones.

    Args:
        rows_of: Gives features and targets of all nodes of some graphs, graph by graph.
        seen: Training graphs.
        held_out: Held-out graphs.
        counts: Numbers of training and of held-out samples.
        seed: Training seed, which names the random streams.

    Returns:
        ``features``, ``target`` and ``held_out``, the last one flag for each sample.
    """
    parts = []
    for name, graphs, count in (("train", seen, counts[0]), ("test", held_out, counts[1])):
        total, bodies = graphs.nodes.shape[:2]
        draws = stream(seed, "interpret", "nodes", name)
        drawn = draws.choice(total, size=min(-(-count // bodies), total), replace=False)
        features, target = rows_of(Graphs(graphs.nodes[drawn], graphs.acceleration[drawn]))
        parts.append((features[:count], target[:count]))
    features, target = (np.concatenate(pair).astype(np.float64) for pair in zip(*parts, strict=True))
    return {"features": features, "target": target, "held_out": np.arange(len(target)) >= len(parts[0][1])}


@torch.no_grad()
def node_model(network: Network, reading: Reading, graphs: Graphs, *, place: bool) -> Rows:
    """Return what a node model gets and gives: the read part of what arrives and its own state; accelerations.

    The network itself gets whole messages; features hold only the components that are read of them.

    Args:
        network: A single trained network.
        reading: How components are read of messages.
        graphs: The graphs.
        place: Whether positions are features.
    """
    bodies, dim = graphs.nodes.shape[1], graphs.acceleration.shape[2]
    _, receivers = edges_of(network.graph, bodies)
    sums, accelerations = [], []
    for start in range(0, len(graphs.nodes), CHUNK):
        nodes = _tensor(graphs.nodes[start : start + CHUNK])
        given = graphs.acceleration[start : start + CHUNK]
        accelerations.append(network(nodes).acceleration[0].double().numpy() if network.predicts else given)
        messages = network.messages(nodes)[0].double().numpy() @ reading.axes
        along, rows = messages.reshape(nodes.shape[1], len(receivers), -1), graphs.nodes[start : start + CHUNK]
        arriving = [
            reading.fixed(network, rows[:, body], along[:, at].sum(axis=1), int(at.sum()))
            for body, at in enumerate(receivers == np.arange(bodies)[:, None])
        ]
        sums.append(np.stack(arriving, axis=1))
    summed, target = np.concatenate(sums), np.concatenate(accelerations)
    velocity = graphs.nodes[..., dim : 2 * dim]
    features = np.concatenate([summed, _body(graphs), velocity, _position(graphs, place=place)], axis=-1)
    return _flat(features), _flat(target)


@torch.no_grad()
def self_energy(network: HamiltonianNetwork, graphs: Graphs, *, place: bool) -> Rows:
    """Return momentum, mass and charge of bodies, and the energy that a Hamiltonian network gives each alone.

    The part without effect on the motion is subtracted: the energy of the same body at rest, and at the origin if
    the position matters. A network may add to it anything that depends on mass and charge, far larger than what moves.

    Args:
        network: A single trained network.
        graphs: The graphs.
        place: Whether positions are features.
    """
    dim = graphs.acceleration.shape[2]
    nodes = graphs.nodes.reshape(-1, graphs.nodes.shape[2])
    still = nodes.copy()
    still[:, dim : 2 * dim] = 0.0
    if place:
        still[:, :dim] = 0.0
    energy = _in_chunks(network.self_energy, nodes) - _in_chunks(network.self_energy, still)
    momentum = graphs.nodes[..., dim : 2 * dim] * graphs.nodes[..., -1:]
    features = np.concatenate([momentum, _body(graphs), _position(graphs, place=place)], axis=-1)
    return _flat(features), energy[:, None]


@torch.no_grad()
def pair_energy(network: HamiltonianNetwork, edges: Edges) -> Float[np.ndarray, "sample 1"]:
    """Return the energies of pairs, H_ij + H_ji, minus those of the same bodies at distance 1 in the same direction.

    Nothing that the subtracted part depends on moves along the pair: no force can tell it.

    Args:
        network: A single trained network.
        edges: The pairs.
    """
    dim = edges.dim
    middle = (edges.receiver[:, :dim] + edges.sender[:, :dim]) / 2
    unit = edges.displacement / np.linalg.norm(edges.displacement, axis=1, keepdims=True)
    apart = edges.receiver.copy(), edges.sender.copy()
    apart[0][:, :dim], apart[1][:, :dim] = middle + unit / 2, middle - unit / 2
    energy = _in_chunks(network.pair_energy, edges.receiver, edges.sender)
    return (energy - _in_chunks(network.pair_energy, *apart))[:, None]


def raw_system(graphs: Graphs, *, place: bool) -> Rows:
    """Return the raw system as each body sees it, and its true acceleration.

    Args:
        graphs: The graphs.
        place: Whether positions are features.
    """
    bodies, dim = graphs.nodes.shape[1], graphs.acceleration.shape[2]
    rows = []
    for body in range(bodies):
        others = np.delete(graphs.nodes, body, axis=1)
        displacement = graphs.nodes[:, body : body + 1, :dim] - others[..., :dim]
        distance = np.linalg.norm(displacement, axis=-1, keepdims=True)
        seen = np.concatenate([displacement, distance, others[..., -1:], others[..., -2:-1]], axis=-1)
        rows.append(seen.reshape(len(seen), -1))
    velocity = graphs.nodes[..., dim : 2 * dim]
    features = np.concatenate(
        [np.stack(rows, axis=1), _body(graphs), velocity, _position(graphs, place=place)], axis=-1
    )
    return _flat(features), _flat(graphs.acceleration)


def _body(graphs: Graphs) -> np.ndarray:
    """Mass and charge, in this order."""
    return graphs.nodes[..., [-1, -2]]


def _position(graphs: Graphs, *, place: bool) -> np.ndarray:
    return graphs.nodes[..., : graphs.acceleration.shape[2] if place else 0]


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, values.shape[-1]).astype(np.float64)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[None]


def _in_chunks(function: Callable[..., Tensor], *nodes: np.ndarray) -> Any:
    starts = range(0, len(nodes[0]), CHUNK)
    parts = [function(*(_tensor(side[start : start + CHUNK]) for side in nodes))[0] for start in starts]
    return torch.cat(parts).double().numpy()
