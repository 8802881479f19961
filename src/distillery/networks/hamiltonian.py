"""The flattened Hamiltonian graph network of arXiv:2006.11287, section 4, in dense form for graphs of any kind.

Two functions give energies, H = Σ_i H_self(v_i) + Σ_{i,j} H_pair(v_i, v_j) over the edges of the graph, of positions,
momenta, charges and masses; Hamilton's equations give the motion: dp_i/dt = -∂H/∂q_i, so â_i = -(1/m_i) ∂H/∂q_i, and
dq_i/dt = ∂H/∂p_i, which is to be the velocity. The gradient is written out by hand, layer by layer, so that training
differentiates once, not twice. The force between two nodes, -∂(H_ij + H_ji)/∂q_i, takes the place of the message.
"""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from distillery.data.graph import edges_of
from distillery.networks.mlp import Mlp
from distillery.networks.network import Network, Prediction, Shape
from distillery.networks.pairs import pair_sum, to_senders

# Energies must bend smoothly: with ReLU a force would be piecewise constant.
ACTIVATION = "softplus"


class HamiltonianNetwork(Network):
    """Hamiltonian graph networks of a stack of cells on graphs of equal size."""

    def __init__(self, shape: Shape, stack: int, graph: str = "complete"):
        super().__init__()
        self._lay_out(shape, stack)
        self.graph = graph
        inputs = shape.features
        self.edge = Mlp(stack, (inputs, inputs), shape.hidden, shape.layers, 1, ACTIVATION)
        self.node = Mlp(stack, (inputs,), shape.hidden, shape.layers, 1, ACTIVATION)

    def forward(self, nodes: Float[Tensor, "stack graph body feature"], noise: None = None) -> Prediction:
        """Predict accelerations.

        The cost is the size of the pair energies, which the self energies could take over from them, and the error of
        the velocities ∂H/∂p. It is weighed and fades in like every cost: the accelerations, which are what is to be
        predicted, come first.

        Args:
            nodes: Position, velocity, charge, mass.
            noise: Not used here; the networks of all models are called alike.
        """
        stack, graphs, bodies, _ = nodes.shape
        dim, phase = self.shape.dim, with_momenta(nodes)
        slope, energy = self._pairs(phase)
        # ∂H/∂(q_i, p_i): from the pairs in which i receives, from those in which it sends, and from its own energy.
        received, sent = slope.sum(1).flatten(1, 2), to_senders(slope).flatten(1, 2)
        own = self.node.slope(self.node.enter(0, phase.flatten(1, 2), bias=True))
        to_receiver, to_sender = self.edge.first[0][:, : 2 * dim], self.edge.first[1][:, : 2 * dim]
        gradient = torch.bmm(received, to_receiver.mT) + torch.bmm(sent, to_sender.mT)
        gradient = gradient + torch.bmm(own, self.node.first[0][:, : 2 * dim].mT)
        by_position, by_momentum = torch.split(gradient.view(stack, graphs, bodies, 2 * dim), dim, dim=3)
        cost = (by_momentum - nodes[..., dim : 2 * dim]).abs().sum(-1)
        if self.shape.model.penalty != "none":
            # The mean over bodies is to be the mean over edges, of which a chain has fewer.
            share = bodies / edges_of(self.graph, bodies).shape[1]
            cost = cost + self.weight[:, None, None] * share * energy.abs().sum(1)
        return Prediction(-by_position / nodes[..., -1:], cost)

    def message_of(
        self, receivers: Float[Tensor, "stack edge feature"], senders: Float[Tensor, "stack edge feature"]
    ) -> Float[Tensor, "stack edge dim"]:
        """Return -∂(H_ij + H_ji)/∂q_i, the force that receivers feel from senders."""
        dim, receivers, senders = self.shape.dim, with_momenta(receivers), with_momenta(senders)
        there = self.edge.enter(0, receivers, bias=True) + self.edge.enter(1, senders)
        back = self.edge.enter(0, senders, bias=True) + self.edge.enter(1, receivers)
        return -torch.bmm(self.edge.slope(there), self.edge.first[0][:, :dim].mT) - torch.bmm(
            self.edge.slope(back), self.edge.first[1][:, :dim].mT
        )

    def _pairs(self, phase: Tensor) -> tuple[Tensor, Tensor]:
        """Return ∂H_pair/∂(first layer) and H_pair of all pairs; nothing where the graph has no edge."""
        stack, graphs, bodies, _ = phase.shape
        rows = phase.flatten(1, 2)
        receivers = self.edge.enter(0, rows, bias=True).view(stack, graphs, bodies, -1)
        senders = self.edge.enter(1, rows).view(stack, graphs, bodies, -1)
        entered = pair_sum(receivers, senders).flatten(1, 3)
        slope = self.edge.slope(entered).view(stack, bodies - 1, graphs, bodies, -1)
        energy = self.edge.leave(self.edge.hidden(entered)).view(stack, bodies - 1, graphs, bodies)
        if self.graph == "complete":
            return slope, energy
        connected = _connected(self.graph, bodies, slope.device).to(slope)
        return slope * connected[:, None, :, None], energy * connected[:, None]

    def pair_energy(
        self, receivers: Float[Tensor, "stack edge feature"], senders: Float[Tensor, "stack edge feature"]
    ) -> Float[Tensor, "stack edge"]:
        """Return the energies of pairs, H_ij + H_ji."""
        receivers, senders = with_momenta(receivers), with_momenta(senders)
        return (self.output(receivers, senders) + self.output(senders, receivers))[..., 0]

    def self_energy(self, nodes: Float[Tensor, "stack node feature"]) -> Float[Tensor, "stack node"]:
        """Return the energies of bodies alone, H_self."""
        return self.node.leave(self.node.hidden(self.node.enter(0, with_momenta(nodes), bias=True)))[..., 0]


@functools.lru_cache(maxsize=8)
def _connected(graph: str, bodies: int, device: torch.device) -> Float[Tensor, "pair body"]:
    """Return 1 for each pair (k, i) of receiver i and sender i + k that the graph ties, and 0 for the others.

    It is brought to the device once: a recorded step can copy nothing from the processor.
    """
    senders, receivers = edges_of(graph, bodies)
    connected = torch.zeros(bodies - 1, bodies)
    connected[(senders - receivers) % bodies - 1, receivers] = 1.0
    return connected.to(device)


def with_momenta(nodes: Float[Tensor, "*any feature"]) -> Float[Tensor, "*any feature"]:
    """Return the features of nodes with momenta p = m v in the place of velocities.

    Args:
        nodes: Position, velocity, charge, mass.
    """
    dim = (nodes.shape[-1] - 2) // 2
    position, velocity, rest = torch.split(nodes, [dim, dim, 2], dim=-1)
    return torch.cat([position, nodes[..., -1:] * velocity, rest], dim=-1)
