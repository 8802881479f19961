"""The gauge of messages, fixed: what a node function can undo is taken out of them before they are distilled.

A node function knows the receiver, so a message may be m = A(receiver)·F + b(receiver) with any A and b; which ones a
training arrives at is chance, and often they are neither those of a force (A constant) nor those of an acceleration
(A = 1/mass) but something between, which no short expression gives. They can be measured without the law: the receiver
is put before the same few senders, at the same displacements, each also on the opposite side, as all other receivers.
The median of what it hears is b, for forces on opposite sides cancel; how loud it hears them, compared with what
receivers usually do, is A. What is distilled is (m - b)/A: the force with the receiver's own factor divided out.
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
    """The senders before which every receiver is put.

    Attributes:
        displacement: Δ = x_receiver - x_sender of each.
        sender: Features of each; its position counts for nothing.
        usual: Median over receivers of |m - b|, how loud each is usually heard.
    """

    displacement: Float[np.ndarray, "reference dim"]
    sender: Float[np.ndarray, "reference feature"]
    usual: Float[np.ndarray, "reference component"]

    @classmethod
    def measured(
        cls, network: Network, axes: Float[np.ndarray, "message component"], edges: Edges, references: int
    ) -> Gauge:
        """Draw references from edges and find how loud the receivers of these edges usually hear them.

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
        heard = _heard(network, axes, edges.receiver, *both)
        loud = np.abs(heard - np.median(heard, axis=1, keepdims=True))
        return cls(*both, np.median(loud, axis=0))

    def of(
        self,
        network: Network,
        axes: Float[np.ndarray, "message component"],
        receivers: Float[np.ndarray, "row feature"],
    ) -> tuple[Float[np.ndarray, "row component"], Float[np.ndarray, "row"]]:
        """Return b and A of receivers; A is 1 for the usual one, and where nothing is heard at all."""
        heard = _heard(network, axes, receivers, self.displacement, self.sender)
        offset = np.median(heard, axis=1)
        # Senders that are hardly heard say nothing of how loud.
        clear = self.usual >= np.median(self.usual)
        clear &= self.usual > 0
        if not clear.any():
            return offset, np.ones(len(receivers))
        factor = np.median(np.abs(heard - offset[:, None])[:, clear] / self.usual[clear], axis=1)
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
    # What is antisymmetric has no gauge: the sender, whose message it is too, knows nothing of the receiver's.
    if not settings.gauge_fixed or model.kind != "graph" or model.antisymmetric:
        return Reading(axes)
    return Reading(axes, Gauge.measured(network, axes, edges.first(_RECEIVERS), settings.references))


def _heard(
    network: Network, axes: np.ndarray, receivers: np.ndarray, displacement: np.ndarray, sender: np.ndarray
) -> Float[np.ndarray, "row reference component"]:
    """Return what each receiver gets from each reference."""
    dim = displacement.shape[1]
    parts = []
    for apart, features in zip(displacement, sender, strict=True):
        senders = np.repeat(features[None], len(receivers), axis=0)
        senders[:, :dim] = receivers[:, :dim] - apart
        parts.append(messages_along(network, Edges(receivers, senders)) @ axes)
    return np.stack(parts, axis=1)
