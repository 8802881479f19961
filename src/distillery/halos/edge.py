"""The edge of a message: laws beside those that a search found, in which messages fall off with distance freely.

A message of halos is flat out to some distance and falls steeply beyond it. Symbolic regression builds that from what
its mutations reach, (k·r)^(c·r) or 1/r³, but seldom from a constant exponent behind a sum, 1/(1 + (k·r)^c). Such forms
are tried beside those that were found; they are laws like any other, and the data decide.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import sympy

from distillery import formula
from distillery.halos.law import HaloLaw

_R, _S = formula.symbol("r"), formula.symbol("s")


def edges(law: HaloLaw, scale: float) -> list[HaloLaw]:
    """Return the laws beside a law: with constant exponents, with falling powers that start from one, and with both.

    Args:
        law: A law whose constants have names; its bounds are not looked at, and those returned have none.
        scale: A distance in Mpc/h near which messages fall; there a law and those beside it are about as large.

    Returns:
        Those that differ; none of a law whose message does not know the distance.
    """
    steady = _changed(law, _steady, scale)
    found = [steady, _changed(law, _limited, scale), *([_changed(steady, _limited, scale)] if steady else [])]
    return [each for each in found if each]


class _Change:
    """Constants of a law that is being changed, and the factor by which its message became smaller at the scale."""

    def __init__(self, law: HaloLaw, scale: float) -> None:
        self.constants, self.scale, self.lost = dict(law.constants), scale, 1.0

    def new(self, value: float) -> Any:
        """Return a constant with a name that no other has."""
        name = next(n for n in (f"c{k}" for k in itertools.count(1)) if n not in self.constants)
        self.constants[name] = value
        return formula.symbol(name)

    def at_scale(self, expression: Any) -> float | None:
        """Return what an expression of distance and constants is at the scale; nothing if it has other variables."""
        values = {formula.symbol(name): sympy.Float(value) for name, value in self.constants.items()}
        found = expression.xreplace({**values, _R: sympy.Float(self.scale)})
        return float(found) if found.is_number and found.is_real and found.is_finite else None


def _changed(law: HaloLaw, change: Callable[[Any, _Change], Any], scale: float) -> HaloLaw | None:
    """Return a law whose message was changed, as large as before at the scale; nothing where that changes nothing."""
    state = _Change(law, scale)
    message, node = change(law.message, state), law.node
    if message == law.message:
        return None
    inner, outer = _factor(message), _factor_of_sum(node)
    if inner and outer:
        # The two cannot be told apart.
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
    """Return the constant that multiplies what arrives, where that stands in the node once."""
    places = [part for part in node.atoms(sympy.Mul) if _S in part.args]
    return _factor(places[0]) if len(places) == 1 and node.count(_S) == 1 else None


def _is_constant(node: Any) -> bool:
    return bool(node.is_Symbol and node.name.startswith("c") and node.name[1:].isdigit())


def _steady(node: Any, state: _Change) -> Any:
    """Exponents that vary with distance become constants, the values that they have at the scale."""
    if not node.args:
        return node
    # Powers of a constant, exponentials, are steady already.
    if isinstance(node, sympy.Pow) and node.exp.has(_R) and node.base.has(_R):
        value = state.at_scale(node.exp)
        if value:
            # A denominator stays one.
            sign = 1 if value > 0 else -1
            return _steady(node.base, state) ** (sign * state.new(abs(value)))
    return node.func(*(_steady(argument, state) for argument in node.args))


def _limited(node: Any, state: _Change) -> Any:
    """Falling powers of distance with constant exponents become 1/(1 + (k·r)^c)."""
    if not node.args:
        return node
    if isinstance(node, sympy.Pow) and not node.exp.has(_R):
        base = sympy.Mul(*(factor for factor in sympy.Mul.make_args(node.base) if not _is_constant(factor)))
        exponent, there = state.at_scale(node.exp), state.at_scale(node.base)
        if base == _R and exponent is not None and exponent < 0 and there is not None and there > 0:
            state.lost *= 2.0 * there**exponent
            return 1 / (1 + (state.new(1 / state.scale) * _R) ** state.new(-exponent))
    return node.func(*(_limited(argument, state) for argument in node.args))
