"""The dense network's passes forth and back written out by hand, in memory that all steps share.

Autograd takes new memory for every value of every step and adds each gradient to zeros; here most is done in place,
and the gradients are written where the optimiser reads them. A step takes a tenth (300 units) to a third (16) less.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from distillery.networks.mlp import ACTIVATIONS, Mlp
from distillery.networks.network import GraphNetwork, Network, Prediction
from distillery.networks.pairs import sum_to_senders, view_of_senders


class Passes:
    """The passes of one network; the pass back belongs to the newest pass forth."""

    def __init__(self, network: GraphNetwork):
        self.network = network
        self._rows = torch.empty(0)

    @classmethod
    def of(cls, network: Network) -> Passes | None:
        """Return the passes of a network, nothing where they are not written: it is left to autograd."""
        written = (
            isinstance(network, GraphNetwork)
            and network.shape.model.penalty in ("none", "l1")
            and not (network.shape.model.relative or network.shape.model.antisymmetric)
            # Pruned components cost nothing; penalties are not supported here.
            and (network.alive is None or network.shape.model.penalty == "none")
            and network.edge.activation is ACTIVATIONS["relu"]
            and network.edge.precision is None
        )
        return cls(cast(GraphNetwork, network)) if written else None

    @torch.no_grad()
    def forth(self, nodes: Float[Tensor, "stack graph body feature"]) -> Prediction:
        """Predict accelerations as the network does.

        Args:
            nodes: Position, velocity, charge, mass.
        """
        edge, node = self.network.edge, self.network.node
        stack, graphs, bodies, _ = nodes.shape
        rows = nodes.flatten(1, 2)
        if self._rows.shape != rows.shape:
            self._edges = HiddenLayers(edge, (bodies - 1) * graphs * bodies)
            self._nodes = HiddenLayers(node, graphs * bodies)
        self._rows, self._pairs = rows, (stack, bodies - 1, graphs, bodies, -1)

        receivers = edge.enter(0, rows, bias=True).view(stack, 1, graphs, bodies, -1)
        senders = view_of_senders(edge.enter(1, rows).view(stack, graphs, bodies, -1))
        torch.add(receivers, senders, out=self._edges.values[0].view(self._pairs))
        hidden = self._edges.forth()
        if self.network.shape.model.penalty == "none":
            self._leaving = hidden.view(stack, bodies - 1, graphs * bodies, -1).sum(1)
            self._arriving, cost = edge.leave(self._leaving, bodies - 1), nodes.new_zeros(nodes.shape[:3])
        else:
            self._leaving, self._messages = hidden, edge.leave(hidden)
            self._arriving = self._messages.view(stack, bodies - 1, graphs * bodies, -1).sum(1)
            sizes = self._messages.abs().sum(2).view(stack, bodies - 1, graphs, bodies)
            cost = self.network.weight[:, None, None] * sizes.mean(1)
        if self.network.alive is not None:
            self._arriving *= self.network.alive
        torch.baddbmm(node.enter(0, rows, bias=True), self._arriving, node.first[1], out=self._nodes.values[0])
        acceleration = node.leave(self._nodes.forth())
        return Prediction(acceleration.view(stack, graphs, bodies, -1), cost)

    @torch.no_grad()
    def back(self, slope: Float[Tensor, "stack graph body dim"], weights: Float[Tensor, "stack graph body"]) -> None:
        """Write the gradients of error plus penalty to the ``grad`` of all parameters, over what is there.

        Args:
            slope: Gradient of the error by the accelerations.
            weights: Of each body, by which its cost counts.
        """
        edge, node, rows = self.network.edge, self.network.node, self._rows
        stack, others, graphs, bodies, _ = self._pairs
        own = self._nodes.back(slope.flatten(1, 2), self._nodes.values[-1])
        torch.bmm(rows.mT, own, out=node.first[0].grad)
        torch.bmm(self._arriving.mT, own, out=node.first[1].grad)
        arriving = torch.bmm(own, node.first[1].mT)
        if self.network.alive is not None:
            arriving *= self.network.alive
        if self.network.shape.model.penalty == "none":
            between = self._edges.back(arriving, self._leaving, others)
        else:
            share = self.network.weight[:, None, None] * weights / self._messages.shape[1]
            by_edge = self._messages.sign().view(stack, others, graphs * bodies, -1)
            messages = by_edge.mul_(share.view(stack, 1, graphs * bodies, 1)).add_(arriving.unsqueeze(1)).flatten(1, 2)
            between = self._edges.back(messages, self._leaving)
        received, sent = between.view(self._pairs).sum(1), sum_to_senders(between.view(self._pairs))
        torch.bmm(rows.mT, received.flatten(1, 2), out=edge.first[0].grad)
        torch.bmm(rows.mT, sent.flatten(1, 2), out=edge.first[1].grad)


class HiddenLayers:
    """Hidden layers of an MLP forth and back, in memory laid out once.

    Going back, the gradient by a layer takes the place of a layer that is no longer needed: what steps touch in turn
    should stay in the cache.

    Attributes:
        values: The layers; the first is filled by the caller, with what enters it.
    """

    def __init__(self, mlp: Mlp, rows: int):
        stack, hidden, _ = mlp.last.shape
        self.mlp = mlp
        # Lists, because looking into a ParameterList takes as long as a small matrix product.
        self._weights, self._biases = list(mlp.weights), list(mlp.biases)
        *self.values, self._spare = (mlp.last.new_empty(stack, rows, hidden) for _ in range(len(self._weights) + 2))

    def forth(self) -> Float[Tensor, "stack row hidden"]:
        """Return the last hidden layer."""
        value = self.values[0].relu_()
        for weight, bias, result in zip(self._weights, self._biases, self.values[1:], strict=True):
            value = torch.baddbmm(bias, value, weight, out=result).relu_()
        return value

    def back(
        self, by_output: Float[Tensor, "stack some output"], leaving: Float[Tensor, "stack some hidden"], terms: int = 1
    ) -> Float[Tensor, "stack row hidden"]:
        """Write the gradients of all parameters but the first weights; return the gradient by what entered.

        Args:
            by_output: Gradient by the output.
            leaving: What the output was made of: the last hidden layer, or sums of ``terms`` of its rows.
            terms: Rows in each sum; those of a sum lie as far apart as there are sums.
        """
        mlp, here, free = self.mlp, self.values[-1], self._spare
        torch.bmm(leaving.mT, by_output, out=mlp.last.grad)
        torch.sum(by_output, 1, keepdim=True, out=mlp.last_bias.grad).mul_(terms)
        by_sum = torch.bmm(by_output, mlp.last.mT).unsqueeze(1)
        apart = (len(here), terms, *by_sum.shape[2:])
        _where_positive(by_sum.expand(apart), here.view(apart), here.view(apart))
        for layer in range(len(self._weights) - 1, -1, -1):
            before, weight = self.values[layer], self._weights[layer]
            torch.sum(here, 1, keepdim=True, out=self._biases[layer].grad)
            torch.bmm(before.mT, here, out=weight.grad)
            torch.bmm(here, weight.mT, out=free)
            here, free = _where_positive(free, before, free), here
        torch.sum(here, 1, keepdim=True, out=mlp.first_bias.grad)
        return here


def _where_positive(gradient: Tensor, value: Tensor, out: Tensor) -> Tensor:
    """Let a gradient through where ReLU did."""
    return cast(Tensor, torch.ops.aten.threshold_backward.grad_input(gradient, value, 0, grad_input=out))
