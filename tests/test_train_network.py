"""The graph network: one function in three forms, and the symmetries it must have."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from distillery.errors import DistilleryError
from distillery.models import MODELS
from distillery.randomness import stream
from distillery.train.hamiltonian import HamiltonianNetwork
from distillery.train.loop import Optimiser, differentiate
from distillery.train.network import GraphNetwork, Network, Shape, edges_of
from distillery.train.pairs import of_senders, pair_sum, to_senders
from distillery.train.passes import Passes
from distillery.train.pyg import SparseGraphNetwork

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
    """The network by its definition, edge by edge, from a stack of one."""

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


@pytest.mark.parametrize("model", ["bottleneck", "l1", "kl"])
def test_message_passing_form_loads_the_weights_and_agrees_in_outputs_and_gradients(model: str) -> None:
    dense, nodes = network_of(shape(model), 2), nodes_of(2)
    sparse = SparseGraphNetwork(shape(model), 2, "complete")
    sparse.load_state_dict(dense.state_dict())
    found = []
    for network in (dense, sparse):
        acceleration, penalty = network(nodes)
        (acceleration.square().sum() + penalty.sum()).backward()
        found.append([acceleration, penalty, *(parameter.grad for parameter in network.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", ["bottleneck", "l1", "flathgn"])
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
            assert (one.grad is None) == (other.grad is None)  # a constant of an energy moves nothing
            if one.grad is not None:
                torch.testing.assert_close(one.grad[index], other.grad[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", ["bottleneck", "l1", "flathgn"])
@pytest.mark.parametrize("bodies", [2, 5])
def test_order_of_bodies_does_not_matter(model: str, bodies: int) -> None:
    network, nodes = network_of(shape(model), 1), nodes_of(1, bodies=bodies)
    order = torch.from_numpy(stream(0, "test order").permutation(bodies))
    torch.testing.assert_close(
        network(nodes[:, :, order]).acceleration, network(nodes).acceleration[:, :, order], rtol=1e-4, atol=1e-5
    )


def test_chain_hears_only_neighbours() -> None:
    network = SparseGraphNetwork(shape("l1"), 1, "chain")
    network.initialise(0, stream(0, "test weights"))
    nodes = nodes_of(1, graphs=1, bodies=5)
    moved = nodes.clone()
    moved[0, 0, 4, 0] += 1.0
    changed = (network(nodes).acceleration != network(moved).acceleration).any(dim=-1)[0, 0]
    assert changed.tolist() == [False, False, False, True, True]


def test_hamiltonian_acceleration_and_messages_are_gradients_of_the_energy() -> None:
    network, nodes = network_of(shape("flathgn"), 1).double(), nodes_of(1, graphs=2).double()
    nodes.requires_grad_()
    senders, receivers = edges_of("complete", 4)
    pair = network.output(nodes[:, :, receivers].flatten(1, 2), nodes[:, :, senders].flatten(1, 2))
    own = network.node.leave(network.node.hidden(network.node.enter(0, nodes.flatten(1, 2), bias=True)))
    (gradient,) = torch.autograd.grad(pair.sum() + own.sum(), nodes, retain_graph=True)
    torch.testing.assert_close(network(nodes).acceleration, -gradient[..., :2] / nodes[..., -1:])

    between = (receivers + senders == 1).nonzero()[0]  # the two edges between bodies 0 and 1
    (gradient,) = torch.autograd.grad(pair.view(1, 2, 12)[:, :, between].sum(), nodes)
    first = int(np.flatnonzero((receivers == 0) & (senders == 1))[0])
    torch.testing.assert_close(network.messages(nodes).view(1, 2, 12, 2)[:, :, first], -gradient[:, :, 0, :2])


def test_hamiltonian_on_a_chain_is_refused() -> None:
    with pytest.raises(DistilleryError, match="complete graphs only"):
        SparseGraphNetwork(shape("flathgn"), 1, "chain")


def test_pair_operations_are_adjoint_and_match_indices() -> None:
    nodes = torch.arange(2 * 3 * 4, dtype=torch.float64).view(1, 2, 3, 4).requires_grad_()
    edges = of_senders(nodes)
    for k in range(2):
        for body in range(3):
            assert torch.equal(edges[:, k, :, body], nodes[:, :, (body + k + 1) % 3])
    assert torch.autograd.gradcheck(of_senders, (nodes,))
    assert torch.autograd.gradcheck(to_senders, (edges.detach().requires_grad_(),))
    assert torch.autograd.gradcheck(pair_sum, (nodes, nodes.detach().clone().requires_grad_()))


def test_half_precision_is_close_and_keeps_float32_outside() -> None:
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
    assert quiet.penalty == drawn.penalty


@pytest.mark.parametrize("model", ["bottleneck", "l1", "standard"])
@pytest.mark.parametrize("layers", [1, 3])
def test_passes_by_hand_give_what_autograd_gives(model: str, layers: int) -> None:
    network = network_of(shape(model, activation="relu", layers=layers), 2)
    optimiser = Optimiser(network, 0.0)
    assert optimiser.weights.grad is not None
    passes = Passes.of(network)
    assert passes is not None
    for bodies in (4, 2, 4):
        nodes, found = nodes_of(2, bodies=bodies), []
        true = nodes[..., 2:4]
        for way in (passes, None):
            optimiser.weights.grad.fill_(torch.nan)  # whatever was there must not count
            error, penalty = differentiate(network, way, optimiser, nodes, true, None)
            found.append([error, penalty, optimiser.weights.grad.clone()])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        assert (found[0][-1] != 0).float().mean() > 0.5
        assert (penalty > 0).all() == (model == "l1")


@pytest.mark.parametrize("changes", [{}, {"precision": "bfloat16", "activation": "relu"}])
def test_what_is_not_written_by_hand_is_left_to_autograd(changes: dict[str, str]) -> None:
    assert Passes.of(network_of(shape("l1", **changes), 1)) is None
