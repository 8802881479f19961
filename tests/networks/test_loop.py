"""The training loop: learning, history, divergence, and the files of the stage."""

from __future__ import annotations

import csv
from collections.abc import Callable

import numpy as np
import pytest
import torch

from distillery.errors import DistilleryError
from distillery.messages.reading import errors_on
from distillery.networks import loop
from distillery.networks.batches import Batches, graphs_of
from distillery.randomness import stream
from distillery.workflow.networks import build, load_network
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stages.train import train
from distillery.workflow.sweep import Sweep
from support import orbits
from support.training import TRAINING, weights_of

CPU = torch.device("cpu")


@pytest.mark.slow
def test_training_lowers_the_loss_and_writes_weights_history_and_outcome(small: Callable[..., Sweep]) -> None:
    sweep = small()
    (cell,) = sweep.cells
    train(sweep, sweep.cells)
    outcome = read_outcome(cell.outcome(sweep.results, "train"), key=sweep.key("train", cell))
    weights = weights_of(sweep)
    assert outcome.status == "ok"
    assert outcome.result["steps"] == 250
    assert outcome.result["parameters"] == sum(tensor.numel() for tensor in weights.values())
    assert set(outcome.files) == {"model.safetensors", "history.csv"}
    with cell.history(sweep.results).open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [100, 200, 250]
    assert float(rows[-1]["loss"]) < 0.9 * float(rows[0]["loss"])
    assert float(rows[-1]["loss"]) == pytest.approx(outcome.result["final_loss"], rel=1e-6)
    assert not cell.checkpoint(sweep.results).exists()

    before = cell.weights(sweep.results).stat().st_mtime_ns
    train(sweep, sweep.cells)
    assert cell.weights(sweep.results).stat().st_mtime_ns == before


@pytest.mark.slow
def test_chain_trains_by_message_passing(small: Callable[..., Sweep]) -> None:
    chain = {"potential": "(r - 1)**2", "time_step": 0.01, "graph": "chain"}
    experiment = {"system": "rope", "simulations": 64, "snapshots": 10, "bodies": 3}
    sweep = small(systems={"rope": chain}, experiments=[experiment], training={**TRAINING, "steps": 800})
    train(sweep, sweep.cells)
    with sweep.cells[0].history(sweep.results).open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["l1", "kl", "flathgn", "pruning", "newton"])
def test_every_model_lowers_the_held_out_error(small: Callable[..., Sweep], model: str) -> None:
    sweep = small(models=[model], training={"hidden": 16, "batch": 16, "steps": 1000, "learning_rate": 1e-2})
    (cell,) = sweep.cells
    train(sweep, sweep.cells)
    untrained = build(sweep, cell, 1)
    untrained.initialise(0, stream(cell.seed, "train", "weights"))
    held_out = graphs_of(orbits.read_trajectories(sweep, cell.experiment, "test"))
    before, after = (errors_on(network, held_out) for network in (untrained, load_network(sweep, cell)))
    assert after.mean() < 0.5 * before.mean()
    assert np.median(after) < 0.5 * np.median(before)


def test_concentration_is_the_share_of_the_variance_in_as_many_components_as_dimensions() -> None:
    pattern = torch.tensor([1.0, -1.0, 1.0, -1.0])
    one = torch.stack([5.0 + pattern, 3 * pattern, -2 * pattern, 1e3 + 0 * pattern], dim=1)
    even = torch.stack([pattern] * 4, dim=1)
    assert loop.concentration(torch.stack([one, even]), 2) == pytest.approx([13 / 14, 1 / 2])
    assert loop.concentration(torch.stack([one, even]), 3) == pytest.approx([1, 3 / 4])


def test_history_has_the_concentration_of_each_cells_messages(small: Callable[..., Sweep]) -> None:
    sweep = small(models=["l1"], seeds=[0, 1], training={**TRAINING, "steps": 5})
    train(sweep, sweep.cells)
    shares = []
    for cell in sweep.cells:
        seen, _ = batches_of(sweep, [cell.seed], 3.0).window(0)
        (share,) = loop.concentration(load_network(sweep, cell).messages(seen[4]), 2)
        with cell.history(sweep.results).open() as file:
            (row,) = csv.DictReader(file)
        assert float(row["concentration"]) == pytest.approx(share, rel=1e-3)
        shares.append(share)
    assert shares[0] != pytest.approx(shares[1], rel=1e-2)


@pytest.mark.slow
def test_divergence_is_a_result(small: Callable[..., Sweep]) -> None:
    sweep = small(training={**TRAINING, "learning_rate": 1e30})
    (cell,) = sweep.cells
    train(sweep, sweep.cells)
    outcome = read_outcome(cell.outcome(sweep.results, "train"), key=sweep.key("train", cell))
    assert outcome.status == "diverged"
    assert "step" in outcome.reason
    assert outcome.result["steps"] == 100
    assert outcome.result["final_loss"] is None
    assert not cell.weights(sweep.results).exists()


def test_divergence_in_the_last_step_is_found_in_the_weights(small: Callable[..., Sweep]) -> None:
    sweep = small(training={**TRAINING, "steps": 1, "learning_rate": 1e39})
    train(sweep, sweep.cells)
    (cell,) = sweep.cells
    outcome = read_outcome(cell.outcome(sweep.results, "train"))
    assert outcome.status == "diverged"
    assert outcome.reason == "the weights are not finite after step 1"
    assert not cell.weights(sweep.results).exists()


@pytest.mark.slow
def test_first_step_that_is_not_finite_is_named(small: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop.error_of
    calls: list[int] = []

    def broken(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return real(*arguments) * (float("nan") if len(calls) == 137 else 1.0)

    monkeypatch.setattr(loop, "error_of", broken)
    sweep = small()
    train(sweep, sweep.cells)
    outcome = read_outcome(sweep.cells[0].outcome(sweep.results, "train"))
    assert (outcome.status, outcome.reason) == ("diverged", "the loss is not finite at step 137")
    assert len(calls) == 200


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_cuda_device_is_refused(small: Callable[..., Sweep]) -> None:
    sweep = small(execution={"device": "cuda"})
    with pytest.raises(DistilleryError, match=r"^execution.device: cuda is wanted.*use auto or cpu$"):
        train(sweep, sweep.cells)
    assert not sweep.results.exists()


def batches_of(sweep: Sweep, seeds: list[int], translation: float) -> Batches:
    graphs = graphs_of(orbits.read_trajectories(sweep, sweep.experiments[0], "train"))
    return Batches([graphs] * len(seeds), seeds, 8, [translation] * len(seeds), CPU)
