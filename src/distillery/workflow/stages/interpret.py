"""The stage interpret: read the messages of a trained cell and write findings and samples."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from distillery import files
from distillery.errors import DistilleryError, NotFiniteError
from distillery.messages.fits import FRAMES
from distillery.messages.gauge import Reading, with_gauge
from distillery.messages.interpretation import (
    Interpretation,
    control_samples,
    held_out_edges,
    known_force,
    read_messages,
    sampled_edges,
    samples_of,
)
from distillery.messages.snapshots import read_snapshots
from distillery.networks.batches import graphs_of
from distillery.networks.network import Network
from distillery.workflow.cell import Cell
from distillery.workflow.networks import load_network, snapshots_of
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import read_trajectories


def interpret(sweep: Sweep, cell: Cell) -> None:
    """Read the messages of a trained cell and write its findings and its samples.

    Args:
        sweep: The sweep.
        cell: A cell whose training is done.

    Raises:
        DistilleryError: Training is not done, or weights or trajectories are missing or damaged.
    """
    with stage_lock(sweep, "interpret", cell) as now:
        if now is None:
            return
        try:
            result, samples = _interpreted(sweep, cell)
        except NotFiniteError as error:
            cell.messages(sweep.results).unlink(missing_ok=True)
            now.write({}, status="diverged", reason=f"{error} after step {now.before.result['steps']}")
            return
        with files.replacing(cell.messages(sweep.results)) as temporary, temporary.open("wb") as file:
            np.savez(file, **samples)
        now.write(_plain(result), (cell.messages(sweep.results),))


def interpretation(sweep: Sweep, cell: Cell) -> Interpretation:
    """Return how a cell is interpreted."""
    system, distillation = sweep.system(cell.experiment), sweep.config.distillation
    return Interpretation(
        model=sweep.model(cell),
        settings=sweep.config.interpretation,
        samples=distillation.samples,
        held_out=distillation.held_out,
        seed=cell.seed,
        place=system.acts_on_bodies,
        force=known_force(system),
    )


def _interpreted(sweep: Sweep, cell: Cell) -> tuple[dict[str, Any], dict[str, Any]]:
    wanted, graph = interpretation(sweep, cell), sweep.system(cell.experiment).graph
    seen = graphs_of(read_trajectories(sweep, cell.experiment, "train"))
    held_out = graphs_of(read_trajectories(sweep, cell.experiment, "test"))
    if wanted.model.kind == "control":
        return control_samples(wanted, (seen, held_out))
    network = load_network(sweep, cell)
    edges = sampled_edges(wanted, graph, seen, held_out)
    result, reading = read_messages(wanted, network, held_out, edges[1])
    samples = samples_of(wanted, network, reading, edges, (seen, held_out))
    if sweep.frames(cell):
        snapshots = snapshots_of(sweep, cell, network)
        result[FRAMES], samples[FRAMES] = read_snapshots(wanted, snapshots, reading, edges[1])
    return result, samples


def reading_of(sweep: Sweep, cell: Cell, network: Network) -> Reading:
    """Return how the components of an interpreted cell are read, as the stage did.

    Args:
        sweep: The sweep.
        cell: A cell whose messages go through a node model.
        network: Its trained network.

    Raises:
        DistilleryError: Its samples or trajectories are missing or damaged.
    """
    path, wanted = cell.messages(sweep.results), interpretation(sweep, cell)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            axes = stored["axes"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        remedy = f"delete {cell.outcome(sweep.results, 'interpret')} and run the sweep again"
        raise DistilleryError(f"{path}: missing or damaged ({error}); {remedy}") from None
    held_out = graphs_of(read_trajectories(sweep, cell.experiment, "test"))
    edges = held_out_edges(wanted, sweep.system(cell.experiment).graph, held_out).first(wanted.settings.samples)
    return with_gauge(network, axes, edges, wanted.model, wanted.settings)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, np.ndarray)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
