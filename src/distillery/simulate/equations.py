"""Equations of motion as heyoka expressions, built from a system's formulas and from nothing else.

``a_i = (1/m_i) Σ_j F(r_ij) Δ_ij / r_ij - (1/m_i) ∇V(x_i) - damping·(n-1)/n · v_i/m_i`` with ``F = -U'(r + softening)``.
Masses, charges, the constants, the softening and the damping are runtime parameters: systems that differ
only in numbers share one compiled integrator.

Taylor's method needs smooth functions. Where a formula has cases, those conditions that can change while bodies move
become parameters too, 1 or 0; ``levels`` says when (see ``distillery.simulate.events``).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import heyoka
import numpy as np
import sympy
from jaxtyping import Float

from distillery.physics import formula, piecewise
from distillery.physics.systems import DAMPING, System

_AXES = ("x", "y", "z")
# What changes while bodies move; conditions without any of it hold from beginning to end, or never.
_MOVING = ("r", *_AXES)


@dataclasses.dataclass(frozen=True)
class Equations:
    """The equations of motion of one system with some bodies.

    Attributes:
        bodies: Number of bodies.
        position: Variables, body by body, axis by axis within a body.
        velocity: Variables in the same order.
        acceleration: Right-hand sides in the same order, as the formulas say.
        names: Names of the parameters that follow the masses and the charges in heyoka's ``par``.
        switched: The right-hand sides with a parameter, 1 or 0, in the place of each condition that can change:
            smooth as long as these parameters are left alone. They follow the named ones in ``par``.
        levels: For each of these parameters the function of the positions that is positive where it is 1.
    """

    bodies: int
    position: tuple[Any, ...]
    velocity: tuple[Any, ...]
    acceleration: tuple[Any, ...]
    names: tuple[str, ...]
    switched: tuple[Any, ...]
    levels: tuple[Any, ...]

    @property
    def system(self) -> list[tuple[Any, Any]]:
        """The first-order system, positions first."""
        return [*zip(self.position, self.velocity, strict=True), *zip(self.velocity, self.switched, strict=True)]

    @property
    def first_switch(self) -> int:
        """Place of the first switch among the parameters."""
        return 2 * self.bodies + len(self.names)


def equations(system: System, dim: int, bodies: int) -> Equations:
    """Build the equations of motion.

    Args:
        system: Table entry of the system.
        dim: Dimensions of space.
        bodies: Number of bodies.

    Raises:
        DistilleryError: A formula has a condition that is no comparison.
    """
    position = [[heyoka.expression(f"x{body}_{axis}") for axis in range(dim)] for body in range(bodies)]
    velocity = [[heyoka.expression(f"v{body}_{axis}") for axis in range(dim)] for body in range(bodies)]
    names = (*system.parameters, DAMPING) if system.damping else tuple(system.parameters)
    switches = _Switches(2 * bodies + len(names))
    exact = _accelerations(system, position, velocity, names, _compared)
    switched = exact
    if system.is_piecewise:
        switched = _accelerations(system, position, velocity, names, switches.chosen)
    return Equations(
        bodies,
        tuple(itertools.chain(*position)),
        tuple(itertools.chain(*velocity)),
        exact,
        names,
        switched,
        tuple(switches.levels),
    )


def _accelerations(
    system: System, position: list[list[Any]], velocity: list[list[Any]], names: tuple[str, ...], choose: _Choose
) -> tuple[Any, ...]:
    """Return the right-hand sides; ``choose`` makes a heyoka expression of a condition and its two cases."""
    bodies, dim = len(position), len(position[0])
    force, external = system.radial_force, system.external_potential
    parameter = {name: heyoka.par[2 * bodies + index] for index, name in enumerate(names)}
    constants = {formula.symbol(name): parameter[name] for name in system.parameters}
    mass = [heyoka.par[body] for body in range(bodies)]
    charge = [heyoka.par[bodies + body] for body in range(bodies)]

    terms: list[list[list[Any]]] = [[[] for _ in range(dim)] for _ in range(bodies)]
    for one, two in pairs(system, bodies):
        delta = [position[one][axis] - position[two][axis] for axis in range(dim)]
        distance = heyoka.sqrt(heyoka.sum([component * component for component in delta]))
        given = {"r": distance, "m1": mass[one], "m2": mass[two], "q1": charge[one], "q2": charge[two]}
        symbols = constants | {formula.symbol(name): value for name, value in given.items()}
        strength = _convert(force, symbols, choose) / distance
        for axis in range(dim):
            pull = strength * delta[axis]
            terms[one][axis].append(pull)
            terms[two][axis].append(-pull)
    for body in range(bodies):
        place = dict(zip(_AXES, position[body], strict=False)) | {"m": mass[body], "q": charge[body]}
        symbols = constants | {formula.symbol(name): value for name, value in place.items()}
        flat = external.subs({formula.symbol(name): 0 for name in _AXES[dim:]})
        for axis in range(dim):
            slope = sympy.diff(flat, formula.symbol(_AXES[axis]))
            if slope != 0:
                terms[body][axis].append(-_convert(slope, symbols, choose))
            if system.damping:
                share = (bodies - 1) / bodies
                terms[body][axis].append(-share * parameter[DAMPING] * velocity[body][axis])
    return tuple(heyoka.sum(terms[body][axis]) / mass[body] for body in range(bodies) for axis in range(dim))


def pairs(system: System, bodies: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs of bodies that interact, each once."""
    if system.graph == "chain":
        return tuple(itertools.pairwise(range(bodies)))
    return tuple(itertools.combinations(range(bodies), 2))


