"""A law as a PyTorch module with trainable constants; no other part of the package needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sympy
import torch
from jaxtyping import Float
from torch import Tensor, nn

from distillery.data.graph import edges_of
from distillery.laws.law import Law, read_graph, read_law
from distillery.laws.motion import moved
from distillery.networks.functions import AXES, feature_names
from distillery.physics import formula


class LawModule(nn.Module):
    """A law that maps graphs to accelerations; expressions are evaluated node by node, no code is generated.

    Attributes:
        law: The law with its initial constants.
        constants: Their trainable values in float64, by name.
    """

    def __init__(self, law: Law, graph: str = "complete"):
        """Create the module of a law.

        Args:
            law: The law.
            graph: The kind of graph, see ``graph.edges_of``.

        Raises:
            DistilleryError: The kind of graph is unknown.
        """
        super().__init__()
        edges_of(graph, 2)
        self.law, self.graph, self._nodes = law, graph, moved(law)
        values = {name: nn.Parameter(torch.tensor(value, dtype=torch.float64)) for name, value in law.constants.items()}
        self.constants = nn.ParameterDict(values)

    def forward(self, nodes: Float[Tensor, "graph body feature"]) -> Float[Tensor, "graph body dim"]:
        """Return the accelerations of all bodies.

        Args:
            nodes: Position, velocity, charge, mass of every body (dimensionless), in the order of the networks' inputs.
        """
        nodes, dim = nodes.double(), self.law.dim
        senders, receivers = (torch.from_numpy(side).to(nodes.device) for side in edges_of(self.graph, nodes.shape[1]))
        delta = nodes[:, receivers, :dim] - nodes[:, senders, :dim]
        per_body = [nodes[:, side, column] for column in (-1, -2) for side in (receivers, senders)]
        columns = [*delta.unbind(-1), delta.norm(dim=-1), *per_body]
        values: dict[str, Tensor] = dict(self.constants.items())
        along = values | dict(zip(feature_names(dim), columns, strict=True))
        state = values | {"m": nodes[..., -1], "q": nodes[..., -2]}
        for k, axis in enumerate(AXES[:dim]):
            state |= {axis: nodes[..., k], f"v{axis}": nodes[..., dim + k]}
        for k, sent in enumerate(formula.evaluated(self.law.messages, along, _TORCH)):
            total = torch.zeros_like(nodes[..., 0]).index_add(1, receivers, sent.expand(delta.shape[:2]))
            state[f"s{k + 1}"] = total
        found = formula.evaluated(self._nodes, state, _TORCH)
        return torch.stack([own.expand(nodes.shape[:2]) for own in found], dim=-1)


def load_module(path: Path, graph: str | None = None) -> LawModule:
    """Return the module of a law that the stage ``replace`` wrote.

    Args:
        path: A cell's ``law.json``.
        graph: The kind of graph; None for that of the file, or a complete one if the file names none.

    Raises:
        DistilleryError: The file is missing, damaged or of another version.
    """
    return LawModule(read_law(path), graph or read_graph(path))


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


_TORCH = formula.Backend(
    _tensor,
    lambda condition, yes, no: torch.where(condition, _tensor(yes), _tensor(no)),
    lambda base, exponent: base**exponent,
    {
        sympy.Add: formula.folded(lambda a, b: a + b),
        sympy.Mul: formula.folded(lambda a, b: a * b),
        sympy.exp: lambda a: torch.exp(_tensor(a[0])),
        sympy.log: lambda a: torch.log(_tensor(a[0])),
        sympy.Abs: lambda a: abs(a[0]),
        sympy.sign: lambda a: torch.sign(_tensor(a[0])),
        sympy.Min: formula.folded(lambda a, b: torch.minimum(_tensor(a), _tensor(b))),
        sympy.Max: formula.folded(lambda a, b: torch.maximum(_tensor(a), _tensor(b))),
        sympy.StrictGreaterThan: lambda a: _tensor(a[0]) > _tensor(a[1]),
        sympy.GreaterThan: lambda a: _tensor(a[0]) >= _tensor(a[1]),
        sympy.StrictLessThan: lambda a: _tensor(a[0]) < _tensor(a[1]),
        sympy.LessThan: lambda a: _tensor(a[0]) <= _tensor(a[1]),
        sympy.And: formula.folded(torch.logical_and),
        sympy.Or: formula.folded(torch.logical_or),
        sympy.Not: lambda a: torch.logical_not(a[0]),
    },
)
