"""Interpretation of a network: test error, significance of messages, fits by known forces, samples to distil."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.errors import NotFiniteError
from distillery.messages.alignment import alignment
from distillery.messages.fits import DISTILLED, SQUARES, fit_components
from distillery.messages.gauge import Reading, with_gauge
from distillery.messages.reading import (
    Edges,
    choose_reading,
    divergence_along,
    errors_on,
    explained_share,
    messages_along,
    reading_axes,
    sample_edges,
)
from distillery.messages.samples import node_model, node_samples, pair_energy, raw_system, self_energy
from distillery.messages.settings import InterpretationSettings
from distillery.networks.batches import Graphs
from distillery.networks.hamiltonian import HamiltonianNetwork
from distillery.networks.models import Model
from distillery.networks.network import Network
from distillery.physics.systems import System
from distillery.randomness import stream

# Forces on the receivers of edges (dimensionless); None where no law is known.
Force = Callable[[Edges], Float[np.ndarray, "sample dim"]]


@dataclasses.dataclass(frozen=True)
class Interpretation:
    """How a network is interpreted.

    Attributes:
        model: What was trained.
        settings: How messages are read.
        samples: Number of training samples of each function.
        held_out: Number of held-out samples.
        seed: Training seed, which names the random streams.
        place: Whether positions of bodies may enter the node function.
        force: The known force along edges, for fits; None where no law is known.
    """

    model: Model
    settings: InterpretationSettings
    samples: int
    held_out: int
    seed: int
    place: bool = False
    force: Force | None = None


def known_force(system: System) -> Force:
    """Return the true pair force of a system as a function of edges."""

    def force(edges: Edges) -> Float[np.ndarray, "sample dim"]:
        mass, charge = edges.mass, edges.charge
        return system.pair_force(edges.displacement, (mass[:, 0], mass[:, 1]), (charge[:, 0], charge[:, 1]))

    return force


def sampled_edges(wanted: Interpretation, graph: str, seen: Graphs, held_out: Graphs) -> tuple[Edges, Edges]:
    """Return training edges to distil, and held-out edges.

    Args:
        wanted: How the network is interpreted.
        graph: The kind of graph.
        seen: Training graphs.
        held_out: Held-out graphs.
    """
    known = sample_edges(seen, graph, wanted.samples, stream(wanted.seed, "interpret", "train"))
    return known, held_out_edges(wanted, graph, held_out)


def held_out_edges(wanted: Interpretation, graph: str, held_out: Graphs) -> Edges:
    """Return held-out edges, as many as fits or samples need."""
    count = max(wanted.settings.samples, wanted.held_out)
    return sample_edges(held_out, graph, count, stream(wanted.seed, "interpret", "test"))


def read_messages(
    wanted: Interpretation, network: Network, held_out: Graphs, edges: Edges
) -> tuple[dict[str, Any], Reading]:
    """Measure a network on held-out data.

    Args:
        wanted: How the network is interpreted.
        network: A single trained network.
        held_out: Held-out graphs, for the test error.
        edges: Held-out edges, for the messages.

    Returns:
        The findings by name, and how the components that are distilled are read.

    Raises:
        NotFiniteError: Predictions or messages are not finite.
    """
    settings, dim = wanted.settings, held_out.acceleration.shape[-1]
    errors = errors_on(network, held_out) if network.predicts else None
    edges = edges.first(settings.samples)
    messages = messages_along(network, edges)
    if not ((errors is None or np.isfinite(errors).all()) and np.isfinite(messages).all()):
        raise NotFiniteError("predictions or messages are not finite on held-out data")
    spread = messages.std(axis=0)
    significance = divergence_along(network, edges).mean(axis=0) if wanted.model.significance == "kl" else spread
    axes = reading_axes(messages, significance, dim)
    explained = {reading: explained_share(messages, own) for reading, own in axes.items()}
    reading = choose_reading(settings.reading, explained)
    read = _reading(wanted, network, axes[reading], messages, edges)
    components = {name: messages @ own for name, own in axes.items()}
    distilled = {**dict(components.items()), DISTILLED: read.along(network, edges)}
    force = wanted.force(edges) if wanted.force else None
    fits = {
        name: no_fits(values.shape[1]) if force is None else fit_components(values, force, edges.mass[:, 0], settings)
        for name, values in distilled.items()
    }
    result = {
        "test_mae": np.nan if errors is None else errors.mean(),
        "test_medae": np.nan if errors is None else np.median(errors),
        "label_std": held_out.acceleration.std(),
        "message_std": spread,
        "significance": significance,
        "reading": reading,
        "explained": explained,
        "fits": fits,
    }
    return result, read


def no_fits(components: int) -> dict[str, dict[str, list[None]]]:
    """Return fits of components that no force was compared with."""
    nothing = [None] * components
    return {target: dict.fromkeys(SQUARES, nothing) for target in ("force", "acceleration")}


def samples_of(
    wanted: Interpretation,
    network: Network,
    reading: Reading,
    edges: tuple[Edges, Edges],
    graphs: tuple[Graphs, Graphs],
) -> dict[str, np.ndarray]:
    """Return samples of the functions of a network, by name, as they are distilled.

    Args:
        wanted: How the network is interpreted.
        network: A single trained network.
        reading: How components are read.
        edges: Training edges and held-out edges.
        graphs: Training graphs and held-out graphs.
    """
    known, fresh = edges[0], edges[1].first(wanted.held_out)
    both = known.then(fresh)
    energy = {"energy": pair_energy(network, both)} if isinstance(network, HamiltonianNetwork) else {}
    if isinstance(network, HamiltonianNetwork):
        rows_of = functools.partial(self_energy, network, place=wanted.place)
    else:
        rows_of = functools.partial(node_model, network, reading, place=wanted.place)
    nodes = node_samples(rows_of, *graphs, (wanted.samples, wanted.held_out), wanted.seed)
    return {
        **energy,
        "message": reading.along(network, both),
        "displacement": both.displacement,
        "mass": both.mass,
        "charge": both.charge,
        "held_out": np.arange(len(both.receiver)) >= len(known.receiver),
        "axes": reading.axes,
        **{f"node_{name}": values for name, values in nodes.items()},
    }


def control_samples(
    wanted: Interpretation, graphs: tuple[Graphs, Graphs]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the findings and the samples of the control, which has no network.

    Args:
        wanted: How samples are taken.
        graphs: Training graphs and held-out graphs.
    """
    rows_of = functools.partial(raw_system, place=wanted.place)
    found = node_samples(rows_of, *graphs, (wanted.samples, wanted.held_out), wanted.seed)
    fits = no_fits(graphs[0].acceleration.shape[-1])
    result = {
        "test_mae": None,
        "test_medae": None,
        "label_std": graphs[1].acceleration.std(),
        "message_std": [],
        "significance": [],
        "reading": "",
        "explained": {},
        "fits": {"std": fits, "principal": fits},
    }
    return result, {"message": found["target"], "features": found["features"], "held_out": found["held_out"]}


def _reading(
    wanted: Interpretation,
    network: Network,
    axes: Float[np.ndarray, "message component"],
    messages: Float[np.ndarray, "sample message"],
    edges: Edges,
) -> Reading:
    """Return how components are read: turned to the axes of space, and their gauge fixed."""
    if wanted.model.kind != "graph":
        return Reading(axes)
    turned = alignment(messages @ axes, edges.displacement) if wanted.settings.aligned else None
    return with_gauge(network, axes if turned is None else axes @ turned, edges, wanted.model, wanted.settings)
