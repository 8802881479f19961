"""Reading messages: known messages give known answers, and the stage hands on what the next one needs."""

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
from distillery.messages.alignment import alignment
from distillery.messages.fits import fit_component, trimmed_fit
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
from distillery.physics.systems import SYSTEMS
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
    """Forces in two dimensions and the receivers' masses."""
    draws = stream(0, "test physics")
    return draws.normal(size=(SAMPLES, 2)), np.exp(draws.normal(size=SAMPLES))


def fit(message: np.ndarray, force: np.ndarray, mass: np.ndarray, target: str = "force") -> tuple[float, ...]:
    return dataclasses.astuple(fit_component(message, force, mass, trim=0.9, bins=20)[target])


def test_rotated_force_is_read_as_force_and_not_as_acceleration(physics: Any) -> None:
    force, mass = physics
    message = force @ [0.6, -0.8] * 3 + 0.7
    assert fit(message, force, mass) == pytest.approx((1, 1, 1))
    raw, _, gauge_free = fit(message, force, mass, "acceleration")
    assert raw < 0.7
    assert gauge_free == pytest.approx(1)


def test_acceleration_is_read_as_acceleration_and_gauge_free_as_either(physics: Any) -> None:
    force, mass = physics
    message = force @ [0.6, -0.8] / mass
    assert fit(message, force, mass, "acceleration") == pytest.approx((1, 1, 1))
    raw, _, gauge_free = fit(message, force, mass)
    assert raw < 0.7
    assert gauge_free == pytest.approx(1)


def test_gauge_free_forgives_any_factor_and_offset_of_the_receiver(physics: Any) -> None:
    force, mass = physics
    message = force @ [1.0, 2.0] * (2 + np.sin(mass)) + 5 * np.cos(mass)
    raw, _, gauge_free = fit(message, force, mass)
    assert raw < 0.8
    assert gauge_free > 0.95


def test_gauge_free_does_not_count_what_only_the_offset_explains(physics: Any) -> None:
    force, mass = physics
    _, _, gauge_free = fit(np.where(mass > np.median(mass), 7.0, 1.0) + 0.1 * np.sin(1e4 * mass), force, mass)
    assert gauge_free < 0.1


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_noise_lowers_r2_by_its_share_of_the_variance(physics: Any, noise: float) -> None:
    force, mass = physics
    message = force[:, 0] + noise * stream(1, "test noise").normal(size=SAMPLES)
    raw, _, gauge_free = fit(message, force, mass)
    assert raw == pytest.approx(1 / (1 + noise**2), abs=0.01)
    assert gauge_free == pytest.approx(1 / (1 + noise**2), abs=0.02)


