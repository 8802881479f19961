"""The training loop: loss, steps, divergence, history, and going on from a checkpoint."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distillery.config import TrainingSettings
from distillery.randomness import integer_seed
from distillery.train.batches import WINDOW, Batches
from distillery.train.network import Network, edges_of
from distillery.train.schedule import one_cycle

COLUMNS = ("step", "loss", "penalty", "learning_rate", "concentration")
EXPLODED = 100.0
BETA2 = 0.999


@dataclasses.dataclass
class State:
    """Where a stack of cells stands between two steps.

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


def optimiser_of(network: Network, settings: TrainingSettings) -> torch.optim.Adam:
    """Return Adam with its moments laid out, zero, so that a checkpoint can fill them."""
    optimiser = torch.optim.Adam(network.parameters(), weight_decay=settings.weight_decay, fused=True)
    for parameter in network.parameters():
        optimiser.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimiser


def error_of(
    predicted: Float[Tensor, "stack graph body dim"], true: Float[Tensor, "stack graph body dim"]
) -> Float[Tensor, "stack"]:
    """Return the prediction error of each cell: mean over nodes of Σ_d |a_d - â_d|."""
    return (predicted - true).abs().mean((1, 2, 3)) * predicted.shape[-1]


def fit(
    network: Network,
    optimiser: torch.optim.Adam,
    batches: Batches,
    state: State,
    settings: TrainingSettings,
    *,
    scales: Sequence[float],
    checkpoint_every: int,
    save: Callable[[State], None],
    show: Callable[[int, str], None],
) -> float:
    """Train from where ``state`` stands to the last step, or until every cell of the stack has diverged.

    Args:
        network: The networks of the stack; changed in place.
        optimiser: Its optimiser; changed in place.
        batches: The batches of the stack.
        state: Where the stack stands; changed in place.
        settings: The budget.
        scales: Of each cell the mean of Σ_d |a_d| over its data; an error far above it is an explosion.
        checkpoint_every: Steps between two calls of ``save``.
        save: Called with the state between two steps.
        show: Called with the steps done and a note.

    Returns:
        Graphs per second, all cells of the stack together.
    """
    started, first = time.monotonic(), state.step
    group = optimiser.param_groups[0]
    while state.step < settings.steps and not all(state.reasons):
        number = state.step // WINDOW
        nodes, acceleration = batches.window(number)
        last = min((number + 1) * WINDOW, settings.steps)
        for step in range(state.step, last):
            place = step - number * WINDOW
            rate, beta1 = one_cycle(step, settings.steps, settings.learning_rate)
            group["lr"], group["betas"] = rate, (beta1, BETA2)
            optimiser.zero_grad()
            predicted, penalty = network(nodes[place], _noise(network, batches, step, nodes.shape))
            error = error_of(predicted, acceleration[place])
            (error + penalty).sum().backward()
            optimiser.step()
            state.losses[place, 0], state.losses[place, 1] = error.detach(), penalty.detach()
            state.step = step + 1
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
                f"while the accelerations are {scale:.3g} on average"
            )


def concentration(messages: Float[Tensor, "stack edge message"], dim: int) -> list[float]:
    """Return for each cell the share of the message variance that the ``dim`` largest components carry."""
    variance = messages.float().var(dim=1).sort(dim=1, descending=True).values
    return (variance[:, :dim].sum(1) / variance.sum(1)).tolist()


def _noise(network: Network, batches: Batches, step: int, size: torch.Size) -> Tensor | None:
    if network.shape.model.penalty != "kl":
        return None
    *_, graphs, bodies, _ = size
    edges = graphs * edges_of(network.graph, bodies).shape[1]
    draws = []
    for seed in batches.seeds:
        # On the CPU everywhere, so that the draws are the same on every device.
        generator = torch.Generator().manual_seed(integer_seed(seed, "train", "noise", step))
        draws.append(torch.randn(edges, network.shape.messages, generator=generator))
    return torch.stack(draws).to(batches.device)
