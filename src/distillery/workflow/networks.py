"""The networks of cells: untrained, and trained with their weights read from disk."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file

from distillery.errors import DistilleryError
from distillery.networks import stack as stacks
from distillery.networks.network import Network
from distillery.networks.snapshots import STEPS
from distillery.workflow.cell import Cell
from distillery.workflow.sweep import Sweep


def build(sweep: Sweep, cell: Cell, stack: int, *, precision: Literal["float32", "bfloat16"] | None = None) -> Network:
    """Return untrained networks for a stack of cells of equal shape.

    Args:
        sweep: The sweep.
        cell: One of the cells.
        stack: Number of cells.
        precision: Arithmetic of the hidden layers, if not the configured one.
    """
    experiment = cell.experiment
    return stacks.build(
        experiment.dim,
        sweep.model(cell),
        sweep.training(experiment),
        sweep.system(experiment).graph,
        stack,
        precision=precision,
    )


def load_network(sweep: Sweep, cell: Cell) -> Network:
    """Return the trained network of a cell, in float32 whatever precision it was trained in.

    Args:
        sweep: The sweep.
        cell: A cell whose training is done.

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


def snapshots_of(sweep: Sweep, cell: Cell, network: Network) -> Iterator[tuple[int, Network]]:
    """Yield the steps of snapshots and the network with its edge function of that step.

    One network object is yielded, changed from snapshot to snapshot.

    Args:
        sweep: The sweep.
        cell: A cell with snapshots of its training.
        network: Its trained network.

    Raises:
        DistilleryError: The snapshots are missing, damaged or of another shape.
    """
    path = cell.frames(sweep.results)
    one = copy.deepcopy(network)
    try:
        stored = load_file(path)
        for number, step in enumerate(stored.pop(STEPS).tolist()):
            frame = {name: tensor[number][None] for name, tensor in stored.items()}
            one.load_state_dict({**network.state_dict(), **frame})
            yield step, one
    except (OSError, SafetensorError, RuntimeError, KeyError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DistilleryError(f"{path}: cannot be loaded ({reason}); delete the folder {path.parent}") from None
