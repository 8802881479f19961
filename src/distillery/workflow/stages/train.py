"""The train stage: from trajectories to the weights of one cell, or of several of equal shape at once."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from distillery import files
from distillery.data.store import read_trajectories
from distillery.errors import DistilleryError
from distillery.networks import checkpoint, loop
from distillery.networks.batches import graphs_of
from distillery.networks.snapshots import STEPS
from distillery.networks.stack import Stack
from distillery.networks.units import Units
from distillery.progress import progress
from distillery.workflow.cell import Cell
from distillery.workflow.outcome import finished, running, write_outcome
from distillery.workflow.sweep import Sweep


def train(sweep: Sweep, cells: Sequence[Cell]) -> None:
    """Train cells side by side and write their weights, histories and outcomes.

    What is finished is left alone; what was interrupted goes on from its newest checkpoint.

    Args:
        sweep: The plan.
        cells: Cells of equal shape: dimensions, bodies, kind of graph, and model but for its weight.

    Raises:
        DistilleryError: The shapes differ, the device is not there, or trajectories or a checkpoint are damaged.
    """
    if len({sweep.source(cell.experiment).stacking_shape(cell) for cell in cells}) > 1:
        raise DistilleryError(
            f"{cells[0]} … {cells[-1]}: differ in dim, bodies, graph or model (but for its weight); "
            "train cells of one shape together"
        )
    device = choose_device(sweep.config.execution.device)
    with contextlib.ExitStack() as stack:
        # Locks are taken in one order everywhere, so that two stacks never wait for each other.
        paths = {cell: cell.outcome(sweep.results, "train") for cell in sorted(set(cells))}
        started = {cell: stack.enter_context(running(path)) for cell, path in paths.items()}
        todo = [cell for cell in dict.fromkeys(cells) if not finished(paths[cell], sweep.key("train", cell))]
        if todo and sweep.model(todo[0]).kind == "control":
            for cell in todo:
                _leave_out(sweep, cell, started[cell])
            return
        for step, group in _groups(sweep, todo):
            _train(sweep, group, step, device, started)


def _leave_out(sweep: Sweep, cell: Cell, started: float) -> None:
    """Write the outcome of a cell that has no network."""
    result = {"steps": 0, "final_loss": None, "parameters": 0, "graphs_per_second": 0.0}
    write_outcome(cell.outcome(sweep.results, "train"), key=sweep.key("train", cell), started=started, result=result)


def choose_device(wanted: str) -> torch.device:
    """Return the device to train on.

    Raises:
        DistilleryError: CUDA is wanted and not there.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DistilleryError("execution.device: cuda is wanted, but PyTorch finds no CUDA device; use auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def _groups(sweep: Sweep, cells: Sequence[Cell]) -> list[tuple[int, list[Cell]]]:
    """Put cells together that go on from the same step; cells that were started together have one in common."""
    at_hand = {cell: checkpoint.available(cell.checkpoint(sweep.results), sweep.key("train", cell)) for cell in cells}
    common = set.intersection(*(set(entries) for entries in at_hand.values())) if cells else set()
    groups: dict[int, list[Cell]] = {}
    for cell, entries in at_hand.items():
        groups.setdefault(max(common or entries, default=0), []).append(cell)
    return list(groups.items())


def _train(sweep: Sweep, cells: Sequence[Cell], step: int, device: torch.device, started: Mapping[Cell, float]) -> None:
    settings = sweep.training(cells[0].experiment)
    raw = {cell.experiment: graphs_of(read_trajectories(sweep, cell.experiment, "train")) for cell in cells}
    units = {experiment: Units.of(graphs, sweep.model(cells[0]).kind) for experiment, graphs in raw.items()}
    data = {experiment: units[experiment].applied(graphs) for experiment, graphs in raw.items()}
    stacked = Stack(sweep, cells, [data[cell.experiment] for cell in cells], device)
    stacked.load(step)
    label = str(cells[0]) if len(cells) == 1 else f"{cells[0]} and {len(cells) - 1} more"
    speed = loop.fit(
        stacked.network,
        stacked.optimiser,
        stacked.batches,
        stacked.state,
        settings,
        weighings=stacked.weighings,
        scales=stacked.scales,
        checkpoint_every=sweep.config.execution.checkpoint_every,
        save=stacked.save,
        watch=stacked.frames.take,
        show=progress(f"train {label}", settings.steps, "steps"),
    )
    for place, cell in enumerate(cells):
        _finish(sweep, cell, stacked, place, units[cell.experiment], started=started[cell], speed=speed)


def _finish(
    sweep: Sweep, cell: Cell, stacked: Stack, place: int, units: Units, *, started: float, speed: float
) -> None:
    weights, history, frames = (of(sweep.results) for of in (cell.weights, cell.history, cell.frames))
    kind, dim = sweep.model(cell).kind, cell.experiment.dim
    filmed = units.undone(stacked.frames.tensors(place), kind, dim)
    reason = stacked.state.reasons[place]
    # Only the absolute loss has a unit, that of accelerations.
    loss = units.acceleration if sweep.training(cell.experiment).loss == "absolute" else 1.0
    rows = [(step, loss * error, loss * cost, *rest) for step, error, cost, *rest in stacked.state.history[place]]
    tensors = {name: tensor[place].cpu().contiguous() for name, tensor in stacked.network.state_dict().items()}
    tensors = units.undone(tensors, kind, dim)
    if not reason and not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        # Losses are those before an update; what the last one did shows in the weights alone.
        reason = f"the weights are not finite after step {stacked.state.step}"
    _write_history(history, rows)
    result = {
        "steps": stacked.state.step,
        "final_loss": None if reason else rows[-1][1],
        "parameters": sum(tensor[place].numel() for tensor in stacked.network.parameters()),
        "graphs_per_second": round(speed, 1),
    }
    if reason:
        filmed = {}
    else:
        with files.replacing(weights) as temporary:
            save_file(tensors, temporary)
    if filmed:
        with files.replacing(frames) as temporary:
            save_file({STEPS: torch.tensor(stacked.frames.steps), **filmed}, temporary)
    write_outcome(
        cell.outcome(sweep.results, "train"),
        key=sweep.key("train", cell),
        started=started,
        result=result,
        status="diverged" if reason else "ok",
        reason=reason,
        belongings=(history, *([] if reason else [weights]), *([frames] if filmed else [])),
        device=device_name(stacked.batches.device),
    )
    # Files of an earlier training are removed when its outcome is replaced.
    if reason:
        weights.unlink(missing_ok=True)
    if not filmed:
        frames.unlink(missing_ok=True)
    checkpoint.discard(cell.checkpoint(sweep.results))


def _write_history(path: Path, rows: Sequence[Sequence[float]]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(loop.COLUMNS)
    table.writerows([int(step), *(f"{value:.7g}" for value in values)] for step, *values in rows)
    files.write_text(path, text.getvalue())


def device_name(device: torch.device) -> str:
    """Return what a device is called in outcomes."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"