def parameters(
    system: System,
    names: tuple[str, ...],
    mass: Float[np.ndarray, "simulation particle"],
    charge: Float[np.ndarray, "simulation particle"],
) -> Float[np.ndarray, "parameter simulation"]:
    """Return the values of the runtime parameters, one column per simulation.

    Args:
        system: Table entry of the system.
        names: The equations' ``names``.
        mass: Masses.
        charge: Charges.
    """
    values = {**system.parameters, DAMPING: system.damping}
    constant = np.array([values[name] for name in names])[:, None]
    return np.concatenate([mass.T, charge.T, np.broadcast_to(constant, (len(names), len(mass)))])


_Symbols = dict[Any, Any]
_Choose = Callable[[_Symbols, Any, Any, Any], Any]


def _convert(expression: sympy.Expr, symbols: _Symbols, choose: _Choose) -> Any:
    expression = piecewise.as_piecewise(expression)
    cases = piecewise.outermost(expression)
    if cases:
        symbols = dict(symbols)
        stand_ins = {case: sympy.Dummy(real=True) for case in cases}
        for case, stand_in in stand_ins.items():
            *branches, (last, _) = case.args
            value = _convert(last, symbols, choose)
            for branch, condition in reversed(branches):
                converted = _convert(branch, symbols, choose)
                value = piecewise.decide(condition, converted, value, functools.partial(choose, symbols))
            symbols[stand_in] = value
        expression = expression.xreplace(stand_ins)
        if expression.is_Symbol:
            return symbols[expression]
    # heyoka takes rational numbers only where they are exact in binary.
    numbers = [number for number in expression.atoms(sympy.Rational) if number.q & (number.q - 1)]
    numbers += expression.atoms(sympy.NumberSymbol)
    return heyoka.from_sympy(expression.xreplace({number: sympy.Float(float(number)) for number in numbers}), symbols)


_COMPARISONS = {
    sympy.StrictGreaterThan: heyoka.gt,
    sympy.GreaterThan: heyoka.gte,
    sympy.StrictLessThan: heyoka.lt,
    sympy.LessThan: heyoka.lte,
}


def _compared(symbols: _Symbols, condition: Any, yes: Any, no: Any) -> Any:
    """Return one of two cases by comparing what the condition compares."""
    left, right = (_convert(side, symbols, _compared) for side in (condition.lhs, condition.rhs))
    return heyoka.select(_COMPARISONS[type(condition)](left, right), yes, no)


class _Switches:
    """The parameters that stand for conditions, one for each surface."""

    def __init__(self, first: int) -> None:
        self._first = first
        self.levels: list[Any] = []
        self._known: dict[str, int] = {}

    def chosen(self, symbols: _Symbols, condition: Any, yes: Any, no: Any) -> Any:
        """Return one of two cases by the parameter that stands for the condition."""
        if not any(symbol.name in _MOVING for symbol in condition.free_symbols):
            return _compared(symbols, condition, yes, no)
        level, above = piecewise.surface(condition)
        converted = _convert(level, symbols, self.chosen)
        index = self._known.setdefault(str(converted), len(self.levels))
        if index == len(self.levels):
            self.levels.append(converted)
        switch = heyoka.par[self._first + index]
        return heyoka.select(switch, yes, no) if above else heyoka.select(switch, no, yes)
