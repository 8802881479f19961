"""Samples of a network's functions for symbolic regression: the significant message component, and the node function.

The node function undoes any scale and sign of a message, so they are fixed: the message is positive on average, so that
it increases the sum, and its standard deviation over the training edges is 1. An offset is not free: sums would change
by the number of neighbours, which no node knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int

from distillery.errors import DistilleryError
from distillery.halos.features import HaloGraph, message_names, node_names
from distillery.halos.graph import Edges
from distillery.halos.training import Trained, evaluation
from distillery.randomness import stream
from distillery.symbolic.engine import Problem
from distillery.symbolic.settings import DistillationSettings

# Shells of equal thickness from which samples of messages come, and edges that are looked at for each that is taken.
_SHELLS, _LOOKED_AT = 20, 20
# Variation of a message, relative to its largest value, below which it counts as constant.
_SILENT = 1e-6
# Features by name, and the values of a function.
_Sample = tuple[Mapping[str, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """Projection of a network's messages on the significant component.

    Attributes:
        trained: The network.
        direction: Along which messages are read, see ``Spectrum.direction``.
        scale: What it is divided by, sign included.
    """

    trained: Trained
    direction: Float[np.ndarray, " message"]
    scale: float

    def along(self, graph: HaloGraph, edges: Edges) -> Float[np.ndarray, " edge"]:
        """Return the component along edges in a fixed gauge."""
        scales, network = self.trained.scales, self.trained.network
        own = scales.own(graph, next(network.parameters()).device)
        with torch.no_grad():
            messages = network.messages(scales.along(own, edges)).double().cpu().numpy()
        return messages @ self.direction / self.scale

    def sums(self, graph: HaloGraph, receivers: Int[np.ndarray, " receiver"]) -> Float[np.ndarray, " receiver"]:
        """Return the sums of the component over the incoming edges of some halos."""
        batches, network = evaluation(self.trained, graph, receivers), self.trained.network
        unit = torch.from_numpy(self.direction).to(batches.device)
        found = [np.zeros(0)]
        with torch.no_grad():
            for piece in batches.pieces(receivers):
                along = (network.messages(piece.inputs).double() @ unit).cpu()
                found.append(torch.segment_reduce(along, "sum", lengths=piece.degrees.cpu(), initial=0.0).numpy())
        return np.concatenate(found) / self.scale


def reading_of(
    trained: Trained,
    graph: HaloGraph,
    receivers: Int[np.ndarray, " receiver"],
    direction: Float[np.ndarray, " message"],
    *,
    seed: int = 0,
    edges: int = 20_000,
) -> Reading:
    """Fix the gauge of a component of messages.

    Args:
        trained: The network.
        graph: The halos that it was trained on.
        receivers: Those of them that are trained on.
        direction: Along which messages are read.
        seed: Seed of the edges that decide.
        edges: How many edges decide.

    Raises:
        DistilleryError: No halo has a neighbour.
    """
    raw = Reading(trained, direction, 1.0)
    some = random_edges(graph, receivers, edges, stream(seed, "halos", "gauge"))
    heard = raw.along(graph, some)
    spread = float(heard.std())
    # Messages that an L1 penalty has removed vary by rounding only; their expression is a constant.
    if spread <= _SILENT * float(np.abs(heard).max(initial=0.0)):
        spread = 1.0
    return dataclasses.replace(raw, scale=spread if heard.mean() >= 0 else -spread)


def random_edges(
    graph: HaloGraph, receivers: Int[np.ndarray, " receiver"], count: int, draws: np.random.Generator
) -> Edges:
    """Draw incoming edges of some halos uniformly without repetition.

    Args:
        graph: The halos.
        receivers: Those at which edges arrive.
        count: How many; all of them, if there are no more.
        draws: Source of the draws.

    Returns:
        The edges, by receiver.

    Raises:
        DistilleryError: No halo has a neighbour.
    """
    neighbours = graph.neighbours
    degrees = neighbours.degrees[receivers]
    ends = np.cumsum(degrees)
    total = int(ends[-1]) if len(ends) else 0
    if total == 0:
        raise DistilleryError("radius: no halo has a neighbour within it; raise it")
    places = np.sort(draws.choice(total, min(count, total), replace=False))
    row = np.searchsorted(ends, places, side="right")
    sender = neighbours.senders[neighbours.starts[receivers[row]] + places - (ends - degrees)[row]]
    displacement = neighbours.position[receivers[row]] - neighbours.position[sender]
    displacement -= neighbours.box * np.floor(displacement / neighbours.box + 0.5)
    # One row per edge.
    return Edges(receivers[row], np.ones(len(row), dtype=np.int64), sender, displacement)


def even_edges(
    graph: HaloGraph, receivers: Int[np.ndarray, " receiver"], count: int, draws: np.random.Generator
) -> Edges:
    """Draw incoming edges of some halos, equally many from each of twenty shells of distance.

    Of random edges most are nearly as long as the radius and hear nothing: within 20 of 50 Mpc/h, where a message is
    made, lie 6 % of them.

    Args:
        graph: The halos.
        receivers: Those at which edges arrive.
        count: How many at most; shells with few edges give what they have.
        draws: Source of the draws.

    Returns:
        The edges, by receiver.

    Raises:
        DistilleryError: No halo has a neighbour.
    """
    edges = random_edges(graph, receivers, _LOOKED_AT * count, draws)
    shell = np.minimum(edges.distance / graph.neighbours.radius * _SHELLS, _SHELLS - 1).astype(int)
    order = draws.permutation(len(shell))
    share = -(-count // _SHELLS)
    taken = np.sort(np.concatenate([order[shell[order] == number][:share] for number in range(_SHELLS)]))
    return Edges(edges.receivers[taken], edges.degrees[taken], edges.sender[taken], edges.displacement[taken])


def message_problem(
    reading: Reading,
    graph: HaloGraph,
    train: Int[np.ndarray, " train"],
    held_out: Int[np.ndarray, " held_out"],
    settings: DistillationSettings,
) -> Problem:
    """Return the fit of the message: a function of r, |v_i - v_j|, speeds and masses.

    Args:
        reading: How the message is read.
        graph: The halos.
        train: Receivers of the training samples.
        held_out: Receivers of the samples on which errors are measured.
        settings: Engine, operators, numbers of samples, seed.
    """

    def sample(receivers: np.ndarray, count: int, draws: np.random.Generator) -> _Sample:
        edges = even_edges(graph, receivers, count, draws)
        return graph.columns(edges), reading.along(graph, edges)

    names = message_names(reading.trained.settings.mass)
    return _problem("message", names, sample, train, held_out, settings)


def node_problem(
    reading: Reading,
    graph: HaloGraph,
    train: Int[np.ndarray, " train"],
    held_out: Int[np.ndarray, " held_out"],
    settings: DistillationSettings,
) -> Problem:
    """Return the fit of the node function: the prediction as a function of the sum s, the speed and the mass.

    Args:
        reading: How the message is read; s is its sum.
        graph: The halos.
        train: Halos of the training samples.
        held_out: Halos of the samples on which errors are measured.
        settings: Engine, operators, numbers of samples, seed.
    """

    def sample(halos: np.ndarray, count: int, draws: np.random.Generator) -> _Sample:
        some = np.sort(draws.choice(halos, min(count, len(halos)), replace=False))
        return {"s": reading.sums(graph, some), **graph.own(some)}, reading.trained.predict(graph, some)

    names = node_names(reading.trained.settings.mass)
    return _problem("node", names, sample, train, held_out, settings)


def _problem(
    function: str,
    names: tuple[str, ...],
    sample: Callable[[np.ndarray, int, np.random.Generator], _Sample],
    train: np.ndarray,
    held_out: np.ndarray,
    settings: DistillationSettings,
) -> Problem:
    parts = []
    for purpose, halos, count in (("train", train, settings.samples), ("held out", held_out, settings.held_out)):
        columns, target = sample(halos, count, stream(settings.seed, "halos", function, purpose))
        parts.append((np.column_stack([columns[name] for name in names]), target))
    (features, target), (held_out_features, held_out_target) = parts
    return Problem(names, features, target, held_out_features, held_out_target, settings)
