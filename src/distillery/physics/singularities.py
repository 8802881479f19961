"""Find the singularities of a formula: zeros of denominators, roots and arguments of logarithms.

Random places do not hit a singularity, and near one a formula may still be small. So the zeros of those parts alone are
located, which are smooth there; then the formula is tested for divergence, because the zero may lie in a branch that is
not used there, or another part may cancel it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy
from jaxtyping import Bool, Float, Int

from distillery.physics import formula

# Refinements of a minimum, each to a tenth of its width, down to neighbouring floats; places per refinement.
_LOOKS, _PLACES = 17, 21
# Relative size below which a minimum is a zero: rounding of expanded squares.
_ZERO = 1e-9
# Relative distances from a zero: between the first and the others a formula with a singularity grows, even a logarithm.
_FAR, _NEAR = 1e-5, (1e-8, 1e-10, 1e-12)
_GROWTH = 2.0
_DIGITS = 60
# Distances are relative to the size of the place, but at least to this value.
_SMALLEST = 1e-3
# Distances at which singularities of a pair are located; masses in standard deviations of their logarithm.
_DISTANCES, _MASSES = np.geomspace(1e-4, 1e3, 1601), (-2.0, -0.7, 0.7, 2.0)


def guarded(expression: sympy.Expr) -> tuple[sympy.Expr, ...]:
    """Return the parts of an expression that must not change their signs.

    Args:
        expression: Any expression: bases of negative or fractional powers, and arguments of logarithms.
    """
    powers = {p.base for p in expression.atoms(sympy.Pow) if not (p.exp.is_Integer and p.exp > 0)}
    logarithms = {logarithm.args[0] for logarithm in expression.atoms(sympy.log)}
    return tuple(sorted((part for part in powers | logarithms if not part.is_number), key=sympy.default_sort_key))


def masses_of_bodies(mass_spread: float) -> list[float]:
    """Return the masses of light, usual and heavy bodies (dimensionless).

    Args:
        mass_spread: Standard deviation of log m.
    """
    return sorted({float(np.exp(mass_spread * deviation)) for deviation in _MASSES})


def pairs_of_bodies(charges: tuple[float, ...], mass_spread: float) -> dict[str, Float[np.ndarray, " pair"]]:
    """Return m1, m2, q1 and q2 of pairs of bodies, with all combinations of charges.

    Args:
        charges: The charges of bodies (dimensionless).
        mass_spread: Standard deviation of log m.
    """
    pairs = [
        (*own, *charged)
        for own in itertools.combinations_with_replacement(masses_of_bodies(mass_spread), 2)
        for charged in itertools.combinations_with_replacement(sorted(set(charges)), 2)
    ]
    return dict(zip(("m1", "m2", "q1", "q2"), np.array(pairs).T, strict=True))


# Computed when a system is parsed, and again for its warnings.
@functools.lru_cache(maxsize=128)
def pair_singularities(
    force: sympy.Expr, parameters: tuple[tuple[str, float], ...], charges: tuple[float, ...], mass_spread: float
) -> tuple[dict[str, float], ...]:
    """Return where the force of a pair diverges: the values of all symbols at each singularity.

    Args:
        force: Force in r, m1, m2, q1, q2 and the parameters.
        parameters: Names and values of the parameters.
        charges: The charges of bodies.
        mass_spread: Standard deviation of log m.
    """
    pairs = pairs_of_bodies(charges, mass_spread)
    given = {name: np.full(len(pairs["m1"]), value) for name, value in parameters} | pairs
    return tuple(singularities_along([force], "r", _DISTANCES, given, {"r": 1.0}))


def place_text(place: Mapping[str, float]) -> str:
    """Return the values of symbols as text for messages."""
    return ", ".join(f"{name} = {value:.3g}" for name, value in place.items())


def singularities_along(
    expressions: Sequence[sympy.Expr],
    name: str,
    places: Float[np.ndarray, " place"],
    given: Mapping[str, Float[np.ndarray, " row"]],
    direction: Mapping[str, float],
) -> list[dict[str, float]]:
    """Return where one of some formulas diverges along lines; jumps and steep slopes do not count.

    Args:
        expressions: The formulas.
        name: The symbol that varies along a line.
        places: Its values, ascending and dense enough to resolve the parts of the formulas.
        given: A value of every other symbol for each line.
        direction: Symbols along which a singularity is approached, with the length of the step along each.

    Returns:
        The values of all symbols at each singularity, in the order of the lines.
    """
    parts = dict.fromkeys(part for e in expressions for part in guarded(e) if formula.symbol(name) in part.free_symbols)
    found: list[dict[str, float]] = []
    for part in parts:
        rows, zeros, is_zero = minima_along(part, name, places, given)
        if not is_zero.any():
            continue
        rows, zeros = rows[is_zero], zeros[is_zero]
        at = {symbol: values[rows] for symbol, values in given.items()} | {name: zeros}
        unbounded = diverges(expressions, at, direction)
        found += [
            {symbol: float(values[index]) for symbol, values in at.items()} for index in np.flatnonzero(unbounded)
        ]
    return found


def minima_along(
    part: sympy.Expr,
    name: str,
    places: Float[np.ndarray, " place"],
    given: Mapping[str, Float[np.ndarray, " row"]],
) -> tuple[Int[np.ndarray, " dip"], Float[np.ndarray, " dip"], Bool[np.ndarray, " dip"]]:
    """Return the minima of a part's absolute value: the line, the place to rounding, and whether it is zero.

    Args:
        part: The part.
        name: The symbol that varies along a line.
        places: Its values, ascending.
        given: A value of every other symbol for each line. Only the first line is used for a part that depends on none.
    """
    used = {symbol.name for symbol in part.free_symbols} - {name}
    varying = any(np.ptp(given[symbol]) > 0 for symbol in used)
    own = {symbol: given[symbol] if varying else given[symbol][:1] for symbol in used}
    lines = max((len(values) for values in own.values()), default=1)

    def size(rows: Int[np.ndarray, " any"], along: Float[np.ndarray, "..."]) -> Float[np.ndarray, "any place"]:
        values = formula.evaluate(part, {symbol: v[rows, None] for symbol, v in own.items()} | {name: along})
        return np.broadcast_to(np.fmin(np.abs(values), np.inf), (len(rows), along.shape[-1]))

    sizes = size(np.arange(lines), places)
    middle = sizes[:, 1:-1]
    rows, index = np.nonzero((middle < sizes[:, :-2]) & (middle <= sizes[:, 2:]))
    around = np.minimum(sizes[rows, index], sizes[rows, index + 2])
    low, high = places[index], places[index + 2]
    steps, every = np.linspace(0.0, 1.0, _PLACES), np.arange(len(rows))
    for _ in range(_LOOKS if len(rows) else 0):
        along = low[:, None] + (high - low)[:, None] * steps
        least = np.argmin(size(rows, along), axis=1)
        low, high = along[every, np.maximum(least - 1, 0)], along[every, np.minimum(least + 1, _PLACES - 1)]
    found = (low + high) / 2
    return rows, found, size(rows, found[:, None])[:, 0] <= _ZERO * around


def diverges(
    expressions: Sequence[sympy.Expr],
    at: Mapping[str, Float[np.ndarray, " any"]],
    direction: Mapping[str, float],
) -> Bool[np.ndarray, " any"]:
    """Return where one of some formulas diverges, on either side.

    Args:
        expressions: The formulas.
        at: Values of all symbols, one for each place.
        direction: Symbols along which the place is approached, with the length of the step along each.
    """
    shape = np.broadcast_shapes(*(np.shape(values) for values in at.values()))
    scale = functools.reduce(np.maximum, (np.abs(at[name]) for name in direction), np.full(shape, _SMALLEST))

    def size(expression: sympy.Expr, distance: float) -> Any:
        near = {**at, **{name: at[name] + distance * scale * step for name, step in direction.items()}}
        return np.broadcast_to(np.abs(formula.evaluate(expression, near)), shape)

    infinite, larger = np.zeros((2, *shape), dtype=bool)
    for expression in expressions:
        for side in (1.0, -1.0):
            far = size(expression, side * _FAR)
            for distance in _NEAR:
                near = size(expression, side * distance)
                infinite |= ~np.isfinite(near)
                larger |= near > _GROWTH * far
    for index in np.flatnonzero(larger & ~infinite):
        place = {name: float(values[index]) for name, values in at.items()}
        infinite[index] = any(_diverges_exactly(each, place, direction, float(scale[index])) for each in expressions)
    return infinite


def _diverges_exactly(
    expression: sympy.Expr, at: Mapping[str, float], direction: Mapping[str, float], scale: float
) -> bool:
    """Return the same with many digits: differences that cancel also grow by rounding."""

    def size(distance: float) -> sympy.Expr:
        near = {name: sympy.Float(value, _DIGITS) for name, value in at.items()}
        near |= {name: near[name] + distance * scale * step for name, step in direction.items()}
        value = expression.xreplace({formula.symbol(name): number for name, number in near.items()})
        return abs(value.evalf(_DIGITS))

    sides = ((side * _FAR, [side * distance for distance in _NEAR]) for side in (1.0, -1.0))
    try:
        return any(bool(size(near) > _GROWTH * size(far)) for far, nearer in sides for near in nearer)
    except TypeError:
        # SymPy raises this for a condition on a value that is not real; floats evaluate it as false, so no singularity
        # is known.
        return False
