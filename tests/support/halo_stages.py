"""A sweep of halos on toy universes that follow a known law, and its stages one by one."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from distillery.halos import simulate
from distillery.halos.catalogue import Catalogue, path_of, write_catalogue
from distillery.halos.features import HaloGraph, halo_graph
from distillery.halos.forms import form
from distillery.halos.law import HaloLaw
from distillery.halos.settings import Universe
from distillery.randomness import stream
from distillery.simulate.ranks import Ranks
from distillery.workflow.cell import Cell, Job, Stage
from distillery.workflow.config import parse_config
from distillery.workflow.outcome import Outcome, read_outcome, write_outcome
from distillery.workflow.stages import table as stages
from distillery.workflow.stages.halos.inputs import outcome_of, read_graphs, read_network, regions_of
from distillery.workflow.sweep import Sweep
from support import toyhalos

HALOS, NOISE, MESSAGES = 600, 0.01, 4
# With these some halos lie above δ = 1 and some below.
TRUE = {"c1": -0.15, "c2": 5.0, "c3": 0.5, "c4": 0.4, "c5": 1.0, "c6": 0.09, "c7": 8.0}
LAW = form("with mass", toyhalos.SMOOTHING).having(TRUE)
CONSTANT, FORMULA, NETWORK = "constant", "formula-with-mass", "network-with-mass"
SETTINGS: dict[str, Any] = {
    "universe": {"box": toyhalos.BOX, "filters": [toyhalos.SMOOTHING]},
    "radius": toyhalos.RADIUS,
    "smoothing": toyhalos.SMOOTHING,
    "validation": 0.3,
    "held_out": 0.3,
    "training": {"hidden": 8, "messages": MESSAGES, "steps": 60, "batch": 16, "learning_rate": 1e-2},
    "models": [CONSTANT, FORMULA, NETWORK],
}


def sweep_in(results: Path, **changes: Any) -> Sweep:
    content = {"halos": [{**SETTINGS, **changes}], "distillation": {"samples": 200, "held_out": 150}}
    return Sweep(parse_config(content), results)


def cell_of(sweep: Sweep, model: str) -> Cell:
    return next(cell for cell in sweep.cells if cell.model == model)


def carry_out(sweep: Sweep, cell: Cell, *names: Stage) -> Outcome:
    """Do stages of a cell, one after the other; return the outcome of the last."""
    for name in names:
        stages.carry_out(sweep, name, Job((cell,)))
    return read_outcome(cell.outcome(sweep.results, names[-1]), key=sweep.key(names[-1], cell))


def ruled(seed: int, law: HaloLaw = LAW) -> Catalogue:
    """Toy halos whose overdensity follows a law, with some noise."""
    bare = toyhalos.catalogue(HALOS, seed)
    graph = halo_graph(bare, toyhalos.RADIUS, toyhalos.SMOOTHING)
    delta = law.predict(graph, np.arange(HALOS)) + NOISE * stream(seed, "toy noise").normal(size=HALOS)
    return Catalogue(**{**vars(bare), "overdensity": delta[None]})


def grow_toys(universe: Universe, seeds: Sequence[int], folder: Path, crew: Ranks) -> None:
    """Stand in for ``grow_all``."""
    for seed in seeds:
        crew.first(functools.partial(write_catalogue, path_of(folder, seed), ruled(seed)))


def made(results: Path, grow: Callable[..., None] = grow_toys, **changes: Any) -> Sweep:
    """A sweep whose data are there, as the stage simulate leaves them."""
    sweep = sweep_in(results, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "grow_all", grow)
        for split in ("train", "test"):
            stages.simulate(sweep, sweep.experiments[0], split, 1)
    return sweep


def halos_of(sweep: Sweep) -> HaloGraph:
    return read_graphs(sweep, sweep.experiments[0], "train")[""]


def with_weights(sweep: Sweep, cell: Cell, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Put other weights in the place of trained ones, as if training had ended with them."""
    weights, outcome = cell.weights(sweep.results), outcome_of(sweep, cell)
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, weights)
    belongings = (weights, cell.history(sweep.results))
    path, key = cell.outcome(sweep.results, "train"), outcome.key
    write_outcome(path, key=key, started=time.monotonic(), result=outcome.result, belongings=belongings)


def distilled(sweep: Sweep, cell: Cell, messages: Sequence[str], nodes: Sequence[str]) -> None:
    """Write what an engine might have found."""

    def entry(texts: Sequence[str]) -> dict[str, Any]:
        return {"component": 0, "status": "ok", "reason": "", "front": [{"expression": text} for text in texts]}

    result = {"engine": "operon", "reading": "std", "components": [entry(messages)], "node": [entry(nodes)]}
    path, key = cell.outcome(sweep.results, "distill"), sweep.key("distill", cell)
    write_outcome(path, key=key, started=time.monotonic(), result=result)


def kept(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What files say and when they were written; locks and the like are no results."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith("."))
    return {str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def by_hand(sweep: Sweep, cell: Cell, kept: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Messages on the edges of validation halos, and the error with what a matrix keeps of their components."""
    graph = halos_of(sweep)
    halos = regions_of(sweep, cell, graph).validation
    trained = read_network(sweep, cell, outcome_of(sweep, cell))
    edges, own = graph.neighbours.edges(halos), trained.scales.own(graph)
    with torch.no_grad():
        messages = trained.network.messages(trained.scales.along(own, edges)).numpy().astype(np.float64)
        arriving = np.zeros((len(graph), MESSAGES))
        np.add.at(arriving, edges.receiver, messages if kept is None else messages @ kept)
        said = trained.network.overdensity(own[halos], torch.from_numpy(arriving[halos].astype(np.float32))).numpy()
    return messages, float(np.abs(said - graph.overdensity[halos]).mean())
