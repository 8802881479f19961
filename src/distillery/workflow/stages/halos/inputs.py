"""Inputs of the stages of halos: halos, networks and formulas of a sweep, read and checked."""

from __future__ import annotations

from distillery import files
from distillery.data.store import first_change
from distillery.errors import DistilleryError
from distillery.halos import dataset, trained
from distillery.halos.features import HaloGraph
from distillery.halos.law import HaloLaw, from_content
from distillery.halos.regions import Regions
from distillery.halos.training import HaloTraining, Trained
from distillery.workflow.cell import Cell, Experiment, Split
from distillery.workflow.outcome import Outcome, read_outcome
from distillery.workflow.sweep import Sweep


def read_graphs(sweep: Sweep, experiment: Experiment, split: Split) -> dict[str, HaloGraph]:
    """Read the halos of a split by test condition; see ``halos.dataset.read_graphs``.

    Args:
        sweep: The sweep.
        experiment: The data set.
        split: The split.

    Raises:
        DistilleryError: They are missing, damaged, or made with other settings.
    """
    store, marker = experiment.store(sweep.results, split), experiment.marker(sweep.results, split)
    remedy = f"delete {marker} and run again; only what is damaged or missing is made again"
    content, key = files.read_json(marker, remedy), sweep.data_key(experiment, split)
    if not isinstance(content, dict) or content.get("key") != key:
        raise DistilleryError(f"{store}: made with other settings or by another version; {remedy}")
    # A split without universes has no files.
    changed = first_change(store, content.get("files")) if content.get("files") else None
    if changed is not None:
        raise DistilleryError(f"{store / changed}: missing or damaged; {remedy}")
    return dataset.read_graphs(sweep.halos[experiment], store, split)


def regions_of(sweep: Sweep, cell: Cell, graph: HaloGraph) -> Regions:
    """Return the training, validation and test halos of a cell; see ``halos.dataset.regions_of``.

    Args:
        sweep: The sweep.
        cell: The cell.
        graph: Halos of the training split of its experiment.

    Raises:
        DistilleryError: The box is too small, or no halo is left to train on.
    """
    try:
        return dataset.regions_of(graph, sweep.halos[cell.experiment], sweep.halo_model(cell).below)
    except DistilleryError as error:
        raise DistilleryError(f"{cell}: {error}") from None


def training_settings(sweep: Sweep, cell: Cell) -> HaloTraining:
    """Return the network of a cell and its training settings."""
    return HaloTraining(
        **sweep.halos[cell.experiment].training.model_dump(),
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


def read_network(sweep: Sweep, cell: Cell, outcome: Outcome) -> Trained:
    """Read the trained network of a cell.

    Args:
        sweep: The sweep.
        cell: The cell.
        outcome: Outcome of its training.

    Raises:
        DistilleryError: Weights or units are missing or damaged.
    """
    return trained.read_network(cell.weights(sweep.results), training_settings(sweep, cell), outcome.result)


def read_formula(cell: Cell, outcome: Outcome) -> HaloLaw:
    """Return the formula of a cell with its fitted constants.

    Args:
        cell: The cell.
        outcome: Outcome of its training.

    Raises:
        DistilleryError: The outcome holds no valid formula.
    """
    return from_content(outcome.result.get("law"), f"{cell}/train.json")
