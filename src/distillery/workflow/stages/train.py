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
from distillery.errors import DistilleryError
from distillery.networks import checkpoint, loop
from distillery.networks.batches import graphs_of
from distillery.networks.stack import Member
from distillery.networks.training import Trained, choose_device, train_members
from distillery.progress import progress
from distillery.workflow.cell import Cell
from distillery.workflow.outcome import finished, running, write_outcome
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import read_trajectories


def train(sweep: Sweep, cells: Sequence[Cell]) -> None:
    """Train cells side by side and write their weights, histories and outcomes.

    Finished cells are skipped; interrupted ones continue from their newest checkpoint.

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


def _groups(sweep: Sweep, cells: Sequence[Cell]) -> list[tuple[int, list[Cell]]]:
    """Put cells together that go on from the same step; cells that were started together have one in common."""
    at_hand = {cell: checkpoint.available(cell.checkpoint(sweep.results), sweep.key("train", cell)) for cell in cells}
    common = set.intersection(*(set(entries) for entries in at_hand.values())) if cells else set()
    groups: dict[int, list[Cell]] = {}
    for cell, entries in at_hand.items():
        groups.setdefault(max(common or entries, default=0), []).append(cell)
    return list(groups.items())


def _train(sweep: Sweep, cells: Sequence[Cell], step: int, device: torch.device, started: Mapping[Cell, float]) -> None:
    graphs = {cell.experiment: graphs_of(read_trajectories(sweep, cell.experiment, "train")) for cell in cells}
    members = [
        Member(
            model=sweep.model(cell),
            seed=cell.seed,
            graphs=graphs[cell.experiment],
            settings=sweep.training(cell.experiment),
            snapshots=sweep.frames(cell),
            checkpoint=cell.checkpoint(sweep.results),
            key=sweep.key("train", cell),
        )
        for cell in cells
    ]
    label = str(cells[0]) if len(cells) == 1 else f"{cells[0]} and {len(cells) - 1} more"
    found = train_members(
        members,
        sweep.system(cells[0].experiment).graph,
        device,
        step=step,
        checkpoint_every=sweep.config.execution.checkpoint_every,
        show=progress(f"train {label}", members[0].settings.steps, "steps"),
    )
    for cell, trained in zip(cells, found, strict=True):
        _finish(sweep, cell, trained, device, started[cell])


def _finish(sweep: Sweep, cell: Cell, trained: Trained, device: torch.device, started: float) -> None:
    weights, history, frames = (of(sweep.results) for of in (cell.weights, cell.history, cell.frames))
    _write_history(history, trained.history)
    if not trained.reason:
        with files.replacing(weights) as temporary:
            save_file(trained.tensors, temporary)
    if trained.snapshots:
        with files.replacing(frames) as temporary:
            save_file(trained.snapshots, temporary)
    write_outcome(
        cell.outcome(sweep.results, "train"),
        key=sweep.key("train", cell),
        started=started,
        result={
            "steps": trained.steps,
            "final_loss": None if trained.reason else trained.history[-1][1],
            "parameters": trained.parameters,
            "graphs_per_second": trained.graphs_per_second,
        },
        status="diverged" if trained.reason else "ok",
        reason=trained.reason,
        belongings=(
            history,
            *([] if trained.reason else [weights]),
            *([frames] if trained.snapshots else []),
        ),
        device=device_name(device),
    )
    # Files of an earlier training are removed when its outcome is replaced.
    if trained.reason:
        weights.unlink(missing_ok=True)
    if not trained.snapshots:
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
