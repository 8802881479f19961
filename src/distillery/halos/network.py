"""The graph network of halos: δ̂_i = φv(Σ_j φe(Δ_ij, v_i, v_j, M_i, M_j), v_i, M_i) (arXiv:2006.11287, section 5).

The overdensity at halo i follows from messages of its neighbours j. Beside the displacement Δ its length r is an input
too: it follows from Δ, but a ReLU network would have to learn a norm first. Positions themselves are no input, so the
network does not change under translations; it may depend on directions, as the paper's does.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from distillery.networks.mlp import Mlp


@dataclasses.dataclass(frozen=True)
class HaloShape:
    """Widths of a network.

    Attributes:
        edge_width: Inputs of the edge function, see ``Scales.edge_width``.
        own_width: Inputs of the node function besides messages, see ``Scales.own_width``.
        messages: Message components.
        hidden: Units per hidden layer.
        layers: Hidden layers of the edge and of the node function.
        activation: A key of ``mlp.ACTIVATIONS``.
    """

    edge_width: int
    own_width: int
    messages: int
    hidden: int
    layers: int
    activation: str

    @property
    def bytes_per_edge(self) -> int:
        """Largest memory of an edge in a training step in bytes.

        Float32: inputs and each hidden layer, kept for the pass back, the messages, their sizes and signs, and two
        layers' gradients while it runs.
        """
        return 4 * (2 * self.edge_width + (2 * self.layers + 2) * self.hidden + 4 * self.messages)


class HaloNetwork(nn.Module):
    """Edge and node function, as a stack of one of the package's MLPs.

    Attributes:
        shape: Widths.
        edge: The edge function.
        node: The node function.
    """

    def __init__(self, shape: HaloShape):
        super().__init__()
        self.shape = shape
        self.edge = Mlp(1, (shape.edge_width,), shape.hidden, shape.layers, shape.messages, shape.activation)
        self.node = Mlp(1, (shape.own_width, shape.messages), shape.hidden, shape.layers, 1, shape.activation)

    def initialise(self, stream: np.random.Generator) -> None:
        """Draw the initial weights."""
        self.edge.initialise(0, stream)
        self.node.initialise(0, stream)

    def messages(self, inputs: Float[Tensor, "edge input"]) -> Float[Tensor, "edge message"]:
        """Return the messages along edges.

        Args:
            inputs: As ``Scales.along`` gives them.
        """
        return self.edge.leave(self.edge.hidden(self.edge.enter(0, inputs[None], bias=True)))[0]

    def overdensity(
        self, own: Float[Tensor, "receiver feature"], arriving: Float[Tensor, "receiver message"]
    ) -> Float[Tensor, " receiver"]:
        """Return the node function of halos and of the sums of their messages."""
        entered = self.node.enter(0, own[None], bias=True) + self.node.enter(1, arriving[None])
        return self.node.leave(self.node.hidden(entered))[0, :, 0]

    def forward(
        self,
        inputs: Float[Tensor, "edge input"],
        own: Float[Tensor, "receiver feature"],
        degrees: Int[Tensor, " receiver"],
    ) -> tuple[Float[Tensor, " receiver"], Float[Tensor, ""]]:
        """Predict overdensities.

        Args:
            inputs: As ``Scales.along`` gives them, rows of one receiver after another.
            own: Scaled features of the receivers.
            degrees: How many edges arrive at each.

        Returns:
            δ̂ of each receiver, and Σ over edges and components of |e_k|.
        """
        messages = self.messages(inputs)
        return self.overdensity(own, row_sums(messages, degrees)), messages.abs().sum()


def row_sums(
    values: Float[Tensor, "edge column"], degrees: Int[Tensor, " receiver"]
) -> Float[Tensor, "receiver column"]:
    """Return the sums over the edges of each receiver, reproducible to the last bit.

    Args:
        values: Rows of one receiver after another.
        degrees: How many rows each has.
    """
    return _RowSums.apply(values, degrees)  # type: ignore[no-untyped-call]


class _RowSums(torch.autograd.Function):
    """Sums of rows, by the method of each device that is fast and free of races."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, degrees: Tensor) -> Tensor:
        place = torch.repeat_interleave(degrees, output_size=len(values))
        ctx.save_for_backward(place)
        if values.device.type == "cuda":
            return torch.segment_reduce(values.contiguous(), "sum", lengths=degrees, axis=0, initial=0.0)
        return values.new_zeros(len(degrees), values.shape[1]).index_add_(0, place, values)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradients[0].index_select(0, place), None
