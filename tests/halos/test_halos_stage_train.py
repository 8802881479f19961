"""Simulate and train: data and weights are made once, divergence is passed on."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from distillery.halos.features import HaloGraph
from distillery.halos.layout import catalogue_paths
from distillery.halos.settings import Universe
from distillery.halos.training import COLUMNS, Trained
from distillery.simulate.ranks import Ranks
from distillery.workflow.cell import STAGES, Job
from distillery.workflow.outcome import read_outcome, write_outcome
from distillery.workflow.stages import table as stages
from distillery.workflow.stages.halos.inputs import outcome_of, read_formula, read_network, regions_of
from distillery.workflow.sweep import Sweep
from support.halo_stages import (
    CONSTANT,
    FORMULA,
    HALOS,
    NETWORK,
    SETTINGS,
    carry_out,
    cell_of,
    grow_toys,
    halos_of,
    kept,
    made,
    sweep_in,
    with_weights,
)


@pytest.mark.slow
def test_data_are_made_once(tmp_path: Path) -> None:
    grown: list[int] = []

    def counted(universe: Universe, seeds: Sequence[int], folder: Path, crew: Ranks) -> None:
        grown.extend(seeds)
        grow_toys(universe, seeds, folder, crew)

    sweep = made(tmp_path, counted)
    assert len(set(grown)) == 3
    before = kept(tmp_path)
    made(tmp_path, counted)
    assert len(grown) == 3
    assert kept(tmp_path) == before
    (catalogue,) = catalogue_paths(
        sweep.halos[sweep.experiments[0]], sweep.experiments[0].store(sweep.results, "train"), "train"
    )[""]
    shutil.rmtree(catalogue / "mass")
    made(tmp_path, counted)
    assert grown[3:] == grown[:1]
    assert len(halos_of(sweep)) == HALOS


def test_training_writes_weights_history_and_an_outcome_and_nothing_again(sweep: Sweep) -> None:
    cell = cell_of(sweep, NETWORK)
    folder = cell.folder(sweep.results)
    before = kept(folder)
    assert set(before) == {"train.json", "model.safetensors", "history.csv"}
    outcome = outcome_of(sweep, cell)
    assert (outcome.status, outcome.reason, outcome.key) == ("ok", "", sweep.key("train", cell))
    assert outcome.provenance["attempts"] == 1
    assert {"commit", "versions", "device"} <= set(outcome.provenance)
    network = read_network(sweep, cell, outcome)
    tensors = load_file(cell.weights(sweep.results)).values()
    assert outcome.result["parameters"] == sum(tensor.numel() for tensor in tensors)
    with (folder / "history.csv").open() as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS
    assert int(rows[-1][0]) == outcome.result["steps"] == 60
    assert float(rows[-1][1]) == pytest.approx(outcome.result["final_loss"], rel=1e-5)
    # It has learnt something: its errors are smaller than those of always the same.
    graph = halos_of(sweep)
    train = regions_of(sweep, cell, graph).train
    true = graph.overdensity[train]
    assert np.abs(network.predict(graph, train) - true).mean() < 0.8 * np.abs(true - np.median(true)).mean()
    carry_out(sweep, cell, "train")
    assert kept(folder) == before


def test_a_formula_is_fitted_without_a_network(sweep: Sweep) -> None:
    cell = cell_of(sweep, FORMULA)
    folder = cell.folder(sweep.results)
    before = kept(folder)
    assert set(before) == {"train.json"}
    outcome = outcome_of(sweep, cell)
    assert (outcome.status, outcome.result["steps"], outcome.result["parameters"]) == ("ok", 0, 6)
    law, graph = read_formula(cell, outcome), halos_of(sweep)
    train = regions_of(sweep, cell, graph).train
    error = np.abs(law.predict(graph, train) - graph.overdensity[train]).mean()
    assert outcome.result["final_loss"] == pytest.approx(error, rel=1e-9)
    carry_out(sweep, cell, "train")
    assert kept(folder) == before
    constant = read_formula(cell_of(sweep, CONSTANT), outcome_of(sweep, cell_of(sweep, CONSTANT)))
    assert constant.constants["c1"] == pytest.approx(np.median(graph.overdensity[train]), abs=0.05)


def test_a_training_that_diverges_is_told_at_every_later_stage(sweep: Sweep) -> None:
    # The first step takes weights where products of two of them are no float32 any more.
    sweep = sweep_in(sweep.results, training={**SETTINGS["training"], "learning_rate": 1e30, "steps": 5})
    cell = cell_of(sweep, NETWORK)
    outcome = carry_out(sweep, cell, "train")
    reason = "the loss is not finite at step 2"
    assert (outcome.status, outcome.reason, outcome.result["final_loss"]) == ("diverged", reason, None)
    # Weights of an earlier training must not be taken for its own.
    assert set(kept(cell.folder(sweep.results))) == {"train.json", "history.csv"}
    for stage in STAGES[1:]:
        later = carry_out(sweep, cell, stage)
        assert (later.status, later.reason, later.result) == ("diverged", reason, {}), stage
    before = kept(cell.folder(sweep.results))
    assert {path.split(".")[1] for path in before} == {"json", "csv"}
    carry_out(sweep, cell, *STAGES)
    assert kept(cell.folder(sweep.results)) == before


def _all_nan(tensors: dict[str, Tensor]) -> None:
    for tensor in tensors.values():
        tensor.fill_(torch.nan)


def _all_huge(tensors: dict[str, Tensor]) -> None:
    for tensor in tensors.values():
        tensor.fill_(1e30)


def _node_nan(tensors: dict[str, Tensor]) -> None:
    tensors["node.last_bias"].fill_(torch.nan)


def _one_message_nan(tensors: dict[str, Tensor]) -> None:
    tensors["edge.last_bias"][..., 0] = torch.nan


def _one_message_infinite(tensors: dict[str, Tensor]) -> None:
    tensors["edge.last_bias"][..., 1] = torch.inf


@pytest.mark.parametrize("change", [_all_nan, _all_huge, _node_nan, _one_message_nan, _one_message_infinite])
def test_a_network_that_says_what_is_not_finite_ends_as_diverged(
    sweep: Sweep, change: Callable[[dict[str, Tensor]], None]
) -> None:
    cell = cell_of(sweep, NETWORK)
    with_weights(sweep, cell, change)
    outcome = carry_out(sweep, cell, "interpret")
    assert outcome.status == "diverged"
    assert "not finite" in outcome.reason
    assert "lower learning_rate" in outcome.reason
    assert not cell.messages(sweep.results).exists()
    assert carry_out(sweep, cell, *STAGES[2:]).reason == outcome.reason


@pytest.mark.slow
def test_other_cells_of_the_job_go_on_when_one_is_not_finite(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(trained: Trained, graph: HaloGraph, receivers: np.ndarray) -> np.ndarray:
        return np.full(len(receivers), np.nan)

    monkeypatch.setattr(Trained, "predict", nowhere)
    job, names = Job(sweep.cells), STAGES[1:]
    network = cell_of(sweep, NETWORK)
    # Messages of a run before this one must not be taken for its own.
    network.messages(sweep.results).write_bytes(b"old")
    for stage in names:
        stages.carry_out(sweep, stage, job)
    for stage in names:
        said = {
            cell.model: read_outcome(cell.outcome(sweep.results, stage), key=sweep.key(stage, cell)).status
            for cell in sweep.cells
        }
        assert said == {CONSTANT: "ok", FORMULA: "ok", NETWORK: "diverged"}, stage
    assert "in held-out space" in read_outcome(network.outcome(sweep.results, "interpret")).reason
    assert not network.messages(sweep.results).exists()


def test_a_formula_that_is_not_finite_in_held_out_space_ends_as_diverged(sweep: Sweep) -> None:
    cell = cell_of(sweep, CONSTANT)
    outcome, path = outcome_of(sweep, cell), cell.outcome(sweep.results, "train")
    law = {**outcome.result["law"], "node": "log(c1 - m)", "constants": {"c1": 0.1}}
    write_outcome(path, key=outcome.key, started=time.monotonic(), result={**outcome.result, "law": law})
    interpreted = carry_out(sweep, cell, "interpret")
    assert interpreted.status == "diverged"
    assert "not finite in held-out space" in interpreted.reason
    assert carry_out(sweep, cell, *STAGES[2:]).status == "diverged"
