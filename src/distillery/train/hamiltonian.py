"""The flattened Hamiltonian graph network of arXiv:2006.11287, section 4, in dense form for complete graphs.

Two functions give energies, H = Σ_i H_self(v_i) + Σ_{i≠j} H_pair(v_i, v_j), and Hamilton's equations the motion:
â_i = -(1/m_i) ∂H/∂q_i. The gradient is written out by hand, layer by layer, so that training differentiates once,
not twice. What a node feels from another, -∂(H_ij + H_ji)/∂q_i, plays the part of the message.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from distillery.train.mlp import Mlp
from distillery.train.network import Network, Prediction, Shape
from distillery.train.pairs import pair_sum, to_senders

# Energies must bend smoothly: with ReLU a force would be piecewise constant.
ACTIVATION = "softplus"


class HamiltonianNetwork(Network):
    """Hamiltonian graph networks of a stack of cells on complete graphs of equal size."""

    graph = "complete"

    def __init__(self, shape: Shape, stack: int):
        super().__init__()
        self.shape = shape
        inputs = shape.features
        self.edge = Mlp(stack, (inputs, inputs), shape.hidden, shape.layers, 1, ACTIVATION)
        self.node = Mlp(stack, (inputs,), shape.hidden, shape.layers, 1, ACTIVATION)

    def forward(self, nodes: Float[Tensor, "stack graph body feature"], noise: None = None) -> Prediction:
        """Predict accelerations.

        Args:
            nodes: Position, velocity, charge, mass.
            noise: Not used here; the networks of all models are called alike.
        """
        stack, graphs, bodies, _ = nodes.shape
        dim = self.shape.dim
        slope, energy = self._pairs(nodes)
        # ∂H/∂q_i: from the pairs in which i receives, from those in which it sends, and from its own energy.
        received, sent = slope.sum(1).flatten(1, 2), to_senders(slope).flatten(1, 2)
        own = self.node.slope(self.node.enter(0, nodes.flatten(1, 2), bias=True))
        to_receiver, to_sender = self.edge.first[0][:, :dim], self.edge.first[1][:, :dim]
        gradient = torch.bmm(received, to_receiver.mT) + torch.bmm(sent, to_sender.mT)
        gradient = gradient + torch.bmm(own, self.node.first[0][:, :dim].mT)
        acceleration = -gradient.view(stack, graphs, bodies, dim) / nodes[..., -1:]
        return Prediction(acceleration, self.shape.model.weight * energy.abs().flatten(1).mean(1))

    def message_of(
        self, receivers: Float[Tensor, "stack edge feature"], senders: Float[Tensor, "stack edge feature"]
    ) -> Float[Tensor, "stack edge dim"]:
        """Return -∂(H_ij + H_ji)/∂q_i, the force that receivers feel from senders."""
        dim = self.shape.dim
        there = self.edge.enter(0, receivers, bias=True) + self.edge.enter(1, senders)
        back = self.edge.enter(0, senders, bias=True) + self.edge.enter(1, receivers)
        return -torch.bmm(self.edge.slope(there), self.edge.first[0][:, :dim].mT) - torch.bmm(
            self.edge.slope(back), self.edge.first[1][:, :dim].mT
        )

    def _pairs(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return ∂H_pair/∂(first layer) and H_pair of all edges."""
        stack, graphs, bodies, _ = nodes.shape
        rows = nodes.flatten(1, 2)
        receivers = self.edge.enter(0, rows, bias=True).view(stack, graphs, bodies, -1)
        senders = self.edge.enter(1, rows).view(stack, graphs, bodies, -1)
        entered = pair_sum(receivers, senders).flatten(1, 3)
        slope, energy = self.edge.slope(entered), self.edge.leave(self.edge.hidden(entered))
        return slope.view(stack, bodies - 1, graphs, bodies, -1), energy

    def pair_energy(
        self, receivers: Float[Tensor, "stack edge feature"], senders: Float[Tensor, "stack edge feature"]
    ) -> Float[Tensor, "stack edge"]:
        """Return the energies of pairs, H_ij + H_ji."""
        return (self.output(receivers, senders) + self.output(senders, receivers))[..., 0]

    def self_energy(self, nodes: Float[Tensor, "stack node feature"]) -> Float[Tensor, "stack node"]:
        """Return the energies of bodies alone, H_self."""
        return self.node.leave(self.node.hidden(self.node.enter(0, nodes, bias=True)))[..., 0]
