"""The train stage of halos: a network is trained, or the constants of a formula are fitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from distillery.halos.features import HaloGraph
from distillery.halos.forms import form
from distillery.halos.law import as_content
from distillery.halos.refit import refit
from distillery.halos.regions import Regions
from distillery.halos.trained import write_history, write_network
from distillery.halos.training import train as train_network
from distillery.networks import checkpoint
from distillery.networks.training import choose_device
from distillery.progress import progress
from distillery.workflow.cell import Cell
from distillery.workflow.outcome import finished, running, write_outcome
from distillery.workflow.stages.halos.inputs import read_graphs, regions_of, training_settings
from distillery.workflow.stages.train import device_name
from distillery.workflow.sweep import Sweep


def train(sweep: Sweep, cells: Sequence[Cell]) -> None:
    """Train cells of halos one after the other, and write their weights or constants, and their outcomes.

    Finished cells are skipped; interrupted ones continue from their newest checkpoint.

    Args:
        sweep: The sweep.
        cells: The cells.

    Raises:
        DistilleryError: The device is not there, or halos or a checkpoint are missing or damaged.
    """
    device = choose_device(sweep.config.execution.device)
    for cell in cells:
        path, key = cell.outcome(sweep.results, "train"), sweep.key("train", cell)
        with running(path) as started:
            if finished(path, key):
                continue
            graph = read_graphs(sweep, cell.experiment, "train")[""]
            regions = regions_of(sweep, cell, graph)
            if sweep.halo_model(cell).kind == "formula":
                _fit(sweep, cell, graph, regions, started)
            else:
                _train(sweep, cell, graph, regions, device, started)


def _fit(sweep: Sweep, cell: Cell, graph: HaloGraph, regions: Regions, started: float) -> None:
    name = sweep.halo_model(cell).form
    assert name is not None
    found = refit(form(name, graph.smoothing), graph, regions.train, seed=cell.seed)
    result = {
        "steps": 0,
        "final_loss": found.error,
        "parameters": len(found.law.free),
        "graphs_per_second": 0.0,
        "law": as_content(found.law),
        "at_bound": list(found.at_bound),
        "poles": found.poles,
    }
    write_outcome(cell.outcome(sweep.results, "train"), key=sweep.key("train", cell), started=started, result=result)


def _train(sweep: Sweep, cell: Cell, graph: HaloGraph, regions: Regions, device: torch.device, started: float) -> None:
    settings, folder = training_settings(sweep, cell), cell.checkpoint(sweep.results)
    trained = train_network(
        graph,
        regions.train,
        settings,
        device=device,
        folder=folder,
        show=progress(f"train {cell}", settings.steps, "steps"),
    )
    result = {
        "steps": trained.steps,
        "final_loss": None if trained.reason else trained.history[-1][1],
        "parameters": sum(tensor.numel() for tensor in trained.network.parameters()),
        "graphs_per_second": 0.0,
        "edges_per_second": round(trained.edges_per_second, 1),
        "scales": dataclasses.asdict(trained.scales),
    }
    history, weights = cell.history(sweep.results), cell.weights(sweep.results)
    if trained.reason:
        weights.unlink(missing_ok=True)
    else:
        write_network(weights, trained)
    write_history(history, trained)
    write_outcome(
        cell.outcome(sweep.results, "train"),
        key=sweep.key("train", cell),
        started=started,
        result=result,
        status="diverged" if trained.reason else "ok",
        reason=trained.reason,
        belongings=(history,) if trained.reason else (weights, history),
        device=device_name(device),
    )
    checkpoint.discard(folder)
