"""Stacked cells train as single ones, and one that diverges does not affect the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from distillery.errors import DistilleryError
from distillery.files import checksum
from distillery.networks.models import Model
from distillery.networks.network import Network
from distillery.workflow.cell import Cell
from distillery.workflow.cli import cli
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stages import train as run
from distillery.workflow.stages.train import train
from distillery.workflow.sweep import Sweep
from support.training import TRAINING, assert_same, weights_of


def weights_stacked_as_alone(sweep: Sweep) -> list[dict[str, torch.Tensor]]:
    """Train cells stacked and then each alone; assert that their weights are equal and return them."""
    train(sweep, sweep.cells)
    together = [weights_of(sweep, place) for place in range(len(sweep.cells))]
    for place, cell in enumerate(sweep.cells):
        cell.outcome(sweep.results, "train").unlink()
        train(sweep, [cell])
        for name, tensor in weights_of(sweep, place).items():
            torch.testing.assert_close(together[place][name], tensor, rtol=1e-3, atol=1e-5)
    return together


@pytest.mark.slow
def test_stacked_cells_train_as_alone(small: Callable[..., Sweep]) -> None:
    sweep = small(seeds=[0, 1, 2], training={**TRAINING, "steps": 30})
    together = weights_stacked_as_alone(sweep)
    assert not torch.allclose(together[0]["edge.last"], together[1]["edge.last"])


@pytest.mark.slow
@pytest.mark.parametrize("model", [Model(penalty="l1", weight=3.0), Model(penalty="kl", weight=3.0, significance="kl")])
def test_stacked_cells_with_different_penalty_weights_train_as_alone(small: Callable[..., Sweep], model: Model) -> None:
    heavy = model.model_dump(mode="json", exclude_defaults=True)
    names = [model.penalty, "heavy", "none"]
    sweep = small(
        models=names, variants={"heavy": heavy, "none": {**heavy, "weight": 0.0}}, training={**TRAINING, "steps": 30}
    )
    together = weights_stacked_as_alone(sweep)
    # Equal initial weights and graphs: only the penalty differs.
    for one, other in ((0, 1), (0, 2)):
        assert not torch.allclose(together[one]["edge.last"], together[other]["edge.last"], rtol=1e-2)


@pytest.mark.slow
def test_two_systems_with_different_losses_train_in_one_command_as_alone(
    small: Callable[..., Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiments = [
        {"system": "spring", "simulations": 64, "snapshots": 10},
        {"system": "charge", "simulations": 32, "snapshots": 5, "loss": "relative"},
    ]
    training = {**TRAINING, "steps": 30, "loss": "scaled"}
    sweep = small(experiments=experiments, training=training)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (1e6, r"the loss exploded before step 100: 2e\+06, while it is [\d.]+ for a network that always says 0"),
        (float("nan"), "the loss is not finite at step 1"),
    ],
    ids=["huge", "not finite"],
)
def test_diverging_cell_does_not_affect_others_of_its_stack(
    small: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, start: float, reason: str
) -> None:
    sweep = small(seeds=[0, 1, 2])
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


def test_unequal_shapes_are_refused_before_anything_is_written(small: Callable[..., Sweep]) -> None:
    sweep = small(models=["bottleneck", "l1"])
    with pytest.raises(DistilleryError, match="differ in dim, bodies, graph or model"):
        train(sweep, sweep.cells)
    assert not sweep.results.exists()
