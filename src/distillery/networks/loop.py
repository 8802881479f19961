"""The training loop: loss, steps, divergence, history, and going on from a checkpoint."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adam import adam

from distillery.data.graph import edges_of
from distillery.networks.batches import WINDOW, Batches
from distillery.networks.loss import error_of, slope_of_error, weights_of
from distillery.networks.network import Network
from distillery.networks.passes import Passes
from distillery.networks.pruning import prune
from distillery.networks.schedule import faded_in, one_cycle
from distillery.networks.settings import TrainingSettings
from distillery.networks.step import Step
from distillery.randomness import integer_seed

COLUMNS = ("step", "loss", "penalty", "learning_rate", "concentration")
EXPLODED = 100.0
# Steps of a window whose messages are compared for pruning.
_COMPARED = 8
# Shorter memory than Adam's usual 0.999: in the few thousand steps of a small budget the force R² rises by 0.01.
BETA2 = 0.99
_EPSILON = 1e-8


@dataclasses.dataclass
class State:
    """State of a stack of cells between two steps.

    Attributes:
        step: Steps done.
        reasons: Of each cell why it has diverged; empty while it has not.
        losses: Prediction error and penalty of the steps of the present window.
        history: Of each cell one row of ``COLUMNS`` per finished window.
    """

    step: int
    reasons: list[str]
    losses: Float[Tensor, "step 2 stack"]
    history: list[list[tuple[float, ...]]]


def fresh_state(stack: int, device: torch.device) -> State:
    """Return the state before the first step."""
    return State(0, [""] * stack, torch.zeros(WINDOW, 2, stack, device=device), [[] for _ in range(stack)])


class Optimiser:
    """Adam on all parameters of a network as one row of numbers: one call instead of one per parameter.

    Weights, gradients and moments stay where they are as long as it lives, which a recorded step relies on.

    Attributes:
        weights: All parameters; the network's own are views of it, and their gradients views of its gradient.
    """

    def __init__(self, network: torch.nn.Module, weight_decay: float):
        """Lay out parameters, gradients and moments; the network must be on its device already."""
        parameters = list(network.parameters())
        self._sizes = {name: parameter.shape for name, parameter in network.named_parameters()}
        self.weights = torch.nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        self.weights.grad = torch.zeros_like(self.weights)
        values, gradients = self._split(self.weights.data), self._split(self.weights.grad)
        for parameter, value, gradient in zip(parameters, values.values(), gradients.values(), strict=True):
            parameter.data, parameter.grad = value, gradient
        self._weight_decay = weight_decay
        self._means, self._squares = torch.zeros_like(self.weights.data), torch.zeros_like(self.weights.data)
        self._steps = torch.zeros((), device=self.weights.device)

    @property
    def tensors(self) -> dict[str, Float[Tensor, "stack ..."]]:
        """Weights and moments of each parameter by name; what is written there counts."""
        kinds = {"weights": self.weights.data, "exp_avg": self._means, "exp_avg_sq": self._squares}
        return {f"{kind}.{name}": part for kind, row in kinds.items() for name, part in self._split(row).items()}

    def _split(self, row: Tensor) -> dict[str, Tensor]:
        parts = torch.split(row, [size.numel() for size in self._sizes.values()])
        return {name: part.view(size) for (name, size), part in zip(self._sizes.items(), parts, strict=True)}

    def resume(self, step: int) -> None:
        """Say how many steps lie behind; Adam's bias correction depends on it."""
        self._steps.fill_(float(step))

    def clear(self) -> None:
        """Forget the gradients."""
        assert self.weights.grad is not None
        self.weights.grad.zero_()

    @torch.no_grad()
    def step(self, rate: float, beta1: float) -> None:
        """Follow the gradients once."""
        assert self.weights.grad is not None
        # The class torch.optim.Adam calls this too, and takes three times as long over it.
        adam(
            [self.weights],
            [self.weights.grad],
            [self._means],
            [self._squares],
            [],
            [self._steps],
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=BETA2,
            lr=rate,
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            maximize=False,
        )


def differentiate(
    network: Network,
    passes: Passes | None,
    optimiser: Optimiser,
    nodes: Float[Tensor, "stack graph body feature"],
    true: Float[Tensor, "stack graph body dim"],
    weights: Float[Tensor, "stack graph body"],
    noise: Float[Tensor, "stack edge message"] | None,
    fade: Float[Tensor, ""] | float = 1.0,
) -> tuple[Float[Tensor, "stack"], Float[Tensor, "stack"]]:
    """Leave the gradients of a batch with the optimiser and return the prediction error and penalty of each cell.

    Args:
        network: The networks of the stack.
        passes: Their passes by hand, where there are such.
        optimiser: Their optimiser.
        nodes: Position, velocity, charge, mass.
        true: True accelerations.
        weights: Of each body, by which its error and its cost count.
        noise: Unit normal draws for variational messages.
        fade: Factor of all costs.
    """
    costly = fade * weights
    if passes:
        predicted, cost = passes.forth(nodes)
        error = error_of(predicted, true, weights)
        passes.back(slope_of_error(predicted, true, weights), costly)
        penalty = (costly * cost).mean((1, 2))
    else:
        optimiser.clear()
        predicted, cost = network(nodes, noise)
        error, penalty = error_of(predicted, true, weights), (costly * cost).mean((1, 2))
        (error + penalty).sum().backward()
    return error.detach(), penalty.detach()


