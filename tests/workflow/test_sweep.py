"""Identity, paths and keys: a changed setting changes the keys of what depends on it, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distillery.errors import DistilleryError
from distillery.physics.systems import SYSTEMS
from distillery.workflow.cell import EXPERIMENT_WILDCARD, MEMBER_WILDCARD, STAGES, Cell, Experiment
from distillery.workflow.sweep import Sweep

MakeSweep = Callable[..., Sweep]


@pytest.mark.parametrize("system", [*SYSTEMS, "my-own_2d.law"])
def test_names_of_cells_read_back(system: str) -> None:
    cell = Cell(Experiment(system, 3, 12, 7), "bottleneck", 3)
    assert Cell.parse(str(cell)) == cell
    assert Experiment.parse(str(cell.experiment)) == cell.experiment


def test_paths_match_the_wildcards_of_the_workflow(tmp_path: Path) -> None:
    import re

    cell = Cell(Experiment("r^-1", 2, 4, 0), "l1", 11)
    folder = cell.outcome(tmp_path, "verify").parent
    assert re.fullmatch(MEMBER_WILDCARD, folder.name)
    assert re.fullmatch(EXPERIMENT_WILDCARD, folder.parent.name)
    assert str(cell) == f"{folder.parent.name}/{folder.name}"


@pytest.mark.parametrize("text", ["spring", "spring-2d-4b-s0", "spring-4d-4b-s0/l1-s0", "a/b/c", "../x-2d-4b-s0/l1-s"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(DistilleryError, match="names no"):
        Cell.parse(text)


def test_cells_are_experiments_times_models_times_seeds(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(
        experiments=[{"system": "spring"}, {"system": "charge", "dim": 3}], models=["l1", "standard"], seeds=[0, 5]
    )
    assert len(sweep.cells) == len(set(sweep.cells)) == 8
    assert [str(c) for c in sweep.cells[:3]] == [
        "spring-2d-4b-s0/l1-s0",
        "spring-2d-4b-s0/l1-s5",
        "spring-2d-4b-s0/standard-s0",
    ]


def test_unplanned_cell_is_refused_with_examples(make_sweep: MakeSweep) -> None:
    with pytest.raises(DistilleryError, match="not in this configuration; its cells are spring-2d-4b-s0/bottleneck-s0"):
        make_sweep().find_cell("spring-2d-4b-s0/l1-s0")


def test_every_cell_is_in_exactly_one_job(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(models=["l1", "standard", "bottleneck"], seeds=[0, 1, 2], execution={"cells_per_job": 4})
    jobs = list(sweep.jobs.values())
    assert [job.member for job in jobs] == ["l1-s0+3", "standard-s1+3", "bottleneck-s2"]
    assert sum((job.cells for job in jobs), ()) == sweep.cells
    assert sweep.job_of(sweep.cells[5]) is jobs[1]
    assert sweep.find_job(str(jobs[1])) == jobs[1]
    assert sweep.find_job(str(sweep.cells[5])).cells == (sweep.cells[5],)
    with pytest.raises(DistilleryError, match="standard-s1\\+4: names no cell"):
        sweep.find_job(f"{sweep.experiments[0]}/standard-s1+4")


def test_job_of_one_cell_ends_with_the_outcome_of_the_cell(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    (cell,) = sweep.cells
    job = sweep.job_of(cell)
    assert job.outcome(sweep.results, "train") == cell.outcome(sweep.results, "train")
    assert sweep.job_key("train", job) == sweep.key("train", cell)


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({}, set()),
        ({"execution": {"ranks": 7, "device": "cpu", "cells_per_job": 1}}, set()),
        ({"verification": {"receivers": 50}}, {"verify", "replace", "generalise"}),
        ({"replacement": {"samples": 50}}, {"replace", "generalise"}),
        ({"generalisation": {"snapshots": 3}}, {"generalise"}),
        ({"distillation": {"operon": {"generations": 3}}}, {"distill", "verify", "replace", "generalise"}),
        ({"distillation": {"functions": ["message"]}}, {"distill", "verify", "replace", "generalise"}),
        ({"distillation": {"pysr": {"iterations": 3}}}, set()),
        ({"interpretation": {"mass_bins": 3}}, {"interpret", "distill", "verify", "replace", "generalise"}),
        ({"training": {"steps": 3}}, set(STAGES)),
        ({"simulation": {"tolerance": 1e-9}}, {*STAGES, "data"}),
        (
            {"experiments": [{"system": "spring", "simulations": 64, "test_simulations": 17, "snapshots": 10}]},
            {"interpret", "distill", "verify", "replace", "generalise"},
        ),
    ],
)
def test_a_setting_reaches_what_depends_on_it_and_nothing_else(
    make_sweep: MakeSweep, changes: dict[str, Any], changed: set[str]
) -> None:
    def keys(sweep: Sweep) -> dict[str, str]:
        cell = sweep.cells[0]
        return {"data": sweep.data_key(cell.experiment, "train")} | {s: sweep.key(s, cell) for s in STAGES}

    before, after = keys(make_sweep()), keys(make_sweep(**changes))
    assert {name for name in before if before[name] != after[name]} == changed


@pytest.mark.parametrize(
    ("own_setting", "unchanged"),
    [
        ({"operators": ["+", "*"]}, ("train", "interpret")),
        ({"share": 0.5}, ("train", "interpret")),
        ({"loss": "relative"}, ()),
    ],
)
def test_settings_of_an_experiment_change_its_own_results_only(
    make_sweep: MakeSweep, own_setting: dict[str, Any], unchanged: tuple[str, ...]
) -> None:
    def keys(**first: Any) -> list[tuple[str, ...]]:
        sweep = make_sweep(experiments=[{"system": "spring", **first}, {"system": "charge"}])
        return [tuple(sweep.key(stage, cell) for stage in STAGES) for cell in sweep.cells]

    usual, own = keys(), keys(**own_setting)
    assert usual[1] == own[1]
    assert [a == b for a, b in zip(usual[0], own[0], strict=True)] == [stage in unchanged for stage in STAGES]
    assert keys(operators=["+", "-", "*", "/"], share=1.0, loss="absolute") == usual


def test_a_changed_constant_of_a_system_changes_its_data_key(make_sweep: MakeSweep) -> None:
    def key(length: float) -> str:
        mine = {"potential": "(r - a)**2", "constants": {"a": length}, "time_step": 0.01}
        sweep = make_sweep(systems={"mine": mine}, experiments=[{"system": "mine"}])
        return sweep.data_key(sweep.experiments[0], "train")

    assert key(1.0) != key(1.1)
