"""The halos of a data set as graphs, divided in space for training, validation and test."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distillery.errors import DistilleryError
from distillery.halos.catalogue import read_catalogue
from distillery.halos.features import HaloGraph, halo_graph
from distillery.halos.generalisation import below
from distillery.halos.graph import Neighbours
from distillery.halos.layout import catalogue_paths
from distillery.halos.regions import Regions
from distillery.halos.regions import split as split_space
from distillery.halos.settings import HaloSettings, Split


def read_graphs(settings: HaloSettings, store: Path, split: Split) -> dict[str, HaloGraph]:
    """Read the halos of a split; the universes of one test condition form one graph.

    Args:
        settings: The data set.
        store: Folder of the split.
        split: ``train`` or ``test``.

    Returns:
        The graph of each test condition; the key of the training split is empty.

    Raises:
        DistilleryError: A catalogue is missing or damaged, or lacks the overdensity of this radius.
    """
    return {
        condition: join_graphs([_read_graph(path, settings) for path in paths])
        for condition, paths in catalogue_paths(settings, store, split).items()
    }


def _read_graph(path: Path, settings: HaloSettings) -> HaloGraph:
    catalogue = read_catalogue(path)
    try:
        return halo_graph(catalogue, settings.radius, settings.smoothing)
    except DistilleryError as error:
        raise DistilleryError(f"{path}: {str(error).removeprefix('catalogue: ')}") from None


def join_graphs(graphs: Sequence[HaloGraph]) -> HaloGraph:
    """Join the halos of several universes in one graph without edges between universes.

    Args:
        graphs: Their graphs, with equal boxes and radii.
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


def regions_of(graph: HaloGraph, settings: HaloSettings, limit: float | None = None) -> Regions:
    """Divide the halos of the training universes in space into training, validation and test halos.

    Without space for validation, the training halos serve for it.

    Args:
        graph: The halos.
        settings: The data set.
        limit: Largest overdensity of training and validation halos (dimensionless); None for no limit.

    Raises:
        DistilleryError: The box is too small for the gaps between the regions, or no halo is left to train on.
    """
    fractions = (1 - settings.validation - settings.held_out, settings.validation, settings.held_out)
    found = split_space(graph.neighbours.position, graph.neighbours.box, settings.smoothing, fractions)
    train, validation = found.train, found.validation if settings.validation else found.train
    if limit is not None:
        train, validation = below(graph, train, limit), below(graph, validation, limit)
    if not len(train) or not len(validation):
        raise DistilleryError("no halo is left to train on; raise the box or realisations")
    return dataclasses.replace(found, train=train, validation=validation)
