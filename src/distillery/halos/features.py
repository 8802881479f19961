"""Features of halos for networks and expressions, and their units.

Networks see displacements in units of the graph's radius, velocities in units of their dispersion and standardised
decimal logarithms of masses. Expressions are written in Mpc/h for distances, 100 km/s for velocities and 10¹⁴ Msun/h
for masses, units in which constants are of order one. arXiv:2006.11287 states none for its constants.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from distillery.errors import DistilleryError
from distillery.halos.catalogue import Catalogue
from distillery.halos.graph import Edges, Neighbours, neighbours
from distillery.halos.names import message_names, node_names

__all__ = ["HaloGraph", "Scales", "halo_graph", "message_names", "node_names", "scales_of"]

# Units of expressions.
VELOCITY, MASS = 100.0, 1e14


@dataclasses.dataclass(frozen=True, eq=False)
class HaloGraph:
    """Halos with their neighbours and the overdensity to predict.

    Attributes:
        neighbours: Positions in Mpc/h and who is whose neighbour.
        velocity: In units of ``VELOCITY``.
        mass: In units of ``MASS``.
        overdensity: δ at the halo's centre (dimensionless).
        smoothing: Radius of its top-hat filter in Mpc/h.
    """

    neighbours: Neighbours
    velocity: Float[np.ndarray, "halo 3"]
    mass: Float[np.ndarray, " halo"]
    overdensity: Float[np.ndarray, " halo"]
    smoothing: float

    def __len__(self) -> int:
        return len(self.mass)

    @property
    def speed(self) -> Float[np.ndarray, " halo"]:
        """Speeds in units of ``VELOCITY``."""
        return np.linalg.norm(self.velocity, axis=1)

    def columns(self, edges: Edges, names: frozenset[str] | None = None) -> dict[str, Float[np.ndarray, " edge"]]:
        """Return the features of message expressions in the units of ``MESSAGE_UNITS``.

        Args:
            edges: The edges.
            names: Which of the names are wanted; all of them if not said.
        """
        receiver, sender = edges.receiver, edges.sender
        made: dict[str, Callable[[], np.ndarray]] = {
            "r": lambda: edges.distance,
            "dv": lambda: np.linalg.norm(self.velocity[receiver] - self.velocity[sender], axis=1),
            "v1": lambda: self.speed[receiver],
            "v2": lambda: self.speed[sender],
            "m1": lambda: self.mass[receiver],
            "m2": lambda: self.mass[sender],
        }
        return {name: make() for name, make in made.items() if names is None or name in names}

    def own(self, receivers: Int[np.ndarray, " receiver"]) -> dict[str, Float[np.ndarray, " receiver"]]:
        """Return the features of node expressions without the sum of messages, in the units of ``NODE_UNITS``."""
        return {"m": self.mass[receivers], "v": self.speed[receivers]}


def halo_graph(catalogue: Catalogue, radius: float, smoothing: float) -> HaloGraph:
    """Return the graph of a catalogue.

    Args:
        catalogue: The halos.
        radius: Halos closer than this are neighbours, in Mpc/h.
        smoothing: Radius of the top-hat filter of the overdensity, in Mpc/h.

    Raises:
        DistilleryError: There is no such filter, the radius does not fit the box, or a value makes no sense.
    """
    if len(catalogue.mass) < 2:
        raise DistilleryError(f"catalogue: has {len(catalogue.mass)} halos, too few for a graph; take a larger box")
    overdensity = catalogue.smoothed(smoothing)
    if not np.all(catalogue.mass > 0):
        raise DistilleryError("catalogue: a mass is not positive; make the catalogue again")
    if not (np.all(np.isfinite(catalogue.velocity)) and np.all(np.isfinite(overdensity))):
        raise DistilleryError("catalogue: holds velocities or overdensities that are not finite; make it again")
    return HaloGraph(
        neighbours(catalogue.position, catalogue.box, radius),
        catalogue.velocity / VELOCITY,
        catalogue.mass / MASS,
        np.asarray(overdensity, dtype=np.float64),
        smoothing,
    )


@dataclasses.dataclass(frozen=True)
class Scales:
    """Units of a network's inputs.

    Attributes:
        radius: Unit of distances, in Mpc/h.
        velocity: Unit of velocities, in units of ``VELOCITY``.
        mass_mean: Mean of log10 of masses in units of ``MASS``.
        mass_spread: Standard deviation of the same.
        mass: Whether the network sees masses.
    """

    radius: float
    velocity: float
    mass_mean: float
    mass_spread: float
    mass: bool

    @property
    def edge_width(self) -> int:
        """Inputs of the edge function: Δ, r, and the own features of both halos."""
        return 4 + 2 * self.own_width

    @property
    def own_width(self) -> int:
        """Number of inputs of the node function without messages: velocity, and mass if it is used."""
        return 4 if self.mass else 3

    def own(self, graph: HaloGraph, device: torch.device | None = None) -> Float[Tensor, "halo feature"]:
        """Return the scaled own features of all halos."""
        columns = [graph.velocity / self.velocity]
        if self.mass:
            columns.append((np.log10(graph.mass)[:, None] - self.mass_mean) / self.mass_spread)
        return torch.from_numpy(np.hstack(columns).astype(np.float32)).to(device)

    def turned(
        self, own: Float[Tensor, "halo feature"], rotation: Float[Tensor, "3 3"]
    ) -> Float[Tensor, "halo feature"]:
        """Return the scaled own features of halos with rotated velocities."""
        return torch.cat([own[:, :3] @ rotation, own[:, 3:]], dim=1)

    def along(
        self, own: Float[Tensor, "halo feature"], edges: Edges, rotation: Float[Tensor, "3 3"] | None = None
    ) -> Float[Tensor, "edge input"]:
        """Return the inputs of the edge function: Δ, r, the receiver's features, the sender's.

        Args:
            own: Scaled features of all halos, rotated already.
            edges: The edges.
            rotation: What displacements are multiplied with; nothing for as they are.
        """
        apart = np.column_stack([edges.displacement, edges.distance]) / self.radius
        receiver, sender = (torch.from_numpy(side).to(own.device) for side in (edges.receiver, edges.sender))
        relative = torch.from_numpy(apart.astype(np.float32)).to(own.device)
        if rotation is not None:
            relative = torch.cat([relative[:, :3] @ rotation, relative[:, 3:]], dim=1)
        return torch.cat([relative, own[receiver], own[sender.long()]], dim=1)


def scales_of(graph: HaloGraph, receivers: Int[np.ndarray, " receiver"], mass: bool = True) -> Scales:
    """Return the units of a network's inputs from its training halos.

    Args:
        graph: The halos.
        receivers: Which of them are trained on.
        mass: Whether the network is to see masses.
    """
    decades = np.log10(graph.mass[receivers])
    velocity = float(np.sqrt(np.mean(graph.velocity[receivers] ** 2)))
    spread = float(decades.std())
    return Scales(graph.neighbours.radius, velocity or 1.0, float(decades.mean()), spread or 1.0, mass)
