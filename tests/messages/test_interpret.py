"""Readings of messages, errors of networks, and the outcome of the stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.distributions import Normal, kl_divergence

import distillery.workflow.stages.interpret as interpret_run
from distillery.errors import DistilleryError
from distillery.messages import reading as reading_module
from distillery.messages.fits import fit_component
from distillery.messages.gauge import Reading
from distillery.messages.interpretation import read_messages
from distillery.messages.reading import (
    Edges,
    choose_reading,
    divergence_along,
    explained_share,
    reading_axes,
    sample_edges,
)
from distillery.networks.batches import graphs_of
from distillery.networks.network import Network
from distillery.randomness import stream
from distillery.workflow.networks import build
from distillery.workflow.outcome import read_outcome, write_outcome
from distillery.workflow.stages.interpret import interpret
from distillery.workflow.stages.train import train
from distillery.workflow.sweep import Sweep
from support import orbits

SAMPLES = 4000


@pytest.fixture
def physics() -> tuple[np.ndarray, np.ndarray]:
    """Return random forces in two dimensions and the receivers' masses."""
    draws = stream(0, "test physics")
    return draws.normal(size=(SAMPLES, 2)), np.exp(draws.normal(size=SAMPLES))


def fit(message: np.ndarray, force: np.ndarray, mass: np.ndarray, target: str = "force") -> tuple[float, ...]:
    return dataclasses.astuple(fit_component(message, force, mass, trim=0.9, bins=20)[target])


def test_readings_of_a_force_spread_over_many_components() -> None:
    draws = stream(4, "test spread")
    forces = draws.normal(size=(SAMPLES, 2))
    messages = forces @ draws.normal(size=(2, 10)) + 0.01 * draws.normal(size=(SAMPLES, 10))
    axes = reading_axes(messages, messages.std(axis=0), 2)
    explained = {reading: explained_share(messages, own) for reading, own in axes.items()}
    assert explained["principal"] > 0.99
    assert explained["std"] < 0.8
    assert choose_reading("best", explained) == "principal"
    assert choose_reading("std", explained) == "std"
    for component in (messages @ axes["principal"]).T:
        assert fit(component, forces, np.ones(SAMPLES))[0] > 0.99


def test_readings_of_a_sparse_message_agree_and_std_is_chosen() -> None:
    messages = np.zeros((SAMPLES, 5))
    messages[:, [1, 3]] = stream(5, "test sparse").normal(size=(SAMPLES, 2)) * [1.0, 3.0]
    axes = reading_axes(messages, messages.std(axis=0), 2)
    assert np.flatnonzero(axes["std"].sum(axis=1)).tolist() == [1, 3]
    assert axes["std"][3, 0] == 1
    explained = {reading: explained_share(messages, own) for reading, own in axes.items()}
    assert explained == pytest.approx({"std": 1.0, "principal": 1.0})
    assert choose_reading("best", explained) == "std"


