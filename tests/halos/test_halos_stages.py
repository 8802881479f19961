"""The stages of halos one by one, on toy halos that follow a known law: what each writes, passes on and refuses."""

from __future__ import annotations

import csv
import functools
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from distillery.errors import DistilleryError
from distillery.halos.catalogue import Catalogue, path_of, write_catalogue
from distillery.halos.conditions import CONDITIONS, COSMOLOGY, DENSE, HELD_OUT, REALISATION, THICK, THIN
from distillery.halos.data import read_graphs, regions_of
from distillery.halos.features import HaloGraph, halo_graph
from distillery.halos.forms import form
from distillery.halos.law import HaloLaw, read_law
from distillery.halos.places import catalogues
from distillery.halos.settings import Universe
from distillery.halos.trained import outcome_of, read_formula, read_network
from distillery.halos.training import COLUMNS, Trained
from distillery.randomness import stream
from distillery.simulate.ranks import Ranks
from distillery.workflow.cell import STAGES, Cell, Job, Stage
from distillery.workflow.cell_problems import cell_problems
from distillery.workflow.config import parse_config
from distillery.workflow.outcome import Outcome, read_outcome, write_outcome
from distillery.workflow.stages import table as stages
from distillery.workflow.stages.halos import simulate as simulating
from distillery.workflow.sweep import Sweep
from support import toyhalos

HALOS, NOISE, MESSAGES = 600, 0.01, 4
# With these some halos lie above δ = 1 and some below.
TRUE = {"c1": -0.15, "c2": 5.0, "c3": 0.5, "c4": 0.4, "c5": 1.0, "c6": 0.09, "c7": 8.0}
LAW = form("with mass", toyhalos.SMOOTHING).having(TRUE)
CONSTANT, FORMULA, NETWORK = "constant", "formula-with-mass", "network-with-mass"
SETTINGS: dict[str, Any] = {
    "universe": {"box": toyhalos.BOX, "filters": [toyhalos.SMOOTHING]},
    "radius": toyhalos.RADIUS,
    "smoothing": toyhalos.SMOOTHING,
    "validation": 0.3,
    "held_out": 0.3,
    "training": {"hidden": 8, "messages": MESSAGES, "steps": 60, "batch": 16, "learning_rate": 1e-2},
    "models": [CONSTANT, FORMULA, NETWORK],
}


def sweep_in(results: Path, **changes: Any) -> Sweep:
    content = {"halos": [{**SETTINGS, **changes}], "distillation": {"samples": 200, "held_out": 150}}
    return Sweep(parse_config(content), results)


def cell_of(sweep: Sweep, model: str) -> Cell:
    return next(cell for cell in sweep.cells if cell.model == model)


def carry_out(sweep: Sweep, cell: Cell, *names: Stage) -> Outcome:
    """Do stages of a cell, one after the other; return the outcome of the last."""
    for name in names:
        stages.carry_out(sweep, name, Job((cell,)))
    return read_outcome(cell.outcome(sweep.results, names[-1]), key=sweep.key(names[-1], cell))


def ruled(seed: int, law: HaloLaw = LAW) -> Catalogue:
    """Toy halos whose overdensity follows a law, with some noise."""
    bare = toyhalos.catalogue(HALOS, seed)
    graph = halo_graph(bare, toyhalos.RADIUS, toyhalos.SMOOTHING)
    delta = law.predict(graph, np.arange(HALOS)) + NOISE * stream(seed, "toy noise").normal(size=HALOS)
    return Catalogue(**{**vars(bare), "overdensity": delta[None]})


def grow_toys(universe: Universe, seeds: Sequence[int], folder: Path, crew: Ranks) -> None:
    """Stand in for ``grow_all``."""
    for seed in seeds:
        crew.first(functools.partial(write_catalogue, path_of(folder, seed), ruled(seed)))


def made(results: Path, grow: Callable[..., None] = grow_toys, **changes: Any) -> Sweep:
    """A sweep whose data are there, as the stage simulate leaves them."""
    sweep = sweep_in(results, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulating, "grow_all", grow)
        for split in ("train", "test"):
            stages.simulate(sweep, sweep.experiments[0], split, 1)
    return sweep


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sweep = made(tmp_path_factory.mktemp("halos") / "results")
    for cell in sweep.cells:
        carry_out(sweep, cell, "train")
    return sweep.results


