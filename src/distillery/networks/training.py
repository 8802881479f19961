"""Training of networks side by side: from graphs to weights, history and snapshots, as values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from distillery.errors import DistilleryError
from distillery.networks import loop
from distillery.networks.snapshots import STEPS
from distillery.networks.stack import Member, Stack
from distillery.networks.units import Units


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """Result of one network's training.

    Attributes:
        tensors: Parameters by name, in the units of the data.
        history: Rows of ``loop.COLUMNS``, one per window of steps.
        snapshots: Parameters of the edge function during training, and the steps at which they were taken; may be
            empty.
        reason: Why the training diverged; empty if it did not.
        steps: Steps done.
        parameters: Number of trained parameters.
        graphs_per_second: Speed of all members together.
    """

    tensors: dict[str, Tensor]
    history: list[tuple[float, ...]]
    snapshots: dict[str, Tensor]
    reason: str
    steps: int
    parameters: int
    graphs_per_second: float


def choose_device(wanted: str) -> torch.device:
    """Return the device to train on.

    Args:
        wanted: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        DistilleryError: CUDA is wanted and not available.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DistilleryError("execution.device: cuda is wanted, but PyTorch finds no CUDA device; use auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def train_members(
    members: Sequence[Member],
    graph: str,
    device: torch.device,
    *,
    step: int = 0,
    checkpoint_every: int = 2**62,
    show: Callable[[int, str], None] | None = None,
) -> list[Trained]:
    """Train networks of equal shape side by side.

    Data far from order one are trained in units of their own, see ``units``.

    Args:
        members: The networks, with graphs in the units of their data.
        graph: The kind of graph.
        device: Where to train.
        step: Step from whose checkpoints training continues.
        checkpoint_every: Steps between checkpoints.
        show: Called with the steps done and a note.

    Raises:
        DistilleryError: A checkpoint is damaged.
    """
    by_graphs = {id(member.graphs): Units.of(member.graphs, member.model.kind) for member in members}
    units = [by_graphs[id(member.graphs)] for member in members]
    scaled = {id(member.graphs): by_graphs[id(member.graphs)].applied(member.graphs) for member in members}
    inner = [dataclasses.replace(member, graphs=scaled[id(member.graphs)]) for member in members]
    stacked = Stack(inner, graph, device)
    stacked.load(step)
    speed = loop.fit(
        stacked.network,
        stacked.optimiser,
        stacked.batches,
        stacked.state,
        members[0].settings,
        weighings=stacked.weighings,
        scales=stacked.scales,
        checkpoint_every=checkpoint_every,
        save=stacked.save,
        watch=stacked.frames.take,
        show=show or _silent,
    )
    return [_result(stacked, place, member, units[place], speed) for place, member in enumerate(members)]


def _silent(_done: int, _note: str = "") -> None:
    """Show nothing."""


def _result(stacked: Stack, place: int, member: Member, units: Units, speed: float) -> Trained:
    kind, dim = member.model.kind, member.graphs.acceleration.shape[-1]
    snapshots = units.undone(stacked.frames.tensors(place), kind, dim)
    reason = stacked.state.reasons[place]
    # Only the absolute loss has a unit, that of accelerations.
    unit = units.acceleration if member.settings.loss == "absolute" else 1.0
    history = [(step, unit * error, unit * cost, *rest) for step, error, cost, *rest in stacked.state.history[place]]
    tensors = {name: tensor[place].cpu().contiguous() for name, tensor in stacked.network.state_dict().items()}
    tensors = units.undone(tensors, kind, dim)
    if not reason and not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        # Losses are measured before an update; the effect of the last update shows in the weights alone.
        reason = f"the weights are not finite after step {stacked.state.step}"
    snapshots = {} if reason or not snapshots else {STEPS: torch.tensor(stacked.frames.steps), **snapshots}
    return Trained(
        tensors=tensors,
        history=history,
        snapshots=snapshots,
        reason=reason,
        steps=stacked.state.step,
        parameters=sum(tensor[place].numel() for tensor in stacked.network.parameters()),
        graphs_per_second=round(speed, 1),
    )
