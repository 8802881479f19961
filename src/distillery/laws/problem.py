"""The least-squares problem of a law's constants, with exact derivatives.

SymPy derives the expressions once, ``physics.formula`` evaluates the derivatives: no code is generated. Sums over edges
are linear, so the derivative of an acceleration by a constant is that of the node's expression, plus for every sum the
derivative by the sum times the sum of the messages' derivatives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy
from jaxtyping import Bool, Float, Int

from distillery.laws.composed import HeldOut
from distillery.laws.law import Law, sums
from distillery.physics import formula


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """Snapshots to which constants are fitted.

    Attributes:
        graphs: The snapshots, with their true accelerations.
        simulation: Number of the simulation of each snapshot; snapshots of one simulation are not independent.
        relative: Whether errors are relative to the sum of each body's own and the typical acceleration.
    """

    graphs: HeldOut
    simulation: Int[np.ndarray, " graph"]
    relative: bool = False

    def targets(self, law: Law) -> Float[np.ndarray, "equation graph body"]:
        """Return the true accelerations and, for a Hamiltonian law, the true velocities."""
        wanted = [self.graphs.acceleration] + ([self.graphs.velocity] if law.velocities else [])
        return np.concatenate([np.moveaxis(values, -1, 0) for values in wanted])

    def weights(self, law: Law) -> Float[np.ndarray, "equation graph body"]:
        """Return one over the scale of each error."""
        found = []
        for values in [self.graphs.acceleration] + ([self.graphs.velocity] if law.velocities else []):
            size = np.abs(values).sum(axis=-1)
            typical = float(np.median(size)) or float(size.mean()) or 1.0
            scale = typical + size if self.relative else np.full(size.shape, typical)
            found += [1 / scale] * values.shape[-1]
        return np.stack(found)

    @property
    def arriving(self) -> int | None:
        """Number of messages that every body receives; None if it differs between bodies."""
        counts = np.bincount(self.graphs.receivers, minlength=self.graphs.mass.shape[1])
        return int(counts[0]) if len(set(counts)) == 1 else None

    @property
    def unit_charges(self) -> bool:
        """Whether all charges are 1 or -1, so that a charge is its own inverse."""
        return bool(np.all(self.graphs.charge**2 == 1))

    def part(self, chosen: Bool[np.ndarray, " graph"]) -> Data:
        """Return some of the snapshots."""
        arrays = ("position", "velocity", "mass", "charge", "acceleration")
        graphs = dataclasses.replace(self.graphs, **{name: getattr(self.graphs, name)[chosen] for name in arrays})
        return dataclasses.replace(self, graphs=graphs, simulation=self.simulation[chosen])


class Problem:
    """The least-squares problem of some constants of a law."""

    def __init__(self, law: Law, data: Data, free: tuple[str, ...]) -> None:
        """Derive the expressions by the constants.

        Args:
            law: The law.
            data: Snapshots that it is fitted to.
            free: The constants that are fitted; the others keep their values.
        """
        held = {formula.symbol(n): sympy.Float(v) for n, v in law.constants.items() if n not in free}
        self.free = free
        self._edges, self._nodes = data.graphs.edges, data.graphs.nodes
        self._graphs = data.graphs
        self._messages = [message.xreplace(held) for message in law.messages]
        self._equations = [found.xreplace(held) for found in (*law.nodes, *law.velocities)]
        self._targets, self._weights = data.targets(law), data.weights(law)
        self._inputs = sums(len(law.messages))
        symbols = [formula.symbol(name) for name in free]
        self._by_constant = [[sympy.diff(message, c) for c in symbols] for message in self._messages]
        self._own_by_constant = [[sympy.diff(equation, c) for c in symbols] for equation in self._equations]
        self._by_input = [[sympy.diff(equation, s) for s in self._inputs] for equation in self._equations]
        self._known: dict[tuple[int, int], np.ndarray] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of equations, graphs and bodies, in the order of the residuals."""
        return self._targets.shape

    @property
    def linear(self) -> bool:
        """Whether residuals are linear in all constants: then every start has the same end."""
        slopes = [
            slope for rows in (self._by_constant, self._own_by_constant, self._by_input) for r in rows for slope in r
        ]
        return not any(symbol.name in self.free for slope in slopes for symbol in slope.free_symbols) and not any(
            symbol in self._inputs for rows in self._by_input for slope in rows for symbol in slope.free_symbols
        )

    def residual(self, values: Float[np.ndarray, " constant"]) -> Float[np.ndarray, " residual"]:
        """Return the weighted errors."""
        with np.errstate(all="ignore"):
            state = self._state(values)
            found = [np.broadcast_to(value, self.shape[1:]) for value in formula.evaluated(self._equations, state)]
            return np.asarray((np.stack(found) - self._targets) * self._weights).ravel()

    def jacobian(self, values: Float[np.ndarray, " constant"]) -> Float[np.ndarray, "residual constant"]:
        """Return the derivatives of the weighted errors by the constants."""
        with np.errstate(all="ignore"):
            state = self._state(values)
            edges: dict[str, Any] = {**self._edges, **self._values(values)}
            summed = self._summed(edges)
            found = np.zeros((len(self.free), *self.shape))
            # Terms of each derivative: an expression, and the factor by which it is multiplied.
            parts: list[tuple[int, int, sympy.Expr, np.ndarray | float]] = []
            for index in range(len(self.free)):
                for place, own in enumerate(self._own_by_constant):
                    if own[index] != 0:
                        parts.append((index, place, own[index], 1.0))
                    parts += [
                        (index, place, by_input, summed[message, index])
                        for message, by_input in enumerate(self._by_input[place])
                        if by_input != 0 and (message, index) in summed
                    ]
            values_of = formula.evaluated([slope for *_, slope, _ in parts], state)
            for (index, place, _, factor), value in zip(parts, values_of, strict=True):
                found[index, place] += value * factor
            found *= self._weights
        return found.reshape(len(self.free), -1).T

    def _summed(self, edges: Mapping[str, Any]) -> dict[tuple[int, int], np.ndarray]:
        """Return the derivatives of the sums of messages by the constants, except those that are zero everywhere."""
        wanted = [
            (message, index)
            for index in range(len(self.free))
            for message in range(len(self._messages))
            if self._by_constant[message][index] != 0
        ]
        new = [place for place in wanted if place not in self._known]
        found = {place: self._known[place] for place in wanted if place in self._known}
        slopes = [self._by_constant[message][index] for message, index in new]
        for place, slope, value in zip(new, slopes, formula.evaluated(slopes, edges), strict=True):
            along = np.broadcast_to(value, self._edges["r"].shape)
            found[place] = self._graphs.summed(along, self._graphs.receivers)
            if not any(symbol.name in self.free for symbol in slope.free_symbols):
                self._known[place] = found[place]
        return found

    def _values(self, values: np.ndarray) -> dict[str, float]:
        return dict(zip(self.free, values.tolist(), strict=True))

    def _state(self, values: np.ndarray) -> dict[str, Any]:
        # Constants enter as values: substituting them in the expressions at every step would take most of the time.
        constants = self._values(values)
        edges, state = {**self._edges, **constants}, {**self._nodes, **constants}
        for name, value in zip(self._inputs, formula.evaluated(self._messages, edges), strict=True):
            along = np.broadcast_to(value, self._edges["r"].shape)
            state[name.name] = self._graphs.summed(along, self._graphs.receivers)
        return state
