"""The train stage: what it writes, what it refuses, and that a kill changes nothing."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from distillery.errors import DistilleryError
from distillery.files import checksum
from distillery.messages.reading import errors_on
from distillery.networks import checkpoint, loop
from distillery.networks.batches import WINDOW, Batches, Graphs, graphs_of
from distillery.networks.models import Model
from distillery.networks.network import Network
from distillery.networks.schedule import faded_in, one_cycle
from distillery.randomness import stream
from distillery.workflow.cell import Cell
from distillery.workflow.cli import cli
from distillery.workflow.networks import build, load_network
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stages import train as run
from distillery.workflow.stages.train import train
from distillery.workflow.sweep import Sweep
from support import orbits

TRAINING = {"hidden": 8, "batch": 8, "steps": 250, "learning_rate": 5e-3}
EXECUTION = {"checkpoint_every": 60, "device": "cpu"}
CPU = torch.device("cpu")


@pytest.fixture
def tiny(make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    orbits.use(monkeypatch)

    def make(**changes: object) -> Sweep:
        return make_sweep(**{"training": TRAINING, "execution": EXECUTION, **changes})

    return make


def weights_of(sweep: Sweep, place: int = 0) -> dict[str, torch.Tensor]:
    return load_file(sweep.cells[place].weights(sweep.results))


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.slow
def test_training_learns_and_leaves_weights_history_and_outcome(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny()
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
def test_chain_trains_by_message_passing(tiny: Callable[..., Sweep]) -> None:
    chain = {"potential": "(r - 1)**2", "time_step": 0.01, "graph": "chain"}
    experiment = {"system": "rope", "simulations": 64, "snapshots": 10, "bodies": 3}
    sweep = tiny(systems={"rope": chain}, experiments=[experiment], training={**TRAINING, "steps": 800})
    train(sweep, sweep.cells)
    with sweep.cells[0].history(sweep.results).open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["l1", "kl", "flathgn", "pruning", "newton"])
def test_every_model_learns_what_it_was_not_shown(tiny: Callable[..., Sweep], model: str) -> None:
    sweep = tiny(models=[model], training={"hidden": 16, "batch": 16, "steps": 1000, "learning_rate": 1e-2})
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


def test_history_tells_how_concentrated_each_cells_own_messages_are(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny(models=["l1"], seeds=[0, 1], training={**TRAINING, "steps": 5})
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


def weights_stacked_as_alone(sweep: Sweep) -> list[dict[str, torch.Tensor]]:
    """Train cells together and then each alone, and return their weights, which must be the same."""
    train(sweep, sweep.cells)
    together = [weights_of(sweep, place) for place in range(len(sweep.cells))]
    for place, cell in enumerate(sweep.cells):
        cell.outcome(sweep.results, "train").unlink()
        train(sweep, [cell])
        for name, tensor in weights_of(sweep, place).items():
            torch.testing.assert_close(together[place][name], tensor, rtol=1e-3, atol=1e-5)
    return together


@pytest.mark.slow
def test_stacked_cells_train_as_alone(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny(seeds=[0, 1, 2], training={**TRAINING, "steps": 30})
    together = weights_stacked_as_alone(sweep)
    assert not torch.allclose(together[0]["edge.last"], together[1]["edge.last"])


@pytest.mark.slow
@pytest.mark.parametrize("model", [Model(penalty="l1", weight=3.0), Model(penalty="kl", weight=3.0, significance="kl")])
def test_cells_stacked_with_weights_of_their_own_train_as_alone(tiny: Callable[..., Sweep], model: Model) -> None:
    heavy = model.model_dump(mode="json", exclude_defaults=True)
    names = [model.penalty, "heavy", "none"]
    sweep = tiny(
        models=names, variants={"heavy": heavy, "none": {**heavy, "weight": 0.0}}, training={**TRAINING, "steps": 30}
    )
    together = weights_stacked_as_alone(sweep)
    # They begin with the same weights and see the same graphs: what differs is their penalty alone.
    for one, other in ((0, 1), (0, 2)):
        assert not torch.allclose(together[one]["edge.last"], together[other]["edge.last"], rtol=1e-2)


@pytest.mark.slow
def test_two_systems_with_losses_of_their_own_train_in_one_command_as_each_alone(
    tiny: Callable[..., Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiments = [
        {"system": "spring", "simulations": 64, "snapshots": 10},
        {"system": "charge", "simulations": 32, "snapshots": 5, "loss": "relative"},
    ]
    training = {**TRAINING, "steps": 30, "loss": "scaled"}
    sweep = tiny(experiments=experiments, training=training)
    stacks: list[int] = []
    real = run._train

    def seen(sweep: Sweep, cells: Sequence[Cell], *others: Any) -> None:
        stacks.append(len(cells))
        real(sweep, cells, *others)

    monkeypatch.setattr(run, "_train", seen)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**sweep.config.model_dump(mode="json"), "results": str(sweep.results)}))
    cli.main(["train", *map(str, sweep.cells), "--config", str(config)], standalone_mode=False)
    together = [weights_of(sweep, place) for place in range(2)]
    for cell in sweep.cells:
        cell.outcome(sweep.results, "train").unlink()
        cli.main(["train", str(cell), "--config", str(config)], standalone_mode=False)
    assert stacks == [2, 1, 1]
    for place in range(2):
        for name, tensor in weights_of(sweep, place).items():
            torch.testing.assert_close(together[place][name], tensor, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(together[0]["edge.last"], together[1]["edge.last"])


CHILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support import orbits
from distillery.workflow.sweep import Sweep
from distillery.workflow.config import parse_config
from distillery.networks import checkpoint, run
run.read_trajectories = orbits.read_trajectories
write, written = checkpoint.write, []
def write_then_die(*arguments):
    write(*arguments)
    written.append(arguments)
    if len(written) == {deadly}:
        os.kill(os.getpid(), 9)
checkpoint.write = write_then_die
content = {content!r}
sweep = Sweep(parse_config(content), Path({results!r}))
run.train(sweep, sweep.cells)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "deadly"),
    # In the stack the first cell has written its third checkpoint and the second has not.
    [pytest.param([0], 3, id="single"), pytest.param([0, 1], 7, id="stack", marks=pytest.mark.slow)],
)
def test_killed_and_run_again_gives_the_same_weights(
    tiny: Callable[..., Sweep], tmp_path: Path, seeds: list[int], deadly: int
) -> None:
    sweep = tiny(seeds=seeds, training={**TRAINING, "frames": 6})
    broken = Sweep(sweep.config, tmp_path / "broken")
    script = CHILD.format(
        tests=str(Path(__file__).parent),
        content=sweep.config.model_dump(mode="json"),
        results=str(broken.results),
        deadly=deadly,
    )
    died = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, timeout=100)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    at_hand = [checkpoint.available(c.checkpoint(broken.results), broken.key("train", c)) for c in broken.cells]
    assert max(at_hand[0]) > 60
    assert not broken.cells[0].outcome(broken.results, "train").exists()

    train(broken, broken.cells)
    train(sweep, sweep.cells)
    for place, cell in enumerate(sweep.cells):
        assert_same(weights_of(broken, place), weights_of(sweep, place))
        for file in (Cell.history, Cell.frames):
            assert checksum(file(cell, broken.results)) == checksum(file(cell, sweep.results))


def interrupted(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Train until the second checkpoint is written; return the checkpoints' folder."""
    real, written = checkpoint.write, []

    def write(*arguments: object) -> None:
        real(*arguments)
        written.append(arguments)
        if len(written) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "write", write)
        train(sweep, sweep.cells)
    return sweep.cells[0].checkpoint(sweep.results)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_damaged_checkpoint_is_refused_with_its_remedy(
    tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    sweep = tiny()
    folder = interrupted(sweep, monkeypatch)
    damaged = folder / f"step-000000120.{suffix}"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(DistilleryError) as refusal:
        train(sweep, sweep.cells)
    (line,) = str(refusal.value).splitlines()
    assert line.startswith(str(damaged))
    assert f"delete the folder {folder} to train this cell anew" in line
    assert not sweep.cells[0].outcome(sweep.results, "train").exists()


def test_checkpoints_of_other_settings_stay_and_do_not_crowd_out_new_ones(tmp_path: Path) -> None:
    tensors = {"weight": torch.ones(1)}
    for step in (100, 200):
        checkpoint.write(tmp_path, "old", step, "", tensors)
    for step in (10, 20, 30):
        checkpoint.write(tmp_path, "new", step, "", tensors)
    assert sorted(checkpoint.available(tmp_path, "new")) == [20, 30]
    # Until the new training is done, or reaches their steps, they are work that a change back would go on from.
    assert sorted(checkpoint.available(tmp_path, "old")) == [100, 200]


@pytest.mark.slow
def test_checkpoint_of_other_settings_is_not_taken(
    tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = interrupted(tiny(), monkeypatch)
    changed = tiny(training={**TRAINING, "learning_rate": 1e-3})
    assert checkpoint.available(folder, changed.key("train", changed.cells[0])) == {}
    train(changed, changed.cells)
    fresh = Sweep(changed.config, tmp_path / "fresh")
    train(fresh, fresh.cells)
    assert_same(weights_of(changed), weights_of(fresh))


@pytest.mark.slow
def test_divergence_is_a_result(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny(training={**TRAINING, "learning_rate": 1e30})
    (cell,) = sweep.cells
    train(sweep, sweep.cells)
    outcome = read_outcome(cell.outcome(sweep.results, "train"), key=sweep.key("train", cell))
    assert outcome.status == "diverged"
    assert "step" in outcome.reason
    assert outcome.result["steps"] == 100
    assert outcome.result["final_loss"] is None
    assert not cell.weights(sweep.results).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (1e6, r"the loss exploded before step 100: 2e\+06, while it is [\d.]+ for a network that always says 0"),
        (float("nan"), "the loss is not finite at step 1"),
    ],
    ids=["huge", "not finite"],
)
def test_cell_that_explodes_costs_no_other_of_its_stack(
    tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, start: float, reason: str
) -> None:
    sweep = tiny(seeds=[0, 1, 2])
    unharmed = Sweep(sweep.config, tmp_path / "unharmed")
    train(unharmed, unharmed.cells)
    real = Network.initialise

    def far_off(network: Network, index: int, draws: np.random.Generator) -> None:
        real(network, index, draws)
        if index == 1:
            network.node.last_bias.data[index] = start

    with monkeypatch.context() as patch:
        patch.setattr(Network, "initialise", far_off)
        train(sweep, sweep.cells)
    good, bad, last = (read_outcome(cell.outcome(sweep.results, "train")) for cell in sweep.cells)
    assert bad.status == "diverged"
    assert re.fullmatch(reason, bad.reason), bad.reason
    assert bad.result["final_loss"] is None
    assert not sweep.cells[1].weights(sweep.results).exists()
    assert (good.status, last.status) == ("ok", "ok")
    for place in (0, 2):
        assert_same(weights_of(sweep, place), weights_of(unharmed, place))
        assert checksum(sweep.cells[place].history(sweep.results)) == checksum(
            unharmed.cells[place].history(unharmed.results)
        )


def test_divergence_in_the_very_last_step_shows_in_the_weights(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny(training={**TRAINING, "steps": 1, "learning_rate": 1e39})
    train(sweep, sweep.cells)
    (cell,) = sweep.cells
    outcome = read_outcome(cell.outcome(sweep.results, "train"))
    assert outcome.status == "diverged"
    assert outcome.reason == "the weights are not finite after step 1"
    assert not cell.weights(sweep.results).exists()


@pytest.mark.slow
def test_first_step_that_is_not_finite_is_named(tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop.error_of
    calls: list[int] = []

    def broken(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return real(*arguments) * (float("nan") if len(calls) == 137 else 1.0)

    monkeypatch.setattr(loop, "error_of", broken)
    sweep = tiny()
    train(sweep, sweep.cells)
    outcome = read_outcome(sweep.cells[0].outcome(sweep.results, "train"))
    assert (outcome.status, outcome.reason) == ("diverged", "the loss is not finite at step 137")
    assert len(calls) == 200


def test_unequal_shapes_are_refused_before_anything_is_written(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny(models=["bottleneck", "l1"])
    with pytest.raises(DistilleryError, match="differ in dim, bodies, graph or model"):
        train(sweep, sweep.cells)
    assert not sweep.results.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_is_refused(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny(execution={"device": "cuda"})
    with pytest.raises(DistilleryError, match=r"^execution.device: cuda is wanted.*use auto or cpu$"):
        train(sweep, sweep.cells)
    assert not sweep.results.exists()


def batches_of(sweep: Sweep, seeds: list[int], translation: float) -> Batches:
    graphs = graphs_of(orbits.read_trajectories(sweep, sweep.experiments[0], "train"))
    return Batches([graphs] * len(seeds), seeds, 8, [translation] * len(seeds), CPU)


def test_cells_side_by_side_are_moved_each_by_its_own(tiny: Callable[..., Sweep]) -> None:
    graphs = graphs_of(orbits.read_trajectories(tiny(), tiny().experiments[0], "train"))
    nodes, _ = Batches([graphs, graphs], [3, 4], 8, [0.0, 3.0], CPU).window(0)
    for place, (seed, translation) in enumerate([(3, 0.0), (4, 3.0)]):
        assert torch.equal(nodes[:, place], batches_of(tiny(), [seed], translation).window(0)[0][:, 0])


def test_cells_of_different_data_see_all_of_their_own_and_nothing_else() -> None:
    sizes = (3, 40)
    data = [
        Graphs(np.full((size, 2, 6), cell + 1.0), np.arange(2.0 * size).reshape(size, 1, 2) + np.zeros((size, 2, 2)))
        for cell, size in enumerate(sizes)
    ]
    nodes, acceleration = Batches([*data, data[0]], [3, 4, 5], 8, [0.0] * 3, CPU).window(1)
    for cell, own in enumerate((0, 1, 0)):
        assert torch.all(nodes[:, cell] == own + 1)
        # A batch of eight is more than three graphs have: they come again, as often but for broken rounds.
        counts = torch.unique(acceleration[:, cell, :, 0, 0], return_counts=True)[1]
        assert len(counts) == sizes[own]
        assert counts.max() - counts.min() <= 2


def test_every_graph_is_seen_once_a_round_whatever_the_window(tiny: Callable[..., Sweep]) -> None:
    batches = batches_of(tiny(), [3, 4], 0.0)
    windows = [batches.window(number)[0] for number in (2, 0, 1)]
    seen = torch.cat([windows[1], windows[2], windows[0]])[:, 0].flatten(0, 1)
    for start in (0, 640, 1280):
        graphs = seen[start : start + 640].flatten(1)
        assert len(torch.unique(graphs, dim=0)) == min(640, len(graphs))
    assert torch.equal(batches_of(tiny(), [4], 0.0).window(1)[0][:, 0], windows[2][:, 1])


def test_translation_moves_all_bodies_of_a_graph_alike(tiny: Callable[..., Sweep]) -> None:
    still, _ = batches_of(tiny(), [0], 0.0).window(0)
    moved, acceleration = batches_of(tiny(), [0], 3.0).window(0)
    shift = (moved - still)[..., :2]
    torch.testing.assert_close(shift, shift[:, :, :, :1].expand_as(shift), rtol=0, atol=1e-5)
    assert torch.equal(moved[..., 2:], still[..., 2:])
    assert 2.8 < shift[:, :, :, 0].std() < 3.2
    assert len(torch.unique(shift[:, 0, :, 0].flatten(0, 1), dim=0)) == WINDOW * 8
    assert torch.equal(acceleration, batches_of(tiny(), [0], 0.0).window(0)[1])


def test_one_cycle_is_pytorchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimiser = torch.optim.Adam([parameter])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=1000)
    for step in range(1000):
        rate, _ = one_cycle(step, 1000, 1e-2)
        # PyTorch turns one step earlier; it makes the rate differ by that much of a step.
        assert rate == pytest.approx(schedule.get_last_lr()[0], abs=1e-4 * (step < 999))
        optimiser.step()
        schedule.step()


def test_penalties_fade_in_and_stay() -> None:
    factors = [faded_in(step, 100, 0.2) for step in range(100)]
    assert factors[0] == 0.0
    assert factors[10] == 0.5
    assert set(factors[20:]) == {1.0}
    assert faded_in(0, 100, 0.0) == 1.0
