"""Training speed on one device, per model: ``python benchmarks/gpu.py [--seconds 4] [--hidden 300]``.

Three loops on the same device (the GPU, if there is one) and the same data:

1. the plain loop of ``plain.py``, one cell, batches of 64 graphs;
2. this package, one cell: ``distillery.networks.loop.fit``, including the drawing of batches, losses and history;
3. the same with 4, 16 and 64 stacked cells.

Numbers are graphs per second of all cells together, without setup, warm-up and capture. On a GPU times are wall seconds
until the device is done, on a CPU they are CPU seconds of one thread. On a CPU the numbers only show that the program
works, because launching kernels costs next to nothing there. Results: docs/gpu.md.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable
from functools import partial

import torch
from plain import BATCH, DIM, graphs, plain_steps

from distillery.networks import loop
from distillery.networks.batches import WINDOW, Batches, Graphs
from distillery.networks.hamiltonian import HamiltonianNetwork
from distillery.networks.models import MODELS
from distillery.networks.network import GraphNetwork, Shape
from distillery.networks.settings import TrainingSettings
from distillery.randomness import stream

MODEL_NAMES = ("bottleneck", "l1", "kl", "flathgn")
STACKS = (1, 4, 16, 64)
GOAL = 10.0


class Clock:
    """Count steps and seconds from the first call: wall seconds on a GPU, CPU seconds of this process otherwise."""

    def __init__(self, seconds: float, device: torch.device):
        self.seconds, self.device = seconds, device
        self.marks: list[tuple[int, float]] = []

    def enough(self, step: int) -> bool:
        """Record that ``step`` steps are done, after the device has finished; return whether to stop."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter() if self.device.type == "cuda" else time.process_time()
        self.marks.append((step, now))
        return len(self.marks) > 2 and self.marks[-1][1] - self.marks[0][1] > self.seconds

    @property
    def steps_per_second(self) -> float:
        """Return the counts."""
        (first, started), (last, ended) = self.marks[0], self.marks[-1]
        return (last - first) / (ended - started)


class _EnoughError(Exception):
    """End of a training."""


def plain_speed(shape: Shape, data: Graphs, device: torch.device, seconds: float) -> float:
    """Return the graphs per second of the plain loop."""
    clock = Clock(seconds, device)
    every = WINDOW // 5 if device.type == "cuda" else 2
    for step, _ in enumerate(plain_steps(shape, data, device), start=1):
        if step % every == 0 and clock.enough(step):
            break
    return BATCH * clock.steps_per_second


def our_speed(shape: Shape, data: Graphs, cells: int, device: torch.device, seconds: float) -> float:
    """Return the graphs per second of this package, all cells together."""
    settings = TrainingSettings(steps=10_000_000, batch=BATCH)
    network = (HamiltonianNetwork if shape.model.kind == "hamiltonian" else GraphNetwork)(shape, cells)
    for cell in range(cells):
        network.initialise(cell, stream(cell, "benchmark", "weights"))
    network = network.to(device)
    clock = Clock(seconds, device)

    def look(state: loop.State) -> None:
        if clock.enough(state.step):
            raise _EnoughError

    with contextlib.suppress(_EnoughError):
        loop.fit(
            network,
            loop.Optimiser(network, settings.weight_decay),
            Batches([data] * cells, list(range(cells)), BATCH, [settings.translation] * cells, device),
            loop.fresh_state(cells, device),
            settings,
            weighings=torch.tensor([[1.0, 0.0]] * cells, device=device),
            scales=[1.0] * cells,
            # On a GPU count whole windows, without the waiting of the clock.
            checkpoint_every=WINDOW if device.type == "cuda" else 2,
            save=look,
            watch=lambda _done: None,
            show=lambda _done, _note: None,
        )
    return BATCH * cells * clock.steps_per_second


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "the processor, one thread: there is no GPU, and these numbers are not about one"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (4)")
    parser.add_argument("--hidden", type=int, default=300, help="units per hidden layer (300)")
    parser.add_argument("--layers", type=int, default=2, help="hidden layers (2)")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    data = graphs(6400)
    settings = TrainingSettings(hidden=arguments.hidden, layers=arguments.layers)
    print(f"{arguments.hidden} units, {arguments.layers} hidden layers, batch {BATCH}, on {device_name(device)}")
    print("graphs per second, all cells together, and how many times the plain loop that is\n")
    titles = [f"{cells} cells" if cells > 1 else "1 cell" for cells in STACKS]
    print(f"{'model':<12}{'plain loop':>12}" + "".join(f"{title:>20}" for title in titles))
    ratios = []
    for name in MODEL_NAMES:
        shape = Shape.of(DIM, MODELS[name], settings)
        plain = plain_speed(shape, data, device, arguments.seconds)
        print(f"{name:<12}{plain:>12,.0f}", end="", flush=True)
        for cells in STACKS:
            speed = _or_nan(partial(our_speed, shape, data, cells, device, arguments.seconds))
            if cells == 1:
                ratios.append(speed / plain)
            print(f"{speed:>11,.0f} {f'({speed / plain:.1f}×)':>8}", end="", flush=True)
        print()
    print(f"\none cell: at least {min(ratios):.1f}× the plain loop (goal on a GPU {GOAL:g}×)")


def _or_nan(measured: Callable[[], float]) -> float:
    """Return a speed; NaN if the device has too little memory."""
    try:
        return measured()
    except torch.OutOfMemoryError:
        return float("nan")


if __name__ == "__main__":
    main()
