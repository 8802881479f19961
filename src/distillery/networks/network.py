"""The graph network of arXiv:2006.11287, section 2, in dense form for complete graphs.

For each directed edge an edge function gives a message, e_ij = φe(v_i, v_j) with receiver i and sender j;
for each node a node function gives the acceleration, â_i = φv(v_i, Σ_j e_ij). Node features v are position,
velocity, charge and mass.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from distillery.data.graph import edges_of
from distillery.networks.mlp import Mlp
from distillery.networks.models import Model
from distillery.networks.pairs import pair_sum, reversed_edges
from distillery.networks.settings import TrainingSettings


@dataclasses.dataclass(frozen=True)
class Shape:
    """Properties that cells must share to train side by side.

    Attributes:
        dim: Dimensions of space.
        model: The regulariser of the messages.
        hidden: Units per hidden layer.
        layers: Hidden layers of the edge and of the node function.
        activation: A key of ``mlp.ACTIVATIONS``.
        precision: Arithmetic of the hidden layers, ``float32`` or ``bfloat16``.
    """

    dim: int
    model: Model
    hidden: int
    layers: int
    activation: str
    precision: str

    @property
    def features(self) -> int:
        """Width of a node: position, velocity, charge, mass."""
        return 2 * self.dim + 2

    @property
    def messages(self) -> int:
        """Message components."""
        return self.model.message_size(self.dim)

    @classmethod
    def of(cls, dim: int, model: Model, settings: TrainingSettings) -> Shape:
        """Return the shape that a configuration gives a cell."""
        return cls(dim, model, settings.hidden, settings.layers, settings.activation, settings.precision)


class Prediction(NamedTuple):
    """Prediction of a network for a batch.

    Attributes:
        acceleration: Predicted accelerations (dimensionless).
        cost: What the model adds to the loss for each body, its weight included; the mean over bodies is the paper's
            mean over edges.
    """

    acceleration: Float[Tensor, "stack graph body dim"]
    cost: Float[Tensor, "stack graph body"]


class Network(nn.Module):
    """Base of the networks of all models and graphs.

    Attributes:
        shape: The shape of every cell of the stack; its model's weight is that of the first.
        graph: The kind of graph, see ``edges_of``.
        edge: The edge function.
        node: The node function.
        weight: Of each cell the factor of its penalty.
        alive: Of each cell and message component 1, or 0 once it is pruned; None for models that are not pruned.
    """

    shape: Shape
    graph: str
    edge: Mlp
    node: Mlp
    weight: Tensor
    alive: Tensor | None
    # Whether it predicts accelerations; message functions of users do not.
    predicts: bool = True

    def _lay_out(self, shape: Shape, stack: int) -> None:
        self.shape = shape
        self.register_buffer("weight", torch.full((stack,), shape.model.weight), persistent=False)
        self.register_buffer("alive", torch.ones(stack, 1, shape.messages) if shape.model.pruned else None)

    def initialise(self, index: int, stream: np.random.Generator) -> None:
        """Draw the initial weights of one cell of the stack."""
        self.edge.initialise(index, stream)
        self.node.initialise(index, stream)

    def output(
        self, receivers: Float[Tensor, "stack edge feature"], senders: Float[Tensor, "stack edge feature"]
    ) -> Float[Tensor, "stack edge output"]:
        """Apply the edge function to pairs of nodes."""
        entered = self.edge.enter(0, receivers, bias=True) + self.enter_sender(senders)
        return self.edge.leave(self.edge.hidden(entered))

    def enter_sender(self, senders: Float[Tensor, "stack row feature"]) -> Float[Tensor, "stack row hidden"]:
        """Return the senders' part of the edge function's first layer.

        In relative models their positions have minus the receivers' weights: only the difference counts.
        """
        if not self.shape.model.relative:
            return self.edge.enter(1, senders)
        dim, (received, sent) = self.shape.dim, self.edge.first
        return torch.bmm(senders, torch.cat([-received[:, :dim], sent[:, dim:]], dim=1))

    def message_of(
        self, receivers: Float[Tensor, "stack edge feature"], senders: Float[Tensor, "stack edge feature"]
    ) -> Float[Tensor, "stack edge message"]:
        """Return the messages between pairs of nodes (variational ones: their means)."""
        messages = self.output(receivers, senders)[..., : self.shape.messages]
        if self.shape.model.antisymmetric:
            messages = messages - self.output(senders, receivers)
        return messages if self.alive is None else messages * self.alive

    def messages(self, nodes: Float[Tensor, "stack graph body feature"]) -> Float[Tensor, "stack edge message"]:
        """Return the messages along all edges."""
        senders, receivers = edges_of(self.graph, nodes.shape[2])
        return self.message_of(nodes[:, :, receivers].flatten(1, 2), nodes[:, :, senders].flatten(1, 2))

    def accelerations(
        self, nodes: Float[Tensor, "stack graph body feature"], arriving: Float[Tensor, "stack row message"]
    ) -> Float[Tensor, "stack graph body dim"]:
        """Return what the node function makes of nodes and of the sums of whole messages that arrive at them."""
        entered = self.node.enter(0, nodes.flatten(1, 2), bias=True) + self.node.enter(1, arriving)
        return self.node.leave(self.node.hidden(entered)).view(*nodes.shape[:3], -1)


class GraphNetwork(Network):
    """Graph networks of a stack of cells on complete graphs of equal size."""

    graph = "complete"

    def __init__(self, shape: Shape, stack: int):
        super().__init__()
        self._lay_out(shape, stack)
        self.edge, self.node = functions(shape, stack)

    def forward(
        self, nodes: Float[Tensor, "stack graph body feature"], noise: Float[Tensor, "stack edge message"] | None = None
    ) -> Prediction:
        """Predict accelerations.

        Args:
            nodes: Position, velocity, charge, mass.
            noise: Unit normal draws for variational messages; without them their means are sent.
        """
        stack, graphs, bodies, _ = nodes.shape
        rows, model = nodes.flatten(1, 2), self.shape.model
        receivers = self.edge.enter(0, rows, bias=True).view(stack, graphs, bodies, -1)
        senders = self.enter_sender(rows).view(stack, graphs, bodies, -1)
        hidden = self.edge.hidden(pair_sum(receivers, senders).flatten(1, 3))
        if model.penalty == "none" and not model.antisymmetric:
            # The output layer is linear: summing before it does per node what would be done per edge.
            summed = hidden.view(stack, bodies - 1, graphs * bodies, -1).sum(1, dtype=rows.dtype)
            arriving, cost = self.edge.leave(summed, bodies - 1), nodes.new_zeros(nodes.shape[:3])
        else:
            output = self.edge.leave(hidden)
            if model.antisymmetric:
                edges = output.view(stack, bodies - 1, graphs, bodies, -1)
                output = (edges - reversed_edges(edges)).flatten(1, 3)
            messages, sizes = send(model, output if self.alive is None else output * self.alive, noise)
            arriving = messages.view(stack, bodies - 1, graphs * bodies, -1).sum(1)
            cost = self.weight[:, None, None] * sizes.view(stack, bodies - 1, graphs, bodies).mean(1)
        if self.alive is not None:
            arriving = arriving * self.alive
        return Prediction(self.accelerations(nodes, arriving), cost)


def functions(shape: Shape, stack: int) -> tuple[Mlp, Mlp]:
    """Return the edge and the node function of a shape, weights zero."""
    precision = torch.bfloat16 if shape.precision == "bfloat16" else None
    inputs, width = shape.features, shape.messages
    sent = 2 * width if shape.model.penalty == "kl" else width
    edge = Mlp(stack, (inputs, inputs), shape.hidden, shape.layers, sent, shape.activation, precision)
    node = Mlp(stack, (inputs, width), shape.hidden, shape.layers, shape.dim, shape.activation, precision)
    return edge, node


def send(
    model: Model, output: Float[Tensor, "stack edge output"], noise: Float[Tensor, "stack edge message"] | None
) -> tuple[Float[Tensor, "stack edge message"], Float[Tensor, "stack edge"]]:
    """Turn what the edge function gives into messages and their size on each edge.

    L1: Σ_k |e_k|; KL: Σ_k ½(μ_k² + σ_k² - log σ_k²), the message drawn from N(μ, σ²) (arXiv:2006.11287, section 4);
    nothing for models without a penalty.

    Args:
        model: The regulariser.
        output: Messages, or means and then log-variances of variational ones.
        noise: Unit normal draws for variational messages; without them their means are sent.
    """
    match model.penalty:
        case "kl":
            mean, log_variance = output.chunk(2, dim=2)
            sizes = (mean.square() + log_variance.exp() - log_variance).sum(2) / 2
            return mean if noise is None else mean + noise * (log_variance / 2).exp(), sizes
        case "l1":
            return output, output.abs().sum(2)
        case "none":
            return output, output.new_zeros(output.shape[:2])
