"""Units of a network: data far from order one are trained in units of their own, which are put into its weights after.

All units are powers of two, so that nothing is rounded, and 1 for data of ordinary size. Masses have a median of 1 in
every system and keep their unit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distillery.networks.batches import Graphs

# Nine tenths of positions, velocities or accelerations are smaller than their size. Data are left alone whose sizes are
# all within these limits; those of the systems in docs/systems.md are from 0.4 to 31.
_QUANTILE = 0.9
_SMALLEST, _LARGEST = 1 / 16, 64.0
# Sizes of positions, velocities, charges and accelerations of those systems, roughly. Learning rates and penalties were
# chosen for such.
_ORDINARY = (3.0, 2.0, 1.0, 6.0)


@dataclasses.dataclass(frozen=True)
class Units:
    """The units in which a network is trained, in units of its data.

    Attributes:
        position: Of positions.
        velocity: Of velocities.
        charge: Of charges.
        acceleration: Of accelerations.
    """

    position: float = 1.0
    velocity: float = 1.0
    charge: float = 1.0
    acceleration: float = 1.0

    @classmethod
    def of(cls, graphs: Graphs, kind: str) -> Units:
        """Choose the units for training graphs.

        Args:
            graphs: The graphs.
            kind: Kind of the model. Hamilton's equations tie the units to each other: velocity² is position times
                acceleration.
        """
        dim = graphs.acceleration.shape[-1]
        position, velocity = graphs.nodes[..., :dim], graphs.nodes[..., dim : 2 * dim]
        charge = float(np.abs(graphs.nodes[..., 2 * dim]).max())
        sizes = (_size(position), _size(velocity), charge, _size(graphs.acceleration))
        if not any(_is_known(size) and not _SMALLEST <= size <= _LARGEST for size in sizes):
            return cls()
        found = cls(*(_unit(size / usual) for size, usual in zip(sizes, _ORDINARY, strict=True)))
        if kind != "hamiltonian":
            return found
        energy = 2.0 * round(math.log2(found.position * found.acceleration) / 2)
        return dataclasses.replace(found, velocity=2.0 ** (energy / 2), acceleration=2.0**energy / found.position)

    def applied(self, graphs: Graphs) -> Graphs:
        """Return graphs in these units."""
        if self == Units():
            return graphs
        dim = graphs.acceleration.shape[-1]
        nodes = (graphs.nodes / np.array(self._features(dim))).astype(graphs.nodes.dtype)
        return Graphs(nodes, (graphs.acceleration / self.acceleration).astype(graphs.acceleration.dtype))

    def undone(self, tensors: Mapping[str, Float[Tensor, "..."]], kind: str, dim: int) -> dict[str, Tensor]:
        """Return the parameters of the same function of data in their own units; messages keep the network's.

        Args:
            tensors: Parameters of one network by name, or several of each along a first axis.
            kind: Kind of the model.
            dim: Dimensions of space.
        """
        features = torch.tensor(self._features(dim))[:, None]
        # Energies are masses times velocities squared, and every part of them counts.
        energies = kind == "hamiltonian"
        output = self.velocity**2 if energies else self.acceleration
        leaving = (
            ("edge.last", "edge.last_bias", "node.last", "node.last_bias")
            if energies
            else ("node.last", "node.last_bias")
        )
        result = dict(tensors)
        for name, tensor in tensors.items():
            if name in ("edge.first.0", "edge.first.1", "node.first.0"):
                result[name] = tensor / features
            elif name in leaving:
                result[name] = tensor * output
        return result

    def _features(self, dim: int) -> list[float]:
        return [*dim * [self.position], *dim * [self.velocity], self.charge, 1.0]


def _size(values: Float[np.ndarray, "..."]) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.quantile(np.abs(values), _QUANTILE))


def _is_known(size: float) -> bool:
    return math.isfinite(size) and size > 0


def _unit(ratio: float) -> float:
    return 2.0 ** round(math.log2(ratio)) if _is_known(ratio) else 1.0
