"""A law of halos as data: an expression along edges, one for halos, and constants with names and bounds.

δ̂_i = node(s_i, M_i, |v_i|) with s_i = Σ_j message(r_ij, |v_i - v_j|, |v_i|, |v_j|, M_i, M_j) over the neighbours j of
halo i; names and units are those of ``features``. The paper's forms (``forms``) and the results of symbolic
regression (``found``) are such laws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sympy
from jaxtyping import Float, Int

from distillery import files
from distillery.errors import DistilleryError
from distillery.halos.features import HaloGraph, message_names, node_names
from distillery.physics import formula
from distillery.symbolic.complexity import complexity

FORMAT = 1
# Edges evaluated at a time: 64 MB for each column and intermediate result of an expression.
MAX_EDGES = 2_000_000


@dataclasses.dataclass(frozen=True)
class HaloLaw:
    """An analytic model of δ.

    Attributes:
        message: Expression in the names of ``features.message_names`` and the constants.
        node: Expression in those of ``features.node_names`` and the constants.
        constants: Values, by name.
        bounds: Lowest and highest value that a refit may give a constant; one without bounds is free, one whose bounds
            are equal is held.
    """

    message: sympy.Expr
    node: sympy.Expr
    constants: dict[str, float]
    bounds: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the constants that are not held."""
        return tuple(name for name in self.constants if self.bound(name)[0] < self.bound(name)[1])

    def bound(self, name: str) -> tuple[float, float]:
        """Return the bounds of a constant."""
        return self.bounds.get(name, (-np.inf, np.inf))

    @property
    def at_bound(self) -> dict[str, float]:
        """Free constants at a bound, within the accuracy of a fit, and that bound."""
        found = {}
        for name in self.free:
            value = self.constants[name]
            near = 1e-6 * max(abs(value), 1e-12)
            for bound in self.bound(name):
                if abs(value - bound) < near:
                    found[name] = bound
        return found

    def having(self, constants: Mapping[str, float]) -> HaloLaw:
        """Return the law with other values of some constants."""
        return dataclasses.replace(self, constants={**self.constants, **constants})

    def filled(self) -> tuple[sympy.Expr, sympy.Expr]:
        """Return message and node with the values of the constants inserted."""
        values = {formula.symbol(name): sympy.Float(value) for name, value in self.constants.items()}
        return self.message.xreplace(values), self.node.xreplace(values)

    @property
    def complexity(self) -> int:
        """The paper's complexity of message and node together; a law without neighbours has only a node."""
        return complexity(self.node) + (complexity(self.message) if self.has_messages else 0)

    @property
    def has_messages(self) -> bool:
        """Whether the node depends on the sum of messages."""
        return formula.symbol("s") in self.node.free_symbols

    def predict(self, graph: HaloGraph, receivers: Int[np.ndarray, " receiver"]) -> Float[np.ndarray, " receiver"]:
        """Return δ̂ of some halos, of any catalogue (dimensionless).

        Args:
            graph: The halos.
            receivers: Those to predict.
        """
        arriving = (
            sums(self.message, self.constants, graph, receivers) if self.has_messages else np.zeros(len(receivers))
        )
        values = {**self.constants, **graph.own(receivers), "s": arriving}
        return np.broadcast_to(formula.evaluate(self.node, values), len(receivers)).astype(np.float64)


def sums(
    expression: sympy.Expr,
    constants: Mapping[str, float],
    graph: HaloGraph,
    receivers: Int[np.ndarray, " receiver"],
    most: int = MAX_EDGES,
) -> Float[np.ndarray, " receiver"]:
    """Return the sums of an expression over the incoming edges of some halos, in bounded memory.

    Args:
        expression: In the names of ``features.message_names`` and the constants.
        constants: Values of the constants.
        graph: The halos.
        receivers: Those at which edges arrive.
        most: Most edges at a time.
    """
    parts = [np.zeros(0)]
    for columns, degrees in column_pieces(expression, graph, receivers, most):
        values = formula.evaluate(expression, {**constants, **columns})
        parts.append(row_sums(np.broadcast_to(values, int(degrees.sum())), degrees))
    return np.concatenate(parts)


def column_pieces(
    expression: sympy.Expr, graph: HaloGraph, receivers: Int[np.ndarray, " receiver"], most: int = MAX_EDGES
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Yield the features of the edges of some halos, and their number per halo, chunk by chunk."""
    names = frozenset(symbol.name for symbol in expression.free_symbols)
    # A halo with more neighbours than a chunk has edges is a chunk of its own.
    most = max(most, int(graph.neighbours.degrees[receivers].max(initial=1)))
    for place in graph.neighbours.pieces(receivers, most):
        edges = graph.neighbours.edges(receivers[place])
        yield graph.columns(edges, names), edges.degrees


def row_sums(
    values: Float[np.ndarray, " edge"], degrees: Int[np.ndarray, " receiver"]
) -> Float[np.ndarray, " receiver"]:
    """Return the sums over the edges of each receiver."""
    found = np.zeros(len(degrees))
    # For an empty row, reduceat returns the first value of the next row.
    some = np.flatnonzero(degrees)
    if len(some):
        ends = np.cumsum(degrees)
        found[some] = np.add.reduceat(values, (ends - degrees)[some])
    return found


def as_content(law: HaloLaw) -> dict[str, Any]:
    """Return a law as JSON-like content, from which ``from_content`` rebuilds it."""
    finite = {
        name: [None if np.isinf(low) else low, None if np.isinf(high) else high]
        for name, (low, high) in law.bounds.items()
    }
    return {
        "format": FORMAT,
        "message": formula.to_text(law.message),
        "node": formula.to_text(law.node),
        "constants": dict(law.constants),
        "bounds": finite,
    }


def from_content(content: Any, source: str) -> HaloLaw:
    """Rebuild a law from JSON-like content; its expressions are parsed by ``formula.parse``; no code is executed.

    Args:
        content: As ``as_content`` gives it.
        source: What to call it in errors.

    Raises:
        DistilleryError: Something in it is missing, unknown or of another version.
    """
    try:
        if content["format"] != FORMAT:
            raise DistilleryError(f"{source}: written by another version of distillery; make it again")
        constants = {str(name): float(value) for name, value in content["constants"].items()}
        bounds = {
            str(name): (-np.inf if low is None else float(low), np.inf if high is None else float(high))
            for name, (low, high) in content["bounds"].items()
        }
        message = formula.parse(content["message"], (*message_names(), *constants))
        node = formula.parse(content["node"], (*node_names(), *constants))
        return HaloLaw(message, node, constants, bounds)
    except DistilleryError as error:
        text = str(error)
        raise DistilleryError(text if text.startswith(source) else f"{source}: {text}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DistilleryError(f"{source}: lacks what it should hold; make it again") from None


def write_law(path: Path, law: HaloLaw) -> None:
    """Write a law as JSON atomically."""
    files.write_json(path, as_content(law))


def read_law(path: Path) -> HaloLaw:
    """Read a law that ``write_law`` has written.

    Raises:
        DistilleryError: The file is missing, damaged or of another version.
    """
    return from_content(files.read_json(path, "delete the cell's replace.json and run the sweep again"), str(path))
