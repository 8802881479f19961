"""Constants of a law of halos fitted to overdensities, by mean absolute error, within their bounds.

SciPy's trust-region least squares in float64 with exact derivatives, and a loss that is quadratic only within a part of
the usual error, which shrinks from pass to pass: so it goes over into the mean absolute error that the paper reports
(arXiv:2006.11287, section 5). A simplex search then minimises that error itself.

Constants that keep their signs are moved by their logarithms. Of c₁/(c₂ + r^c₃) the factors change by orders of
magnitude when the exponent moves; between logarithms and exponent that is a straight line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.optimize
import sympy
from jaxtyping import Float, Int

from distillery.errors import NotFiniteError
from distillery.halos.features import HaloGraph
from distillery.halos.law import HaloLaw, column_pieces, row_sums
from distillery.halos.poles import domain_of, has_poles
from distillery.halos.settings import MOST_HALOS
from distillery.physics import formula
from distillery.randomness import stream

# Width of the quadratic part of the loss in each pass, relative to the typical error.
_SHARES = (1.0, 0.3, 0.1)
# Columns of edges up to this size are kept between evaluations, larger ones are computed again.
_KEPT_BYTES = 1_000_000_000
_BYTES = 8


@dataclasses.dataclass(frozen=True)
class Refitted:
    """A law fitted to halos.

    Attributes:
        law: The law with fitted constants.
        error: Mean |δ - δ̂| on the halos that it was fitted to.
        halos: How many these are.
        at_bound: Constants that ended at a bound.
        poles: Whether a denominator, a root or a logarithm changes its sign on a domain wider than the halos.
    """

    law: HaloLaw
    error: float
    halos: int
    at_bound: tuple[str, ...]
    poles: bool


def refit(
    law: HaloLaw,
    graph: HaloGraph,
    receivers: Int[np.ndarray, " receiver"],
    *,
    seed: int = 0,
    starts: int = 4,
    halos: int = MOST_HALOS,
    evaluations: int = 60,
    polish: int = 200,
) -> Refitted:
    """Fit all constants of a law together.

    Args:
        law: The law with the constants to start from.
        graph: The halos.
        receivers: Those to fit; random ones of them, if they are more than ``halos``.
        seed: Seed of the other starts and of the choice of halos.
        starts: How many starts there are: the given one, and multiples of it.
        halos: Most halos to fit.
        evaluations: Most evaluations of a pass of least squares.
        polish: Most evaluations of the simplex search; 0 for none.

    Raises:
        NotFiniteError: The law is not finite on the halos, from whatever start.
    """
    draws = stream(seed, "halos", "refit")
    if len(receivers) > halos:
        receivers = np.sort(draws.choice(receivers, halos, replace=False))
    problem = _Problem(law, graph, receivers)
    low, high = problem.low, problem.high
    given = np.clip(np.array([law.constants[name] for name in law.free]), low, high)
    others = (given * np.exp(draws.normal(0.0, 0.5, given.shape)) for _ in range(starts - 1))
    first = [problem.coordinates(np.clip(values, low, high)) for values in (given, *others)]
    # A law that is not finite has an infinite error; no warning is needed.
    with np.errstate(all="ignore"):
        inner = _best(problem, first, evaluations)
        if polish and len(inner):
            inner = _polished(problem, inner, polish)
    found = problem.natural(inner)
    fitted = law.having(dict(zip(law.free, found.tolist(), strict=True)))
    poles = has_poles(fitted, domain_of(fitted, graph, receivers))
    return Refitted(fitted, problem.error(inner), len(receivers), tuple(fitted.at_bound), poles)


def _best(problem: _Problem, starts: Sequence[np.ndarray], most: int) -> np.ndarray:
    """Return the result of the start with the smallest mean absolute error."""
    usable = [values for values in starts if np.isfinite(problem.error(values))]
    if not usable:
        raise NotFiniteError(
            "law: is not finite on the halos; look for a division by zero or a root of what is negative"
        )
    if not problem.law.free:
        return usable[0]
    ends = [_solved(problem, values, _SHARES[0], most) for values in usable]
    best = min(ends, key=problem.error)
    for share in _SHARES[1:]:
        best = min((best, _solved(problem, best, share, most)), key=problem.error)
    return best


def _solved(problem: _Problem, start: np.ndarray, share: float, most: int) -> np.ndarray:
    usual = 1.4826 * float(np.median(np.abs(problem.residual(start))))
    try:
        answer = scipy.optimize.least_squares(
            problem.residual,
            start,
            problem.jacobian,
            bounds=problem.bounds,
            x_scale="jac",
            loss="soft_l1",
            f_scale=max(share * usual, 1e-12),
            max_nfev=most,
        )
    except (ValueError, OverflowError):
        # The residuals or their squares are not finite: keep the start.
        return start
    return answer.x if problem.error(answer.x) < problem.error(start) else start


def _polished(problem: _Problem, start: np.ndarray, most: int) -> Float[np.ndarray, " constant"]:
    size = np.where(start == 0, 1e-3, np.abs(start))
    corners = np.vstack([start, *(start + 0.02 * size * unit for unit in np.eye(len(start)))])
    answer = scipy.optimize.minimize(
        problem.error,
        start,
        method="Nelder-Mead",
        bounds=scipy.optimize.Bounds(*problem.bounds),
        options={
            "maxfev": most,
            "maxiter": most,
            "initial_simplex": np.clip(corners, *problem.bounds),
            "xatol": 1e-9,
            "fatol": 1e-10,
        },
    )
    return answer.x if answer.fun < problem.error(start) else start


class _Problem:
    """Residuals δ̂ - δ of a law on some halos, and their derivatives by the coordinates of its free constants.

    Attributes:
        low: Lower bounds of the free constants.
        high: Upper bounds.
        bounds: Both in coordinates.
    """

    def __init__(self, law: HaloLaw, graph: HaloGraph, receivers: np.ndarray) -> None:
        self.law, self._graph, self._receivers = law, graph, receivers
        self._target, self._own = graph.overdensity[receivers], graph.own(receivers)
        self.low, self.high = np.array([law.bound(name) for name in law.free]).reshape(-1, 2).T
        self._sign = np.where(self.low > 0, 1.0, np.where(self.high < 0, -1.0, 0.0))
        ends = np.sort([self.coordinates(self.low), self.coordinates(self.high)], axis=0)
        self.bounds = ends[0], ends[1]
        free = [formula.symbol(name) for name in law.free]
        arriving = formula.symbol("s")
        # A constant may stand in the message, in the node, or in both.
        self._by_message = [(k, law.message.diff(c)) for k, c in enumerate(free) if law.message.has(c)]
        self._by_node = [law.node.diff(c) for c in free]
        self._by_sum = law.node.diff(arriving)
        self._message_names = frozenset(symbol.name for symbol in law.message.free_symbols)
        edges = int(graph.neighbours.degrees[receivers].sum())
        self._kept = list(self._pieces()) if edges * _BYTES * (len(self._message_names) + 1) < _KEPT_BYTES else None
        self._newest: tuple[bytes, np.ndarray] | None = None

    def _pieces(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        if not self.law.has_messages:
            return iter(())
        return column_pieces(self.law.message, self._graph, self._receivers)

    def coordinates(self, constants: Float[np.ndarray, " constant"]) -> Float[np.ndarray, " constant"]:
        """Return the coordinates of constants: the logarithm if the constant keeps its sign, else its value."""
        with np.errstate(all="ignore"):
            return np.where(self._sign != 0, np.log(np.abs(constants)), constants)

    def natural(self, values: Float[np.ndarray, " constant"]) -> Float[np.ndarray, " constant"]:
        """Return the constants that have these coordinates."""
        with np.errstate(all="ignore"):
            return np.where(self._sign != 0, self._sign * np.exp(values), values)

    def error(self, values: Float[np.ndarray, " constant"]) -> float:
        """Return the mean absolute error; infinite if the law is not finite."""
        error = float(np.mean(np.abs(self.residual(values))))
        return error if np.isfinite(error) else np.inf

    def residual(self, values: Float[np.ndarray, " constant"]) -> Float[np.ndarray, " receiver"]:
        constants = self._constants(values)
        return self._node(self.law.node, constants, self._sums(values)) - self._target

    def jacobian(self, values: Float[np.ndarray, " constant"]) -> Float[np.ndarray, "receiver constant"]:
        constants, arriving = self._constants(values), self._sums(values)
        columns = [self._node(expression, constants, arriving) for expression in self._by_node]
        if self._by_message and self.law.has_messages:
            slope = self._node(self._by_sum, constants, arriving)
            inner = self._summed([expression for _, expression in self._by_message], constants)
            for (k, _), column in zip(self._by_message, inner, strict=True):
                columns[k] = columns[k] + slope * column
        # The derivative by log c is c times the derivative by c.
        return np.column_stack(columns) * np.where(self._sign != 0, self.natural(values), 1.0)

    def _constants(self, values: np.ndarray) -> dict[str, float]:
        return {**self.law.constants, **dict(zip(self.law.free, self.natural(values).tolist(), strict=True))}

    def _node(self, expression: sympy.Expr, constants: dict[str, float], arriving: np.ndarray) -> np.ndarray:
        found = formula.evaluate(expression, {**constants, **self._own, "s": arriving})
        return np.broadcast_to(found, len(self._target)).astype(np.float64)

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of messages, cached because error, residual and Jacobian of a point follow each other."""
        key = values.tobytes()
        if self._newest is None or self._newest[0] != key:
            (arriving,) = self._summed([self.law.message], self._constants(values))
            self._newest = key, arriving
        return self._newest[1]

    def _summed(self, expressions: list[sympy.Expr], constants: dict[str, float]) -> list[np.ndarray]:
        """Return the sums over edges of some expressions; common subexpressions are evaluated once."""
        if not self.law.has_messages:
            return [np.zeros(len(self._target)) for _ in expressions]
        names = sympy.numbered_symbols("common", cls=sympy.Symbol, real=True)
        steps, results = sympy.cse(expressions, symbols=names)
        parts: list[list[np.ndarray]] = [[] for _ in expressions]
        for columns, degrees in self._pieces() if self._kept is None else self._kept:
            values = {**constants, **columns}
            for name, step in steps:
                values[name.name] = formula.evaluate(step, values)
            for own, result in zip(parts, results, strict=True):
                along = np.broadcast_to(formula.evaluate(result, values), int(degrees.sum()))
                own.append(row_sums(along, degrees))
        return [np.concatenate([np.zeros(0), *own]) for own in parts]
