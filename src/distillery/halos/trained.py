"""A trained cell of halos on disk: weights beside the units of the network's inputs, or a formula's constants."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from distillery import files
from distillery.errors import DistilleryError
from distillery.halos.features import Scales
from distillery.halos.law import HaloLaw, from_content
from distillery.halos.training import COLUMNS, HaloTraining, Trained, untrained
from distillery.workflow.cell import Cell
from distillery.workflow.outcome import Outcome, read_outcome
from distillery.workflow.sweep import Sweep


def budget(sweep: Sweep, cell: Cell) -> HaloTraining:
    """Return the network of a cell and how it is trained."""
    own = sweep.halos[cell.experiment].training.model_dump()
    return HaloTraining(
        **own,
        mass=sweep.halo_model(cell).masses,
        seed=cell.seed,
        checkpoint_every=sweep.config.execution.checkpoint_every,
    )


def outcome_of(sweep: Sweep, cell: Cell) -> Outcome:
    """Return the outcome of a cell's training.

    Raises:
        DistilleryError: It is missing, damaged or made with other settings.
    """
    return read_outcome(cell.outcome(sweep.results, "train"), key=sweep.key("train", cell))


def write_network(sweep: Sweep, cell: Cell, trained: Trained) -> tuple[Path, Path]:
    """Write a network's weights and its history; returns where."""
    weights, history = cell.weights(sweep.results), cell.history(sweep.results)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in trained.network.state_dict().items()}
    with files.replacing(weights) as temporary:
        save_file(tensors, temporary)
    return weights, write_history(history, trained)


def write_history(path: Path, trained: Trained) -> Path:
    """Write the history of a training as a table; returns where."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([int(step), *(f"{value:.7g}" for value in values)] for step, *values in trained.history)
    files.write_text(path, text.getvalue())
    return path


def scales_content(scales: Scales) -> dict[str, Any]:
    """Return the units of a network's inputs as JSON has them."""
    return dataclasses.asdict(scales)


def read_network(sweep: Sweep, cell: Cell, outcome: Outcome) -> Trained:
    """Return the trained network of a cell.

    Args:
        sweep: The sweep.
        cell: The cell.
        outcome: That of its training.

    Raises:
        DistilleryError: Weights or units are missing or damaged.
    """
    path, settings = cell.weights(sweep.results), budget(sweep, cell)
    try:
        scales = Scales(**outcome.result["scales"])
        network = untrained(settings, scales)
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DistilleryError(f"{path}: cannot be loaded ({reason}); delete the folder {path.parent}") from None
    return Trained(network.eval(), scales, settings, settings.steps, "", (), 0.0)


def read_formula(cell: Cell, outcome: Outcome) -> HaloLaw:
    """Return the formula of a cell with its fitted constants.

    Raises:
        DistilleryError: It is not what it should be.
    """
    return from_content(outcome.result.get("law"), f"{cell}/train.json")
