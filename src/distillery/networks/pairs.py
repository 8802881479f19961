"""Pairs of bodies in a complete graph, without index arrays.

The edge ``(i, k)`` of receiver i goes out from sender ``(i + k) mod bodies``, k = 1 … bodies - 1, so the
values of all senders are one overlapping view of memory, and its transpose is a few sums of slices.
Both are linear and each other's adjoint; either can be differentiated any number of times.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor


def of_senders(nodes: Float[Tensor, "stack graph body feature"]) -> Float[Tensor, "stack pair graph body feature"]:
    """Return for each edge the value of its sender."""
    return cast(Tensor, _OfSenders.apply(nodes))  # type: ignore[no-untyped-call]


def to_senders(edges: Float[Tensor, "stack pair graph body feature"]) -> Float[Tensor, "stack graph body feature"]:
    """Return for each node the sum over the edges it sends along."""
    return cast(Tensor, _ToSenders.apply(edges))  # type: ignore[no-untyped-call]


def pair_sum(
    receivers: Float[Tensor, "stack graph body feature"], senders: Float[Tensor, "stack graph body feature"]
) -> Float[Tensor, "stack pair graph body feature"]:
    """Return for each edge the receiver's value plus the sender's."""
    return cast(Tensor, _PairSum.apply(receivers, senders))  # type: ignore[no-untyped-call]


def reversed_edges(
    edges: Float[Tensor, "stack pair graph body feature"],
) -> Float[Tensor, "stack pair graph body feature"]:
    """Return for each edge the value of the edge that goes the other way between the same two bodies.

    The edge back from ``(i, k)`` is that of receiver ``i + k`` from ``bodies - k`` places on.
    """
    others = edges.shape[1]
    back = [edges[:, others - k].roll(-k, dims=2) for k in range(1, others + 1)]
    return torch.stack(back, dim=1)


def view_of_senders(nodes: Float[Tensor, "stack graph body feature"]) -> Float[Tensor, "stack pair graph body feature"]:
    """View each edge's sender; the nodes are laid out twice so that ``i + k`` never wraps."""
    stack, graphs, bodies, features = nodes.shape
    twice = torch.cat([nodes, nodes[:, :, :-1]], dim=2)
    graph = (2 * bodies - 1) * features
    return twice.as_strided(
        (stack, bodies - 1, graphs, bodies, features),
        (graphs * graph, features, graph, features, 1),
        storage_offset=features,
    )


def sum_to_senders(edges: Float[Tensor, "stack pair graph body feature"]) -> Float[Tensor, "stack graph body feature"]:
    """Return what ``to_senders`` does, not to be differentiated."""
    stack, _, graphs, bodies, features = edges.shape
    twice = edges.new_zeros(stack, graphs, 2 * bodies - 1, features)
    for k in range(1, bodies):
        twice[:, :, k : k + bodies] += edges[:, k - 1]
    result = twice[:, :, :bodies].contiguous()
    result[:, :, :-1] += twice[:, :, bodies:]
    return result


class _OfSenders(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, nodes: Tensor) -> Tensor:
        return view_of_senders(nodes).contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return to_senders(gradient)


class _ToSenders(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Tensor) -> Tensor:
        return sum_to_senders(edges)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return of_senders(gradient)


class _PairSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, receivers: Tensor, senders: Tensor) -> Tensor:
        return receivers.unsqueeze(1) + view_of_senders(senders)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient.sum(1), to_senders(gradient)
