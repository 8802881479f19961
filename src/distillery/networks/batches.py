"""Batches of graphs: data lie on the device and are drawn there; what a step sees is a function of seed and step.

Nothing about the draws needs saving: any window of steps can be drawn again, on its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from distillery.data.trajectories import Trajectories
from distillery.networks.draws import normal, shuffled
from distillery.randomness import integer_seed

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
        self.batch, self.device = batch, device
        self.seeds = list(seeds)
        self._offsets, self._sizes = (
            torch.tensor(values, device=device)
            for values in ([int(starts[place]) for place in places], [len(graphs.nodes) for graphs in data])
        )
        self._orders, self._moves = (
            torch.tensor([integer_seed(seed, "train", name) for seed in seeds], device=device)
            for name in ("order", "translation")
        )
        self._moving = any(translations)
        self._translations = torch.tensor(list(translations), device=device)
        self.nodes = _concatenated([graphs.nodes for graphs in distinct], device)
        self.acceleration = _concatenated([graphs.acceleration for graphs in distinct], device)

    def window(
        self, number: int
    ) -> tuple[Float[Tensor, "step stack graph body feature"], Float[Tensor, "step stack graph body dim"]]:
        """Return nodes and accelerations of the ``WINDOW`` steps from ``number * WINDOW`` on."""
        graphs = WINDOW * self.batch
        seen = number * graphs + torch.arange(graphs, device=self.device).view(WINDOW, 1, self.batch)
        index = self._chosen(seen)
        nodes, acceleration = self.nodes[index], self.acceleration[index]
        if self._moving:
            dim = acceleration.shape[-1]
            nodes[..., :dim] += self._moved(seen, dim)[..., None, :]
        return nodes, acceleration

    def _chosen(self, seen: Int[Tensor, "step 1 graph"]) -> Int[Tensor, "step stack graph"]:
        """Return which graph each cell sees when it has seen so many before."""
        sizes = self._sizes[:, None]
        round_ = seen // sizes
        return self._offsets[:, None] + shuffled(seen % sizes, sizes, self._orders[:, None] + round_)

    def _moved(self, seen: Int[Tensor, "step 1 graph"], dim: int) -> Float[Tensor, "step stack graph dim"]:
        places = seen[..., None] * dim + torch.arange(dim, device=self.device)
        return self._translations[:, None, None] * normal(self._moves[:, None, None], places).float()


def _concatenated(parts: list[np.ndarray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate([part.astype(np.float32) for part in parts])).to(device)
