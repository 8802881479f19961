"""The halo network: its definition, its symmetries, batches in pieces, training, resuming, and its spectrum."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distillery.errors import DistilleryError
from distillery.halos import training
from distillery.halos.batches import HaloBatches
from distillery.halos.features import HaloGraph, halo_graph, scales_of
from distillery.halos.network import HaloNetwork, HaloShape, row_sums
from distillery.halos.spectrum import spectrum
from distillery.halos.training import HaloTraining, Trained, differentiate, train, untrained
from distillery.networks.loop import Optimiser
from support import toyhalos

SMALL = HaloTraining(
    hidden=16, messages=5, batch=16, max_edges=2_000, steps=30, learning_rate=5e-3, checkpoint_every=10
)
EVERYONE = np.arange(400)


def quiet(done: int, note: str) -> None:
    """Progress for nobody."""


def budget(**changes: Any) -> HaloTraining:
    return HaloTraining(**{**SMALL.model_dump(), **changes})


def toy_model(graph: HaloGraph, settings: HaloTraining = SMALL) -> Trained:
    scales = scales_of(graph, np.arange(len(graph)), settings.mass)
    return Trained(untrained(settings, scales), scales, settings, 0, "", (), 0.0)


def changed(graph: HaloGraph, catalogue: Any, **changes: Any) -> HaloGraph:
    return halo_graph(dataclasses.replace(catalogue, **changes), graph.neighbours.radius, graph.smoothing)


def plain(model: Trained, graph: HaloGraph, halo: int) -> float:
    """δ̂ of one halo by the definition, edge by edge."""

    def mlp(part: torch.nn.Module, value: torch.Tensor) -> torch.Tensor:
        value = torch.relu(value @ torch.cat([w[0] for w in part.first]) + part.first_bias[0, 0])
        for weight, bias in zip(part.weights, part.biases, strict=True):
            value = torch.relu(value @ weight[0] + bias[0, 0])
        return value @ part.last[0] + part.last_bias[0, 0]

    position, box = graph.neighbours.position, graph.neighbours.box
    own = model.scales.own(graph)
    arriving = torch.zeros(model.settings.messages)
    for other in range(len(graph)):
        delta = position[halo] - position[other]
        delta -= box * np.round(delta / box)
        r = np.linalg.norm(delta)
        if other != halo and r <= graph.neighbours.radius:
            apart = torch.tensor([*delta, r], dtype=torch.float32) / graph.neighbours.radius
            arriving = arriving + mlp(model.network.edge, torch.cat([apart, own[halo], own[other]]))
    return mlp(model.network.node, torch.cat([own[halo], arriving]))[0].item()


@pytest.mark.parametrize("mass", [True, False])
def test_network_is_the_paper_s_function(mass: bool) -> None:
    graph = toyhalos.graph()
    model = toy_model(graph, budget(mass=mass))
    chosen = np.array([5, 17, 300])
    assert model.predict(graph, chosen) == pytest.approx([plain(model, graph, halo) for halo in chosen], abs=1e-5)


def test_network_does_not_see_masses_that_it_must_not() -> None:
    made = toyhalos.catalogue()
    graph = toyhalos.graph()
    heavier = changed(graph, made, mass=made.mass[::-1].copy())
    for mass in (True, False):
        model = toy_model(graph, budget(mass=mass))
        same = np.array_equal(model.predict(graph, EVERYONE), model.predict(heavier, EVERYONE))
        assert same is not mass


def test_translations_across_the_border_change_nothing() -> None:
    made, graph = toyhalos.catalogue(), toyhalos.graph()
    moved = np.mod(made.position + np.array([61.0, -33.0, 7.5]), made.box)
    model = toy_model(graph)
    there = model.predict(changed(graph, made, position=moved), EVERYONE)
    assert there == pytest.approx(model.predict(graph, EVERYONE), abs=1e-4)


def test_the_order_of_halos_does_not_matter() -> None:
    made, graph = toyhalos.catalogue(), toyhalos.graph()
    order = np.random.default_rng(0).permutation(len(graph))
    arrays = {name: getattr(made, name)[order] for name in ("position", "velocity", "mass", "particles")}
    model = toy_model(graph)
    assert model.predict(changed(graph, made, **arrays), EVERYONE) == pytest.approx(
        model.predict(graph, EVERYONE)[order], abs=1e-4
    )


def test_rotations_change_what_the_network_says() -> None:
    # Directions are inputs, as in the paper; that nothing depends on them is left to be learnt.
    made, graph = toyhalos.catalogue(), toyhalos.graph()
    turned = changed(
        graph, made, position=np.roll(made.position, 1, axis=1), velocity=np.roll(made.velocity, 1, axis=1)
    )
    model = toy_model(graph)
    difference = np.abs(model.predict(turned, EVERYONE) - model.predict(graph, EVERYONE))
    assert difference.max() > 0.01


def test_sums_of_rows_and_their_gradients() -> None:
    degrees = torch.tensor([2, 0, 3])
    values = torch.arange(10.0).view(5, 2).requires_grad_()
    sums = row_sums(values, degrees)
    assert sums.tolist() == [[2, 4], [0, 0], [18, 21]]
    (sums * torch.tensor([[1.0], [5.0], [-2.0]])).sum().backward()
    assert values.grad is not None
    assert values.grad[:, 0].tolist() == [1, 1, -2, -2, -2]


def batches_of(graph: HaloGraph, max_edges: int, seed: int = 0) -> HaloBatches:
    scales = scales_of(graph, EVERYONE)
    return HaloBatches(graph, EVERYONE, scales, batch=64, max_edges=max_edges, seed=seed, device=torch.device("cpu"))


def gradients(graph: HaloGraph, max_edges: int) -> tuple[list[float], np.ndarray]:
    network = untrained(SMALL, scales_of(graph, EVERYONE))
    optimiser = Optimiser(network, 0.0)
    batches = batches_of(graph, max_edges)
    losses = differentiate(network, optimiser, batches, batches.receivers_of(0), 0.1)
    assert optimiser.weights.grad is not None
    return losses.tolist(), optimiser.weights.grad.numpy().copy()


def test_a_batch_in_pieces_equals_the_whole_and_the_loss_is_the_paper_s() -> None:
    graph = toyhalos.graph()
    graph = dataclasses.replace(graph, overdensity=np.sin(EVERYONE.astype(float)))
    whole, pieces = gradients(graph, 10**6), gradients(graph, int(graph.neighbours.degrees.max()))
    assert pieces[0] == pytest.approx(whole[0], rel=1e-5)
    assert np.allclose(pieces[1], whole[1], rtol=1e-4, atol=1e-6)
    model, chosen = toy_model(graph), batches_of(graph, 10**6).receivers_of(0)
    edges = graph.neighbours.edges(chosen)
    messages = model.network.messages(model.scales.along(model.scales.own(graph), edges))
    assert whole[0][0] == pytest.approx(
        np.abs(model.predict(graph, chosen) - graph.overdensity[chosen]).mean(), rel=1e-5
    )
    assert whole[0][1] == pytest.approx(0.1 * messages.abs().sum(1).mean().item(), rel=1e-5)


def test_every_halo_comes_once_in_a_round_and_draws_follow_the_seed() -> None:
    graph = toyhalos.graph()
    one = batches_of(graph, 10**6)
    rounds = np.concatenate([one.receivers_of(step) for step in range(25)])
    counts = np.bincount(rounds, minlength=400)
    assert counts.tolist() == [4] * 400
    assert np.array_equal(batches_of(graph, 10**6).receivers_of(17), one.receivers_of(17))
    assert not np.array_equal(batches_of(graph, 10**6, seed=1).receivers_of(17), one.receivers_of(17))


def test_a_step_keeps_to_its_memory() -> None:
    graph = toyhalos.graph()
    most = int(graph.neighbours.degrees.max()) + 50
    batches = batches_of(graph, most)
    shape = HaloShape(12, 4, messages=20, hidden=64, layers=2, activation="relu")
    network = HaloNetwork(shape)
    network.initialise(np.random.default_rng(0))
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for piece in batches.pieces(batches.receivers_of(0)):
        assert len(piece.inputs) <= most
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network(piece.inputs, piece.own, piece.degrees)
        weights = sum(parameter.nbytes for parameter in network.parameters())
        nodes = 8 * len(piece.own) * (shape.hidden * shape.layers + shape.messages + 16)
        assert sum(kept.values()) <= shape.bytes_per_edge * len(piece.inputs) + weights + nodes


@pytest.mark.slow
def test_training_learns_a_sum_over_neighbours() -> None:
    graph = toyhalos.graph()
    counts = np.array([graph.mass[graph.neighbours.edges(np.array([i])).sender].sum() for i in EVERYONE])
    graph = dataclasses.replace(graph, overdensity=(counts - counts.mean()) / counts.std())
    settings = budget(steps=300, hidden=32)
    trained = train(graph, EVERYONE[:300], settings, show=quiet)
    held_out = EVERYONE[300:]
    error = np.abs(trained.predict(graph, held_out) - graph.overdensity[held_out]).mean()
    constant = np.abs(graph.overdensity[held_out] - np.median(graph.overdensity)).mean()
    assert trained.reason == ""
    assert [row[0] for row in trained.history] == [100, 200, 300]
    assert error < 0.35 * constant


def test_a_turned_universe_is_a_universe_whose_halos_were_turned() -> None:
    made, graph = toyhalos.catalogue(), toyhalos.graph()
    batches = batches_of(graph, 10**6)
    turn = batches.rotation_of(3)
    assert torch.allclose(turn @ turn.mT, torch.eye(3), atol=1e-6)
    assert torch.equal(turn, batches.rotation_of(3))
    assert not torch.allclose(turn, batches.rotation_of(4), atol=0.1)
    # A box can only be turned onto itself: here its axes change places, and one is turned round.
    swap = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    position = np.mod(made.position @ swap, made.box)
    there = batches_of(changed(graph, made, position=position, velocity=made.velocity @ swap), 10**6)
    (expected,) = there.pieces(EVERYONE)
    (found,) = batches.pieces(EVERYONE, torch.from_numpy(swap.astype(np.float32)))
    assert torch.allclose(found.inputs, expected.inputs, atol=1e-5)
    assert torch.allclose(found.own, expected.own, atol=1e-6)
    assert torch.equal(found.degrees, expected.degrees)


def weights_of(trained: Trained) -> bytes:
    return b"".join(parameter.detach().numpy().tobytes() for parameter in trained.network.parameters())


def test_training_repeats_to_the_bit_and_depends_on_the_seed() -> None:
    graph = toyhalos.graph(law=None)
    first, second = (train(graph, EVERYONE, SMALL, show=quiet) for _ in range(2))
    other = train(graph, EVERYONE, budget(seed=1), show=quiet)
    assert weights_of(first) == weights_of(second) != weights_of(other)


class Killed(Exception):
    """What ends a training between two steps."""


@pytest.mark.slow
@pytest.mark.parametrize("at", [10, *(pytest.param(at, marks=pytest.mark.slow) for at in (7, 25))])
def test_a_training_that_was_killed_goes_on_to_the_same_bits(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = toyhalos.graph()
    whole = train(graph, EVERYONE, SMALL, show=quiet)
    done = 0

    def killing(*arguments: Any) -> Any:
        nonlocal done
        if done == at:
            raise Killed
        done += 1
        return differentiate(*arguments)

    monkeypatch.setattr(training, "differentiate", killing)
    with pytest.raises(Killed):
        train(graph, EVERYONE, SMALL, folder=tmp_path, show=quiet)
    done = -1000
    resumed = train(graph, EVERYONE, SMALL, folder=tmp_path, show=quiet)
    assert done == -1000 + 30 - 10 * (at // 10)
    assert weights_of(resumed) == weights_of(whole)
    assert resumed.history == whole.history
    # What is finished is not done again, and other data are another training.
    again = train(graph, EVERYONE, SMALL, folder=tmp_path, show=quiet)
    assert done == -1000 + 30 - 10 * (at // 10)
    assert weights_of(again) == weights_of(whole)
    assert again.history == whole.history
    train(graph, EVERYONE[1:], SMALL, folder=tmp_path, show=quiet)
    assert done == -1000 + 60 - 10 * (at // 10)


def test_divergence_is_reported_with_its_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*arguments: Any) -> torch.Tensor:
        losses = differentiate(*arguments)
        nonlocal step
        step += 1
        return losses * float("nan") if step == 14 else losses

    step = 0
    monkeypatch.setattr(training, "differentiate", broken)
    graph = toyhalos.graph()
    trained = train(graph, EVERYONE, SMALL, folder=tmp_path, show=quiet)
    assert trained.reason == "the loss is not finite at step 14"
    assert train(graph, EVERYONE, SMALL, folder=tmp_path, show=quiet).reason == trained.reason
    assert step == 30


@pytest.mark.slow
def test_an_explosion_is_a_divergence() -> None:
    graph = toyhalos.graph()
    graph = dataclasses.replace(graph, overdensity=np.sin(EVERYONE.astype(float)))
    trained = train(graph, EVERYONE, budget(learning_rate=1e4, steps=100), show=quiet)
    assert "exploded before step 100" in trained.reason


def test_bad_settings_are_refused_before_any_work() -> None:
    graph = toyhalos.graph()
    with pytest.raises(DistilleryError, match="max_edges 10: a halo has"):
        train(graph, EVERYONE, budget(max_edges=10))
    with pytest.raises(DistilleryError, match="no halo to train on"):
        train(graph, EVERYONE[:0], SMALL)
    smaller = halo_graph(toyhalos.catalogue(), 20.0, toyhalos.SMOOTHING)
    with pytest.raises(DistilleryError, match="the network was trained with 25"):
        toy_model(graph).predict(smaller, EVERYONE)


def made_by_hand(graph: HaloGraph) -> Trained:
    """Messages (3u, 0, u, -4u, 0) with u = r/radius; the node reads the first and the third: δ̂ = Σ 3u + Σ u."""
    model = toy_model(graph, budget(layers=1))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
        model.network.edge.first[0][0, 3, 0] = 1.0
        model.network.edge.last[0, 0] = torch.tensor([3.0, 0.0, 1.0, -4.0, 0.0])
        model.network.node.first[1][0, 0, 0] = 1.0
        model.network.node.first[1][0, 2, 0] = 1.0
        model.network.node.last[0, 0, 0] = 1.0
    return model


def test_spectrum_of_a_network_made_by_hand() -> None:
    graph = toyhalos.graph()
    model = made_by_hand(graph)
    graph = dataclasses.replace(graph, overdensity=model.predict(graph, EVERYONE))
    found = spectrum(model, graph, EVERYONE)
    edges = graph.neighbours.edges(EVERYONE)
    u = edges.distance / graph.neighbours.radius
    assert found.std == pytest.approx(u.std() * np.array([4, 3, 1, 0, 0]), abs=1e-5)
    assert found.order[:3].tolist() == [3, 0, 2]
    total = graph.overdensity.mean()
    # The loudest component is one that the node does not hear; the second brings three quarters.
    assert found.error_std == pytest.approx(total * np.array([1, 1, 0.25, 0, 0, 0]), abs=1e-3)
    assert found.enough() == 3
    # Along principal axes there is but one function.
    assert found.power[1:] == pytest.approx(0, abs=1e-6)
    assert found.error_axes == pytest.approx(total * np.array([1, 0, 0, 0, 0, 0]), abs=2e-3 * total)
    assert found.enough(axes=True) == 1
    assert np.abs(found.direction(axes=True)) == pytest.approx(np.array([3, 0, 1, 4, 0]) / np.sqrt(26), abs=1e-5)
    assert found.direction().tolist() == [0, 0, 0, 1, 0]
