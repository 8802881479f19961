"""Networks of equal shape that train side by side in one process, and their checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from distillery.networks import checkpoint, loop
from distillery.networks.batches import Batches, Graphs
from distillery.networks.hamiltonian import HamiltonianNetwork
from distillery.networks.loss import error_of, typical_size, weighing, weights_of
from distillery.networks.models import Model
from distillery.networks.network import GraphNetwork, Network, Shape
from distillery.networks.settings import TrainingSettings
from distillery.networks.snapshots import Frames, moments
from distillery.randomness import stream

# Prefix of the names of snapshots in a checkpoint.
_FRAME = "frame."


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """One network of a stack: its model, data, settings and seed.

    Attributes:
        model: The model.
        seed: Training seed.
        graphs: Training graphs.
        settings: Settings of the training.
        snapshots: Largest number of snapshots of the edge function during training; 0 for none.
        checkpoint: Folder of its checkpoints; None to write none.
        key: Key under which checkpoints are valid.
    """

    model: Model
    seed: int
    graphs: Graphs
    settings: TrainingSettings
    snapshots: int = 0
    checkpoint: Path | None = None
    key: str = ""


def build(
    dim: int,
    model: Model,
    settings: TrainingSettings,
    graph: str,
    stack: int = 1,
    *,
    precision: Literal["float32", "bfloat16"] | None = None,
) -> Network:
    """Return untrained networks of one shape.

    They are dense for complete graphs and for energies.

    Args:
        dim: Dimensions of space.
        model: The model; its weight is that of all networks.
        settings: Size of the networks.
        graph: The kind of graph, see ``edges_of``.
        stack: Number of networks.
        precision: Arithmetic of the hidden layers, if not that of the settings.
    """
    shape = Shape.of(dim, model, settings)
    shape = dataclasses.replace(shape, precision=precision or shape.precision)
    if shape.model.kind == "hamiltonian":
        return HamiltonianNetwork(shape, stack, graph)
    if graph != "complete":
        # Importing PyTorch Geometric takes seconds that complete graphs need not spend.
        from distillery.networks.pyg import SparseGraphNetwork

        return SparseGraphNetwork(shape, stack, graph)
    return GraphNetwork(shape, stack)


class Stack:
    """The state of networks that train side by side, in memory and in checkpoints."""

    def __init__(self, members: Sequence[Member], graph: str, device: torch.device):
        """Build networks, optimiser and data of members before their first step.

        Args:
            members: Members of equal shape.
            graph: The kind of graph.
            device: Where to train.
        """
        first = members[0]
        settings = first.settings
        network = build(first.graphs.acceleration.shape[-1], first.model, settings, graph, len(members))
        for index, member in enumerate(members):
            network.initialise(index, stream(member.seed, "train", "weights"))
            network.weight[index] = member.model.weight
        self.network = network.to(device)
        self.optimiser = loop.Optimiser(self.network, settings.weight_decay)
        data = [member.graphs for member in members]
        translations = [member.settings.translation for member in members]
        self.batches = Batches(data, [member.seed for member in members], settings.batch, translations, device)
        self.state = loop.fresh_state(len(members), device)
        weighings = [weighing(own.settings.loss, typical_size(own.graphs.acceleration)) for own in members]
        self.weighings = torch.tensor(weighings, device=device)
        self.scales = [_scale(graphs, own) for graphs, own in zip(data, weighings, strict=True)]
        filmed = {place: member.snapshots for place, member in enumerate(members) if member.snapshots}
        self.frames = Frames(self.network, list(filmed), moments(max(filmed.values(), default=0), settings.steps))
        self._checkpoints = [(member.checkpoint, member.key) for member in members]

    @property
    def _changing(self) -> dict[str, Tensor]:
        """The tensors that training changes, by name; writing to them changes the state."""
        alive = {} if self.network.alive is None else {"alive": self.network.alive}
        return {**self.optimiser.tensors, **alive}

    def save(self, state: loop.State) -> None:
        """Write a checkpoint of each member that has a folder for it."""
        for place, (folder, key) in enumerate(self._checkpoints):
            if folder is None:
                continue
            tensors = {name: tensor[place] for name, tensor in self._changing.items()}
            tensors["losses"] = state.losses[:, :, place]
            history = torch.tensor(state.history[place], dtype=torch.float64)
            tensors |= {_FRAME + name: tensor for name, tensor in self.frames.tensors(place).items()}
            tensors["history"] = history.reshape(-1, len(loop.COLUMNS))
            checkpoint.write(folder, key, state.step, state.reasons[place], tensors)

    def load(self, step: int) -> None:
        """Continue from the checkpoints of a step; several members write one at the start, to agree on.

        Raises:
            DistilleryError: A checkpoint is damaged.
        """
        if step == 0 and len(self._checkpoints) > 1:
            self.save(self.state)
        if step == 0:
            return
        for place, (folder, key) in enumerate(self._checkpoints):
            if folder is None:
                continue
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
    """Return the mean error of a network that always predicts 0."""
    true = torch.from_numpy(graphs.acceleration)[None]
    return float(error_of(torch.zeros_like(true), true, weights_of(true, torch.tensor([own]))))
