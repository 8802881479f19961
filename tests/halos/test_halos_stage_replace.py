"""Distill, replace and generalise: the law of toy halos is recovered, and measured under every condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from distillery.halos.catalogue import path_of, write_catalogue
from distillery.halos.conditions import CONDITIONS, COSMOLOGY, DENSE, HELD_OUT, REALISATION, THICK, THIN
from distillery.halos.features import HaloGraph
from distillery.halos.law import HaloLaw, read_law
from distillery.halos.settings import Universe
from distillery.simulate.ranks import Ranks
from distillery.workflow.cell import STAGES
from distillery.workflow.cell_problems import cell_problems
from distillery.workflow.stages.halos.inputs import outcome_of, read_formula, read_graphs, regions_of
from distillery.workflow.sweep import Sweep
from support.halo_stages import (
    CONSTANT,
    FORMULA,
    HALOS,
    LAW,
    MESSAGES,
    NETWORK,
    NOISE,
    TRUE,
    by_hand,
    carry_out,
    cell_of,
    distilled,
    halos_of,
    made,
    ruled,
    with_weights,
)


def silence(says: float) -> Callable[[dict[str, Tensor]], None]:
    """Let all components say the same along all edges."""

    def change(tensors: dict[str, Tensor]) -> None:
        tensors["edge.last"].zero_()
        tensors["edge.last_bias"].fill_(says)

    return change


@pytest.mark.parametrize("says", [0.0, 0.3])
def test_silent_messages_go_on(sweep: Sweep, says: float) -> None:
    cell = cell_of(sweep, NETWORK)
    with_weights(sweep, cell, silence(says))
    outcome = carry_out(sweep, cell, "interpret")
    assert outcome.status == "ok"
    assert outcome.result["message_std"] == pytest.approx([0.0] * MESSAGES, abs=1e-6)
    assert (outcome.result["enough"] == 0) is (says == 0.0)
    assert outcome.result["kept"][-1]["mae"] == pytest.approx(by_hand(sweep, cell)[1], rel=1e-4)
    fit = cell_problems(sweep, cell)["message", 0]
    # As it is: nothing is divided by a spread that is rounding alone.
    assert fit.target == pytest.approx(np.full(len(fit.target), fit.target[0]), abs=1e-6)
    assert fit.target[0] == pytest.approx(says if outcome.result["reading"] == "std" else 2 * says, abs=1e-5)


@pytest.mark.slow
def test_silent_messages_leave_what_nodes_know_by_themselves(sweep: Sweep) -> None:
    cell = cell_of(sweep, NETWORK)
    with_weights(sweep, cell, silence(0.0))
    carry_out(sweep, cell, "interpret")
    distilled(sweep, cell, ["0.0"], ["0.3 + 0.01*m"])
    replaced = carry_out(sweep, cell, "verify", "replace")
    assert (replaced.status, replaced.result["replacement"]) == ("ok", "whole")
    assert not read_law(cell.law(sweep.results, "json")).has_messages
    assert set(carry_out(sweep, cell, "generalise").result["conditions"]) == set(CONDITIONS)


def test_constants_of_a_known_law_come_back(replaced: Sweep) -> None:
    sweep, cell = replaced, cell_of(replaced, FORMULA)
    outcome = carry_out(sweep, cell, *STAGES[1:5])
    assert (outcome.status, outcome.result["replacement"], outcome.result["form"]) == ("ok", "whole", "refitted")
    assert set(outcome.files) == {"law.json", "law.txt", "law.tex"}
    law, graph = read_law(cell.law(sweep.results, "json")), halos_of(sweep)
    test = regions_of(sweep, cell, graph).test
    # C1 is a deviation of zero's size, C5 is held.
    for name, value in TRUE.items():
        assert law.constants[name] == pytest.approx(value, rel=0.1, abs=2 * NOISE), name
    told = {entry["name"]: entry["value"] for entry in outcome.result["constants"]}
    assert told == law.constants
    fitted = read_formula(cell, outcome_of(sweep, cell))
    assert np.array_equal(law.predict(graph, test), fitted.predict(graph, test))
    # What is left is the noise, whose mean size is √(2/π) of its deviation, and the law is closer to the true one.
    assert outcome.result["errors"]["refitted"]["mae"] == pytest.approx(np.sqrt(2 / np.pi) * NOISE, rel=0.3)
    assert np.abs(law.predict(graph, test) - LAW.predict(graph, test)).mean() < NOISE / 2
    assert outcome.result["text"].startswith("δ = ")
    assert cell.law(sweep.results, "txt").read_text().startswith("#")


@pytest.mark.slow
def test_what_was_found_for_a_network_is_composed_and_refitted(sweep: Sweep) -> None:
    cell = cell_of(sweep, NETWORK)
    carry_out(sweep, cell, "interpret")
    distilled(sweep, cell, ["0.3*m2", "(0.5 + m2)/(1.1 + (0.1*r)^6.5)"], ["0.3", "s/(4.5 + 0.4*m)"])
    verified = carry_out(sweep, cell, "verify").result
    assert verified["recovered"] is None
    assert [(entry["component"], entry["recovered"]) for entry in verified["components"]] == [(0, None)]
    outcome = carry_out(sweep, cell, "replace")
    assert (outcome.status, outcome.result["replacement"]) == ("ok", "whole")
    errors = outcome.result["errors"]
    assert errors["refitted"]["mae"] < min(2 * NOISE, errors["network"]["mae"] / 5)
    front = outcome.result["front"]
    costs, maes = ([entry[name] for entry in front] for name in ("complexity", "mae"))
    assert costs == sorted(costs)
    assert maes == sorted(maes, reverse=True)
    assert outcome.result["complexity"] <= LAW.complexity
    assert any(entry["text"] == outcome.result["text"] for entry in front)
    law, graph = read_law(cell.law(sweep.results, "json")), halos_of(sweep)
    test = regions_of(sweep, cell, graph).test
    assert np.abs(law.predict(graph, test) - LAW.predict(graph, test)).mean() < 2 * NOISE


@pytest.mark.slow
def test_expressions_that_are_nowhere_finite_leave_the_network_without_a_law(sweep: Sweep) -> None:
    cell = cell_of(sweep, NETWORK)
    carry_out(sweep, cell, "interpret")
    distilled(sweep, cell, ["log(0 - m2)"], ["log(0 - m - s^2)"])
    cell.law(sweep.results, "json").write_text("of a run before this one")
    outcome = carry_out(sweep, cell, "verify", "replace")
    assert (outcome.status, outcome.result["replacement"]) == ("ok", "none")
    assert "no pair of expressions is finite" in outcome.result["reason"]
    assert outcome.files == {}
    assert not cell.law(sweep.results, "json").exists()
    conditions = carry_out(sweep, cell, "generalise").result["conditions"]
    assert all(set(entry["predictors"]) == {"network"} for entry in conditions.values())


@pytest.mark.slow
def test_generalisation_asks_under_every_condition(sweep: Sweep) -> None:
    graph = halos_of(sweep)
    test = regions_of(sweep, sweep.cells[0], graph).test
    thick = int((graph.overdensity[test] > DENSE).sum())
    assert 0 < thick < len(test)
    halos = {HELD_OUT: len(test), THIN: len(test) - thick, THICK: thick, REALISATION: HALOS, COSMOLOGY: HALOS}
    errors: dict[str, dict[str, float]] = {}
    for model in (CONSTANT, FORMULA):
        cell = cell_of(sweep, model)
        conditions = carry_out(sweep, cell, *STAGES[1:]).result["conditions"]
        assert list(conditions) == list(CONDITIONS)
        rows = {name: entry["predictors"]["refitted"] for name, entry in conditions.items()}
        assert {name: row["halos"] for name, row in rows.items()} == halos
        errors[model] = {name: row["mae"] for name, row in rows.items()}
        # By hand, in the universe that is not that of the training.
        (other,) = (g for name, g in read_graphs(sweep, cell.experiment, "test").items() if name == REALISATION)
        apart = np.abs(read_law(cell.law(sweep.results, "json")).predict(other, np.arange(HALOS)) - other.overdensity)
        assert rows[REALISATION]["mae"] == pytest.approx(apart.mean(), rel=1e-9)
        assert rows[REALISATION]["medae"] == pytest.approx(np.median(apart), rel=1e-9)
    for condition in CONDITIONS:
        assert errors[FORMULA][condition] < min(3 * NOISE, errors[CONSTANT][condition] / 5), condition


@pytest.mark.slow
def test_only_conditions_that_there_are_have_rows(tmp_path: Path) -> None:
    def thin(universe: Universe, seeds: Sequence[int], folder: Path, crew: Ranks) -> None:
        for seed in seeds:
            write_catalogue(path_of(folder, seed), ruled(seed, LAW.having({"c1": -0.5, "c2": 50.0})))

    sweep = made(tmp_path, thin, test_realisations=0, other_cosmology=None, models=[CONSTANT])
    conditions = carry_out(sweep, sweep.cells[0], *STAGES).result["conditions"]
    assert list(conditions) == [HELD_OUT, THIN, THICK]
    assert conditions[THICK] == {"reason": "there is no halo of this kind", "predictors": {}}
    assert conditions[HELD_OUT]["predictors"] == conditions[THIN]["predictors"]


def test_predictions_that_are_not_finite_elsewhere_have_no_error(
    replaced: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell_of(replaced, FORMULA)
    true = HaloLaw.predict

    def broken(law: HaloLaw, graph: HaloGraph, receivers: np.ndarray) -> np.ndarray:
        found = true(law, graph, receivers)
        return np.where(len(receivers) == HALOS, np.inf, found)

    monkeypatch.setattr(HaloLaw, "predict", broken)
    outcome = carry_out(replaced, cell, "generalise")
    errors = {name: entry["predictors"]["refitted"]["mae"] for name, entry in outcome.result["conditions"].items()}
    assert outcome.status == "ok"
    assert [name for name, error in errors.items() if error is None] == [REALISATION, COSMOLOGY]
