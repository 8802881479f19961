"""Training of a halo network: loss, steps, checkpoints, divergence.

The loss is the mean over receivers of |δ - δ̂| plus the weight times the mean over edges of Σ_k |e_k|
(arXiv:2006.11287, section 5). Optimiser, schedule and checkpoints are those of the other networks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from distillery import files
from distillery.errors import DistilleryError
from distillery.halos.batches import HaloBatches
from distillery.halos.features import HaloGraph, Scales, scales_of
from distillery.halos.network import HaloNetwork, HaloShape
from distillery.halos.settings import HaloTrainingSettings
from distillery.networks import checkpoint
from distillery.networks.loop import EXPLODED, Optimiser
from distillery.networks.schedule import faded_in, one_cycle
from distillery.progress import progress
from distillery.randomness import stream

COLUMNS = ("step", "loss", "penalty", "learning_rate")
# Number of steps of a mean in the history.
_WINDOW = 100


class HaloTraining(HaloTrainingSettings):
    """A network and its training settings, with the values of its cell."""

    mass: bool = Field(True, description="Whether the network sees masses.")
    seed: int = Field(0, ge=0, description="Seed of weights and batches.")
    checkpoint_every: int = Field(1_000, ge=1, description="Steps between two checkpoints.")


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A network after its training.

    Attributes:
        network: The network.
        scales: Units of its inputs.
        settings: Its budget.
        steps: Steps done.
        reason: Why it diverged, empty if it did not.
        history: Rows of ``COLUMNS``, means over 100 steps.
        edges_per_second: Edges of the batches of these steps by wall time, since the last start.
    """

    network: HaloNetwork
    scales: Scales
    settings: HaloTraining
    steps: int
    reason: str
    history: tuple[tuple[float, ...], ...]
    edges_per_second: float

    def predict(self, graph: HaloGraph, receivers: Int[np.ndarray, " receiver"]) -> Float[np.ndarray, " receiver"]:
        """Return δ̂ of some halos, of any catalogue.

        Args:
            graph: The halos; their graph must have the radius that was trained with.
            receivers: Those to predict.

        Raises:
            DistilleryError: The radius is another.
        """
        batches = evaluation(self, graph, receivers)
        with torch.no_grad():
            found = [self.network(p.inputs, p.own, p.degrees)[0].cpu().numpy() for p in batches.pieces(receivers)]
        return np.concatenate(found or [np.zeros(0, np.float32)]).astype(np.float64)


def evaluation(trained: Trained, graph: HaloGraph, receivers: Int[np.ndarray, " receiver"]) -> HaloBatches:
    """Return the inputs of a trained network for halos, in its units.

    Raises:
        DistilleryError: The graph has another radius than that of the training.
    """
    if graph.neighbours.radius != trained.scales.radius:
        raise DistilleryError(
            f"radius {graph.neighbours.radius:g} Mpc/h: the network was trained with {trained.scales.radius:g}; "
            "make the graph with that"
        )
    device = next(trained.network.parameters()).device
    settings = trained.settings
    most = max(settings.max_edges, int(graph.neighbours.degrees[receivers].max(initial=1)))
    return HaloBatches(graph, receivers, trained.scales, batch=1, max_edges=most, seed=settings.seed, device=device)


def untrained(settings: HaloTraining, scales: Scales) -> HaloNetwork:
    """Return the network of a training before its first step."""
    network = HaloNetwork(
        HaloShape(
            scales.edge_width,
            scales.own_width,
            settings.messages,
            settings.hidden,
            settings.layers,
            settings.activation,
        )
    )
    network.initialise(stream(settings.seed, "halos", "weights"))
    return network


def train(
    graph: HaloGraph,
    receivers: Int[np.ndarray, " receiver"],
    settings: HaloTraining,
    *,
    device: torch.device | str = "cpu",
    folder: Path | None = None,
    show: Callable[[int, str], None] | None = None,
) -> Trained:
    """Train a network from the newest checkpoint of the same training if there is one.

    Args:
        graph: The halos.
        receivers: Those that are trained on.
        settings: The network and its budget.
        device: The device to train on.
        folder: Where checkpoints lie; without it there are none. They stay when the training ends.
        show: Called with the steps done and a note; progress on standard error if not given.

    Raises:
        DistilleryError: There is no receiver, a halo has more neighbours than ``max_edges``, or a checkpoint is
            damaged.
    """
    if len(receivers) == 0:
        raise DistilleryError("train: there is no halo to train on")
    most = int(graph.neighbours.degrees[receivers].max())
    if most > settings.max_edges:
        raise DistilleryError(
            f"max_edges {settings.max_edges:,}: a halo has {most:,} neighbours; allow at least so many"
        )
    device = torch.device(device)
    scales = scales_of(graph, receivers, settings.mass)
    network = untrained(settings, scales).to(device)
    run = _Run(network, settings, _key(graph, receivers, settings), folder)
    run.load()
    batches = HaloBatches(
        graph,
        receivers,
        scales,
        batch=settings.batch,
        max_edges=settings.max_edges,
        seed=settings.seed,
        device=device,
    )
    rate = _follow(run, batches, _typical(graph, receivers), show or progress("train halos", settings.steps, "steps"))
    return Trained(network, scales, settings, run.step, run.reason, tuple(run.history), rate)


