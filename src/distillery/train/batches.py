"""Batches of graphs: the data lie on the device, and which graphs a step sees is a function of seed and step.

Nothing about the draws needs saving: any window of steps can be drawn again, on its own.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distillery.randomness import stream
from distillery.simulate.store import Trajectories

WINDOW = 100


@dataclasses.dataclass(frozen=True)
class Graphs:
    """Snapshots of trajectories as graphs.

    Attributes:
        nodes: Position, velocity, charge, mass of every body (dimensionless).
        acceleration: Their accelerations (dimensionless).
    """

    nodes: Float[np.ndarray, "graph body feature"]
    acceleration: Float[np.ndarray, "graph body dim"]


def graphs_of(trajectories: Trajectories) -> Graphs:
    """Take every saved time of every trajectory as one graph."""
    position = trajectories.position
    per_body = np.stack([trajectories.charge, trajectories.mass], axis=-1)[:, None]
    per_body = np.broadcast_to(per_body, (*position.shape[:3], 2))
    nodes = np.concatenate([position, trajectories.velocity, per_body], axis=-1)
    return Graphs(nodes.reshape(-1, *nodes.shape[2:]), trajectories.acceleration.reshape(-1, *position.shape[2:]))


class Batches:
    """The batches of a stack of cells.

    Each cell goes through its own data in random order, again and again; every graph is moved by a random
    translation each time, where the law does not depend on the place.
    """

    def __init__(
        self,
        data: Sequence[Graphs],
        seeds: Sequence[int],
        batch: int,
        translations: Sequence[float],
        device: torch.device,
    ):
        """Bring the data to the device.

        Args:
            data: Of each cell its graphs; cells that share an object share the memory.
            seeds: Of each cell its training seed.
            batch: Graphs per cell and step.
            translations: Of each cell the standard deviation of its random translations (dimensionless).
            device: Where the batches are needed.
        """
        distinct = list({id(graphs): graphs for graphs in data}.values())
        starts = np.cumsum([0, *(len(graphs.nodes) for graphs in distinct)])
        places = [next(i for i, graphs in enumerate(distinct) if graphs is own) for own in data]
        self.offsets = [int(starts[place]) for place in places]
        self.sizes = [len(graphs.nodes) for graphs in data]
        self.seeds = list(seeds)
        self.batch = batch
        self.translations = list(translations)
        self.device = device
        self.nodes = _concatenated([graphs.nodes for graphs in distinct], device)
        self.acceleration = _concatenated([graphs.acceleration for graphs in distinct], device)
        self._order = functools.lru_cache(maxsize=2 * len(seeds))(_order)

    def window(
        self, number: int
    ) -> tuple[Float[Tensor, "step stack graph body feature"], Float[Tensor, "step stack graph body dim"]]:
        """Return nodes and accelerations of the ``WINDOW`` steps from ``number * WINDOW`` on."""
        chosen = np.stack([self._indices(cell, number) for cell in range(len(self.seeds))], axis=1)
        index = torch.from_numpy(chosen).to(self.device)
        nodes, acceleration = self.nodes[index], self.acceleration[index]
        if any(self.translations):
            dim = acceleration.shape[-1]
            moves = np.stack([self._moves(cell, number, dim) for cell in range(len(self.seeds))], axis=1)
            nodes[..., :dim] += torch.from_numpy(moves).to(self.device)[..., None, :]
        return nodes, acceleration

    def _indices(self, cell: int, number: int) -> np.ndarray:
        size, first = self.sizes[cell], number * WINDOW * self.batch
        last = first + WINDOW * self.batch
        # Slices, because a round of the paper's size has ten million graphs and a window a few thousand.
        parts = [
            self._order(self.seeds[cell], size, round_)[max(first - round_ * size, 0) : last - round_ * size]
            for round_ in range(first // size, (last - 1) // size + 1)
        ]
        return (self.offsets[cell] + np.concatenate(parts)).reshape(WINDOW, self.batch)

    def _moves(self, cell: int, number: int, dim: int) -> np.ndarray:
        random = stream(self.seeds[cell], "train", "translation", number)
        return np.float32(self.translations[cell]) * random.standard_normal((WINDOW, self.batch, dim), np.float32)


def _concatenated(parts: list[np.ndarray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate([part.astype(np.float32) for part in parts])).to(device)


def _order(seed: int, size: int, number: int) -> np.ndarray:
    """Return the order in which a cell goes through its data the ``number``-th time."""
    return stream(seed, "train", "order", number).permutation(size)
