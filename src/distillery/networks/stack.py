"""Cells of equal shape that train side by side in one process, and their checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from distillery.networks import checkpoint, loop
from distillery.networks.batches import Batches, Graphs
from distillery.networks.hamiltonian import HamiltonianNetwork
from distillery.networks.loss import error_of, typical_size, weighing, weights_of
from distillery.networks.network import GraphNetwork, Network, Shape
from distillery.networks.snapshots import Frames, moments
from distillery.randomness import stream
from distillery.workflow.cell import Cell
from distillery.workflow.sweep import Sweep

# Before the names of tensors of a checkpoint that are frames.
_FRAME = "frame."


def build(sweep: Sweep, cell: Cell, stack: int, *, precision: Literal["float32", "bfloat16"] | None = None) -> Network:
    """Return untrained networks for a stack of cells like ``cell``, their penalties weighed as its own.

    They are dense where the graph is complete, and for energies always.

    Args:
        sweep: The plan.
        cell: Any of the cells.
        stack: How many there are.
        precision: Arithmetic of the hidden layers, if not the configured one.
    """
    shape = Shape.of(cell.experiment.dim, sweep.model(cell), sweep.training(cell.experiment))
    shape = dataclasses.replace(shape, precision=precision or shape.precision)
    graph = sweep.system(cell.experiment).graph
    if shape.model.kind == "hamiltonian":
        return HamiltonianNetwork(shape, stack, graph)
    if graph != "complete":
        # Importing PyTorch Geometric takes seconds that complete graphs need not spend.
        from distillery.networks.pyg import SparseGraphNetwork

        return SparseGraphNetwork(shape, stack, graph)
    return GraphNetwork(shape, stack)


class Stack:
    """Everything that changes while cells train, in memory and on disk."""

    def __init__(self, sweep: Sweep, cells: Sequence[Cell], data: Sequence[Graphs], device: torch.device):
        """Lay out networks, optimiser and data of cells before their first step.

        Args:
            sweep: The plan.
            cells: Cells of equal shape.
            data: Of each cell its training graphs.
            device: Where to train.
        """
        settings = sweep.training(cells[0].experiment)
        network = build(sweep, cells[0], len(cells))
        for index, cell in enumerate(cells):
            network.initialise(index, stream(cell.seed, "train", "weights"))
            network.weight[index] = sweep.model(cell).weight
        self.network = network.to(device)
        self.optimiser = loop.Optimiser(self.network, settings.weight_decay)
        seeds = [cell.seed for cell in cells]
        translations = [sweep.training(cell.experiment).translation for cell in cells]
        self.batches = Batches(data, seeds, settings.batch, translations, device)
        self.state = loop.fresh_state(len(cells), device)
        losses = [sweep.training(cell.experiment).loss for cell in cells]
        weighings = [
            weighing(loss, typical_size(graphs.acceleration)) for loss, graphs in zip(losses, data, strict=True)
        ]
        self.weighings = torch.tensor(weighings, device=device)
        self.scales = [_scale(graphs, own) for graphs, own in zip(data, weighings, strict=True)]
        filmed = {place: sweep.frames(cell) for place, cell in enumerate(cells) if sweep.frames(cell)}
        self.frames = Frames(self.network, list(filmed), moments(max(filmed.values(), default=0), settings.steps))
        self._keys = [sweep.key("train", cell) for cell in cells]
        self._folders = [cell.checkpoint(sweep.results) for cell in cells]

    @property
    def _changing(self) -> dict[str, Tensor]:
        """What training changes, by name; what is written there counts."""
        alive = {} if self.network.alive is None else {"alive": self.network.alive}
        return {**self.optimiser.tensors, **alive}

    def save(self, state: loop.State) -> None:
        """Write a checkpoint of each cell."""
        for place, (folder, key) in enumerate(zip(self._folders, self._keys, strict=True)):
            tensors = {name: tensor[place] for name, tensor in self._changing.items()}
            tensors["losses"] = state.losses[:, :, place]
            history = torch.tensor(state.history[place], dtype=torch.float64)
            tensors |= {_FRAME + name: tensor for name, tensor in self.frames.tensors(place).items()}
            tensors["history"] = history.reshape(-1, len(loop.COLUMNS))
            checkpoint.write(folder, key, state.step, state.reasons[place], tensors)

    def load(self, step: int) -> None:
        """Go on from the checkpoints of a step; cells side by side get one at the start too, to agree on.

        Raises:
            DistilleryError: A checkpoint is damaged.
        """
        if step == 0 and len(self._folders) > 1:
            self.save(self.state)
        if step == 0:
            return
        for place, (folder, key) in enumerate(zip(self._folders, self._keys, strict=True)):
            entry = checkpoint.available(folder, key)[step]
            saved = checkpoint.read(folder, entry)
            for name, tensor in self._changing.items():
                tensor[place] = saved[name].to(tensor.device)
            self.state.losses[:, :, place] = saved["losses"].to(self.state.losses.device)
            self.state.history[place] = [tuple(row) for row in saved["history"].tolist()]
            self.state.reasons[place] = entry.reason
            frames = {name.removeprefix(_FRAME): saved[name] for name in saved if name.startswith(_FRAME)}
            self.frames.restore(place, frames)
        self.optimiser.resume(step)
        self.state.step = step


def _scale(graphs: Graphs, own: tuple[float, float]) -> float:
    """Return the mean error of a network that always says 0."""
    true = torch.from_numpy(graphs.acceleration)[None]
    return float(error_of(torch.zeros_like(true), true, weights_of(true, torch.tensor([own]))))
