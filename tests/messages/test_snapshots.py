"""Snapshots of a training equal the network at that step and do not change the training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import distillery.workflow.stages.interpret as interpret_run
from distillery.errors import DistilleryError
from distillery.files import checksum
from distillery.messages.interpretation import held_out_edges
from distillery.messages.reading import Edges, messages_along
from distillery.networks import checkpoint, stack
from distillery.networks.snapshots import STEPS, moments
from distillery.workflow.cell import Cell
from distillery.workflow.networks import load_network, snapshots_of
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stages.interpret import interpret
from distillery.workflow.stages.train import train
from distillery.workflow.sweep import Sweep
from support import orbits

TRAINING = {"hidden": 8, "batch": 8, "steps": 150}
FILMED = {**TRAINING, "frames": 5}


@pytest.fixture
def tiny(make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    orbits.use(monkeypatch)

    def make(folder: str = "results", **changes: Any) -> Sweep:
        content = {
            "training": FILMED,
            "interpretation": {"samples": 400},
            "distillation": {"samples": 100, "held_out": 120},
            "execution": {"checkpoint_every": 40, "device": "cpu"},
        }
        sweep = make_sweep(**{**content, **changes})
        return Sweep(sweep.config, sweep.results.parent / folder)

    return make


def frames_of(sweep: Sweep, cell: Cell | None = None) -> dict[str, torch.Tensor]:
    return load_file((cell or sweep.cells[0]).frames(sweep.results))


def break_off(sweep: Sweep, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """Train until a number of checkpoints are written."""
    real, written = checkpoint.write, []

    def write(*arguments: object) -> None:
        real(*arguments)
        written.append(arguments)
        if len(written) == writes:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "write", write)
        train(sweep, sweep.cells)


def test_snapshot_steps_are_spread_from_zero_to_the_last_step() -> None:
    assert moments(0, 1000) == ()
    assert moments(2, 1000) == (0, 1000)
    spread = moments(24, 14_000)
    assert len(spread) == 24
    assert spread[:2] == (0, 70)
    assert spread[-1] == 14_000
    ratios = np.array(spread[2:]) / np.array(spread[1:-1])
    assert np.all(np.abs(ratios / ratios[-1] - 1) < 0.05)
    few = moments(24, 5)
    assert few == (0, 1, 2, 3, 4, 5)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pruning", pytest.param("kl", marks=pytest.mark.slow)])
def test_weights_have_the_same_bits_with_and_without_snapshots(tiny: Callable[..., Sweep], model: str) -> None:
    filmed, plain = tiny(models=[model]), tiny("plain", models=[model], training=TRAINING)
    for sweep in (filmed, plain):
        train(sweep, sweep.cells)
    ((cell,), weights) = filmed.cells, [load_file(one.cells[0].weights(one.results)) for one in (filmed, plain)]
    assert checksum(cell.history(filmed.results)) == checksum(cell.history(plain.results))
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name
    assert not cell.frames(plain.results).exists()
    outcome = read_outcome(cell.outcome(filmed.results, "train"), key=filmed.key("train", cell))
    assert "frames.safetensors" in outcome.files

    frames = frames_of(filmed)
    assert frames.pop(STEPS).tolist() == list(moments(5, 150))
    for name, tensor in frames.items():
        assert torch.equal(tensor[-1], weights[0][name]), name
    assert {name for name in weights[0] if not name.startswith("node.")} == set(frames)
    assert not torch.equal(frames["edge.last"][0], frames["edge.last"][-1])


@pytest.mark.slow
def test_a_snapshot_equals_the_network_after_that_step(
    tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = checkpoint.write, {}

    def write(folder: Any, key: str, step: int, reason: str, tensors: Any) -> None:
        real(folder, key, step, reason, tensors)
        seen[step] = {name: tensor.clone() for name, tensor in tensors.items()}

    monkeypatch.setattr(checkpoint, "write", write)
    monkeypatch.setattr(stack, "moments", lambda *_: (0, 40, 80, 150))
    sweep = tiny(models=["pruning"])
    train(sweep, sweep.cells)
    frames = frames_of(sweep)
    for place, step in ((1, 40), (2, 80)):
        for name in ("edge.first.0", "edge.last", "edge.last_bias", "edge.weights.1"):
            assert torch.equal(frames[name][place], seen[step][f"weights.{name}"]), (name, step)
        assert torch.equal(frames["alive"][place], seen[step]["alive"])
    assert not torch.equal(frames["edge.last"][1], frames["edge.last"][2])


# The second checkpoint of a single cell; for two cells the third of the first, which the second lacks.
@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "writes"), [([0], 2), pytest.param([0, 1], 7, marks=pytest.mark.slow)])
def test_snapshots_survive_an_interruption(
    tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, seeds: list[int], writes: int
) -> None:
    broken, whole = tiny("broken", seeds=seeds), tiny("whole", seeds=seeds)
    break_off(broken, monkeypatch, writes)
    assert not any(cell.frames(broken.results).exists() for cell in broken.cells)
    for sweep in (broken, whole):
        train(sweep, sweep.cells)
    for cell in whole.cells:
        assert checksum(cell.frames(broken.results)) == checksum(cell.frames(whole.results))


@pytest.mark.slow
def test_only_chosen_cells_of_a_stack_have_snapshots_and_others_keep_their_keys(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny(seeds=[0, 1], training={**FILMED, "filmed": ["*-s1"]})
    train(sweep, sweep.cells)
    first, second = sweep.cells
    assert not first.frames(sweep.results).exists()
    weights, frames = load_file(second.weights(sweep.results)), frames_of(sweep, second)
    assert torch.equal(frames["edge.last"][-1], weights["edge.last"])
    plain = tiny(seeds=[0, 1], training=TRAINING)
    same = [plain.key("train", cell) == sweep.key("train", cell) for cell in sweep.cells]
    assert same == [True, False]
    # Without the setting no snapshots remain.
    train(plain, [second])
    assert not second.frames(sweep.results).exists()


@pytest.mark.slow
def test_diverged_cells_and_controls_have_no_snapshots(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny(training={**FILMED, "learning_rate": 1e30})
    train(sweep, sweep.cells)
    outcome = read_outcome(sweep.cells[0].outcome(sweep.results, "train"), key=sweep.key("train", sweep.cells[0]))
    assert outcome.status == "diverged"
    assert set(outcome.files) == {"history.csv"}
    assert not sweep.cells[0].frames(sweep.results).exists()
    control = tiny(models=["control"])
    assert control.frames(control.cells[0]) == 0
    plain = tiny(models=["control"], training=TRAINING)
    assert control.key("train", control.cells[0]) == plain.key("train", plain.cells[0])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bottleneck", *(pytest.param(m, marks=pytest.mark.slow) for m in ("l1", "flathgn"))])
def test_snapshots_are_read_as_the_trained_network(tiny: Callable[..., Sweep], model: str) -> None:
    sweep = tiny(models=[model])
    (cell,) = sweep.cells
    train(sweep, sweep.cells)
    interpret(sweep, cell)
    result = read_outcome(cell.outcome(sweep.results, "interpret"), key=sweep.key("interpret", cell)).result
    assert result["frames"]["steps"] == list(moments(5, 150))
    with np.load(cell.messages(sweep.results), allow_pickle=False) as samples:
        frames, final = samples["frames"], samples["message"][samples["held_out"]]
    assert frames.shape == (5, 120, 2)
    np.testing.assert_allclose(frames[-1], final, rtol=1e-4, atol=1e-5)
    assert np.abs(frames[0] - final).max() > 0.1 * final.std()
    # The fits equal those of the cell, over fewer edges.
    for target in ("force", "acceleration"):
        last = result["frames"]["fits"][-1][target]["r2_robust"]
        assert last == pytest.approx(result["fits"]["distilled"][target]["r2_robust"], abs=0.15)


@pytest.mark.slow
def test_a_snapshot_equals_a_network_that_was_trained_to_that_step(
    tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = {"samples": 400, "gauge_fixed": False, "aligned": False}
    sweep = tiny(interpretation=reading)
    (cell,) = sweep.cells
    train(sweep, sweep.cells)
    interpret(sweep, cell)
    with np.load(cell.messages(sweep.results), allow_pickle=False) as samples:
        frames, axes, held_out = samples["frames"], samples["axes"], samples["held_out"]
    network = load_network(sweep, cell)
    graphs = interpret_run.graphs_of(orbits.read_trajectories(sweep, cell.experiment, "test"))
    edges: Edges = held_out_edges(interpret_run.interpretation(sweep, cell), "complete", graphs).first(
        int(held_out.sum())
    )
    # The same weights, loaded into a network.
    stored = frames_of(sweep)
    for place, step in enumerate(stored[STEPS].tolist()):
        for name, parameter in network.named_parameters():
            if name in stored:
                parameter.data = stored[name][place][None]
        np.testing.assert_allclose(frames[place], messages_along(network, edges) @ axes, rtol=1e-4, atol=1e-6)
        assert step == moments(5, 150)[place]


@pytest.mark.slow
def test_damaged_snapshots_are_refused_with_their_remedy(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny()
    (cell,) = sweep.cells
    train(sweep, sweep.cells)
    path = cell.frames(sweep.results)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DistilleryError, match=r"frames.safetensors: missing or damaged"):
        interpret(sweep, cell)
    with pytest.raises(DistilleryError, match=r"frames.safetensors: cannot be loaded .*delete the folder"):
        list(snapshots_of(sweep, cell, load_network(sweep, cell)))


def test_keys_of_cells_without_snapshots_are_unchanged(make_sweep: Callable[..., Sweep]) -> None:
    """Snapshots are not in the key of a cell without them; other changes of keys need a new number in ``FORMATS``."""
    sweep = make_sweep()
    assert sweep.key("train", sweep.cells[0]) == "7e741818f5266f8c"
    assert sweep.config.training.frames == 0
    changed = {"frames": 3, "filmed": ["spring-2d-4b-s0/bottleneck-s0"]}
    filmed = make_sweep(training=changed)
    assert filmed.key("train", filmed.cells[0]) != sweep.key("train", sweep.cells[0])
    # Snapshots of other cells do not matter.
    both = make_sweep(training={"frames": 3})
    assert both.key("train", both.cells[0]) == filmed.key("train", filmed.cells[0])
