"""The interpret stage: test error, significance of messages, fits by the true forces, samples to distil."""

from __future__ import annotations

import functools
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file

from distillery import files
from distillery.data.store import read_trajectories
from distillery.errors import DistilleryError, NotFiniteError
from distillery.messages.alignment import alignment
from distillery.messages.fits import DISTILLED, FRAMES, SQUARES, fit_components
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
from distillery.messages.snapshots import read_frames
from distillery.networks.batches import Graphs, graphs_of
from distillery.networks.hamiltonian import HamiltonianNetwork
from distillery.networks.models import Model
from distillery.networks.network import Network
from distillery.networks.stack import build
from distillery.randomness import stream
from distillery.workflow.cell import Cell
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.sweep import Sweep


def interpret(sweep: Sweep, cell: Cell) -> None:
    """Read the messages of a trained cell and write its findings and its samples.

    Args:
        sweep: The plan.
        cell: A cell whose training is done.

    Raises:
        DistilleryError: Training is not done, or weights or trajectories are missing or damaged.
    """
    with stage_lock(sweep, "interpret", cell) as now:
        if now is None:
            return
        seen = graphs_of(read_trajectories(sweep, cell.experiment, "train"))
        held_out = graphs_of(read_trajectories(sweep, cell.experiment, "test"))
        if sweep.model(cell).kind == "control":
            result, samples = _without_network(sweep, cell, seen, held_out)
        else:
            network = load_network(sweep, cell)
            known, fresh = _edges(sweep, cell, seen, held_out)
            try:
                result, reading = read_messages(sweep, cell, network, held_out, fresh)
            except NotFiniteError as error:
                cell.messages(sweep.results).unlink(missing_ok=True)
                now.write({}, status="diverged", reason=f"{error} after step {now.before.result['steps']}")
                return
            samples = _samples(network, reading, known, fresh.first(sweep.config.distillation.held_out))
            samples |= _of_nodes(sweep, cell, network, reading, seen, held_out)
            if sweep.frames(cell):
                told, samples[FRAMES] = read_frames(sweep, cell, network, reading, fresh)
                result[FRAMES] = _plain(told)
        with files.replacing(cell.messages(sweep.results)) as temporary, temporary.open("wb") as file:
            np.savez(file, **samples)
        now.write(result, (cell.messages(sweep.results),))


