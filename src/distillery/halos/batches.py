"""Batches of receivers with all incoming edges, in chunks that fit in memory.

Which receivers a step sees is a function of seed and step, as everywhere in this package: nothing of it needs saving.
A batch is worked off piece by piece and its gradients are added up, so its size does not depend on how many edges fit
into memory, and the result is that of the whole batch at once (to rounding).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from distillery.halos.features import HaloGraph, Scales
from distillery.randomness import stream


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """Some receivers with all their incoming edges, on the device.

    Attributes:
        inputs: Inputs of the edge function.
        own: Scaled features of the receivers.
        degrees: How many edges arrive at each.
        target: Their overdensities (dimensionless).
    """

    inputs: Float[Tensor, "edge input"]
    own: Float[Tensor, "receiver feature"]
    degrees: Int[Tensor, " receiver"]
    target: Float[Tensor, " receiver"]


class HaloBatches:
    """Inputs of a network for the halos of one graph."""

    def __init__(
        self,
        graph: HaloGraph,
        receivers: Int[np.ndarray, " receiver"],
        scales: Scales,
        *,
        batch: int,
        max_edges: int,
        seed: int,
        device: torch.device,
    ):
        """Store the features of all halos on the device.

        Args:
            graph: The halos.
            receivers: Those whose overdensities are predicted.
            scales: Units of the network's inputs.
            batch: Receivers of a step; no more than there are.
            max_edges: Most edges in memory at a time.
            seed: Decides about the order of receivers.
            device: Where the network is.
        """
        self.graph, self.receivers, self.scales = graph, receivers, scales
        self.batch, self.max_edges, self.seed, self.device = min(batch, len(receivers)), max_edges, seed, device
        self.own = scales.own(graph, device)
        self.target = torch.from_numpy(graph.overdensity.astype(np.float32)).to(device)
        self._order = functools.lru_cache(maxsize=2)(self._drawn_order)

    def receivers_of(self, step: int) -> Int[np.ndarray, " batch"]:
        """Return the receivers of a step; each pass over all receivers has its own random order."""
        size, first = len(self.receivers), step * self.batch
        rounds = range(first // size, (first + self.batch - 1) // size + 1)
        order = np.concatenate([self._order(number) for number in rounds])
        begin = first - rounds.start * size
        # In rising order, neighbours are closer in memory and sums have a fixed order.
        return np.sort(self.receivers[order[begin : begin + self.batch]])

    def rotation_of(self, step: int) -> Float[Tensor, "3 3"]:
        """Return the rotation or reflection of a step, uniformly distributed (Stewart 1980)."""
        drawn = stream(self.seed, "halos", "rotation", step).standard_normal((3, 3))
        columns, triangle = np.linalg.qr(drawn)
        return torch.from_numpy((columns * np.sign(np.diag(triangle))).astype(np.float32)).to(self.device)

    def pieces(
        self, receivers: Int[np.ndarray, " receiver"], rotation: Float[Tensor, "3 3"] | None = None
    ) -> Iterator[Piece]:
        """Yield receivers with their edges, at most ``max_edges`` at a time.

        Args:
            receivers: Their numbers.
            rotation: What displacements and velocities are multiplied with; nothing for as they are.

        Raises:
            DistilleryError: More edges arrive at a single halo.
        """
        features = self.own if rotation is None else self.scales.turned(self.own, rotation)
        for place in self.graph.neighbours.pieces(receivers, self.max_edges):
            edges = self.graph.neighbours.edges(receivers[place])
            index = torch.from_numpy(edges.receivers).to(self.device)
            degrees = torch.from_numpy(edges.degrees).to(self.device)
            yield Piece(self.scales.along(features, edges, rotation), features[index], degrees, self.target[index])

    def _drawn_order(self, number: int) -> np.ndarray:
        return stream(self.seed, "halos", "order", number).permutation(len(self.receivers))
