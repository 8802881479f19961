"""Halos as experiments of a sweep: settings, cells, keys, data, and a whole sweep from a universe to its table."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distillery.errors import DistilleryError
from distillery.halos.catalogue import Catalogue
from distillery.halos.conditions import CONDITIONS, HELD_OUT, THIN
from distillery.halos.dataset import join_graphs
from distillery.halos.features import halo_graph
from distillery.halos.forms import form
from distillery.halos.regions import split
from distillery.randomness import stream
from distillery.results.query import query
from distillery.results.table import results_table
from distillery.workflow.cell import Cell, Experiment
from distillery.workflow.config import parse_config
from distillery.workflow.plan import plan_text
from distillery.workflow.stages.report import report
from distillery.workflow.sweep import sweep_from
from support import sweeps

TINY: dict[str, Any] = {
    "halos": [
        {
            "universe": {"particles": 64, "box": 125.0},
            "validation": 0.0,
            "test_realisations": 0,
            "other_cosmology": None,
            "training": {"hidden": 16, "messages": 8, "steps": 300, "batch": 16},
            "models": ["constant", "formula-with-mass", "network-with-mass"],
        }
    ],
    "distillation": {
        "samples": 300,
        "held_out": 300,
        "operon": {"population": 100, "generations": 10, "max_length": 15},
    },
    "execution": {"cells_per_job": 3},
}


def halos(**changes: Any) -> dict[str, Any]:
    return {"halos": [{**TINY["halos"][0], **changes}]}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (halos(radius=70.0), r"halos\.0: radius: 70 Mpc/h is more than half of the box of 125 Mpc/h"),
        (halos(smoothing=15.0), r"halos\.0: smoothing: 15 Mpc/h is none of the filters 20"),
        (halos(models=["l1"]), r"halos\.0\.models: unknown model 'l1' of halos; known are constant"),
        (halos(held_out=0.6, validation=0.5), r"halos\.0: held_out: with validation it leaves no space"),
        (halos(validation=0.1), r"halos\.0: universe\.box: 125 Mpc/h leave too little .* raise it to 150"),
        (halos(catalogue={"groups": "g", "matter": "m"}, test_realisations=1), r"halos\.0: catalogue: no universe"),
        (halos(catalogue={"groups": "g"}), r"halos\.0\.catalogue\.matter: missing"),
        ({"halos": [{}, {}]}, r"halos\.1\.name: 'halos' with seed 0 stands twice"),
        ({**halos(), "models": ["l1"]}, r"models: are for experiments, and there are none"),
        (halos(universe={"cosmology": {"omega_m": 3.0}}), r"halos\.0\.universe\.cosmology\.omega_m: "),
        (halos(training={"weight": -1.0}), r"halos\.0\.training\.weight: "),
        (halos(name="spring"), r"halos\.0\.name: 'spring' is a system"),
        ({"models": ["l1"]}, r"experiments: missing; list at least one, or one of halos"),
        ({"experiments": [{"system": "spring"}], **halos()}, r"models: missing"),
    ],
)
def test_halos_that_cannot_be_meant_are_refused_with_their_key(content: dict[str, Any], line: str) -> None:
    with pytest.raises(DistilleryError, match=line):
        parse_config(content)


def test_a_formula_is_fitted_once_and_a_network_trained_with_every_seed() -> None:
    sweep = sweep_from({**halos(), "seeds": [0, 1]}, "given")
    assert [cell.member for cell in sweep.cells] == [
        "constant-s0",
        "formula-with-mass-s0",
        "network-with-mass-s0",
        "network-with-mass-s1",
    ]
    (experiment,) = sweep.experiments
    assert str(experiment) == "halos-3d-s0"
    assert Experiment.parse("halos-3d-s0") == experiment
    assert Cell.parse("halos-3d-s0/network-with-mass-s1") == sweep.cells[-1]


def test_halos_and_bodies_share_a_sweep_and_leave_each_others_keys_alone() -> None:
    bodies = {"experiments": [{"system": "spring"}], "models": ["bottleneck"]}
    alone, both = sweep_from(bodies, "given"), sweep_from({**bodies, **halos()}, "given")
    assert both.key("generalise", both.cells[0]) == alone.key("generalise", alone.cells[0])
    assert [both.kind(experiment) for experiment in both.experiments] == ["bodies", "halos"]
    text = plan_text(both)
    assert "1 data set of halos: 3 cells" in text
    assert "1 universe" in text


def test_an_entry_without_any_key_can_be_split() -> None:
    settings = parse_config({"halos": [{}]}).halos[0]
    fractions = (1 - settings.validation - settings.held_out, settings.validation, settings.held_out)
    places = stream(0, "test", "places").uniform(0, settings.box, (1000, 3))
    found = split(places, settings.box, settings.smoothing, fractions)
    assert min(len(found.train), len(found.validation), len(found.test)) > 20


@pytest.mark.parametrize(
    ("changes", "train", "test", "learned"),
    [
        ({"realisations": 2}, True, False, True),
        ({"test_realisations": 1}, False, True, False),
        ({"seed": 1}, True, True, True),
        ({"universe": {"particles": 32, "box": 125.0}}, True, True, True),
        ({"held_out": 0.3}, False, False, True),
    ],
)
def test_keys_change_with_what_they_stand_for(changes: dict[str, Any], train: bool, test: bool, learned: bool) -> None:
    before, after = sweep_from(halos(), "given"), sweep_from(halos(**changes), "given")
    (one,), (other,) = before.experiments, after.experiments
    assert (before.data_key(one, "train") != after.data_key(other, "train")) is train
    assert (before.data_key(one, "test") != after.data_key(other, "test")) is test
    assert (before.key("train", before.cells[0]) != after.key("train", after.cells[0])) is learned


def test_another_seed_of_samples_is_another_interpretation() -> None:
    first, second = (sweep_from({**halos(), "distillation": {"seed": seed}}, "given") for seed in (0, 1))
    cell = first.cells[-1]
    assert first.key("train", cell) == second.key("train", cell)
    assert first.key("interpret", cell) != second.key("interpret", cell)


def test_what_is_learned_changes_no_universe() -> None:
    first, second = (sweep_from(halos(radius=radius), "given") for radius in (50.0, 40.0))
    cell = first.cells[0]
    assert first.data_key(cell.experiment, "train") == second.data_key(cell.experiment, "train")
    assert first.key("train", cell) != second.key("train", cell)


def test_universes_side_by_side_know_nothing_of_each_other() -> None:
    catalogues = []
    for seed in (0, 1):
        draws = stream(seed, "test", "halos")
        count = 60 + seed
        catalogues.append(
            Catalogue(
                position=draws.uniform(0, 100, (count, 3)),
                velocity=draws.normal(0, 300, (count, 3)),
                mass=1e13 * np.exp(draws.normal(size=count)),
                particles=np.full(count, 50),
                overdensity=draws.normal(size=(1, count)),
                filters=(20.0,),
                box=100.0,
                attributes={},
            )
        )
    graphs = [halo_graph(catalogue, 30.0, 20.0) for catalogue in catalogues]
    both = join_graphs(graphs)
    law = form("with mass", 20.0)
    apart = np.concatenate([law.predict(graph, np.arange(len(graph))) for graph in graphs])
    np.testing.assert_array_equal(law.predict(both, np.arange(len(both))), apart)
    assert both.neighbours.senders.max() == 120
    assert dataclasses.replace(both).overdensity.tolist() == [*graphs[0].overdensity, *graphs[1].overdensity]


@pytest.mark.workflow
def test_a_universe_goes_all_the_way_to_its_table(tmp_path: Path) -> None:
    config = sweeps.write_config(tmp_path, TINY)
    done = sweeps.snakemake(tmp_path, config)
    results = tmp_path / "results"
    names = ("model", "condition", "predictor", "mae")
    asked = "select split_part(split_part(cell, '/', 2), '-s', 1), condition, predictor, mae from conditions"
    rows = [dict(zip(names, row, strict=True)) for row in query(results, sql=asked).rows]
    errors = {(row["model"], row["condition"], row["predictor"]): row["mae"] for row in rows}
    constant, formula = (errors[name, HELD_OUT, "refitted"] for name in ("constant", "formula-with-mass"))
    assert formula < constant / 2
    assert errors["network-with-mass", HELD_OUT, "network"] < constant
    assert errors["formula-with-mass", THIN, "refitted"] < errors["constant", THIN, "refitted"] / 2
    cells = query(results, columns=["model", "status", "recovered", "law", "parameters"]).rows
    assert [row[:3] for row in cells] == [(name, "ok", None) for name in TINY["halos"][0]["models"]]
    assert cells[1][3].startswith("δ = ")
    assert "s = Σ" in cells[1][3]
    assert "formula-with-mass" in done.stdout
    assert "0.0000" not in results_table(results)
    page, markdown = (path.read_text() for path in report(results))
    for text in (page, markdown):
        assert "paper 0.421" in text
        assert all(condition in text for condition in CONDITIONS[:2])
    assert page.count("true against predicted overdensity") == len(TINY["halos"][0]["models"])
    told = subprocess.run(
        [sweeps.BIN / "distillery", "law", "halos-3d-s0/formula-with-mass-s0", "--config", config],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert told.strip() == cells[1][3]
    again = sweeps.dry_run(tmp_path, config)
    assert set(again) <= {"all"}