@pytest.fixture
def tiny(make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    orbits.use(monkeypatch)

    def make(**changes: Any) -> Sweep:
        content = {
            "training": {"hidden": 8, "batch": 16, "steps": 100},
            "interpretation": {"samples": 1000},
            "distillation": {"samples": 300, "held_out": 200},
            "execution": {"device": "cpu"},
        }
        return make_sweep(**{**content, **changes})

    return make


def test_sampled_edges_are_distinct_and_join_bodies_of_one_graph(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny()
    graphs = graphs_of(orbits.read_trajectories(sweep, sweep.experiments[0], "test"))
    edges = sample_edges(graphs, "complete", 10**6, stream(0, "test edges"))
    assert len(edges.receiver) == 16 * 10 * 12
    assert len(np.unique(np.concatenate([edges.receiver, edges.sender], axis=1), axis=0)) == 16 * 10 * 12
    where = {tuple(node): graph for graph, nodes in enumerate(graphs.nodes) for node in nodes}
    assert all(where[tuple(r)] == where[tuple(s)] for r, s in zip(edges.receiver, edges.sender, strict=True))
    assert np.all(np.abs(edges.displacement).sum(axis=1) > 0)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bottleneck", "l1", "kl", "flathgn"])
def test_stage_writes_fits_and_samples(tiny: Callable[..., Sweep], model: str) -> None:
    sweep = tiny(models=[model])
    (cell,) = sweep.cells
    train(sweep, sweep.cells)
    interpret(sweep, cell)
    outcome = read_outcome(cell.outcome(sweep.results, "interpret"), key=sweep.key("interpret", cell))
    result = outcome.result
    width = {"bottleneck": 2, "flathgn": 2}.get(model, 100)
    assert len(result["message_std"]) == len(result["significance"]) == width
    assert 0 < result["test_medae"] < result["test_mae"]
    assert result["explained"]["std"] <= result["explained"]["principal"] + 1e-9 <= 1 + 1e-8
    for reading in ("std", "principal", "distilled"):
        for target in ("force", "acceleration"):
            assert {name: len(values) for name, values in result["fits"][reading][target].items()} == {
                "r2": 2,
                "r2_robust": 2,
                "r2_gauge_free": 2,
            }
    with np.load(cell.messages(sweep.results), allow_pickle=False) as samples:
        assert samples["message"].shape == samples["displacement"].shape == (500, 2)
        assert samples["mass"].shape == samples["charge"].shape == (500, 2)
        assert samples["held_out"].sum() == 200
        assert not samples["held_out"][:300].any()
        assert samples["message"].dtype == samples["mass"].dtype == np.float64
        first = samples["message"].copy()

    interpret(sweep, cell)
    cell.outcome(sweep.results, "interpret").unlink()
    interpret(sweep, cell)
    with np.load(cell.messages(sweep.results), allow_pickle=False) as samples:
        assert np.array_equal(samples["message"], first)


def untrained(sweep: Sweep) -> Network:
    """Return the untrained network of the sweep's one cell."""
    (cell,) = sweep.cells
    network = build(sweep, cell, 1)
    network.initialise(0, stream(cell.seed, "test weights"))
    return network


def read(sweep: Sweep, network: Network) -> tuple[dict[str, Any], Reading, Edges]:
    """Return the fits of a network, the reading of its messages, and the edges."""
    (cell,) = sweep.cells
    held_out = graphs_of(orbits.read_trajectories(sweep, cell.experiment, "test"))
    edges = sample_edges(held_out, "complete", 500, stream(0, "test edges"))
    return *read_messages(interpret_run.interpretation(sweep, cell), network, held_out, edges), edges


@pytest.mark.parametrize("reading", ["std", "principal"])
def test_variational_messages_are_ranked_by_their_kl_divergence(tiny: Callable[..., Sweep], reading: str) -> None:
    sweep = tiny(models=["kl"], interpretation={"reading": reading, "aligned": False, "gauge_fixed": False})
    network = untrained(sweep)
    with torch.no_grad():
        # Components of small deviation and small variance of the noise, and others of large deviation.
        network.edge.last[:, :, [7, 42]] *= 0.1
        network.edge.last[:, :, [3, 5]] *= 3
        network.edge.last_bias[..., [107, 142]] -= 9.0
    result, read_as, edges = read(sweep, network)
    rows = [torch.from_numpy(side.astype(np.float32))[None] for side in (edges.receiver, edges.sender)]
    mean, log_variance = network.output(*rows)[0].detach().double().split(100, dim=1)
    # The remaining part is a constant, ½ in each component.
    divergence = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)) + 0.5
    by_hand = (mean.numpy() ** 2 + np.exp(log_variance.numpy()) - log_variance.numpy()) / 2
    np.testing.assert_allclose(divergence_along(network, edges), by_hand, rtol=1e-5)
    np.testing.assert_allclose(divergence_along(network, edges), divergence.numpy(), rtol=1e-5)
    np.testing.assert_allclose(result["significance"], by_hand.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(result["message_std"], mean.std(dim=0, correction=0).numpy(), rtol=1e-4)
    assert result["reading"] == reading
    if reading == "std":
        # By the divergence, although these two have the least deviation.
        assert set(np.flatnonzero(np.abs(read_as.axes).sum(axis=1))) == {7, 42}
        assert set(np.argsort(result["message_std"])[:2]) == {7, 42}
    else:
        # By the variance: no two directions carry more of it.
        most = np.linalg.eigvalsh(np.cov(mean.numpy(), rowvar=False))[-2:].sum()
        assert np.cov(mean.numpy() @ read_as.axes, rowvar=False).trace() == pytest.approx(most, rel=1e-4)
        np.testing.assert_allclose(read_as.axes.T @ read_as.axes, np.eye(2), atol=1e-6)
        assert result["explained"]["principal"] == pytest.approx(most / np.cov(mean.numpy(), rowvar=False).trace())
        assert np.abs(read_as.axes[[7, 42]]).max() < 0.1


def test_significance_of_other_messages_is_their_deviation(tiny: Callable[..., Sweep]) -> None:
    result, *_ = read(tiny(models=["l1"]), untrained(tiny(models=["l1"])))
    assert np.array_equal(result["significance"], result["message_std"])


@pytest.mark.parametrize("model", ["bottleneck", "flathgn"])
def test_errors_are_mean_and_median_over_bodies_of_the_summed_absolute_error(
    tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    # The last chunk of the 160 graphs is incomplete.
    monkeypatch.setattr(reading_module, "CHUNK", 70)
    sweep = tiny(models=[model])
    network, held_out = untrained(sweep), orbits.read_trajectories(sweep, sweep.experiments[0], "test")
    errors = []
    for simulation, time, body in np.ndindex(16, 10, 4):
        features = [
            np.concatenate(
                [
                    held_out.position[simulation, time, one],
                    held_out.velocity[simulation, time, one],
                    [held_out.charge[simulation, one], held_out.mass[simulation, one]],
                ]
            )
            for one in range(4)
        ]
        if body == 0:
            predicted = network(torch.tensor(np.array(features, dtype=np.float32))[None, None]).acceleration[0, 0]
        off = predicted[body].detach().numpy() - held_out.acceleration[simulation, time, body]
        errors.append(abs(float(off[0])) + abs(float(off[1])))
    result, *_ = read(sweep, network)
    assert result["test_mae"] == pytest.approx(sum(errors) / 640, rel=1e-5)
    assert result["test_medae"] == pytest.approx(sum(sorted(errors)[319:321]) / 2, rel=1e-5)
    assert result["label_std"] == pytest.approx(
        np.sqrt(((held_out.acceleration - held_out.acceleration.mean()) ** 2).mean())
    )


@pytest.mark.slow
def test_errors_of_the_same_weights_do_not_depend_on_the_loss(tiny: Callable[..., Sweep]) -> None:
    found = []
    for loss in ("absolute", "scaled", "relative"):
        sweep = tiny(training={"hidden": 8, "batch": 16, "steps": 100, "loss": loss})
        (cell,) = sweep.cells
        weights = cell.weights(sweep.results)
        weights.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: own[0].contiguous() for name, own in untrained(sweep).state_dict().items()}, weights)
        path, key = cell.outcome(sweep.results, "train"), sweep.key("train", cell)
        write_outcome(path, key=key, started=0.0, result={}, belongings=(weights,))
        interpret(sweep, cell)
        found.append(read_outcome(cell.outcome(sweep.results, "interpret"), key=sweep.key("interpret", cell)).result)
    assert len({(result["test_mae"], result["test_medae"], result["label_std"]) for result in found}) == 1
    assert 0 < found[0]["test_medae"] < found[0]["test_mae"]


