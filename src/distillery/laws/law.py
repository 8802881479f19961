"""A law as data: what takes the place of a network, written in expressions whose constants have names.

Of every law two things are known: messages along edges, whose sums over the edges that arrive are s1, s2 …, and
accelerations of nodes, made of these sums and of the node's own state (arXiv:2006.11287, section 2). Where a node model
only adds up what arrives, node accelerations are ``s1 + …`` and messages are the accelerations that pairs give. A
Hamiltonian law has energies too, from which messages and accelerations follow by Hamilton's equations (section 4).
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
        messages: Expressions along edges, in dx, dy (dz), r, m1, m2, q1, q2 and the constants; 1 receives.
        nodes: Accelerations in s1, s2 …, m, q, the velocity, the position and the constants; of a Hamiltonian law
            those of bodies with the kinetic energy p²/2m (see ``motion``).
        constants: Values of the constants, by name.
        velocities: Of a Hamiltonian law, the velocities ∂H/∂p in px, py (pz), m, q, the position and the constants.
        energies: Of a Hamiltonian law, the energy of a pair and that of a single body.
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
        """Return expressions of this law with the values of its constants put in."""
        values = {formula.symbol(name): sympy.Float(value) for name, value in self.constants.items()}
        return [expression.xreplace(values) for expression in expressions]

    def having(self, constants: Mapping[str, float]) -> Law:
        """Return the law with other values of some constants."""
        return dataclasses.replace(self, constants={**self.constants, **constants})

    @property
    def added(self) -> bool:
        """Whether nodes only add up what arrives, each component to its own."""
        return len(self.messages) == len(self.nodes) and all(
            not any(symbol in own_part(self, k).free_symbols for symbol in sums(len(self.messages)))
            for k in range(len(self.nodes))
        )


def own_part(law: Law, component: int) -> sympy.Expr:
    """Return what a node's acceleration is beside the sum that arrives for it."""
    return law.nodes[component] - sums(len(law.messages))[component]


def sums(count: int) -> tuple[sympy.Symbol, ...]:
    """Return the symbols of what arrives at a node."""
    return tuple(formula.symbol(f"s{k + 1}") for k in range(count))


def own_names(dim: int) -> tuple[str, ...]:
    """Return the names of a node's own state: mass, charge, velocity, position."""
    return ("m", "q", *(f"v{axis}" for axis in AXES[:dim]), *AXES[:dim])


def momentum_names(dim: int) -> tuple[str, ...]:
    """Return the names that the energy of a single body may use: momentum, mass, charge, position."""
    return (*(f"p{axis}" for axis in AXES[:dim]), "m", "q", *AXES[:dim])


def as_content(law: Law) -> dict[str, Any]:
    """Return a law as JSON-like content, from which ``from_content`` rebuilds it."""
    parts = ("messages", "nodes", "velocities", "energies")
    texts = {name: [formula.to_text(expression) for expression in getattr(law, name)] for name in parts}
    return {"format": FORMAT, "dim": law.dim, **texts, "constants": dict(law.constants), "shared": law.shared}


def from_content(content: Any, source: str) -> Law:
    """Rebuild a law from JSON-like content; its expressions are read by ``formula.parse``, nothing is executed.

    Args:
        content: As ``as_content`` gives it.
        source: What to call it in errors.

    Raises:
        DistilleryError: Something in it is missing, unknown or of another version.
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
    """Read a law that the stage ``replace`` has written.

    Args:
        path: Its file.
        form: Which of its forms: raw, refitted or clean, or that which took the network's place.

    Raises:
        DistilleryError: The file is missing, damaged or of another version.
    """
    return from_content(_content(path).get(form), str(path))


def read_graph(path: Path) -> str:
    """Return on which kind of graph (see ``graph.edges_of``) a law that the stage ``replace`` has written holds.

    Raises:
        DistilleryError: The file is missing or damaged.
    """
    # Files of earlier versions do not say it; most graphs are complete.
    return str(_content(path).get("graph", "complete"))


def _content(path: Path) -> dict[str, Any]:
    content = files.read_json(path, "run the sweep again, or name another file")
    return content if isinstance(content, dict) else {}