def load_network(sweep: Sweep, cell: Cell) -> Network:
    """Return the trained network of a cell, in float32 whatever precision it was trained in.

    Raises:
        DistilleryError: The weights are missing, damaged or of another shape.
    """
    path = cell.weights(sweep.results)
    network = build(sweep, cell, 1, precision="float32")
    try:
        network.load_state_dict({name: tensor[None] for name, tensor in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DistilleryError(f"{path}: cannot be loaded ({reason}); delete the folder {path.parent}") from None
    return network.eval()


def read_messages(
    sweep: Sweep, cell: Cell, network: Network, held_out: Graphs, edges: Edges
) -> tuple[dict[str, Any], Reading]:
    """Measure a network on held-out data.

    Args:
        sweep: The plan.
        cell: The cell.
        network: Its trained network.
        held_out: Held-out graphs, for the test error.
        edges: Held-out edges, for the messages.

    Returns:
        The findings as they stand in ``interpret.json``, and how the components that are distilled are read.
    """
    settings, model, dim = sweep.config.interpretation, sweep.model(cell), cell.experiment.dim
    errors = errors_on(network, held_out)
    edges = edges.first(settings.samples)
    messages = messages_along(network, edges)
    if not (np.isfinite(errors).all() and np.isfinite(messages).all()):
        raise NotFiniteError("predictions or messages are not finite on held-out data")
    spread = messages.std(axis=0)
    significance = divergence_along(network, edges).mean(axis=0) if model.significance == "kl" else spread
    axes = reading_axes(messages, significance, dim)
    explained = {reading: explained_share(messages, own) for reading, own in axes.items()}
    reading = choose_reading(settings.reading, explained)
    force = sweep.system(cell.experiment).pair_force(
        edges.displacement, (edges.mass[:, 0], edges.mass[:, 1]), (edges.charge[:, 0], edges.charge[:, 1])
    )
    read = _reading(network, axes[reading], messages, edges, model, settings)
    components = {name: messages @ own for name, own in axes.items()}
    distilled = {**dict(components.items()), DISTILLED: read.along(network, edges)}
    fits = {name: fit_components(values, force, edges.mass[:, 0], settings) for name, values in distilled.items()}
    result = {
        "test_mae": errors.mean(),
        "test_medae": np.median(errors),
        "label_std": held_out.acceleration.std(),
        "message_std": spread,
        "significance": significance,
        "reading": reading,
        "explained": explained,
        "fits": fits,
    }
    return _plain(result), read


def _reading(
    network: Network,
    axes: Float[np.ndarray, "message component"],
    messages: Float[np.ndarray, "sample message"],
    edges: Edges,
    model: Model,
    settings: InterpretationSettings,
) -> Reading:
    """Return how components are read: turned to the axes of space, and their gauge fixed."""
    if model.kind != "graph":
        return Reading(axes)
    turned = alignment(messages @ axes, edges.displacement) if settings.aligned else None
    return with_gauge(network, axes if turned is None else axes @ turned, edges, model, settings)


def reading_of(sweep: Sweep, cell: Cell, network: Network) -> Reading:
    """Return how the components of a cell that was interpreted are read of its messages, as it was done then.

    Args:
        sweep: The plan.
        cell: A cell whose messages go through a node model.
        network: Its trained network.

    Raises:
        DistilleryError: Its samples or trajectories are missing or damaged.
    """
    path = cell.messages(sweep.results)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            axes = stored["axes"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        remedy = f"delete {cell.outcome(sweep.results, 'interpret')} and run the sweep again"
        raise DistilleryError(f"{path}: missing or damaged ({error}); {remedy}") from None
    held_out = graphs_of(read_trajectories(sweep, cell.experiment, "test"))
    edges = _fresh_edges(sweep, cell, held_out).first(sweep.config.interpretation.samples)
    return with_gauge(network, axes, edges, sweep.model(cell), sweep.config.interpretation)


def _edges(sweep: Sweep, cell: Cell, seen: Graphs, held_out: Graphs) -> tuple[Edges, Edges]:
    """Return training edges to distil, and held-out edges."""
    graph, wanted = sweep.system(cell.experiment).graph, sweep.config.distillation
    known = sample_edges(seen, graph, wanted.samples, stream(cell.seed, "interpret", "train"))
    return known, _fresh_edges(sweep, cell, held_out)


def _fresh_edges(sweep: Sweep, cell: Cell, held_out: Graphs) -> Edges:
    count = max(sweep.config.interpretation.samples, sweep.config.distillation.held_out)
    graph = sweep.system(cell.experiment).graph
    return sample_edges(held_out, graph, count, stream(cell.seed, "interpret", "test"))


def _of_nodes(
    sweep: Sweep, cell: Cell, network: Network, reading: Reading, seen: Graphs, held_out: Graphs
) -> dict[str, Any]:
    """Return samples of the function ``node``."""
    system = sweep.system(cell.experiment)
    if isinstance(network, HamiltonianNetwork):
        rows_of = functools.partial(self_energy, network, system)
    else:
        rows_of = functools.partial(node_model, network, reading, system)
    found = node_samples(rows_of, seen, held_out, sweep.config.distillation, cell.seed)
    return {f"node_{name}": values for name, values in found.items()}


def _without_network(sweep: Sweep, cell: Cell, seen: Graphs, held_out: Graphs) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what there is to say, and the samples, where no network stands between data and expressions."""
    rows_of = functools.partial(raw_system, sweep.system(cell.experiment))
    found = node_samples(rows_of, seen, held_out, sweep.config.distillation, cell.seed)
    nothing = [None] * cell.experiment.dim
    fits = {target: dict.fromkeys(SQUARES, nothing) for target in ("force", "acceleration")}
    result = {
        "test_mae": None,
        "test_medae": None,
        "label_std": held_out.acceleration.std(),
        "message_std": [],
        "significance": [],
        "reading": "",
        "explained": {},
        "fits": {"std": fits, "principal": fits},
    }
    samples = {"message": found["target"], "features": found["features"], "held_out": found["held_out"]}
    return _plain(result), samples


def _samples(network: Network, reading: Reading, known: Edges, fresh: Edges) -> dict[str, Any]:
    both = known.then(fresh)
    energy = {"energy": pair_energy(network, both)} if isinstance(network, HamiltonianNetwork) else {}
    return {
        **energy,
        "message": reading.along(network, both),
        "displacement": both.displacement,
        "mass": both.mass,
        "charge": both.charge,
        "held_out": np.arange(len(both.receiver)) >= len(known.receiver),
        "axes": reading.axes,
    }


def _plain(value: Any) -> Any:
    """Turn arrays and numbers into what JSON can hold; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, np.ndarray)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