def step_of(network: Network, optimiser: Optimiser, batches: Batches, weighings: Float[Tensor, "stack 2"]) -> Step:
    """Return what a step of a stack does but for following the gradients; windows of batches are given to it.

    Args:
        network: The networks of the stack.
        optimiser: Their optimiser, which gets the gradients.
        batches: Their batches.
        weighings: Of each cell how its errors are weighed, see ``loss.weighing``.
    """
    passes = Passes.of(network)

    def work(nodes: Tensor, true: Tensor, noise: Tensor | None, fade: Tensor) -> tuple[Tensor, Tensor]:
        return differentiate(network, passes, optimiser, nodes, true, weights_of(true, weighings), noise, fade)

    _, bodies, features = batches.nodes.shape
    stack, model = len(batches.seeds), network.shape.model
    edges = batches.batch * edges_of(network.graph, bodies).shape[1]
    return Step(
        work,
        nodes=(stack, batches.batch, bodies, features),
        true=(stack, batches.batch, bodies, network.shape.dim),
        noise=(stack, edges, network.shape.messages) if model.penalty == "kl" else None,
        device=batches.device,
    )


def fit(
    network: Network,
    optimiser: Optimiser,
    batches: Batches,
    state: State,
    settings: TrainingSettings,
    *,
    weighings: Float[Tensor, "stack 2"],
    scales: Sequence[float],
    checkpoint_every: int,
    save: Callable[[State], None],
    watch: Callable[[int], None],
    show: Callable[[int, str], None],
) -> float:
    """Train from where ``state`` stands to the last step, or until every cell of the stack has diverged.

    Args:
        network: The networks of the stack; changed in place.
        optimiser: Its optimiser; changed in place.
        batches: The batches of the stack.
        state: Where the stack stands; changed in place.
        settings: The budget.
        weighings: Of each cell how its errors are weighed, see ``loss.weighing``.
        scales: Of each cell the mean error over its data of a network that says 0; one far above it is an explosion.
        checkpoint_every: Steps between two calls of ``save``.
        save: Called with the state between two steps.
        watch: Called with the steps done before the first step and after each, before ``save``.
        show: Called with the steps done and a note.

    Returns:
        Graphs per second, all cells of the stack together.
    """
    started, first = time.monotonic(), state.step
    passes = step_of(network, optimiser, batches, weighings)
    if state.step == 0:
        watch(0)
    while state.step < settings.steps and not all(state.reasons):
        number = state.step // WINDOW
        nodes, acceleration = batches.window(number)
        last = min((number + 1) * WINDOW, settings.steps)
        if state.step == number * WINDOW:
            prune(network, nodes[:_COMPARED].transpose(0, 1).flatten(1, 2), state.step, settings.steps)
        passes.open(nodes, acceleration)
        for step in range(state.step, last):
            place = step - number * WINDOW
            rate, beta1 = one_cycle(step, settings.steps, settings.learning_rate)
            if passes.noise is not None:
                draw_noise(passes.noise, batches.seeds, step)
            passes.run(place, faded_in(step, settings.steps, settings.fade_in))
            optimiser.step(rate, beta1)
            state.losses[place] = passes.losses
            state.step = step + 1
            watch(state.step)
            if state.step == last:
                _close_window(network, nodes[place], state, rate, scales)
                show(state.step, f"loss {np.mean([rows[-1][1] for rows in state.history]):.4f}")
            if state.step % checkpoint_every == 0 and state.step < settings.steps:
                save(state)
    seconds = max(time.monotonic() - started, 1e-9)
    return (state.step - first) * batches.batch * len(scales) / seconds


def _close_window(network: Network, nodes: Tensor, state: State, rate: float, scales: Sequence[float]) -> None:
    done = (state.step - 1) % WINDOW + 1
    errors, penalties = state.losses[:done].double().cpu().unbind(1)
    with torch.no_grad():
        shares = concentration(network.messages(nodes), network.shape.dim)
    for cell, scale in enumerate(scales):
        own = errors[:, cell] + penalties[:, cell]
        state.history[cell].append(
            (float(state.step), float(errors[:, cell].mean()), float(penalties[:, cell].mean()), rate, shares[cell])
        )
        if state.reasons[cell]:
            continue
        broken = torch.nonzero(~torch.isfinite(own))
        if len(broken):
            state.reasons[cell] = f"the loss is not finite at step {state.step - done + int(broken[0]) + 1}"
        # The median, because a single close encounter can dominate a mean.
        elif float(errors[:, cell].median()) > EXPLODED * scale:
            state.reasons[cell] = (
                f"the loss exploded before step {state.step}: {float(errors[:, cell].median()):.3g}, "
                f"while it is {scale:.3g} for a network that always says 0"
            )


def concentration(messages: Float[Tensor, "stack edge message"], dim: int) -> list[float]:
    """Return for each cell the share of the message variance that the ``dim`` largest components carry."""
    variance = messages.float().var(dim=1).sort(dim=1, descending=True).values
    return (variance[:, :dim].sum(1) / variance.sum(1)).tolist()


def draw_noise(noise: Float[Tensor, "stack edge message"], seeds: Sequence[int], step: int) -> None:
    """Fill in the noise of a step, a function of each cell's seed and the step.

    Args:
        noise: Unit normal draws; changed in place.
        seeds: Of each cell its training seed.
        step: From 0 on.
    """
    # Drawn where they are needed: a GPU would wait longer for the CPU's draws than for the step.
    generator = torch.Generator(noise.device)
    for own, seed in zip(noise, seeds, strict=True):
        own.normal_(generator=generator.manual_seed(integer_seed(seed, "train", "noise", step)))
