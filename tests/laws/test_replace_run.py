"""The stage replace: its outcome, cells without a law, and networks with one function replaced."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from safetensors.torch import save_file

from distillery import files
from distillery.errors import DistilleryError
from distillery.laws import mixed
from distillery.laws import replace as run
from distillery.laws.law import read_law
from distillery.laws.module import load_module
from distillery.messages.samples import node_model
from distillery.physics import formula
from distillery.randomness import stream
from distillery.workflow import networks
from distillery.workflow.cell import Cell
from distillery.workflow.networks import build
from distillery.workflow.outcome import read_outcome, write_outcome
from distillery.workflow.record import read_record
from distillery.workflow.stages import interpret as interpreting
from distillery.workflow.stages.replace import replace
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import held_out as held_out_snapshots
from support import orbits
from support.fronts import component

MESSAGES = ("dx*(-2.6 + 2.5/r)", "dy*(-2.5 + 2.5/r)")
NODES = ("0.8*s1/m", "0.8*s2/m - 0.01")
WALLED = {
    "potential": "(r - 1)**2",
    "body_potential": "30*(y - 1.5)**2 if y > 1.5 else 0",
    "time_step": 0.01,
}
NETWORK = {part: {"mae": 0.3, "medae": 0.1} for part in ("network", "messages", "nodes")}


@pytest.fixture
def prepared(make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Sweep, Cell]]:
    """A cell with these expressions, verified, and an untrained network."""
    orbits.use(monkeypatch)

    def make(
        messages: tuple[str, ...] = MESSAGES,
        nodes: tuple[str, ...] | None = NODES,
        model: str = "bottleneck",
        status: Any = "ok",
        budget: dict[str, int | float] | None = None,
        **experiment: Any,
    ) -> tuple[Sweep, Cell]:
        given = {"system": "spring", "simulations": 64, "test_simulations": 16, "snapshots": 10, **experiment}
        sweep = make_sweep(
            systems={"walled": WALLED},
            models=[model],
            experiments=[given],
            training={"hidden": 8},
            replacement={"samples": 400, "starts": 1, **(budget or {})},
        )
        (cell,) = sweep.cells
        result: dict[str, Any] = {"engine": "operon", "reading": "std"}
        result["components"] = [component(k, "0", own, chosen=1 if own else None) for k, own in enumerate(messages)]
        if nodes is not None:
            result["node"] = [component(number, "0", own, chosen=1) for number, own in enumerate(nodes)]
        for stage, found in (("distill", result), ("verify", {})):
            path, key = cell.outcome(sweep.results, stage), sweep.key(stage, cell)
            write_outcome(path, key=key, started=time.monotonic(), result=found, status=status, reason="why")
        return sweep, cell

    return make


def found(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    replace(sweep, cell)
    return read_outcome(cell.outcome(sweep.results, "replace"), key=sweep.key("replace", cell)).result


@pytest.fixture
def network_known(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """Record which expressions are combined with the network, which is not evaluated."""
    asked: list[tuple[bool, bool]] = []

    def network_errors(*given: Any) -> Any:
        *_, messages, nodes = given
        asked.append((messages is not None, nodes is not None))
        return NETWORK

    monkeypatch.setattr(mixed, "network_errors", network_errors)
    monkeypatch.setattr(networks, "load_network", lambda *_: None)
    monkeypatch.setattr(interpreting, "reading_of", lambda *_: None)
    return asked


@pytest.mark.slow
@pytest.mark.usefixtures("network_known")
def test_a_law_is_refitted_written_and_not_made_twice(prepared: Any) -> None:
    sweep, cell = prepared()
    result = found(sweep, cell)
    assert (result["replacement"], result["form"], result["source"]) == ("whole", "clean", "messages")
    assert result["text"] == "a = Σ Δ*(-2 + 1.980/r)/m1"
    parts = result["errors"]
    assert parts["raw"]["mae"] > 0.01
    assert parts["refitted"]["mae"] < 1e-6
    assert parts["clean"]["mae"] < 1e-6
    assert parts["network"] == parts["expressions_then_network"] == parts["network_then_expressions"]
    (constant,) = result["constants"]
    assert constant["value"] == pytest.approx(1.98)
    assert constant["state"] == "ok"
    assert constant["error"] < 1e-6
    law = read_law(cell.law(sweep.results, "json"))
    assert law.constants[constant["name"]] == constant["value"]
    assert "message_1 = " in cell.law(sweep.results, "txt").read_text()
    assert r"\frac" in cell.law(sweep.results, "tex").read_text()
    before = cell.law(sweep.results, "json").stat().st_mtime_ns
    replace(sweep, cell)
    assert cell.law(sweep.results, "json").stat().st_mtime_ns == before
    cell.law(sweep.results, "tex").unlink()
    assert found(sweep, cell)["text"] == result["text"]
    assert cell.law(sweep.results, "tex").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("network_known")
@pytest.mark.parametrize(
    ("model", "messages", "nodes", "text"),
    [
        ("bottleneck", MESSAGES, NODES, "(((90 - 60*y)/m) if y > 1.500 else (0))"),
        ("flathgn", ("r*(r - 1.9)",), ("0.5*(px^2 + py^2)/m",), "((y*(30*y - 90) + 67.50) if y > 1.500 else (0))"),
    ],
)
def test_a_wall_that_few_bodies_touch_is_added_to_the_law_and_constants_are_those_without_it(
    prepared: Any, model: str, messages: tuple[str, ...], nodes: tuple[str, ...], text: str
) -> None:
    sweep, cell = prepared(messages, nodes, model=model, system="walled")
    result = found(sweep, cell)
    assert text in result["text"]
    assert result["source"] == "neighbours"
    assert {form: result["errors"][form]["mae"] < 1e-5 for form in ("raw", "refitted", "clean")} == {
        "raw": False,
        "refitted": True,
        "clean": True,
    }
    assert "1.980" in result["text"]
    assert read_law(cell.law(sweep.results, "json")).nodes[1].has(sympy.Piecewise)


@pytest.mark.parametrize(
    ("given", "asked", "replacement", "reason"),
    [
        ({"nodes": None}, (True, False), "partial", "nodes were not distilled"),
        ({"messages": (MESSAGES[0], "")}, (False, True), "partial", "component 1 of the function message"),
    ],
)
def test_parts_are_tried_with_the_network_and_there_is_no_law(
    prepared: Any, network_known: list[Any], given: Any, asked: Any, replacement: str, reason: str
) -> None:
    sweep, cell = prepared(**given)
    result = found(sweep, cell)
    assert network_known == [asked]
    assert result["replacement"] == replacement
    assert reason in result["reason"]
    assert result["law"] is None
    assert not cell.law(sweep.results, "json").exists()


def test_a_control_has_a_reason_and_no_law(prepared: Any) -> None:
    result = found(*prepared(("dx2", "dy2"), None, model="control"))
    assert (result["replacement"], result["law"]) == ("none", None)
    assert "control" in result["reason"]


@pytest.mark.usefixtures("network_known")
def test_a_singular_law_costs_the_cell_its_law_and_says_which_it_is(prepared: Any) -> None:
    result = found(*prepared(("log(dx)", "dy"), NODES))
    assert result["replacement"] == "singular"
    assert "log(dx)" in result["reason"]
    assert "not finite for" in result["reason"]
    assert result["errors"]["raw"]["mae"] is None


def test_statuses_pass(prepared: Any) -> None:
    sweep, cell = prepared(status="diverged")
    replace(sweep, cell)
    outcome = read_outcome(cell.outcome(sweep.results, "replace"))
    assert (outcome.status, outcome.reason, outcome.result) == ("diverged", "why", {})


def test_an_unknown_symbol_is_told_with_the_expression(prepared: Any) -> None:
    sweep, cell = prepared(("dx*mass", "dy"))
    with pytest.raises(DistilleryError, match=r"formula 'dx\*mass': unknown symbol 'mass'"):
        replace(sweep, cell)


def with_network(sweep: Sweep, cell: Cell) -> Any:
    """Write untrained weights, and two combinations of messages as the components that are read."""
    network = build(sweep, cell, 1)
    network.initialise(0, stream(0, "test"))
    cell.folder(sweep.results).mkdir(parents=True, exist_ok=True)
    save_file({n: t[0].contiguous() for n, t in network.state_dict().items()}, cell.weights(sweep.results))
    axes = np.random.default_rng(0).normal(size=(sweep.model(cell).message_size(2), 2))
    np.savez(cell.messages(sweep.results), axes=axes)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("system", ["spring", "string"])
def test_a_network_that_gets_its_own_messages_back_is_itself(
    prepared: Any, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    """Gauge and basis that were removed from messages are restored exactly."""
    sweep, cell = prepared(system=system)
    with_network(sweep, cell)
    graphs = held_out_snapshots(sweep, cell.experiment)
    network = networks.load_network(sweep, cell)
    reading = interpreting.reading_of(sweep, cell, network)
    features, _ = node_model(network, reading, mixed._rows(graphs), place=sweep.system(cell.experiment).acts_on_bodies)
    sums = {f"s{k + 1}": features[:, k].reshape(graphs.mass.shape) for k in range(2)}
    s, parts = [formula.symbol("s1"), formula.symbol("s2")], predictions(monkeypatch)
    for factor in (1, 3):
        heard = {name: factor * own for name, own in sums.items()}
        monkeypatch.setattr(mixed, "arriving", lambda *_, heard=heard: heard)
        mixed.network_errors(network, reading, sweep.system(cell.experiment), (), graphs, s, None)
    whole, back, _, louder = parts
    np.testing.assert_allclose(back, whole, atol=1e-5)
    assert np.abs(louder - whole).max() > 1e-3


def predictions(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Record the accelerations whose errors are computed, in their order."""
    parts: list[np.ndarray] = []

    def errors(_: Any, accelerations: np.ndarray) -> dict[str, float | None]:
        parts.append(accelerations)
        return {"mae": None, "medae": None}

    monkeypatch.setattr(mixed, "errors", errors)
    return parts


