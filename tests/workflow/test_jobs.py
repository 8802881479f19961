"""Jobs of several cells: one that breaks costs one cell, and gets another chance."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from distillery import files
from distillery.errors import DistilleryError
from distillery.workflow import rules as workflow
from distillery.workflow.cell import STAGES, STORE_MARKER, Cell
from distillery.workflow.jobs import groups, work, work_together
from distillery.workflow.outcome import Status, read_outcome, running, write_outcome
from distillery.workflow.reopen import is_stale, reopen
from distillery.workflow.sweep import Sweep


def make_three(make_sweep: Callable[..., Sweep], **execution: object) -> Sweep:
    return make_sweep(models=["l1", "standard"], seeds=[0, 1], execution={"cells_per_job": 4, **execution})


def well(sweep: Sweep) -> Callable[[Sequence[Cell]], None]:
    def do(cells: Sequence[Cell]) -> None:
        for cell in cells:
            path = cell.outcome(sweep.results, "train")
            with running(path) as started:
                write_outcome(path, key=sweep.key("train", cell), started=started, result={})

    return do


def test_cell_that_breaks_costs_one_cell_and_is_reopened(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_three(make_sweep)
    (job,) = sweep.jobs.values()
    bad = job.cells[1]

    def do(cells: Sequence[Cell]) -> None:
        if bad in cells:
            raise ValueError("the second cell\nis odd")
        well(sweep)(cells)

    work(sweep, "train", job, do)
    assert read_outcome(bad.outcome(sweep.results, "train"), key=sweep.key("train", bad)).status == "failed"
    assert read_outcome(bad.outcome(sweep.results, "train")).reason == "ValueError: the second cell"
    good = [cell for cell in job.cells if cell != bad]
    assert {read_outcome(cell.outcome(sweep.results, "train")).status for cell in good} == {"ok"}
    marker = job.outcome(sweep.results, "train")
    assert json.loads(marker.read_text()) == {
        "key": sweep.job_key("train", job),
        "cells": [str(cell) for cell in job.cells],
        "failed": [str(bad)],
    }
    later = job.outcome(sweep.results, "interpret")
    later.write_text("{}")
    (sweep.results / STORE_MARKER).write_text("{}")
    assert reopen(sweep) == [marker, later]
    assert not (sweep.results / STORE_MARKER).exists(), "a store that passes for whole would keep Snakemake from it"
    work(sweep, "train", job, well(sweep))
    assert read_outcome(bad.outcome(sweep.results, "train")).status == "ok"
    assert reopen(sweep) == []


def test_job_of_which_a_cell_lost_its_outcome_is_reopened(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_three(make_sweep)
    (job,) = sweep.jobs.values()
    work(sweep, "train", job, well(sweep))
    assert reopen(sweep) == []
    job.cells[2].outcome(sweep.results, "train").unlink()
    assert reopen(sweep) == [job.outcome(sweep.results, "train")]


def test_failure_that_a_stage_has_written_is_reopened_too(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_three(make_sweep)
    (job,) = sweep.jobs.values()
    bad = job.cells[2]

    def do(cells: Sequence[Cell]) -> None:
        well(sweep)(cells)
        if bad in cells:
            path, key = bad.outcome(sweep.results, "train"), sweep.key("train", bad)
            write_outcome(path, key=key, started=0.0, result={}, status="failed", reason="its messages came too late")

    work(sweep, "train", job, do)
    marker = job.outcome(sweep.results, "train")
    assert json.loads(marker.read_text())["failed"] == [str(bad)]
    assert reopen(sweep) == [marker]


def test_failed_cell_that_is_a_job_is_reopened_where_it_failed(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(models=["l1", "standard"])
    bad, good = sweep.cells
    ends: tuple[Status, ...]
    for cell, ends in ((bad, ("ok", "ok", *("failed",) * 4)), (good, ("ok",) * 6)):
        for stage, end in zip(STAGES, ends, strict=True):
            path = cell.outcome(sweep.results, stage)
            write_outcome(path, key=sweep.key(stage, cell), started=0.0, result={}, status=end)
    assert reopen(sweep) == [bad.outcome(sweep.results, stage) for stage in STAGES[2:]]
    assert reopen(sweep) == []


def test_outcomes_that_another_run_wrote_with_other_settings_are_stale(make_sweep: Callable[..., Sweep]) -> None:
    one_by_one, others = make_sweep(seeds=[0, 1]), {"verification": {"seed": 1}, "execution": {"cells_per_job": 2}}
    together = make_sweep(seeds=[0, 1], **others)
    (pair,) = together.jobs.values()
    for sweep in (one_by_one, together):
        for cell in sweep.cells:
            for stage in STAGES:
                write_outcome(cell.outcome(sweep.results, stage), key=sweep.key(stage, cell), started=0.0, result={})
    marker = pair.outcome(together.results, "verify")
    files.write_json(marker, {"key": together.job_key("verify", pair)})

    def stale(sweep: Sweep) -> list[tuple[str, str]]:
        return [(str(job), stage) for job in sweep.jobs.values() for stage in STAGES if is_stale(sweep, stage, job)]

    assert stale(together) == []
    # Its marker says that it is done, and its cells are.
    changed = make_sweep(seeds=[0, 1], execution=others["execution"])
    assert stale(changed) == [(str(pair), "verify")]
    assert stale(one_by_one) == [(str(cell), stage) for cell in one_by_one.cells for stage in STAGES[3:]]
    assert marker.exists()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), DistilleryError("no device"), MemoryError()]
)
def test_what_breaks_every_cell_stops_the_job(make_sweep: Callable[..., Sweep], error: Exception) -> None:
    sweep = make_three(make_sweep)
    (job,) = sweep.jobs.values()

    def do(cells: Sequence[Cell]) -> None:
        raise error

    with pytest.raises(type(error), match=r"No space|no device|^$"):
        work(sweep, "train", job, do)
    assert not job.outcome(sweep.results, "train").exists()
    assert not job.cells[0].outcome(sweep.results, "train").exists()


def test_trainings_are_stacked_by_model_only_when_asked(make_sweep: Callable[..., Sweep]) -> None:
    apart, stacked = make_three(make_sweep), make_three(make_sweep, stacked=True)
    (job,) = apart.jobs.values()
    assert [len(group) for group in groups(apart, "train", job)] == [1, 1, 1, 1]
    assert [{cell.model for cell in group} for group in groups(stacked, "train", job)] == [{"l1"}, {"standard"}]
    assert [len(group) for group in groups(stacked, "interpret", job)] == [1, 1, 1, 1]


def test_shape_is_dimensions_bodies_graph_and_model_but_for_its_weight(make_sweep: Callable[..., Sweep]) -> None:
    heavy, wide = {"penalty": "l1", "weight": 1.0}, {"penalty": "l1", "weight": 1e-2, "messages": 50}
    experiments = [
        {"system": "spring"},
        {"system": "charge", "seed": 1, "loss": "scaled"},
        {"system": "spring", "bodies": 5},
        {"system": "spring", "dim": 3},
        {"system": "string"},
    ]
    sweep = make_sweep(
        experiments=experiments,
        models=["l1", "heavy", "wide"],
        variants={"heavy": heavy, "wide": wide},
        seeds=[0, 1],
        execution={"cells_per_job": 6, "stacked": True},
    )
    shapes: dict[object, set[str]] = {}
    for cell in sweep.cells:
        shapes.setdefault(sweep.source(cell.experiment).stacking_shape(cell), set()).add(str(cell))
    flat = ("spring-2d-4b-s0", "charge-2d-4b-s1")
    alike = [flat, ("spring-2d-5b-s0",), ("spring-3d-4b-s0",), ("string-2d-4b-s0",)]
    expected = [
        {f"{experiment}/{model}-s{seed}" for experiment in same for model in models for seed in (0, 1)}
        for same in alike
        for models in (("l1", "heavy"), ("wide",))
    ]
    assert sorted(map(sorted, shapes.values())) == sorted(map(sorted, expected))
    for job in sweep.jobs.values():
        found = [{cell.model for cell in group} for group in groups(sweep, "train", job)]
        assert found == [{"l1", "heavy"}, {"wide"}]


def make_systems(make_sweep: Callable[..., Sweep]) -> Sweep:
    experiments = [
        {"system": "spring"},
        {"system": "charge"},
        {"system": "spring", "dim": 3},
        {"system": "charge", "seed": 1, "loss": "relative"},
    ]
    return make_sweep(experiments=experiments, models=["l1", "standard"], execution={"cells_per_job": 2})


def test_cells_of_several_jobs_are_worked_on_by_shape_whatever_their_system(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_systems(make_sweep)
    spring, charge, solid, weighed = sweep.jobs.values()
    seen: list[list[str]] = []

    def do(cells: Sequence[Cell]) -> None:
        seen.append([str(cell) for cell in cells])
        well(sweep)(cells)

    # A cell that is given twice, by itself and with its job, is worked on once.
    work_together(sweep, [spring, sweep.find_job(str(spring.cells[0])), charge, solid, weighed], do)
    assert seen == [
        ["spring-2d-4b-s0/l1-s0", "charge-2d-4b-s0/l1-s0", "charge-2d-4b-s1/l1-s0"],
        ["spring-2d-4b-s0/standard-s0", "charge-2d-4b-s0/standard-s0", "charge-2d-4b-s1/standard-s0"],
        ["spring-3d-4b-s0/l1-s0"],
        ["spring-3d-4b-s0/standard-s0"],
    ]
    for job in (spring, charge, solid, weighed):
        marker = json.loads(job.outcome(sweep.results, "train").read_text())
        assert marker == {
            "key": sweep.job_key("train", job),
            "cells": [str(cell) for cell in job.cells],
            "failed": [],
        }


def test_shape_that_breaks_costs_its_cells_in_every_job(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_systems(make_sweep)
    spring, charge, *_ = sweep.jobs.values()

    def do(cells: Sequence[Cell]) -> None:
        if cells[0].model == "l1":
            raise ValueError("odd")
        well(sweep)(cells)

    work_together(sweep, [spring, charge], do)
    for job in (spring, charge):
        bad, good = job.cells
        assert read_outcome(bad.outcome(sweep.results, "train")).status == "failed"
        assert read_outcome(good.outcome(sweep.results, "train")).status == "ok"
        assert json.loads(job.outcome(sweep.results, "train").read_text())["failed"] == [str(bad)]

    def break_all(cells: Sequence[Cell]) -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        work_together(sweep, [spring, charge], break_all)


def test_simulations_go_before_what_is_furthest_along() -> None:
    """Snakemake starts the jobs of the largest priority that fit the cores; each rule asks for its own stage's."""
    rules = Path(__file__).parents[2] / "workflow" / "rules"
    asked: dict[str, int] = {}
    for stage in ("simulate", *STAGES):
        text = (rules / f"{stage}.smk").read_text().split(f"rule {stage}:")[1]
        (given,) = re.findall(r'priority: sweep_rules\.priority\("(\w+)"\)', text)
        asked[stage] = workflow.priority(given)
    assert sorted(asked, key=lambda stage: asked[stage]) == [*STAGES, "simulate"]
    assert len(set(asked.values())) == len(asked)
