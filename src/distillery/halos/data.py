"""The halos of an experiment as graphs, and what they are for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distillery import files
from distillery.data.store import first_change
from distillery.errors import DistilleryError
from distillery.halos.catalogue import read_catalogue
from distillery.halos.features import HaloGraph, halo_graph
from distillery.halos.generalisation import below
from distillery.halos.graph import Neighbours
from distillery.halos.places import catalogues
from distillery.halos.regions import Regions, split
from distillery.halos.settings import HaloSettings
from distillery.workflow.cell import Cell, Experiment, Split
from distillery.workflow.sweep import Sweep


def read_graphs(sweep: Sweep, experiment: Experiment, of: Split) -> dict[str, HaloGraph]:
    """Return the halos of a split by condition, those of several universes side by side in one graph.

    Args:
        sweep: The sweep.
        experiment: The data set.
        of: The split.

    Raises:
        DistilleryError: They are missing, damaged, or made with other settings.
    """
    store, marker = experiment.store(sweep.results, of), experiment.marker(sweep.results, of)
    remedy = f"delete {marker} and run again; only what is damaged or missing is made again"
    content, key = files.read_json(marker, remedy), sweep.data_key(experiment, of)
    if not isinstance(content, dict) or content.get("key") != key:
        raise DistilleryError(f"{store}: made with other settings or by another version; {remedy}")
    # A split for which nothing is asked has no files.
    changed = first_change(store, content.get("files")) if content.get("files") else None
    if changed is not None:
        raise DistilleryError(f"{store / changed}: missing or damaged; {remedy}")
    settings = sweep.halos[experiment]
    return {
        condition: joined([_graph(path, settings) for path in paths])
        for condition, paths in catalogues(sweep, experiment, of).items()
    }


def _graph(path: Path, settings: HaloSettings) -> HaloGraph:
    catalogue = read_catalogue(path)
    try:
        return halo_graph(catalogue, settings.radius, settings.smoothing)
    except DistilleryError as error:
        raise DistilleryError(f"{path}: {str(error).removeprefix('catalogue: ')}") from None


def joined(graphs: Sequence[HaloGraph]) -> HaloGraph:
    """Return the halos of several universes as one graph without edges between them.

    Args:
        graphs: Their graphs, of boxes of one size and with one radius.
    """
    if len(graphs) == 1:
        return graphs[0]
    first, numbers = graphs[0].neighbours, np.cumsum([0, *(len(graph) for graph in graphs)])
    edges = np.cumsum([0, *(len(graph.neighbours.senders) for graph in graphs)])
    starts = [graph.neighbours.starts[:-1] + edge for graph, edge in zip(graphs, edges[:-1], strict=True)]
    senders = [graph.neighbours.senders + int(number) for graph, number in zip(graphs, numbers[:-1], strict=True)]
    neighbours = Neighbours(
        np.concatenate([graph.neighbours.position for graph in graphs]),
        first.box,
        first.radius,
        np.concatenate([*starts, edges[-1:]]).astype(first.starts.dtype),
        np.concatenate(senders).astype(first.senders.dtype),
    )
    return dataclasses.replace(
        graphs[0],
        neighbours=neighbours,
        velocity=np.concatenate([graph.velocity for graph in graphs]),
        mass=np.concatenate([graph.mass for graph in graphs]),
        overdensity=np.concatenate([graph.overdensity for graph in graphs]),
    )


def regions_of(sweep: Sweep, cell: Cell, graph: HaloGraph) -> Regions:
    """Return what the halos that a cell is trained on are for: training, validation, test, apart in space.

    Of a cell that is trained below an overdensity, training and validation have no others; without space for
    validation, the halos of training stand in for it.

    Args:
        sweep: The sweep.
        cell: The cell.
        graph: Its experiment's halos for training.

    Raises:
        DistilleryError: The box is too small for the gaps between them.
    """
    settings, limit = sweep.halos[cell.experiment], sweep.halo_model(cell).below
    fractions = (1 - settings.validation - settings.held_out, settings.validation, settings.held_out)
    try:
        found = split(graph.neighbours.position, graph.neighbours.box, settings.smoothing, fractions)
    except DistilleryError as error:
        raise DistilleryError(f"{cell.experiment}: {error}") from None
    train, validation = found.train, found.validation if settings.validation else found.train
    if limit is not None:
        train, validation = below(graph, train, limit), below(graph, validation, limit)
    if not len(train) or not len(validation):
        raise DistilleryError(f"{cell}: no halo is left to train on; raise the box or realisations")
    return dataclasses.replace(found, train=train, validation=validation)
