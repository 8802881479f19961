"""Variants of laws in which the message falls off with distance by free constants.

A message of halos is flat out to some distance and falls steeply beyond it. Symbolic regression builds that from what
its mutations reach, (k·r)^(c·r), 0.8^r·(r - 2) or (r - 34)·(r - 47), but seldom from a constant exponent behind a sum,
1/(1 + (k·r)^c). So beside each message stand one with constant exponents, and one whose factors that depend on distance
alone are such an edge. They are laws like any other, and the data decide.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import sympy

from distillery.halos.law import HaloLaw
from distillery.physics import formula

_R, _S = formula.symbol("r"), formula.symbol("s")
# First value of the exponent of an edge in a fit.
_STEEPNESS = 6.0


def edges(law: HaloLaw, scale: float) -> list[HaloLaw]:
    """Return variants of a law: with constant exponents, and with an edge.

    Args:
        law: A law whose constants have names; its bounds are not looked at, and those returned have none.
        scale: A distance in Mpc/h near which messages fall; there a law and those beside it are about as large.

    Returns:
        Those that differ; none of a law whose message does not know the distance, or not by factors of its own.
    """
    found = (_changed(law, _steady, scale), _changed(law, _edged, scale))
    return [each for each in found if each]


class _Change:
    """Constants of a variant, and the factor by which its message is smaller at the scale."""

    def __init__(self, law: HaloLaw, scale: float) -> None:
        self.constants, self.scale, self.lost = dict(law.constants), scale, 1.0

    def new(self, value: float) -> Any:
        """Return a constant with a unique name."""
        name = next(n for n in (f"c{k}" for k in itertools.count(1)) if n not in self.constants)
        self.constants[name] = value
        return formula.symbol(name)

    def at_scale(self, expression: Any) -> float | None:
        """Return the value of an expression of distance and constants at the scale; None with other variables."""
        if not expression.free_symbols <= {_R, *map(formula.symbol, self.constants)}:
            return None
        value = float(formula.evaluate(expression, {**self.constants, "r": self.scale}))
        return value if math.isfinite(value) else None


def _changed(law: HaloLaw, change: Callable[[Any, _Change], Any], scale: float) -> HaloLaw | None:
    """Return a law with a changed message, normalised at the scale; None if the message is unchanged."""
    state = _Change(law, scale)
    message, node = change(law.message, state), law.node
    if message == law.message:
        return None
    inner, outer = _factor(message), _factor_of_sum(node)
    if inner and outer:
        # The two factors are degenerate.
        state.lost *= state.constants[inner]
        message = message / formula.symbol(inner)
    factor = outer or inner
    if factor:
        state.constants[factor] *= state.lost
    elif state.lost != 1.0:
        message = state.new(state.lost) * message
    used = {symbol.name for symbol in message.free_symbols | node.free_symbols}
    constants = {name: value for name, value in state.constants.items() if name in used}
    return dataclasses.replace(law, message=message, node=node, constants=constants, bounds={})


def _factor(message: Any) -> str | None:
    return next((f.name for f in sympy.Mul.make_args(message) if _is_constant(f)), None)


def _factor_of_sum(node: Any) -> str | None:
    """Return the constant factor of the sum of messages, if the node contains the sum once."""
    places = [part for part in node.atoms(sympy.Mul) if _S in part.args]
    return _factor(places[0]) if len(places) == 1 and node.count(_S) == 1 else None


def _is_constant(node: Any) -> bool:
    return bool(node.is_Symbol and node.name.startswith("c") and node.name[1:].isdigit())


def _steady(node: Any, state: _Change) -> Any:
    """Replace exponents that vary with distance by constants, their values at the scale."""
    if not node.args:
        return node
    # Exponentials, powers of a constant, stay.
    if isinstance(node, sympy.Pow) and node.exp.has(_R) and node.base.has(_R):
        value = state.at_scale(node.exp)
        if value:
            # A denominator stays a denominator.
            sign = 1 if value > 0 else -1
            return _steady(node.base, state) ** (sign * state.new(abs(value)))
    return node.func(*(_steady(argument, state) for argument in node.args))


def _edged(message: Any, state: _Change) -> Any:
    """Replace factors that depend on distance alone by 1/(1 + (k·r)^c)."""
    factors = sympy.Mul.make_args(message)
    values = {f: state.at_scale(f) for f in factors if f.has(_R)}
    radial = [factor for factor, value in values.items() if value]
    if not radial:
        return message
    state.lost *= 2.0 * math.prod(values[factor] or 1.0 for factor in radial)
    edge = 1 / (1 + (state.new(1 / state.scale) * _R) ** state.new(_STEEPNESS))
    return sympy.Mul(edge, *(factor for factor in factors if factor not in radial))
