"""Training speed on one thread, relative to references in the same run: ``python benchmarks/train.py``.

1. 300 hidden units: the loop of the package against a plain PyTorch Geometric loop with its ``DataLoader``, in float32.
   The products between hidden layers alone give an upper bound for every loop in float32.
2. Small networks: several stacked seeds against the same seeds one after another.

bfloat16 is faster only where the processor has matrix units for it (AMX, a GPU). A processor with AVX-512 alone may
multiply bfloat16 at half the speed of float32.

Measured on a busy Xeon with AVX-512 (173 GFLOP/s in float32, 84 in bfloat16, no AMX): 1.3 to 1.6 times the plain loop,
the products alone 1.9 to 2.4 times. Eight stacked seeds against one after another: 3.3 times at 16 units, 2.2 to 2.7 at
32, 1.5 to 1.6 at 64, where the products take most of the step.

Times are CPU seconds; the sides alternate, and the fastest round of each counts, because other work on the machine only
slows a round down.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Iterator

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from plain import BATCH, BODIES, DIM, graphs, plain_steps

from distillery.networks.batches import WINDOW, Batches, Graphs
from distillery.networks.loop import Optimiser, step_of
from distillery.networks.models import MODELS
from distillery.networks.network import GraphNetwork, Shape
from distillery.networks.schedule import one_cycle
from distillery.networks.settings import TrainingSettings
from distillery.randomness import stream

CPU = torch.device("cpu")


def our_steps(shape: Shape, data: Graphs, seeds: list[int]) -> Iterator[None]:
    """Run the steps of ``distillery.networks.loop.fit`` between two windows, one step per item."""
    network = GraphNetwork(shape, len(seeds))
    for index, seed in enumerate(seeds):
        network.initialise(index, stream(seed, "benchmark", "weights"))
    optimiser = Optimiser(network, 1e-8)
    batches = Batches([data] * len(seeds), seeds, BATCH, [3.0] * len(seeds), CPU)
    step = step_of(network, optimiser, batches, torch.tensor([[1.0, 0.0]] * len(seeds)))
    number = 0
    while True:
        step.open(*batches.window(number))
        for place in range(WINDOW):
            rate, beta1 = one_cycle(number * WINDOW + place, 1_000_000, 1e-3)
            step.run(place)
            optimiser.step(rate, beta1)
            yield
        number += 1


def products(shape: Shape) -> Iterator[None]:
    """Run only the matrix products between hidden layers, forward and backward, one step per item."""
    edges, nodes = (torch.randn(BATCH * BODIES * per, shape.hidden) for per in (BODIES - 1, 1))
    weight = torch.randn(shape.hidden, shape.hidden)
    gradient = torch.empty_like(weight)
    results = {rows: torch.empty_like(rows) for rows in (edges, nodes)}
    while True:
        for rows, result in results.items():
            for _ in range(shape.layers - 1):
                torch.mm(rows, weight, out=result)
                torch.mm(rows, weight.T, out=result)
                torch.mm(rows.T, rows, out=gradient)
        yield


def race(sides: dict[str, Iterator[None]], steps: int, turns: int) -> dict[str, float]:
    """Alternate the sides and return the CPU seconds per step of the fastest round of each."""
    best = dict.fromkeys(sides, float("inf"))
    for steps_of_side in sides.values():
        for _ in range(WINDOW // 10):
            next(steps_of_side)
    for _ in range(turns):
        for name, steps_of_side in sides.items():
            started = time.process_time()
            for _ in range(steps):
                next(steps_of_side)
            best[name] = min(best[name], (time.process_time() - started) / steps)
    return best


def show(title: str, best: dict[str, float], graphs_per_step: dict[str, int], reference: str, goal: float) -> None:
    print(title)
    speeds = {name: graphs_per_step[name] / seconds for name, seconds in best.items()}
    for name, speed in speeds.items():
        print(f"  {name:<34} {speed:>9,.0f} graphs/s   {speed / speeds[reference]:5.2f}×")
    fastest = max(speed for name, speed in speeds.items() if not name.startswith("only")) / speeds[reference]
    print(f"  ratio {fastest:.2f} (goal {goal})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=10, help="rounds of each side")
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    data = graphs(6400)
    settings = TrainingSettings()

    for model in ("standard", "bottleneck"):
        wide = Shape.of(DIM, MODELS[model], settings.model_copy(update={"hidden": 300}))
        half = dataclasses.replace(wide, precision="bfloat16")
        sides = {
            "PyG loop with DataLoader, float32": plain_steps(wide, data, CPU),
            "ours, float32": our_steps(wide, data, [0]),
            "ours, bfloat16 hidden layers": our_steps(half, data, [0]),
            "only products of hidden layers": products(wide),
        }
        title = f"300 hidden units, {wide.layers} layers, {model}"
        show(title, race(sides, 10, turns), dict.fromkeys(sides, BATCH), next(iter(sides)), 2.3)

    for hidden, seeds, batch in ((16, 8, 64), (32, 8, 64), (64, 8, 64)):
        small = Shape.of(DIM, MODELS["bottleneck"], settings.model_copy(update={"hidden": hidden}))
        sides = {
            "one after another": our_steps(small, data, [0]),
            f"{seeds} seeds stacked": our_steps(small, data, list(range(seeds))),
        }
        amounts = {"one after another": batch, f"{seeds} seeds stacked": batch * seeds}
        show(f"{hidden} hidden units", race(sides, 50, turns), amounts, "one after another", 2.5)


if __name__ == "__main__":
    main()
