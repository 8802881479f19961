"""Messages along random edges, and the two readings of them: most significant and principal components."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distillery.data.graph import edges_of
from distillery.networks.batches import Graphs
from distillery.networks.network import Network

Reading = Literal["std", "principal"]
CHUNK = 4096
CLEARLY_MORE = 0.95


@dataclasses.dataclass(frozen=True)
class Edges:
    """Random directed edges; receiver and sender as node features (dimensionless).

    Attributes:
        receiver: Position, velocity, charge, mass.
        sender: The same.
    """

    receiver: Float[np.ndarray, "sample feature"]
    sender: Float[np.ndarray, "sample feature"]

    @property
    def dim(self) -> int:
        """Dimensions of space."""
        return (self.receiver.shape[1] - 2) // 2

    @property
    def displacement(self) -> Float[np.ndarray, "sample dim"]:
        """Δ = x_receiver - x_sender."""
        return self.receiver[:, : self.dim] - self.sender[:, : self.dim]

    @property
    def charge(self) -> Float[np.ndarray, "sample 2"]:
        """Charges of receiver and sender."""
        return np.stack([self.receiver[:, -2], self.sender[:, -2]], axis=1)

    @property
    def mass(self) -> Float[np.ndarray, "sample 2"]:
        """Masses of receiver and sender."""
        return np.stack([self.receiver[:, -1], self.sender[:, -1]], axis=1)

    def first(self, count: int) -> Edges:
        """Return the first ``count`` edges."""
        return Edges(self.receiver[:count], self.sender[:count])

    def then(self, other: Edges) -> Edges:
        """Return these edges and then the others."""
        return Edges(
            np.concatenate([self.receiver, other.receiver]),
            np.concatenate([self.sender, other.sender]),
        )


def sample_edges(graphs: Graphs, graph: str, samples: int, stream: np.random.Generator) -> Edges:
    """Draw distinct directed edges from all graphs, fewer if there are not so many.

    Args:
        graphs: Where they come from.
        graph: The kind of graph.
        samples: How many.
        stream: Source of the draws.
    """
    senders, receivers = edges_of(graph, graphs.nodes.shape[1])
    total = len(graphs.nodes) * len(senders)
    drawn = stream.choice(total, size=min(samples, total), replace=False)
    which, edge = drawn // len(senders), drawn % len(senders)
    return Edges(graphs.nodes[which, receivers[edge]], graphs.nodes[which, senders[edge]])


@torch.no_grad()
def messages_along(network: Network, edges: Edges) -> Float[np.ndarray, "sample message"]:
    """Return the messages that a single network sends along edges, in float64."""
    return _in_chunks(network.message_of, edges)


@torch.no_grad()
def divergence_along(network: Network, edges: Edges) -> Float[np.ndarray, "sample message"]:
    """Return the KL divergence ½(μ² + σ² - log σ²) of each component of variational messages, up to a constant."""

    def divergence(receivers: Tensor, senders: Tensor) -> Tensor:
        mean, log_variance = network.output(receivers, senders).chunk(2, dim=2)
        return (mean.square() + log_variance.exp() - log_variance) / 2

    return _in_chunks(divergence, edges)


@torch.no_grad()
def errors_on(network: Network, graphs: Graphs) -> Float[np.ndarray, "node"]:
    """Return for every node the prediction error Σ_d |a_d - â_d| of a single network."""
    parts = []
    for start in range(0, len(graphs.nodes), CHUNK):
        nodes = torch.from_numpy(graphs.nodes[start : start + CHUNK].astype(np.float32))[None]
        predicted = network(nodes).acceleration[0].double().numpy()
        parts.append(np.abs(predicted - graphs.acceleration[start : start + CHUNK]).sum(-1).ravel())
    return np.concatenate(parts)


def _in_chunks(function: Callable[[Tensor, Tensor], Tensor], edges: Edges) -> np.ndarray:
    parts = []
    for start in range(0, len(edges.receiver), CHUNK):
        receivers, senders = (
            torch.from_numpy(side[start : start + CHUNK].astype(np.float32))[None]
            for side in (edges.receiver, edges.sender)
        )
        parts.append(function(receivers, senders)[0].double().numpy())
    return np.concatenate(parts)


def reading_axes(
    messages: Float[np.ndarray, "sample message"], significance: Float[np.ndarray, "message"], dim: int
) -> dict[Reading, Float[np.ndarray, "message dim"]]:
    """Return for each reading the directions whose ``dim`` components are kept.

    Args:
        messages: Sampled messages.
        significance: By which the reading ``std`` ranks components.
        dim: Dimensions of space.
    """
    width = messages.shape[1]
    top = np.argsort(-significance, kind="stable")[:dim]
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(messages, rowvar=False)))
    principal = vectors[:, np.argsort(-values, kind="stable")[:dim]]
    # An axis has no sign of its own; the largest entry is made positive so that the same messages read the same.
    largest = np.abs(principal).argmax(axis=0)
    principal = principal * np.sign(principal[largest, np.arange(principal.shape[1])])
    return {"std": np.eye(width)[:, top], "principal": principal}


def explained_share(messages: Float[np.ndarray, "sample message"], axes: Float[np.ndarray, "message dim"]) -> float:
    """Return the share of the messages' total variance along some axes; NaN where nothing varies."""
    total = float(messages.var(axis=0).sum())
    return min(float((messages @ axes).var(axis=0).sum()) / total, 1.0) if total > 0 else float("nan")


def choose_reading(wanted: Literal["std", "principal", "best"], explained: dict[Reading, float]) -> Reading:
    """Return the reading that is distilled: ``best`` is the paper's unless principal components carry clearly more."""
    if wanted != "best":
        return wanted
    return "principal" if explained["std"] < CLEARLY_MORE * explained["principal"] else "std"
