"""Fix the gauge of messages: remove the receiver's factor and offset, which a node function can undo.

A node function sees the receiver, so a message may be m = A(receiver)·F + b(receiver) with any A and b. Training finds
arbitrary ones, often neither those of a force (A constant) nor those of an acceleration (A = 1/mass), and no short
expression gives them. They are measured without the law: the edge function is evaluated for every receiver on one fixed
set of senders, at the same displacements and at the opposite ones. The median of these messages is b, because forces of
opposite displacements cancel; their size relative to the usual one is A. The distilled message is (m - b)/A.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from distillery.messages.reading import Edges, messages_along
from distillery.messages.settings import InterpretationSettings
from distillery.networks.models import Model
from distillery.networks.network import Network
from distillery.randomness import stream

# Receivers by which the usual gauge is measured.
_RECEIVERS = 2000


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """How components are read of a network's messages.

    Attributes:
        axes: Directions of the components.
        gauge: What is taken out for each receiver; None for components as they are sent.
    """

    axes: Float[np.ndarray, "message component"]
    gauge: Gauge | None = None

    def along(self, network: Network, edges: Edges) -> Float[np.ndarray, "sample component"]:
        """Return the components along edges."""
        return self.fixed(network, edges.receiver, messages_along(network, edges) @ self.axes)

    def fixed(
        self,
        network: Network,
        receivers: Float[np.ndarray, "row feature"],
        components: Float[np.ndarray, "row component"],
        count: int = 1,
    ) -> Float[np.ndarray, "row component"]:
        """Take the gauge of each receiver out of components, or out of sums of ``count`` of them."""
        if self.gauge is None:
            return components
        offset, factor = self.gauge.of(network, self.axes, receivers)
        return (components - count * offset) / factor[:, None]


@dataclasses.dataclass(frozen=True, eq=False)
class Gauge:
    """Fixed senders on which the messages to every receiver are evaluated.

    Attributes:
        displacement: Δ = x_receiver - x_sender of each.
        sender: Features of each; its position counts for nothing.
        usual: Median over receivers of |m - b|, the usual size of each message.
    """

    displacement: Float[np.ndarray, "reference dim"]
    sender: Float[np.ndarray, "reference feature"]
    usual: Float[np.ndarray, "reference component"]

    @classmethod
    def measured(
        cls, network: Network, axes: Float[np.ndarray, "message component"], edges: Edges, references: int
    ) -> Gauge:
        """Draw references from edges and measure the usual size of their messages to the receivers of these edges.

        Args:
            network: A single trained network.
            axes: Directions of the components.
            edges: Where senders, displacements and receivers come from.
            references: How many senders; each stands on two opposite sides.
        """
        draws = stream(0, "interpret", "gauge")
        drawn = draws.choice(len(edges.sender), size=min(references, len(edges.sender)), replace=False)
        displacement, sender = edges.displacement[drawn], edges.sender[drawn]
        both = np.concatenate([displacement, -displacement]), np.concatenate([sender, sender])
        found = _reference_messages(network, axes, edges.receiver, *both)
        size = np.abs(found - np.median(found, axis=1, keepdims=True))
        return cls(*both, np.median(size, axis=0))

    def of(
        self,
        network: Network,
        axes: Float[np.ndarray, "message component"],
        receivers: Float[np.ndarray, "row feature"],
    ) -> tuple[Float[np.ndarray, "row component"], Float[np.ndarray, "row"]]:
        """Return b and A of receivers; A is 1 for the usual one, and if all messages are 0."""
        found = _reference_messages(network, axes, receivers, self.displacement, self.sender)
        offset = np.median(found, axis=1)
        # Senders of weak messages do not determine the factor.
        clear = self.usual >= np.median(self.usual)
        clear &= self.usual > 0
        if not clear.any():
            return offset, np.ones(len(receivers))
        factor = np.median(np.abs(found - offset[:, None])[:, clear] / self.usual[clear], axis=1)
        return offset, np.where(factor > 1e-6, factor, 1.0)


def with_gauge(
    network: Network,
    axes: Float[np.ndarray, "message component"],
    edges: Edges,
    model: Model,
    settings: InterpretationSettings,
) -> Reading:
    """Return how components are read of a network, its gauge fixed if that is wanted and if there is one.

    Args:
        network: A single network.
        axes: Directions of the components.
        edges: Where references and receivers come from.
        model: What was trained.
        settings: Whether the gauge is fixed, and by how many references.
    """
    # Antisymmetric messages have no gauge: a factor of the receiver would be one of the sender too.
    if not settings.gauge_fixed or model.kind != "graph" or model.antisymmetric:
        return Reading(axes)
    return Reading(axes, Gauge.measured(network, axes, edges.first(_RECEIVERS), settings.references))


def _reference_messages(
    network: Network, axes: np.ndarray, receivers: np.ndarray, displacement: np.ndarray, sender: np.ndarray
) -> Float[np.ndarray, "row reference component"]:
    """Return the message of each reference to each receiver."""
    dim = displacement.shape[1]
    parts = []
    for apart, features in zip(displacement, sender, strict=True):
        senders = np.repeat(features[None], len(receivers), axis=0)
        senders[:, :dim] = receivers[:, :dim] - apart
        parts.append(messages_along(network, Edges(receivers, senders)) @ axes)
    return np.stack(parts, axis=1)
