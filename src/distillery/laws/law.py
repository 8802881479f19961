"""A law as data: expressions with named constants that replace a network.

A law has messages along edges, whose sums over incoming edges are s1, s2 …, and accelerations of nodes, in these sums
and the node's own state (arXiv:2006.11287, section 2). If a node model only adds up messages, accelerations are ``s1 +
…`` and messages are the accelerations of pairs. A Hamiltonian law also has energies, from which messages and
accelerations follow by Hamilton's equations (section 4).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sympy

from distillery import files
from distillery.errors import DistilleryError
from distillery.networks.functions import AXES, feature_names
from distillery.physics import formula

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Law:
    """An analytic model; all quantities are dimensionless.

    Attributes:
        dim: Dimensions of space.
        messages: Expressions along edges, in dx, dy (dz), r, m1, m2, q1, q2 and the constants; index 1 is the receiver.
        nodes: Accelerations in s1, s2 …, m, q, the velocity, the position and the constants; for a Hamiltonian law
            those of bodies with the kinetic energy p²/2m (see ``motion``).
        constants: Values of the constants, by name.
        velocities: For a Hamiltonian law, ∂H/∂p in px, py (pz), m, q, the position and the constants.
        energies: For a Hamiltonian law, the energy of a pair and that of a single body.
        shared: Whether the components are one vector law, with the same constants for all axes.
    """

    dim: int
    messages: tuple[sympy.Expr, ...]
    nodes: tuple[sympy.Expr, ...]
    constants: dict[str, float]
    velocities: tuple[sympy.Expr, ...] = ()
    energies: tuple[sympy.Expr, ...] = ()
    shared: bool = False

    def filled(self, expressions: tuple[sympy.Expr, ...]) -> list[sympy.Expr]:
        """Return expressions of this law with the values of its constants."""
        values = {formula.symbol(name): sympy.Float(value) for name, value in self.constants.items()}
        return [expression.xreplace(values) for expression in expressions]

    def having(self, constants: Mapping[str, float]) -> Law:
        """Return the law with other values of some constants."""
        return dataclasses.replace(self, constants={**self.constants, **constants})

    @property
    def added(self) -> bool:
        """Whether each node component is the sum of one message component plus terms of the node's own state."""
        return len(self.messages) == len(self.nodes) and all(
            not any(symbol in own_part(self, k).free_symbols for symbol in sums(len(self.messages)))
            for k in range(len(self.nodes))
        )


def own_part(law: Law, component: int) -> sympy.Expr:
    """Return the terms of a node's acceleration besides the sum of messages."""
    return law.nodes[component] - sums(len(law.messages))[component]


def sums(count: int) -> tuple[sympy.Symbol, ...]:
    """Return the symbols of the sums of messages at a node."""
    return tuple(formula.symbol(f"s{k + 1}") for k in range(count))


def own_names(dim: int) -> tuple[str, ...]:
    """Return the names of a node's own state: mass, charge, velocity, position."""
    return ("m", "q", *(f"v{axis}" for axis in AXES[:dim]), *AXES[:dim])


def momentum_names(dim: int) -> tuple[str, ...]:
    """Return the names in the energy of a single body: momentum, mass, charge, position."""
    return (*(f"p{axis}" for axis in AXES[:dim]), "m", "q", *AXES[:dim])


def as_content(law: Law) -> dict[str, Any]:
    """Return a law as JSON-like content, from which ``from_content`` rebuilds it."""
    parts = ("messages", "nodes", "velocities", "energies")
    texts = {name: [formula.to_text(expression) for expression in getattr(law, name)] for name in parts}
    return {"format": FORMAT, "dim": law.dim, **texts, "constants": dict(law.constants), "shared": law.shared}


def from_content(content: Any, source: str) -> Law:
    """Rebuild a law from JSON-like content; ``formula.parse`` reads its expressions, nothing is executed.

    Args:
        content: Content written by ``as_content``.
        source: Name of the content in errors.

    Raises:
        DistilleryError: An entry is missing, unknown or of another version.
    """
    try:
        if content["format"] != FORMAT or content["dim"] not in (2, 3):
            raise DistilleryError(f"{source}: written by another version of distillery; replace the cell again")
        dim = int(content["dim"])
        constants = {str(name): float(value) for name, value in content["constants"].items()}
        arriving = tuple(f"s{k + 1}" for k in range(len(content["messages"])))
        body = momentum_names(dim)
        known = {
            "messages": [feature_names(dim)] * len(content["messages"]),
            "nodes": [(*arriving, *own_names(dim))] * dim,
            "velocities": [body] * len(content["velocities"]),
            "energies": [feature_names(dim), body][: len(content["energies"])],
        }
        parts = {
            name: tuple(
                formula.parse(text, (*names, *constants)) for text, names in zip(content[name], own, strict=True)
            )
            for name, own in known.items()
        }
        return Law(dim=dim, constants=constants, shared=bool(content["shared"]), **parts)
    except DistilleryError as error:
        text = str(error)
        raise DistilleryError(text if text.startswith(source) else f"{source}: {text}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DistilleryError(f"{source}: lacks what it should hold; replace the cell again") from None


def read_law(path: Path, form: str = "law") -> Law:
    """Read a law that the stage ``replace`` wrote.

    Args:
        path: Its file.
        form: Form of the law: ``raw``, ``refitted``, ``clean``, or ``law`` for the one that replaced the network.

    Raises:
        DistilleryError: The file is missing, damaged or of another version.
    """
    return from_content(_content(path).get(form), str(path))


def read_graph(path: Path) -> str:
    """Return the kind of graph (see ``graph.edges_of``) of a law that the stage ``replace`` wrote.

    Raises:
        DistilleryError: The file is missing or damaged.
    """
    # A file without the entry holds a law of a complete graph.
    return str(_content(path).get("graph", "complete"))


def _content(path: Path) -> dict[str, Any]:
    content = files.read_json(path, "run the sweep again, or name another file")
    return content if isinstance(content, dict) else {}
