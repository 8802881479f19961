"""Samples for distillation: signs, order and gauge, and every function through all stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distillery.errors import DistilleryError
from distillery.messages.gauge import Reading
from distillery.messages.reading import sample_edges
from distillery.messages.samples import node_model, node_samples, pair_energy, raw_system, self_energy
from distillery.networks.batches import Graphs, graphs_of
from distillery.networks.functions import control_names, node_names
from distillery.networks.hamiltonian import HamiltonianNetwork
from distillery.networks.network import Shape
from distillery.physics.systems import SYSTEMS
from distillery.randomness import stream
from distillery.results.query import query
from distillery.results.table import results_table
from distillery.symbolic.problems import smallest
from distillery.workflow.cell_problems import cell_problems
from distillery.workflow.config import parse_config
from distillery.workflow.networks import build
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stages.collect import collect
from distillery.workflow.stages.distill import distill
from distillery.workflow.stages.generalise import generalise
from distillery.workflow.stages.interpret import interpret
from distillery.workflow.stages.replace import replace
from distillery.workflow.stages.report import draw_cell
from distillery.workflow.stages.train import train
from distillery.workflow.stages.verify import verify
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import held_out as held_out_snapshots
from support import orbits


def held_out(sweep: Sweep) -> Graphs:
    return graphs_of(orbits.read_trajectories(sweep, sweep.experiments[0], "test"))


@pytest.mark.parametrize("system", ["spring", "string"])
def test_a_node_function_is_sampled_with_the_sum_over_all_senders(
    make_sweep: Callable[..., Sweep], system: str
) -> None:
    sweep = make_sweep(experiments=[{"system": system, "test_simulations": 4, "snapshots": 5}])
    network = build(sweep, sweep.cells[0], 1)
    network.initialise(0, stream(0, "test weights"))
    graphs = held_out(sweep)
    features, target = node_model(network, Reading(np.eye(2)), graphs, place=SYSTEMS[system].acts_on_bodies)
    names = node_names(sweep.model(sweep.cells[0]), 2, place=SYSTEMS[system].acts_on_bodies)
    assert features.shape == (len(graphs.nodes) * 4, len(names))
    columns = dict(zip(names, features.T, strict=True))
    body = 4 * 7 + 2
    node = torch.from_numpy(graphs.nodes[7, 2].astype(np.float32))
    senders = [1, 3] if system == "string" else [0, 1, 3]
    others = torch.from_numpy(graphs.nodes[7, senders].astype(np.float32))
    with torch.no_grad():
        messages = network.message_of(node.expand(1, len(senders), -1), others[None])[0].sum(0)
        entered = network.node.enter(0, node[None, None], bias=True) + network.node.enter(1, messages[None, None])
        expected = network.node.leave(network.node.hidden(entered))[0, 0]
    np.testing.assert_allclose([columns["s1"][body], columns["s2"][body]], messages, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(target[body], expected, rtol=1e-4, atol=1e-6)
    assert [columns[name][body] for name in ("vx", "vy", "q", "m")] == pytest.approx(graphs.nodes[7, 2, 2:].tolist())
    assert ("y" in columns) == (system == "string")


@pytest.mark.parametrize("dim", [2, 3])
def test_samples_and_verdict_use_the_same_raw_system(
    make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, dim: int
) -> None:
    orbits.use(monkeypatch)
    system = SYSTEMS["string"]
    sweep = make_sweep(experiments=[{"system": "string", "dim": dim, "test_simulations": 4, "snapshots": 5}])
    features, target = raw_system(held_out(sweep), place=system.acts_on_bodies)
    graphs = held_out_snapshots(sweep, sweep.experiments[0])
    names = control_names(dim, 4, place=system.acts_on_bodies)
    assert names[: dim + 3] == (*("dx2", "dy2", "dz2")[:dim], "r2", "m2", "q2")
    for name, column in zip(names, features.T, strict=True):
        np.testing.assert_allclose(graphs.raw[name].ravel(), column, err_msg=name)
    np.testing.assert_allclose(graphs.acceleration.reshape(-1, dim), target)


class Exact(HamiltonianNetwork):
    """Energies of charges in a field, with parts that exert no force."""

    def pair_energy(self, receivers: Tensor, senders: Tensor) -> Tensor:
        distance = (receivers[..., :2] - senders[..., :2]).norm(dim=-1)
        (q1, m1), (q2, m2) = receivers[..., -2:].unbind(-1), senders[..., -2:].unbind(-1)
        return q1 * q2 / distance + 3 * m1 * m2 + q1 + q2

    def self_energy(self, nodes: Tensor) -> Tensor:
        kinetic = nodes[..., -1] * nodes[..., 2:4].square().sum(-1) / 2
        return kinetic + 2 * nodes[..., -1] * nodes[..., 1] + 5.0 + nodes[..., -2] + 9 * nodes[..., -1] ** 2


@pytest.fixture
def exact(make_sweep: Callable[..., Sweep]) -> tuple[Exact, Graphs]:
    sweep = make_sweep(models=["flathgn"])
    shape = Shape.of(2, sweep.model(sweep.cells[0]), sweep.config.training)
    return Exact(shape, 1), held_out(sweep)


def test_pair_energies_are_fixed_where_no_force_acts(exact: tuple[Exact, Graphs]) -> None:
    network, graphs = exact
    edges = sample_edges(graphs, "complete", 500, stream(0, "test edges"))
    distance = np.linalg.norm(edges.displacement, axis=1)
    expected = edges.charge.prod(axis=1) * (1 / distance - 1)
    np.testing.assert_allclose(pair_energy(network, edges)[:, 0], expected, rtol=1e-4, atol=2e-4)


def test_energies_of_bodies_are_fixed_at_rest(exact: tuple[Exact, Graphs]) -> None:
    network, graphs = exact
    features, energy = self_energy(network, graphs, place=False)
    px, py, m, q = features.T
    np.testing.assert_allclose(energy[:, 0], (px**2 + py**2) / (2 * m), rtol=1e-3, atol=1e-3)
    assert set(q) == {-1.0, 1.0}
    features, energy = self_energy(network, graphs, place=True)
    px, py, m, q, _, y = features.T
    np.testing.assert_allclose(energy[:, 0], (px**2 + py**2) / (2 * m) + 2 * m * y, rtol=1e-3, atol=1e-2)


def test_samples_of_nodes_have_the_configured_number_and_differ(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(distillation={"samples": 203, "held_out": 101})
    seen, fresh = (graphs_of(orbits.read_trajectories(sweep, sweep.experiments[0], name)) for name in ("train", "test"))

    def rows(graphs: Graphs) -> tuple[np.ndarray, np.ndarray]:
        return raw_system(graphs, place=False)

    found = node_samples(rows, seen, fresh, (203, 101), 0)
    assert len(found["target"]) == len(found["features"]) == 304
    assert found["held_out"].sum() == 101
    held = {tuple(row) for row in fresh.acceleration.reshape(-1, 2)}
    assert [tuple(row) in held for row in found["target"]] == found["held_out"].tolist()
    other = node_samples(rows, seen, fresh, (203, 101), 1)
    assert not np.array_equal(found["target"], other["target"])


@pytest.fixture
def tiny(make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    orbits.use(monkeypatch)

    def make(**changes: Any) -> Sweep:
        content = {
            "training": {"hidden": 8, "batch": 16, "steps": 100},
            "interpretation": {"samples": 1000},
            "distillation": {
                "samples": 200,
                "held_out": 100,
                "operon": {"population": 40, "generations": 3, "max_length": 10},
            },
            "execution": {"device": "cpu"},
        }
        return make_sweep(**{**content, **changes})

    return make


def test_the_control_is_interpreted_without_a_network(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny(models=["control"])
    (cell,) = sweep.cells
    train(sweep, sweep.cells)
    trained = read_outcome(cell.outcome(sweep.results, "train"), key=sweep.key("train", cell))
    assert (trained.status, trained.result["parameters"], trained.result["final_loss"]) == ("ok", 0, None)
    assert not cell.weights(sweep.results).exists()
    interpret(sweep, cell)
    result = read_outcome(cell.outcome(sweep.results, "interpret"), key=sweep.key("interpret", cell)).result
    assert (result["test_mae"], result["message_std"]) == (None, [])
    found = cell_problems(sweep, cell)
    assert list(found) == [("message", 0), ("message", 1)]
    assert found["message", 1].names[:3] == ("dx2", "dy2", "r2")
    # A few of the 200 samples are left out as outliers.
    assert 150 < len(found["message", 1].features) <= 200
    assert found["message", 1].features.shape[1] == 3 * 5 + 4


@pytest.mark.slow
def test_samples_of_nodes_are_needed_only_if_nodes_are_distilled(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny()
    (cell,) = sweep.cells
    train(sweep, sweep.cells)
    interpret(sweep, cell)
    assert list(cell_problems(sweep, cell)) == [("message", 0), ("message", 1), ("node", 0), ("node", 1)]
    path = cell.messages(sweep.results)
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(path, **{**arrays, "node_features": arrays["node_features"][:, 1:]})
    with pytest.raises(DistilleryError, match=r"messages\.npz: written by another version"):
        cell_problems(sweep, cell)
    alone = tiny(distillation={**sweep.config.distillation.model_dump(), "functions": ["message"]})
    assert list(cell_problems(alone, cell)) == [("message", 0), ("message", 1)]


def test_distilling_nodes_alone_is_refused() -> None:
    content = {"experiments": [{"system": "spring"}], "models": ["l1"], "distillation": {"functions": ["node"]}}
    with pytest.raises(DistilleryError, match=r"distillation\.functions: message is missing"):
        parse_config(content)


@pytest.mark.slow
def test_every_function_of_every_kind_of_model_passes_all_stages(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny(models=["bottleneck", "flathgn", "control"], execution={"device": "cpu", "cells_per_job": 3})
    for cell in sweep.cells:
        train(sweep, [cell])
        interpret(sweep, cell)
    distill(sweep, sweep.cells)
    for cell in sweep.cells:
        verify(sweep, cell)
        draw_cell(sweep, cell)
        replace(sweep, cell)
        generalise(sweep, cell)
    assert collect(sweep) == {"ok": 3}
    columns = ["model", "equation", "node_equation", "force_r2", "std_force_r2", "node_recovered", "composed_medae"]
    rows = {row[0]: dict(zip(columns, row, strict=True)) for row in query(sweep.results, columns=columns).rows}
    lengths = {name: (len(row["equation"]), len(row["node_equation"])) for name, row in rows.items()}
    assert lengths == {"bottleneck": (2, 2), "flathgn": (1, 1), "control": (2, 0)}
    assert all(row["composed_medae"] is not None for row in rows.values())
    assert rows["bottleneck"]["force_r2"][0] in (rows["bottleneck"]["std_force_r2"][0], pytest.approx(0, abs=1))
    assert rows["control"]["force_r2"] == [None, None]
    assert rows["control"]["node_recovered"] is None
    assert rows["flathgn"]["node_recovered"] is False
    equations = query(sweep.results, ["chosen=yes"], rows="equations", columns=["cell", "function", "component"]).rows
    assert [(cell.split("/")[1], *rest) for cell, *rest in equations] == [
        *(("bottleneck-s0", function, k) for function in ("message", "node") for k in (0, 1)),
        ("flathgn-s0", "message", 0),
        ("flathgn-s0", "node", 0),
        ("control-s0", "message", 0),
        ("control-s0", "message", 1),
    ]
    long = query(sweep.results, ["condition=long times"], rows="conditions", columns=["model", "predictor", "horizon"])
    with_law = {row[0] for row in query(sweep.results, ["law!="], columns=["model"]).rows}
    assert with_law
    for model in with_law:
        assert [row[1] for row in long.rows if row[0] == model] == ["network", "refitted", "clean"]
        assert all(row[2] > 0 for row in long.rows if row[0] == model)
    table = results_table(sweep.results, width=200)
    assert "no expression" not in table
    (control,) = [cell for cell in sweep.cells if cell.model == "control"]
    assert "no network" in control.picture(sweep.results, "messages").read_text()
    distilled = read_outcome(control.outcome(sweep.results, "distill")).result
    assert "node" not in json.loads(json.dumps(distilled))


def test_a_share_of_the_samples_has_the_smallest_values() -> None:
    target = np.array([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 300.0]])
    assert smallest(target, 0.8).tolist() == [True, True, True, True, False]
    assert smallest(target, 1.0).all()