@pytest.fixture
def sweep(_trained: Path, tmp_path: Path) -> Sweep:
    """A sweep of a constant, a formula and a network, all trained, in a folder of its own."""
    shutil.copytree(_trained, tmp_path / "results")
    return sweep_in(tmp_path / "results")


@pytest.fixture(scope="module")
def _replaced(_trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("replaced") / "results"
    shutil.copytree(_trained, results)
    sweep = sweep_in(results)
    carry_out(sweep, cell_of(sweep, FORMULA), *STAGES[1:5])
    return results


@pytest.fixture
def replaced(_replaced: Path, tmp_path: Path) -> Sweep:
    """The same whose formula has gone through all stages but the last."""
    shutil.copytree(_replaced, tmp_path / "replaced")
    return sweep_in(tmp_path / "replaced")


def halos_of(sweep: Sweep) -> HaloGraph:
    return read_graphs(sweep, sweep.experiments[0], "train")[""]


def with_weights(sweep: Sweep, cell: Cell, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Put other weights in the place of trained ones, as if training had ended with them."""
    weights, outcome = cell.weights(sweep.results), outcome_of(sweep, cell)
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, weights)
    belongings = (weights, cell.history(sweep.results))
    path, key = cell.outcome(sweep.results, "train"), outcome.key
    write_outcome(path, key=key, started=time.monotonic(), result=outcome.result, belongings=belongings)


def distilled(sweep: Sweep, cell: Cell, messages: Sequence[str], nodes: Sequence[str]) -> None:
    """Write what an engine might have found."""

    def entry(texts: Sequence[str]) -> dict[str, Any]:
        return {"component": 0, "status": "ok", "reason": "", "front": [{"expression": text} for text in texts]}

    result = {"engine": "operon", "reading": "std", "components": [entry(messages)], "node": [entry(nodes)]}
    path, key = cell.outcome(sweep.results, "distill"), sweep.key("distill", cell)
    write_outcome(path, key=key, started=time.monotonic(), result=result)


def kept(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What files say and when they were written; locks and the like are no results."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith("."))
    return {str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


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
    (catalogue,) = catalogues(sweep, sweep.experiments[0], "train")[""]
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


def _one_speaks(tensors: dict[str, Tensor]) -> None:
    """Let the third component alone say something."""
    for number in (0, 1, 3):
        tensors["edge.last"][..., number] = 0.0
        tensors["edge.last_bias"][..., number] = 0.0


def _three_say_the_same(tensors: dict[str, Tensor]) -> None:
    """Share what the third component says among three, and let the node hear their sum."""
    _one_speaks(tensors)
    for name in ("edge.last", "edge.last_bias"):
        tensors[name][..., :3] = tensors[name][..., 2:3] / 3
    tensors["node.first.1"][:, :3] = tensors["node.first.1"][:, 2:3]


def by_hand(sweep: Sweep, cell: Cell, kept: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Messages on the edges of validation halos, and the error with what a matrix keeps of their components."""
    graph = halos_of(sweep)
    halos = regions_of(sweep, cell, graph).validation
    trained = read_network(sweep, cell, outcome_of(sweep, cell))
    edges, own = graph.neighbours.edges(halos), trained.scales.own(graph)
    with torch.no_grad():
        messages = trained.network.messages(trained.scales.along(own, edges)).numpy().astype(np.float64)
        arriving = np.zeros((len(graph), MESSAGES))
        np.add.at(arriving, edges.receiver, messages if kept is None else messages @ kept)
        said = trained.network.overdensity(own[halos], torch.from_numpy(arriving[halos].astype(np.float32))).numpy()
    return messages, float(np.abs(said - graph.overdensity[halos]).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("change", "reading"), [(_one_speaks, "std"), (_three_say_the_same, "principal")])
def test_interpretation_tells_what_components_carry(
    sweep: Sweep, change: Callable[[dict[str, Tensor]], None], reading: str
) -> None:
    cell = cell_of(sweep, NETWORK)
    with_weights(sweep, cell, change)
    result = carry_out(sweep, cell, "interpret").result
    messages, whole = by_hand(sweep, cell)
    assert result["reading"] == reading
    # In the order of components, not by size.
    assert np.array(result["message_std"]) == pytest.approx(messages.std(axis=0), rel=1e-3, abs=1e-6)
    assert [entry["components"] for entry in result["kept"]] == [1, 2, 3, 4]
    assert result["kept"][-1]["mae"] == pytest.approx(whole, rel=1e-4)
    # One component, or one axis, says all that there is.
    _, vectors = np.linalg.eigh(messages.T @ messages)
    first = vectors[:, -1] if reading == "principal" else np.eye(MESSAGES)[2]
    _, alone = by_hand(sweep, cell, np.outer(first, first))
    assert result["kept"][0]["mae"] == pytest.approx(alone, rel=1e-4)
    assert alone == pytest.approx(whole, rel=1e-3)
    assert result["enough"] == 1
    _, third = by_hand(sweep, cell, np.diag([0.0, 0.0, 1.0, 0.0]))
    assert result[f"kept_{reading}"] == [entry["mae"] for entry in result["kept"][:-1]]
    largest = np.zeros(MESSAGES)
    largest[np.argmax(result["message_std"])] = 1.0
    assert result["kept_std"][0] == pytest.approx(by_hand(sweep, cell, np.diag(largest))[1], rel=1e-4)
    assert result["kept_principal"][0] == pytest.approx(
        by_hand(sweep, cell, np.outer(*2 * (vectors[:, -1],)))[1], rel=1e-4
    )
    assert (third > 1.05 * whole) is (reading == "principal")


def test_interpretation_measures_errors_where_nothing_was_trained_or_chosen(sweep: Sweep) -> None:
    cell = cell_of(sweep, NETWORK)
    result = carry_out(sweep, cell, "interpret").result
    graph = halos_of(sweep)
    regions, trained = regions_of(sweep, cell, graph), read_network(sweep, cell, outcome_of(sweep, cell))
    apart = np.abs(trained.predict(graph, regions.test) - graph.overdensity[regions.test])
    assert result["test_mae"] == pytest.approx(apart.mean(), rel=1e-6)
    assert result["test_medae"] == pytest.approx(np.median(apart), rel=1e-6)
    assert result["label_std"] == pytest.approx(graph.overdensity[regions.test].std(), rel=1e-9)
    assert result["halos"] == {
        "train": len(regions.train),
        "validation": len(regions.validation),
        "test": len(regions.test),
    }
    r, value = np.array(result["kernel"]["r"]), np.array(result["kernel"]["value"])
    assert np.all(np.diff(r) > 0)
    assert 0 < r[0] < r[-1] < toyhalos.RADIUS
    assert np.abs(value).max() == pytest.approx(1.0)
    with np.load(cell.messages(sweep.results)) as arrays:
        assert np.array_equal(arrays["true"], graph.overdensity[regions.test])
        assert np.abs(arrays["predicted"] - arrays["true"]).mean() == pytest.approx(apart.mean())
    fits = cell_problems(sweep, cell)
    assert sorted(fits) == [("message", 0), ("node", 0)]
    assert fits["node", 0].names == ("s", "m", "v")
    # Gauge: the message increases its sum.
    assert fits["message", 0].target.mean() > 0


def test_the_kernel_of_a_formula_is_its_message_by_distance(sweep: Sweep) -> None:
    cell = cell_of(sweep, FORMULA)
    result = carry_out(sweep, cell, "interpret").result
    r, value = np.array(result["kernel"]["r"]), np.array(result["kernel"]["value"])
    constants = read_formula(cell, outcome_of(sweep, cell)).constants
    shape = 1 / (1 + (constants["c6"] * r) ** constants["c7"])
    assert value == pytest.approx(shape / shape.max(), rel=1e-9)
    assert (result["kept"], result["message_std"], result["reading"]) == ([], [], "")
    assert carry_out(sweep, cell, "distill").result["components"] == []
    # Constants have no neighbours.
    constant = carry_out(sweep, cell_of(sweep, CONSTANT), "interpret").result
    assert constant["kernel"] == {"r": [], "value": []}
    assert constant["test_mae"] > 10 * result["test_mae"]


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
    assert not read_law(cell.law(sweep.results, "json")).hears
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


def _missing(path: Path) -> None:
    path.unlink()


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _of_other_settings(path: Path) -> None:
    path.write_text(path.read_text().replace('"key": "', '"key": "0'))


@pytest.mark.parametrize("damage", [_missing, _cut_short, _of_other_settings])
@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_refuses_a_damaged_outcome_before_it(
    replaced: Sweep, stage: Stage, damage: Callable[[Path], None]
) -> None:
    sweep = replaced
    cell = cell_of(sweep, FORMULA)
    path = cell.outcome(sweep.results, STAGES[STAGES.index(stage) - 1])
    cell.outcome(sweep.results, stage).unlink(missing_ok=True)
    damage(path)
    refused(sweep, cell, stage, path)


def refused(sweep: Sweep, cell: Cell, stage: Stage, path: Path) -> None:
    """Hold a stage to an error of one line that names a file, and to nothing written."""
    with pytest.raises(DistilleryError) as raised:
        carry_out(sweep, cell, stage)
    assert str(raised.value).startswith(f"{path}: "), raised.value
    assert "\n" not in str(raised.value)
    assert not cell.outcome(sweep.results, stage).exists()


@pytest.mark.parametrize("damage", [_missing, _cut_short])
def test_damaged_weights_are_refused(sweep: Sweep, damage: Callable[[Path], None]) -> None:
    cell = cell_of(sweep, NETWORK)
    damage(cell.weights(sweep.results))
    refused(sweep, cell, "interpret", cell.weights(sweep.results))


@pytest.mark.parametrize("change", [lambda tensors: tensors.clear(), lambda tensors: tensors.popitem()])
def test_weights_of_another_network_are_refused(sweep: Sweep, change: Callable[[dict[str, Tensor]], None]) -> None:
    cell = cell_of(sweep, NETWORK)
    with_weights(sweep, cell, change)
    refused(sweep, cell, "interpret", cell.weights(sweep.results))


@pytest.mark.parametrize("damage", [_missing, _cut_short])
def test_damaged_samples_and_laws_are_refused(replaced: Sweep, damage: Callable[[Path], None]) -> None:
    sweep = replaced
    cell = cell_of(sweep, FORMULA)
    damage(cell.law(sweep.results, "json"))
    refused(sweep, cell, "generalise", cell.law(sweep.results, "json"))
    cell.outcome(sweep.results, "distill").unlink()
    damage(cell.messages(sweep.results))
    refused(sweep, cell, "distill", cell.messages(sweep.results))


def test_halos_that_are_missing_or_damaged_are_refused(sweep: Sweep) -> None:
    network, formula = cell_of(sweep, NETWORK), cell_of(sweep, FORMULA)
    (catalogue,) = catalogues(sweep, formula.experiment, "train")[""]
    formula.outcome(sweep.results, "train").unlink()
    chunk = catalogue / "mass" / "c.0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-1])
    refused(sweep, formula, "train", chunk)
    refused(sweep, network, "interpret", chunk)
    shutil.rmtree(catalogue)
    with pytest.raises(DistilleryError, match=rf"^{catalogue}/\S+: missing or damaged; delete \S+train\.json"):
        carry_out(sweep, formula, "train")
    marker = formula.experiment.marker(sweep.results, "train")
    marker.unlink()
    refused(sweep, formula, "train", marker)


def test_halos_that_are_too_few_are_named_with_their_file_or_data_set(tmp_path: Path) -> None:
    def few(count: int) -> Sweep:
        def grow(universe: Universe, seeds: Sequence[int], folder: Path, crew: Ranks) -> None:
            own = ruled(0)
            kept = {name: getattr(own, name)[:count] for name in ("position", "velocity", "mass", "particles")}
            halos = Catalogue(**{**vars(own), **kept, "overdensity": own.overdensity[:, :count]})
            crew.first(lambda: [write_catalogue(path_of(folder, seed), halos) for seed in seeds])

        return made(tmp_path / str(count), grow)

    with pytest.raises(DistilleryError, match=r"halos-s\d+\.zarr: has 1 halos, too few for a graph"):
        halos_of(few(1))
    sweep = few(2)
    with pytest.raises(DistilleryError, match=r"halos-3d-s0: \w+: no halo in its slab"):
        regions_of(sweep, sweep.cells[0], halos_of(sweep))


def test_halos_of_other_settings_are_refused(sweep: Sweep) -> None:
    other = sweep_in(sweep.results, realisations=2)
    cell = cell_of(other, CONSTANT)
    with pytest.raises(DistilleryError, match=r"train\.zarr: made with other settings"):
        stages.carry_out(other, "train", Job((cell,)))