# After one step weights are finite and far too large, which training does not detect.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "found"), [(200, ""), (1, "predictions or messages are not finite on held-out data after step 1")]
)
def test_divergence_is_passed_on_or_found(tiny: Callable[..., Sweep], steps: int, found: str) -> None:
    sweep = tiny(training={"hidden": 8, "batch": 16, "steps": steps, "learning_rate": 1e30})
    (cell,) = sweep.cells
    train(sweep, sweep.cells)
    interpret(sweep, cell)
    outcome = read_outcome(cell.outcome(sweep.results, "interpret"), key=sweep.key("interpret", cell))
    assert outcome.status == "diverged"
    assert outcome.reason == (found or read_outcome(cell.outcome(sweep.results, "train")).reason) != ""
    assert not cell.messages(sweep.results).exists()


@pytest.mark.slow
def test_missing_and_damaged_training_is_refused(tiny: Callable[..., Sweep]) -> None:
    sweep = tiny()
    (cell,) = sweep.cells
    with pytest.raises(DistilleryError, match=r"train.json: no such file"):
        interpret(sweep, cell)
    train(sweep, sweep.cells)
    weights = cell.weights(sweep.results)
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(DistilleryError, match=r"model.safetensors: missing or damaged .*run the sweep again"):
        interpret(sweep, cell)
    assert not cell.outcome(sweep.results, "interpret").exists()
