"""A stack of multilayer perceptrons of equal shape, one for each cell that trains in this process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    # In place: the layer before needs only its inputs to be differentiated, and memory is what ReLU costs.
    "relu": torch.relu_,
    "silu": nn.functional.silu,
    "softplus": nn.functional.softplus,
}


class Mlp(nn.Module):
    """MLPs with batched weights ``[stack, in, out]`` and a first layer split by input.

    A first layer on concatenated inputs is the sum of one linear map per input, W·[a, b] = W_a·a + W_b·b.
    Kept apart, the maps of a receiver and of a sender run once per node instead of once per edge.
    """

    def __init__(
        self,
        stack: int,
        inputs: tuple[int, ...],
        hidden: int,
        layers: int,
        output: int,
        activation: str,
        precision: torch.dtype | None = None,
    ):
        """Lay out the parameters, all zero.

        Args:
            stack: Cells side by side.
            inputs: Width of each input.
            hidden: Units per hidden layer.
            layers: Hidden layers, at least 1.
            output: Width of the output.
            activation: A key of ``ACTIVATIONS``.
            precision: Arithmetic between hidden layers if not that of the parameters; the first and the last
                layer keep that.
        """
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.precision = precision
        self.first = nn.ParameterList(nn.Parameter(torch.zeros(stack, width, hidden)) for width in inputs)
        self.first_bias = nn.Parameter(torch.zeros(stack, 1, hidden))
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(stack, hidden, hidden)) for _ in range(layers - 1))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(stack, 1, hidden)) for _ in range(layers - 1))
        self.last = nn.Parameter(torch.zeros(stack, hidden, output))
        self.last_bias = nn.Parameter(torch.zeros(stack, 1, output))

    def initialise(self, index: int, stream: np.random.Generator) -> None:
        """Draw the weights of one cell of the stack as PyTorch's linear layers do, U(±1/√(inputs of the layer)).

        Args:
            index: Place of the cell in the stack.
            stream: Where the draws come from.
        """
        hidden = self.last.shape[1]
        fan_in = {"first": sum(weight.shape[1] for weight in self.first)}
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                bound = fan_in.get(name.split(".")[0].removesuffix("_bias"), hidden) ** -0.5
                drawn = stream.uniform(-bound, bound, size=tuple(parameter.shape[1:]))
                parameter[index] = torch.from_numpy(drawn.astype(np.float32))

    def enter(
        self, index: int, inputs: Float[Tensor, "stack row feature"], *, bias: bool = False
    ) -> Float[Tensor, "stack row hidden"]:
        """Return the part of the first layer that belongs to input ``index``; ``bias`` goes with one of them."""
        weight = self.first[index]
        return torch.baddbmm(self.first_bias, inputs, weight) if bias else torch.bmm(inputs, weight)

    def hidden(self, entered: Float[Tensor, "stack row hidden"]) -> Float[Tensor, "stack row hidden"]:
        """Return the last hidden layer.

        Args:
            entered: Sum of the parts of the first layer, before the activation.
        """
        dtype = self.precision or entered.dtype
        value = self.activation(entered.to(dtype))
        for weight, bias in zip(self.weights, self.biases, strict=True):
            value = self.activation(torch.baddbmm(bias.to(dtype), value, weight.to(dtype)))
        return value

    def leave(self, hidden: Float[Tensor, "stack row hidden"], terms: int = 1) -> Float[Tensor, "stack row output"]:
        """Return the output.

        Args:
            hidden: The last hidden layer, or a sum of ``terms`` of them.
            terms: How many outputs are summed; the offset counts as often.
        """
        return torch.baddbmm(self.last_bias, hidden.to(self.last.dtype), self.last, beta=terms)

    def slope(self, entered: Float[Tensor, "stack row hidden"]) -> Float[Tensor, "stack row hidden"]:
        """Return the derivative of the only output by the first layer, written out for softplus' = sigmoid.

        Args:
            entered: Sum of the parts of the first layer, before the activation.
        """
        slopes, value = [torch.sigmoid(entered)], self.activation(entered)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            before = torch.baddbmm(bias, value, weight)
            slopes.append(torch.sigmoid(before))
            value = self.activation(before)
        result = slopes.pop() * self.last.mT
        for weight in reversed(self.weights):
            result = torch.bmm(result, weight.mT) * slopes.pop()
        return result
