"""The same graph network for any graph, on PyTorch Geometric's message passing.

It shares functions and parameter names with the dense form, so the weights of one load into the other.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from distillery.data.graph import edges_of
from distillery.networks.network import Network, Prediction, Shape, functions, send

with warnings.catch_warnings():
    # PyG compiles a class with torch.jit when it is imported, and PyTorch warns of torch.jit's end.
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_geometric.nn import MessagePassing


class SparseGraphNetwork(MessagePassing, Network):
    """Graph networks of a stack of cells on graphs of one kind and size."""

    # Declared for the type checker, which does not see into MessagePassing.
    propagate: Callable[..., Tensor]
    edge_updater: Callable[..., Tensor]

    def __init__(self, shape: Shape, stack: int, graph: str):
        super().__init__(aggr="sum", node_dim=-2)
        self._lay_out(shape, stack)
        self.graph = graph
        self.edge, self.node = functions(shape, stack)

    def forward(
        self, nodes: Float[Tensor, "stack graph body feature"], noise: Float[Tensor, "stack edge message"] | None = None
    ) -> Prediction:
        """Predict accelerations.

        Args:
            nodes: Position, velocity, charge, mass.
            noise: Unit normal draws for variational messages; without them their means are sent.
        """
        rows, model = nodes.flatten(1, 2), self.shape.model
        edges = _batched_edges(self.graph, *nodes.shape[1:3], nodes.device)
        output = self.edge_updater(edges, nodes=rows)
        if model.antisymmetric:
            output = output - output[:, _reversed_edges(self.graph, *nodes.shape[1:3], nodes.device)]
        messages, sizes = send(model, output if self.alive is None else output * self.alive, noise)
        everyone = (rows.shape[1], rows.shape[1])
        arriving = self.propagate(edges, messages=messages, size=everyone)
        # The mean over bodies is to be the mean over edges.
        share = self.weight[:, None] * rows.shape[1] / edges.shape[1]
        cost = share * self.propagate(edges, messages=sizes[..., None], size=everyone)[..., 0]
        return Prediction(self.accelerations(nodes, arriving), cost.view(nodes.shape[:3]))

    def message(self, messages: Float[Tensor, "stack edge message"]) -> Float[Tensor, "stack edge message"]:
        """Give each edge its message, which ``propagate`` sums over the receiver's neighbours."""
        return messages

    def edge_update(
        self, nodes_i: Float[Tensor, "stack edge feature"], nodes_j: Float[Tensor, "stack edge feature"]
    ) -> Float[Tensor, "stack edge output"]:
        """Apply the edge function to receivers i and senders j."""
        return self.output(nodes_i, nodes_j)


@functools.lru_cache(maxsize=8)
def _batched_edges(graph: str, graphs: int, bodies: int, device: torch.device) -> Tensor:
    one = torch.from_numpy(edges_of(graph, bodies)).to(device)
    shifts = bodies * torch.arange(graphs, device=device)
    return (one[:, None, :] + shifts[None, :, None]).flatten(1)


@functools.lru_cache(maxsize=8)
def _reversed_edges(graph: str, graphs: int, bodies: int, device: torch.device) -> Tensor:
    senders, receivers = edges_of(graph, bodies)
    places = {edge: place for place, edge in enumerate(zip(senders.tolist(), receivers.tolist(), strict=True))}
    back = torch.tensor([places[receiver, sender] for sender, receiver in places], device=device)
    return (back + len(back) * torch.arange(graphs, device=device)[:, None]).flatten()
