"""Training speed on one thread, per edge: ``python benchmarks/halo_training.py [--hidden 64]``.

Compares a step of the halo network with one of the dense network for complete graphs with as many edges, units, layers
and messages, both with an L1 penalty. The two alternate; times are CPU seconds of the fastest round of each. The dense
network sums without indices and has hand-written passes; the halo network gathers its edges from positions at every
step.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from distillery.halos.batches import HaloBatches
from distillery.halos.catalogue import Catalogue
from distillery.halos.features import halo_graph, scales_of
from distillery.halos.training import HaloTraining, differentiate, untrained
from distillery.networks.batches import Batches, Graphs
from distillery.networks.loop import Optimiser, step_of
from distillery.networks.models import MODELS
from distillery.networks.network import GraphNetwork, Shape
from distillery.randomness import stream

BODIES = 8
CPU = torch.device("cpu")


def halo_step(hidden: int, messages: int, edges: int) -> tuple[Callable[[int], None], int]:
    count = 4000
    draws = stream(0, "benchmark", "halos")
    made = Catalogue(
        position=draws.uniform(0, 250, (count, 3)),
        velocity=draws.normal(0, 300, (count, 3)),
        mass=1e13 * np.exp(draws.normal(size=count)),
        particles=np.full(count, 20),
        overdensity=draws.normal(size=(1, count)),
        filters=(20.0,),
        box=250.0,
        attributes={},
    )
    graph, everyone = halo_graph(made, 50.0, 20.0), np.arange(count)
    settings = HaloTraining(hidden=hidden, messages=messages)
    scales = scales_of(graph, everyone)
    network = untrained(settings, scales)
    optimiser = Optimiser(network, 1e-8)
    batch = max(round(edges * count / len(graph.neighbours.senders)), 1)
    batches = HaloBatches(graph, everyone, scales, batch=batch, max_edges=50_000, seed=0, device=CPU)

    def step(number: int) -> None:
        differentiate(network, optimiser, batches, batches.receivers_of(number), 1e-2)
        optimiser.step(1e-3, 0.9)

    return step, int(graph.neighbours.degrees[batches.receivers_of(0)].sum())


def newtonian_step(hidden: int, messages: int, edges: int) -> tuple[Callable[[int], None], int]:
    batch = max(round(edges / (BODIES * (BODIES - 1))), 1)
    model = MODELS["l1"].model_copy(update={"messages": messages})
    network = GraphNetwork(Shape(3, model, hidden, 2, "relu", "float32"), 1)
    network.initialise(0, stream(0, "benchmark", "weights"))
    optimiser = Optimiser(network, 1e-8)
    draws = stream(0, "benchmark", "graphs")
    nodes = draws.normal(size=(2000, BODIES, 8)).astype(np.float32)
    data = Graphs(nodes, draws.normal(size=(2000, BODIES, 3)).astype(np.float32))
    batches = Batches([data], [0], batch, [0.0], CPU)
    work = step_of(network, optimiser, batches, torch.tensor([[1.0, 0.0]]))
    work.open(*batches.window(0))

    def step(number: int) -> None:
        work.run(number % 100)
        optimiser.step(1e-3, 0.9)

    return step, batch * BODIES * (BODIES - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--edges", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = (options.hidden, options.messages, options.edges)
    sides = {"halos": halo_step(*sizes), "Newtonian": newtonian_step(*sizes)}
    best = dict.fromkeys(sides, float("inf"))
    for turn in range(options.turns + 1):
        for name, (step, _) in sides.items():
            started = time.process_time()
            for number in range(options.steps):
                step(turn * options.steps + number)
            # The first round is a warm-up.
            best[name] = min(best[name], (time.process_time() - started) / options.steps) if turn else best[name]
    speeds = {name: sides[name][1] / seconds for name, seconds in best.items()}
    for name, speed in speeds.items():
        sys.stdout.write(f"{name:<10} {sides[name][1]:>7,} edges a step, {speed:>10,.0f} edges/s\n")
    sys.stdout.write(f"ratio {speeds['halos'] / speeds['Newtonian']:.2f}\n")


if __name__ == "__main__":
    main()