def test_robust_fit_ignores_outliers_that_ruin_the_raw_one(physics: Any) -> None:
    force, mass = physics
    message = force @ [0.6, -0.8] * 3 + 0.7
    spoiled = stream(2, "test outliers").choice(SAMPLES, size=SAMPLES // 20, replace=False)
    # All on one side and at large forces, so that the first least-squares fit leans on them.
    message[spoiled] = 500 * np.abs(force[spoiled, 0])
    raw, robust, _ = fit(message, force, mass)
    assert raw < 0.5
    assert robust == pytest.approx(1)


def test_trimmed_fit_keeps_the_share_with_the_smallest_error() -> None:
    draws = stream(3, "test trimming")
    design = np.column_stack([draws.normal(size=1000), np.ones(1000)])
    kept, residual = trimmed_fit(design, design @ [2.0, 1.0] + draws.normal(size=1000), 0.9)
    assert kept.sum() == 900
    assert np.abs(residual[kept]).max() <= np.abs(residual[~kept]).min()


@pytest.mark.parametrize(("samples", "reported"), [(2, False), (29, False), (34, True)])
def test_r2_of_few_samples_is_not_reported(samples: int, reported: bool) -> None:
    """Two forces and an offset fit any three samples; an R² of 1 would say nothing."""
    force = stream(0, "few").normal(size=(samples, 2))
    raw, robust, gauge_free = fit(force @ [0.6, -0.8], force, np.ones(samples))
    assert np.isfinite([raw, robust]).all() == reported
    assert np.isnan(gauge_free)


def test_bins_hold_enough_samples_or_are_fewer(physics: Any) -> None:
    """Twenty bins of 200 samples would hold ten each."""
    force, mass = (values[:200] for values in physics)
    assert fit(force @ [1.0, 2.0] / mass, force, mass)[2] == pytest.approx(1)
    noise = stream(0, "noise").normal(size=200)
    assert fit(noise, force, mass)[2] < 0.5


def test_component_without_variance_has_no_r2(physics: Any) -> None:
    force, mass = physics
    assert np.isnan(fit(np.zeros(SAMPLES), force, mass)[0])


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


def test_readings_of_a_sparse_message_agree_and_the_papers_is_chosen() -> None:
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
def test_stage_writes_findings_and_samples(tiny: Callable[..., Sweep], model: str) -> None:
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
    """The network of the sweep's one cell, as it is before its first step."""
    (cell,) = sweep.cells
    network = build(sweep, cell, 1)
    network.initialise(0, stream(cell.seed, "test weights"))
    return network


def read(sweep: Sweep, network: Network) -> tuple[dict[str, Any], Reading, Edges]:
    """The findings on a network, how its messages are read, and the edges on which that was found."""
    (cell,) = sweep.cells
    held_out = graphs_of(orbits.read_trajectories(sweep, cell.experiment, "test"))
    edges = sample_edges(held_out, "complete", 500, stream(0, "test edges"))
    return *read_messages(interpret_run.interpretation(sweep, cell), network, held_out, edges), edges


@pytest.mark.parametrize("reading", ["std", "principal"])
def test_variational_messages_are_ranked_by_their_kl_divergence(tiny: Callable[..., Sweep], reading: str) -> None:
    sweep = tiny(models=["kl"], interpretation={"reading": reading, "aligned": False, "gauge_fixed": False})
    network = untrained(sweep)
    with torch.no_grad():
        # Components that vary little and are sure of themselves, and others that vary most.
        network.edge.last[:, :, [7, 42]] *= 0.1
        network.edge.last[:, :, [3, 5]] *= 3
        network.edge.last_bias[..., [107, 142]] -= 9.0
    result, read_as, edges = read(sweep, network)
    rows = [torch.from_numpy(side.astype(np.float32))[None] for side in (edges.receiver, edges.sender)]
    mean, log_variance = network.output(*rows)[0].detach().double().split(100, dim=1)
    # What they may have besides is a constant, ½ in each component.
    divergence = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)) + 0.5
    by_hand = (mean.numpy() ** 2 + np.exp(log_variance.numpy()) - log_variance.numpy()) / 2
    np.testing.assert_allclose(divergence_along(network, edges), by_hand, rtol=1e-5)
    np.testing.assert_allclose(divergence_along(network, edges), divergence.numpy(), rtol=1e-5)
    np.testing.assert_allclose(result["significance"], by_hand.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(result["message_std"], mean.std(dim=0, correction=0).numpy(), rtol=1e-4)
    assert result["reading"] == reading
    if reading == "std":
        # By the divergence, though these two vary least.
        assert set(np.flatnonzero(np.abs(read_as.axes).sum(axis=1))) == {7, 42}
        assert set(np.argsort(result["message_std"])[:2]) == {7, 42}
    else:
        # By the variance, whatever the divergence: no two directions carry more of it.
        most = np.linalg.eigvalsh(np.cov(mean.numpy(), rowvar=False))[-2:].sum()
        assert np.cov(mean.numpy() @ read_as.axes, rowvar=False).trace() == pytest.approx(most, rel=1e-4)
        np.testing.assert_allclose(read_as.axes.T @ read_as.axes, np.eye(2), atol=1e-6)
        assert result["explained"]["principal"] == pytest.approx(most / np.cov(mean.numpy(), rowvar=False).trace())
        assert np.abs(read_as.axes[[7, 42]]).max() < 0.1


def test_significance_of_other_messages_is_their_deviation(tiny: Callable[..., Sweep]) -> None:
    result, *_ = read(tiny(models=["l1"]), untrained(tiny(models=["l1"])))
    assert result["significance"] == result["message_std"]


@pytest.mark.parametrize("model", ["bottleneck", "flathgn"])
def test_errors_are_mean_and_median_over_bodies_of_the_summed_absolute_error(
    tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    # The last chunk of the 160 graphs is not full.
    monkeypatch.setattr("distillery.messages.reading.CHUNK", 70)
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


# One step leaves weights that are finite and far too large, which training does not see.
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


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("law", ["charge", "spring", "r^-2"])
@pytest.mark.parametrize("mirror", [1, -1])
def test_alignment_undoes_any_linear_map_of_the_force(dim: int, law: str, mirror: int) -> None:
    draws = stream(dim, "test alignment", law)
    displacement = draws.normal(size=(4000, dim)) * np.sqrt(2)
    mass, charge = np.exp(draws.normal(size=(2, 4000))), draws.choice([-1.0, 1.0], size=(2, 4000))
    force = SYSTEMS[law].pair_force(displacement, (mass[0], mass[1]), (charge[0], charge[1]))
    mixing = draws.normal(size=(dim, dim)) + 2 * np.diag([mirror, 1, 1][:dim])
    noise = 0.02 * np.median(np.abs(force)) * draws.normal(size=force.shape)
    turned = alignment((force + noise) @ mixing + draws.normal(size=dim), displacement)
    assert turned is not None
    total = mixing @ turned
    total /= np.abs(total).max()
    along = np.abs(np.diag(total))
    assert along.min() > 0.85
    np.testing.assert_allclose(total - np.diag(np.diag(total)), 0.0, atol=0.04)


def test_alignment_needs_as_many_independent_components_as_dimensions() -> None:
    displacement = stream(0, "test alignment").normal(size=(500, 2))
    assert alignment(displacement[:, :1] @ np.array([[1.0, 2.0]]), displacement) is None
    assert alignment(displacement[:, :1], displacement) is None
    assert alignment(np.zeros((500, 2)), displacement) is None


def test_alignment_hears_a_force_that_most_pairs_do_not_feel() -> None:
    draws = stream(0, "test alignment", "silence")
    displacement = draws.normal(size=(8000, 2)) * np.sqrt(2)
    far = np.linalg.norm(displacement, axis=1) > 2.5
    assert 0.15 < far.mean() < 0.25
    mixing = np.array([[1.0, 0.4], [-0.3, 2.0]])
    message = (displacement * far[:, None] + 0.02 * draws.normal(size=displacement.shape)) @ mixing
    turned = alignment(message, displacement)
    assert turned is not None
    total = mixing @ turned
    total /= np.abs(total).max()
    np.testing.assert_allclose(np.abs(np.diag(total)), 1.0, atol=0.1)
    np.testing.assert_allclose(total - np.diag(np.diag(total)), 0.0, atol=0.05)


def test_alignment_leaves_noise_alone() -> None:
    draws = stream(0, "test alignment", "noise")
    assert alignment(draws.normal(size=(4000, 2)), draws.normal(size=(4000, 2))) is None
