"""The reference of the training benchmarks: a plain loop in PyTorch Geometric.

It uses ``MessagePassing`` with concatenated inputs and ``torch.nn.Linear``, a ``DataLoader`` that collates graphs on
the CPU, Adam with a one-cycle schedule, autograd, no compilation.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from distillery.data.graph import edges_of
from distillery.networks.batches import Graphs
from distillery.networks.network import Shape
from distillery.randomness import stream

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_geometric.data import Data
    from torch_geometric.loader import DataLoader
    from torch_geometric.nn import MessagePassing

DIM, BODIES, BATCH = 2, 4, 64


def graphs(count: int) -> Graphs:
    """Return random graphs."""
    draws = stream(0, "benchmark", "train")
    nodes = draws.normal(size=(count, BODIES, 2 * DIM + 2))
    nodes[..., -1] = np.exp(nodes[..., -1])  # a mass is positive
    return Graphs(nodes, draws.normal(size=(count, BODIES, DIM)))


class PlainNetwork(MessagePassing):
    """A graph network with free or few messages, or with an L1 or KL penalty."""

    def __init__(self, shape: Shape):
        super().__init__(aggr="add")
        self.model = shape.model
        variational = shape.model.penalty == "kl"
        self.edge = plain_mlp(2 * shape.features, (1 + variational) * shape.messages, shape, nn.ReLU)
        self.node = plain_mlp(shape.features + shape.messages, shape.dim, shape, nn.ReLU)
        self.penalty: Tensor | float = 0.0

    def forward(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return accelerations and the penalty."""
        arriving = self.propagate(edge_index, x=x)
        return self.node(torch.cat([x, arriving], dim=1)), self.model.weight * self.penalty

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """Return messages."""
        messages = self.edge(torch.cat([x_i, x_j], dim=1))
        if self.model.penalty == "kl":
            mean, log_variance = messages.chunk(2, dim=1)
            self.penalty = (mean**2 + log_variance.exp() - log_variance).sum(1).mean() / 2
            return mean + torch.randn_like(mean) * (log_variance / 2).exp()
        if self.model.penalty == "l1":
            self.penalty = messages.abs().sum(1).mean()
        return messages


class PlainHamiltonian(MessagePassing):
    """A flattened Hamiltonian graph network: energies, differentiated by autograd."""

    def __init__(self, shape: Shape):
        super().__init__(aggr="add")
        self.pair = plain_mlp(2 * shape.features, 1, shape, nn.Softplus)
        self.own = plain_mlp(shape.features, 1, shape, nn.Softplus)

    def forward(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Return accelerations and the error of the velocities."""
        position, velocity, rest = torch.split(x, [DIM, DIM, 2], dim=1)
        mass = rest[:, 1:]
        position, momentum = position.detach().requires_grad_(), (mass * velocity).detach().requires_grad_()
        phase = torch.cat([position, momentum, rest], dim=1)
        energy = self.own(phase).sum() + self.propagate(edge_index, x=phase).sum()
        by_position, by_momentum = torch.autograd.grad(energy, (position, momentum), create_graph=True)
        return -by_position / mass, (by_momentum - velocity).abs().sum(1).mean()

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """Return the energies of pairs."""
        return self.pair(torch.cat([x_i, x_j], dim=1))


def plain_mlp(inputs: int, output: int, shape: Shape, activation: type[nn.Module]) -> nn.Sequential:
    widths = [inputs, *[shape.hidden] * shape.layers]
    hidden = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*hidden, nn.Linear(shape.hidden, output))


def plain_steps(shape: Shape, data: Graphs, device: torch.device) -> Iterator[None]:
    """Run the plain loop, one step per item.

    Args:
        shape: Dimensions, model and size of the network.
        data: Graphs of ``BODIES`` bodies.
        device: Where to train.
    """
    edge_index = torch.from_numpy(edges_of("complete", BODIES))
    nodes, labels = (torch.from_numpy(part.astype(np.float32)) for part in (data.nodes, data.acceleration))
    loader = DataLoader(
        [Data(x=x, y=y, edge_index=edge_index) for x, y in zip(nodes, labels, strict=True)],
        batch_size=BATCH,
        shuffle=True,
    )
    network = (PlainHamiltonian if shape.model.kind == "hamiltonian" else PlainNetwork)(shape).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-8)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=10_000_000)
    while True:
        for drawn in loader:
            batch = drawn.to(device)
            optimiser.zero_grad()
            moves = 3.0 * torch.randn(batch.num_graphs, DIM, device=device)
            x = torch.cat([batch.x[:, :DIM] + moves[batch.batch], batch.x[:, DIM:]], dim=1)
            predicted, penalty = network(x, batch.edge_index)
            ((predicted - batch.y).abs().sum(1).mean() + penalty).backward()
            optimiser.step()
            schedule.step()
            yield