class _Run:
    """State of a training in memory and on disk."""

    def __init__(self, network: HaloNetwork, settings: HaloTraining, key: str, folder: Path | None) -> None:
        self.network, self.settings, self.key, self.folder = network, settings, key, folder
        self.optimiser = Optimiser(network, settings.weight_decay)
        self.step, self.reason = 0, ""
        self.history: list[tuple[float, ...]] = []
        # On the device, because reading a number synchronises it.
        self.losses = torch.zeros(_WINDOW, 2, device=self.optimiser.weights.device)

    def save(self) -> None:
        if self.folder is None:
            return
        history = torch.tensor(self.history, dtype=torch.float64).reshape(-1, len(COLUMNS))
        tensors = {**self.optimiser.tensors, "history": history, "losses": self.losses}
        checkpoint.write(self.folder, self.key, self.step, self.reason, tensors)

    def load(self) -> None:
        entries = checkpoint.available(self.folder, self.key) if self.folder is not None else {}
        if self.folder is None or not entries:
            return
        entry = entries[max(entries)]
        saved = checkpoint.read(self.folder, entry)
        for name, tensor in self.optimiser.tensors.items():
            tensor.copy_(saved[name])
        self.losses.copy_(saved["losses"])
        self.history = [tuple(row) for row in saved["history"].tolist()]
        self.step, self.reason = entry.step, entry.reason
        self.optimiser.resume(entry.step)


def _follow(run: _Run, batches: HaloBatches, typical: float, show: Callable[[int, str], None]) -> float:
    """Train to the last step, or until the network has diverged; return edges per second."""
    settings, edges, started = run.settings, 0, time.monotonic()
    while run.step < settings.steps and not run.reason:
        rate, beta1 = one_cycle(run.step, settings.steps, settings.learning_rate)
        weight = settings.weight * faded_in(run.step, settings.steps, settings.fade_in)
        receivers = batches.receivers_of(run.step)
        run.losses[run.step % _WINDOW] = differentiate(
            run.network,
            run.optimiser,
            batches,
            receivers,
            weight,
            batches.rotation_of(run.step) if settings.rotations else None,
        )
        run.optimiser.step(rate, beta1)
        edges += int(batches.graph.neighbours.degrees[receivers].sum())
        run.step += 1
        if run.step % _WINDOW == 0 or run.step == settings.steps:
            _close_window(run, rate, typical)
            show(run.step, f"loss {run.history[-1][1]:.4f}")
        if run.step % settings.checkpoint_every == 0 or run.step == settings.steps or run.reason:
            run.save()
    return edges / max(time.monotonic() - started, 1e-9)


def differentiate(
    network: HaloNetwork,
    optimiser: Optimiser,
    batches: HaloBatches,
    receivers: Int[np.ndarray, " receiver"],
    weight: float,
    rotation: Float[Tensor, "3 3"] | None = None,
) -> Float[Tensor, "2"]:
    """Pass the gradients of a batch to the optimiser and return its error and penalty.

    Args:
        network: The network.
        optimiser: Its optimiser.
        batches: What it is given.
        receivers: The batch.
        weight: Factor of the mean size of messages.
        rotation: By which the universe is turned.
    """
    optimiser.clear()
    edges = max(int(batches.graph.neighbours.degrees[receivers].sum()), 1)
    losses = torch.zeros(2, device=batches.device)
    for piece in batches.pieces(receivers, rotation):
        predicted, sizes = network(piece.inputs, piece.own, piece.degrees)
        error = (predicted - piece.target).abs().sum() / len(receivers)
        penalty = weight * sizes / edges
        (error + penalty).backward()
        losses += torch.stack([error, penalty]).detach()
    return losses


def _close_window(run: _Run, rate: float, typical: float) -> None:
    done = (run.step - 1) % _WINDOW + 1
    errors, penalties = run.losses[:done].double().cpu().unbind(1)
    run.history.append((float(run.step), float(errors.mean()), float(penalties.mean()), rate))
    broken = torch.nonzero(~torch.isfinite(errors + penalties))
    if len(broken):
        run.reason = f"the loss is not finite at step {run.step - done + int(broken[0]) + 1}"
    elif float(errors.median()) > EXPLODED * typical:
        run.reason = (
            f"the loss exploded before step {run.step}: {float(errors.median()):.3g}, while it is {typical:.3g} for a "
            "network that always says the same"
        )


def _typical(graph: HaloGraph, receivers: np.ndarray) -> float:
    target = graph.overdensity[receivers]
    return max(float(np.mean(np.abs(target - np.median(target)))), 1e-30)


def _key(graph: HaloGraph, receivers: np.ndarray, settings: HaloTraining) -> str:
    """Return a hash of everything on which the weights depend; the interval of checkpoints is excluded."""
    content = settings.model_dump(mode="json", exclude={"checkpoint_every"})
    arrays = (graph.neighbours.position, graph.velocity, graph.mass, graph.overdensity, receivers)
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    content["data"] = sha.hexdigest()
    content["radius"], content["box"] = graph.neighbours.radius, graph.neighbours.box
    return files.digest(content)
