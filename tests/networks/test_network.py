"""The graph network: equal results of its three implementations, and its symmetries."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from distillery.data.graph import edges_of
from distillery.networks.hamiltonian import HamiltonianNetwork, with_momenta
from distillery.networks.loop import Optimiser, differentiate
from distillery.networks.loss import error_of, weighing, weights_of
from distillery.networks.models import MODELS, Model
from distillery.networks.network import GraphNetwork, Network, Shape
from distillery.networks.pairs import of_senders, pair_sum, reversed_edges, to_senders
from distillery.networks.passes import Passes
from distillery.networks.pruning import prune
from distillery.networks.pyg import SparseGraphNetwork
from distillery.networks.settings import Loss
from distillery.randomness import stream

SHAPE = Shape(2, MODELS["l1"], 16, 3, "silu", "float32")


def shape(model: str, **changes: object) -> Shape:
    return dataclasses.replace(SHAPE, model=MODELS[model], **changes)


def network_of(kind: Shape, stack: int) -> Network:
    network = (HamiltonianNetwork if kind.model.kind == "hamiltonian" else GraphNetwork)(kind, stack)
    for index in range(stack):
        network.initialise(index, stream(index, "test weights"))
    return network


def nodes_of(stack: int, graphs: int = 3, bodies: int = 4, dim: int = 2) -> torch.Tensor:
    values = stream(0, "test nodes").normal(size=(stack, graphs, bodies, 2 * dim + 2))
    values[..., -1] = np.exp(values[..., -1])
    return torch.from_numpy(values.astype(np.float32))


def plain(network: Network, nodes: torch.Tensor) -> torch.Tensor:
    """Evaluate the network by its definition, edge by edge."""

    def mlp(part: torch.nn.Module, value: torch.Tensor) -> torch.Tensor:
        value = torch.nn.functional.silu(value @ torch.cat([w[0] for w in part.first]) + part.first_bias[0, 0])
        for weight, bias in zip(part.weights, part.biases, strict=True):
            value = torch.nn.functional.silu(value @ weight[0] + bias[0, 0])
        return value @ part.last[0] + part.last_bias[0, 0]

    result = []
    for graph in nodes[0]:
        for i, receiver in enumerate(graph):
            arriving = sum(mlp(network.edge, torch.cat([receiver, sender])) for j, sender in enumerate(graph) if j != i)
            result.append(mlp(network.node, torch.cat([receiver, arriving])))
    return torch.stack(result).view(*nodes.shape[:3], -1)


@pytest.mark.parametrize("model", ["bottleneck", "l1", "standard"])
def test_dense_form_is_the_definition(model: str) -> None:
    network, nodes = network_of(shape(model), 1), nodes_of(1)
    torch.testing.assert_close(network(nodes).acceleration, plain(network, nodes))


@pytest.mark.parametrize("model", ["bottleneck", "l1", "kl", "pruning", "newton"])
def test_message_passing_form_loads_the_weights_and_agrees_in_outputs_and_gradients(model: str) -> None:
    dense, nodes = network_of(shape(model), 2), nodes_of(2)
    sparse = SparseGraphNetwork(shape(model), 2, "complete")
    if dense.alive is not None:
        dense.alive[0, :, ::3] = 0
    sparse.load_state_dict(dense.state_dict())
    found = []
    for network in (dense, sparse):
        acceleration, penalty = network(nodes)
        (acceleration.square().sum() + penalty.sum()).backward()
        found.append([acceleration, penalty, *(parameter.grad for parameter in network.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", ["bottleneck", "l1", "flathgn", "pruning", "newton"])
def test_stacked_cells_are_the_single_ones_in_outputs_and_gradients(model: str) -> None:
    stacked, nodes = network_of(shape(model), 3), nodes_of(3)
    acceleration, penalty = stacked(nodes)
    (acceleration.abs().sum() + penalty.sum()).backward()
    for index in range(3):
        single = type(stacked)(shape(model), 1)
        single.initialise(0, stream(index, "test weights"))
        own_acceleration, own_penalty = single(nodes[index : index + 1])
        (own_acceleration.abs().sum() + own_penalty.sum()).backward()
        torch.testing.assert_close(acceleration[index], own_acceleration[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(penalty[index], own_penalty[0])
        for one, other in zip(stacked.parameters(), single.parameters(), strict=True):
            # The constant of an energy and the part that antisymmetry removes have no gradient.
            assert (one.grad is None) == (other.grad is None)
            if one.grad is not None:
                torch.testing.assert_close(one.grad[index], other.grad[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", ["bottleneck", "l1", "flathgn", "newton"])
@pytest.mark.parametrize("bodies", [2, 5])
def test_order_of_bodies_does_not_matter(model: str, bodies: int) -> None:
    network, nodes = network_of(shape(model), 1), nodes_of(1, bodies=bodies)
    order = torch.from_numpy(stream(0, "test order").permutation(bodies))
    torch.testing.assert_close(
        network(nodes[:, :, order]).acceleration, network(nodes).acceleration[:, :, order], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("kind", "model"), [(SparseGraphNetwork, "l1"), (HamiltonianNetwork, "flathgn")])
def test_chain_depends_only_on_neighbours(kind: type[Network], model: str) -> None:
    network = kind(shape(model), 1, "chain")
    network.initialise(0, stream(0, "test weights"))
    nodes = nodes_of(1, graphs=1, bodies=5)
    moved = nodes.clone()
    moved[0, 0, 4, 0] += 1.0
    changed = (network(nodes).acceleration != network(moved).acceleration).any(dim=-1)[0, 0]
    assert changed.tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("graph", ["complete", "chain"])
def test_hamiltonian_motion_and_messages_are_gradients_of_the_energy(graph: str) -> None:
    network = HamiltonianNetwork(shape("flathgn"), 1, graph)
    network.initialise(0, stream(0, "test weights"))
    network, nodes = network.double(), nodes_of(1, graphs=2).double()
    phase = with_momenta(nodes).requires_grad_()
    senders, receivers = edges_of(graph, 4)
    pair = network.output(phase[:, :, receivers].flatten(1, 2), phase[:, :, senders].flatten(1, 2))
    own = network.node.leave(network.node.hidden(network.node.enter(0, phase.flatten(1, 2), bias=True)))
    (gradient,) = torch.autograd.grad(pair.sum() + own.sum(), phase, retain_graph=True)
    found = network(nodes)
    torch.testing.assert_close(found.acceleration, -gradient[..., :2] / nodes[..., -1:])
    torch.testing.assert_close(found.cost, (gradient[..., 2:4] - nodes[..., 2:4]).abs().sum(-1))

    edges = len(senders)
    between = (receivers + senders == 1).nonzero()[0]  # the two edges between bodies 0 and 1
    (gradient,) = torch.autograd.grad(pair.view(1, 2, edges)[:, :, between].sum(), phase)
    first = int(np.flatnonzero((receivers == 0) & (senders == 1))[0])
    torch.testing.assert_close(network.messages(nodes).view(1, 2, edges, 2)[:, :, first], -gradient[:, :, 0, :2])


def test_newton_messages_are_antisymmetric_and_translation_invariant() -> None:
    network, nodes = network_of(shape("newton"), 1), nodes_of(1)
    senders, receivers = edges_of("complete", 4)
    there = network.message_of(nodes[:, :, receivers].flatten(1, 2), nodes[:, :, senders].flatten(1, 2))
    back = network.message_of(nodes[:, :, senders].flatten(1, 2), nodes[:, :, receivers].flatten(1, 2))
    torch.testing.assert_close(there, -back)
    moved = nodes.clone()
    moved[..., :2] += 7.0
    torch.testing.assert_close(network.messages(moved), network.messages(nodes), rtol=1e-4, atol=1e-5)


def test_reversed_edges_exchange_sender_and_receiver() -> None:
    values = torch.arange(16.0).view(4, 4)  # of the edge to i from j: 4 i + j
    edges = torch.stack([torch.stack([values[i, (i + k) % 4] for i in range(4)]) for k in (1, 2, 3)])
    back = torch.stack([torch.stack([values[(i + k) % 4, i] for i in range(4)]) for k in (1, 2, 3)])
    assert torch.equal(reversed_edges(edges.view(1, 3, 1, 4, 1)).view(3, 4), back)


def test_pair_operations_are_adjoint_and_match_indices() -> None:
    nodes = torch.arange(2 * 3 * 4, dtype=torch.float64).view(1, 2, 3, 4).requires_grad_()
    edges = of_senders(nodes)
    for k in range(2):
        for body in range(3):
            assert torch.equal(edges[:, k, :, body], nodes[:, :, (body + k + 1) % 3])
    assert torch.autograd.gradcheck(of_senders, (nodes,))
    assert torch.autograd.gradcheck(to_senders, (edges.detach().requires_grad_(),))
    assert torch.autograd.gradcheck(pair_sum, (nodes, nodes.detach().clone().requires_grad_()))


def test_bfloat16_is_close_and_returns_float32() -> None:
    full, half = network_of(shape("l1"), 1), network_of(shape("l1", precision="bfloat16"), 1)
    nodes = nodes_of(1)
    difference = (half(nodes).acceleration - full(nodes).acceleration).abs().max()
    assert half(nodes).acceleration.dtype == torch.float32
    assert 0 < difference < 0.02


def test_variational_messages_are_drawn_around_their_means() -> None:
    network, nodes = network_of(shape("kl"), 1), nodes_of(1)
    noise = torch.from_numpy(stream(0, "test noise").normal(size=(1, 36, 100)).astype(np.float32))
    quiet, drawn = network(nodes), network(nodes, noise)
    assert not torch.equal(quiet.acceleration, drawn.acceleration)
    torch.testing.assert_close(network(nodes, 0 * noise).acceleration, quiet.acceleration)
    assert torch.equal(quiet.cost, drawn.cost)


@pytest.mark.parametrize("model", ["bottleneck", "l1", "standard", "pruning"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("loss", ["absolute", "relative"])
def test_hand_written_passes_equal_autograd(model: str, layers: int, loss: Loss) -> None:
    network = network_of(shape(model, activation="relu", layers=layers), 2)
    network.weight[1] *= 3
    if network.alive is not None:
        network.alive[0, :, ::3] = 0
    optimiser = Optimiser(network, 0.0)
    assert optimiser.weights.grad is not None
    passes = Passes.of(network)
    assert passes is not None
    for bodies in (4, 2, 4):
        nodes, found = nodes_of(2, bodies=bodies), []
        true = nodes[..., 2:4]
        weights = weights_of(true, torch.tensor([weighing(loss, size) for size in (1.0, 2.0)]))
        for way in (passes, None):
            optimiser.weights.grad.fill_(torch.nan)  # whatever was there must not count
            error, penalty = differentiate(network, way, optimiser, nodes, true, weights, None)
            found.append([error, penalty, optimiser.weights.grad.clone()])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        assert (found[0][-1] != 0).float().mean() > 0.5
        assert (penalty > 0).all() == (model == "l1")


@pytest.mark.parametrize(
    ("model", "changes"),
    [("l1", {}), ("l1", {"precision": "bfloat16", "activation": "relu"}), ("newton", {"activation": "relu"})],
)
def test_other_models_use_autograd(model: str, changes: dict[str, str]) -> None:
    assert Passes.of(network_of(shape(model, **changes), 1)) is None


def test_mean_cost_over_bodies_is_the_papers_mean_over_edges() -> None:
    nodes = nodes_of(1)
    for graph in ("complete", "chain"):
        network = SparseGraphNetwork(shape("l1"), 1, graph)
        network.initialise(0, stream(0, "test weights"))
        expected = 1e-2 * network.messages(nodes).abs().sum(-1).mean()
        torch.testing.assert_close(network(nodes).cost.mean(), expected)
    dense = network_of(shape("l1"), 1)
    torch.testing.assert_close(dense(nodes).cost.mean(), 1e-2 * dense.messages(nodes).abs().sum(-1).mean())


def test_relative_loss_weights_accelerations_of_every_size_equally() -> None:
    true = torch.tensor([0.01, 1.0, 100.0]).view(1, 1, 3, 1)
    weights = weights_of(true, torch.tensor([weighing("relative", 1e-4)]))
    errors = (0.1 * true.abs().sum(-1) * weights)[0, 0]
    torch.testing.assert_close(errors, torch.full((3,), 0.1), rtol=2e-2, atol=0)
    assert error_of(1.1 * true, true, weights).item() == pytest.approx(0.1, rel=1e-2)
    one, half = (weights_of(true, torch.tensor([weighing(loss, 2.0)])) for loss in ("absolute", "scaled"))
    assert error_of(0 * true, true, one) == 2 * error_of(0 * true, true, half) == pytest.approx(101.01 / 3)


def test_pruning_keeps_the_components_of_largest_deviation() -> None:
    network, nodes = network_of(shape("pruning"), 2), nodes_of(2)
    deviation = network.messages(nodes).std(1)
    left = []
    for step in range(0, 1001, 100):
        prune(network, nodes, step, 1000)
        left.append(network.alive.sum(2).flatten().tolist())
    counts = [pair[0] for pair in left]
    assert [one for one, _ in left] == [other for _, other in left]
    assert counts[0] == 100
    assert counts[6] > counts[7] == counts[-1] == 2
    assert counts == sorted(counts, reverse=True)
    for index in range(2):
        assert set(network.alive[index, 0].nonzero().flatten().tolist()) == set(
            deviation[index].argsort(descending=True)[:2].tolist()
        )
    assert torch.equal(network.messages(nodes)[network.alive.expand(2, 36, 100) == 0], torch.zeros(2 * 36 * 98))


@pytest.mark.parametrize("steps", [60, 100, 250])
def test_a_short_training_is_pruned_completely(steps: int) -> None:
    late = Model(pruned=True, pruned_by=1.0)
    network = GraphNetwork(dataclasses.replace(SHAPE, model=late), 1)
    network.initialise(0, stream(0, "test weights"))
    for step in range(0, steps, 100):
        prune(network, nodes_of(1), step, steps)
    assert int(network.alive.sum()) == 2


@pytest.mark.parametrize("changes", [{"antisymmetric": True}, {"pruned": True, "messages": 20}])
@pytest.mark.parametrize("graph", ["complete", "chain"])
def test_penalty_is_on_the_messages_that_are_sent(changes: dict[str, Any], graph: str) -> None:
    model = Model(penalty="l1", weight=0.5, **changes)
    kind, nodes = dataclasses.replace(SHAPE, model=model), nodes_of(1)
    network = GraphNetwork(kind, 1) if graph == "complete" else SparseGraphNetwork(kind, 1, graph)
    network.initialise(0, stream(0, "test weights"))
    if network.alive is not None:
        network.alive[..., ::2] = 0
    torch.testing.assert_close(network(nodes).cost.mean(), 0.5 * network.messages(nodes).abs().sum(-1).mean())


def test_penalty_of_energies_on_a_chain_is_the_mean_over_edges() -> None:
    nodes = nodes_of(1)
    for graph in ("complete", "chain"):
        costs = []
        for weight in (0.0, 1.0):
            model = Model(kind="hamiltonian", messages=1, penalty="l1", weight=weight)
            network = HamiltonianNetwork(dataclasses.replace(SHAPE, model=model), 1, graph)
            network.initialise(0, stream(0, "test weights"))
            costs.append(network(nodes).cost.mean())
        senders, receivers = edges_of(graph, 4)
        phase = with_momenta(nodes)
        energy = network.output(phase[:, :, receivers].flatten(1, 2), phase[:, :, senders].flatten(1, 2))
        torch.testing.assert_close(costs[1] - costs[0], energy.abs().mean())
