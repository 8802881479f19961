"""A trained network as one object, and training as one call on trajectories."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import ValidationError

from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError
from distillery.networks.batches import graphs_of
from distillery.networks.models import Model
from distillery.networks.network import Network
from distillery.networks.settings import TrainingSettings
from distillery.networks.stack import Member, build
from distillery.networks.training import choose_device, train_members
from distillery.progress import progress
from distillery.util.display import figure, html_table, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Snapshots that are predicted at once.
_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainedNetwork:
    """A trained network and how it was trained.

    Attributes:
        network: The PyTorch module, in the units of its data.
        model: The model.
        settings: Settings of the training.
        seed: Training seed.
        dim: Dimensions of space.
        parameters: Number of parameters.
        history: One row per window of steps: step, loss, penalty, learning rate, concentration.
    """

    network: Network
    model: Model
    settings: TrainingSettings
    seed: int
    dim: int
    parameters: int
    history: list[tuple[float, ...]]

    @torch.no_grad()
    def acceleration(self, data: Trajectories) -> Float[np.ndarray, "simulation time particle space"]:
        """Return the predicted accelerations of all snapshots, in the units of the data."""
        nodes = torch.from_numpy(graphs_of(data).nodes.astype(np.float32))
        parts = [self.network(part[None]).acceleration[0] for part in torch.split(nodes, _AT_ONCE)]
        return torch.cat(parts).double().numpy().reshape(data.position.shape)

    def summary(self) -> list[tuple[str, str]]:
        """Return what the network is, as pairs of a name and a text."""
        model, settings = self.model, self.settings
        penalty = "none" if model.penalty == "none" else f"{model.penalty}, weight {model.weight:g}"
        return [
            ("kind", model.kind),
            ("message components", str(model.message_size(self.dim))),
            ("penalty", penalty),
            ("layers", f"{settings.layers} of {settings.hidden} units, {settings.activation}"),
            ("parameters", f"{self.parameters:,}"),
            ("steps", f"{settings.steps:,} of {settings.batch} graphs"),
            ("seed", str(self.seed)),
            ("final loss", f"{self.history[-1][1]:.4g}" if self.history else ""),
        ]

    def __repr__(self) -> str:
        return "Network\n" + text_table(("", ""), self.summary()).partition("\n")[2]

    def _repr_html_(self) -> str:
        return html_table("Network", ("", ""), self.summary())

    def plot(self) -> Figure:
        """Return a figure of the loss over the steps of the training."""
        drawn, (ax,) = figure(width=4.5)
        rows = np.array(self.history)
        ax.plot(rows[:, 0], rows[:, 1], label="error")
        if rows[:, 2].any():
            ax.plot(rows[:, 0], rows[:, 2], label="penalty")
            ax.legend()
        ax.set(xlabel="step", ylabel="loss", yscale="log", title=self.model.kind)
        return drawn


def train(
    data: Trajectories,
    model: Model,
    *,
    steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    show_progress: bool = True,
    **settings: Any,
) -> TrainedNetwork:
    """Train a network on the accelerations of trajectories (arXiv:2006.11287, section 2).

    Args:
        data: Trajectories with accelerations.
        model: The model, such as ``models["bottleneck"]``.
        steps: Optimiser steps.
        seed: Seed of weights and batches.
        device: ``auto``, ``cpu`` or ``cuda``.
        show_progress: Whether progress is shown.
        **settings: Other fields of `TrainingSettings`, such as ``hidden=128``. Set ``translation=0`` for forces that
            depend on the position.

    Returns:
        The trained network.

    Raises:
        DistilleryError: There are no accelerations or some particles are missing, the model has no network, a setting
            is not valid, or the training diverges.
    """
    if data.acceleration_source == "none" or not np.isfinite(data.acceleration).all():
        raise DistilleryError("train: the trajectories have no accelerations everywhere; give acceleration=…")
    if data.mask is not None and not data.mask.all():
        raise DistilleryError("train: some particles are missing at some times; select times at which all are present")
    if model.kind == "control":
        raise DistilleryError("train: the model control has no network; choose another one")
    try:
        chosen = TrainingSettings.model_validate(settings if steps is None else {**settings, "steps": steps})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "settings"
        raise DistilleryError(f"train: {key}: {first['msg']}") from None
    graphs = graphs_of(data)
    show: Callable[[int, str], None] | None = progress("train", chosen.steps, "steps") if show_progress else None
    member = Member(model=model, seed=seed, graphs=graphs, settings=chosen)
    (found,) = train_members([member], data.graph, choose_device(device), show=show)
    if found.reason:
        raise DistilleryError(f"train: the training diverged ({found.reason}); lower learning_rate")
    network = build(data.dim, model, chosen, data.graph, precision="float32")
    network.load_state_dict({name: tensor[None] for name, tensor in found.tensors.items()})
    return TrainedNetwork(
        network.eval(), model, chosen, seed, data.dim, found.parameters, [tuple(row) for row in found.history]
    )