def test_what_is_left_of_a_hamiltonian_network_without_pairs_is_its_energy_of_bodies(
    prepared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, cell = prepared(("r^2",), ("px^2",), model="flathgn")
    with_network(sweep, cell)
    graphs = held_out_snapshots(sweep, cell.experiment)
    nothing, parts = [formula.parse("0", ())], predictions(monkeypatch)
    kinetic = [formula.parse("(px^2 + py^2)/(2*m)", ("px", "py", "m"))]
    network: Any = networks.load_network(sweep, cell)
    mixed.network_errors(network, None, sweep.system(cell.experiment), (), graphs, nothing, kinetic)
    whole, bodies, pairs = parts
    nodes = torch.from_numpy(mixed._rows(graphs).nodes.reshape(1, -1, 6).astype(np.float32)).requires_grad_()
    (slope,) = torch.autograd.grad(network.self_energy(nodes).sum(), nodes)
    own = -slope[0, :, :2].numpy().reshape(bodies.shape) / graphs.mass[..., None]
    np.testing.assert_allclose(bodies, own, atol=1e-5)
    np.testing.assert_allclose(pairs, whole - own, atol=1e-5)
    assert np.abs(own).max() > 1e-3
    assert np.abs(pairs).max() > 1e-3


@pytest.mark.slow
@pytest.mark.usefixtures("network_known")
def test_the_data_choose_another_form_than_the_messages_where_theirs_is_wrong(prepared: Any) -> None:
    result = found(*prepared(("dx*(1.1 - r)", "dy*(1.1 - r)")))
    assert (result["source"], result["form"], result["text"]) == ("neighbours", "clean", "a = Σ Δ*(-2 + 1.980/r)/m1")
    assert result["errors"]["clean"]["mae"] < 1e-6 < result["errors"]["raw"]["mae"]


@pytest.mark.slow
@pytest.mark.usefixtures("network_known")
def test_distances_are_softened_where_the_data_want_it(prepared: Any) -> None:
    result = found(*prepared(("-0.9*m2*dx/r^2", "-0.95*m2*dy/r^2"), ("s1", "s2"), system="r^-1"))
    assert (result["form"], result["text"]) == ("clean", "a = Σ -m2*Δ/(r*(r + 0.01000))")
    (softening,) = result["constants"]
    assert softening["value"] == pytest.approx(0.01, rel=1e-6)
    assert result["errors"]["clean"]["mae"] < 1e-6 < result["errors"]["raw"]["mae"]


@pytest.mark.usefixtures("network_known")
def test_a_law_says_on_which_graph_it_holds_and_its_module_takes_it(prepared: Any) -> None:
    sweep, cell = prepared(system="string")
    found(sweep, cell)
    file = cell.law(sweep.results, "json")
    assert load_module(file).graph == "chain"
    assert load_module(file, "complete").graph == "complete"
    content = files.read_json(file, "")
    for graph, kind in ((None, "complete"), ("ring", None)):
        files.write_json(file, {k: v for k, v in {**content, "graph": graph}.items() if v is not None})
        if kind is not None:
            assert load_module(file).graph == kind
            continue
        with pytest.raises(DistilleryError, match="'ring' is not known"):
            load_module(file)


@pytest.mark.usefixtures("network_known")
def test_what_was_distilled_is_shown_where_a_refit_is_worse(prepared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "shown_form", lambda *_: ("raw", "worse"))
    sweep, cell = prepared()
    result = found(sweep, cell)
    assert (result["form"], result["reason"]) == ("raw", "worse")
    assert result["text"] == "ax = Σ dx*(-2.080 + 2.000/r)/m1; ay = Σ dy*(-2.000 + 2.000/r)/m1 - 0.01000"
    assert {(constant["state"], constant["error"]) for constant in result["constants"]} == {("as distilled", None)}
    assert result["refitted_constants"][0]["state"] == "ok"
    shown = read_law(cell.law(sweep.results, "json"))
    assert shown.constants == {constant["name"]: constant["value"] for constant in result["constants"]}


@pytest.mark.usefixtures("network_known")
def test_constants_that_run_away_are_told(prepared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(fit: Any, *_: Any) -> Any:
        return dataclasses.replace(fit, running_away=("c1",))

    monkeypatch.setattr(run, "softened", away)
    monkeypatch.setattr(run, "cleaned", lambda fit, *_: fit)
    result = found(*prepared())
    assert result["replacement"] == "whole"
    assert result["reason"] == "c1 grew without bound"
    assert [own["state"] for own in result["refitted_constants"] if own["name"] == "c1"] == ["runs away"]
    assert "runs away" not in [own["state"] for own in result["refitted_constants"] if own["name"] != "c1"]


@pytest.mark.slow
@pytest.mark.usefixtures("network_known")
@pytest.mark.parametrize(
    ("budget", "limit"),
    [
        ({"evaluations": 3}, "3 evaluations (replacement.evaluations)"),
        ({"evaluations": 40}, "40 evaluations (replacement.evaluations)"),
        ({"seconds": 1e-6}, "1e-06 s (replacement.seconds)"),
    ],
)
def test_a_search_that_is_cut_ends_with_a_law_and_says_so_everywhere(
    prepared: Any, budget: dict[str, int | float], limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, cell = prepared(budget=budget)
    result = found(sweep, cell)
    assert result["replacement"] == "whole"
    # The shown form is no worse than the distilled one.
    assert result["errors"][result["form"]]["medae"] <= result["errors"]["raw"]["medae"] + 1e-6
    cut = result["cut"]
    assert cut == f"the search was cut at its share of {limit}"
    assert cut in result["reason"]
    assert files.read_json(cell.law(sweep.results, "json"), "")["cut"] == cut
    assert cell.law(sweep.results, "txt").read_text().startswith(f"# {cut}\n")
    values = read_record(sweep, cell, {}).values
    assert values["law_cut"] == cut
    if "evaluations" in budget:
        assert f"replace {cell}: 1 of" in capsys.readouterr().err
