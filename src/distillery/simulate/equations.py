"""Equations of motion as heyoka expressions, built from a system's formulas and from nothing else.

``a_i = (1/m_i) Σ_j F(r_ij) Δ_ij / r_ij - (1/m_i) ∇V(x_i) - damping·(n-1)/n · v_i/m_i`` with ``F = -U'(r + softening)``.
Masses, charges, the constants, the softening and the damping are runtime parameters: systems that differ
only in numbers share one compiled integrator.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import heyoka
import numpy as np
import sympy
from jaxtyping import Float

from distillery import formula
from distillery.errors import DistilleryError
from distillery.systems import DAMPING, System

_ROUGH = (sympy.Piecewise, sympy.Abs, sympy.sign, sympy.Min, sympy.Max, sympy.Heaviside)
_AXES = ("x", "y", "z")


@dataclasses.dataclass(frozen=True)
class Equations:
    """The equations of motion of one system with some bodies.

    Attributes:
        position: Variables, body by body, axis by axis within a body.
        velocity: Variables in the same order.
        acceleration: Right-hand sides in the same order.
        names: Names of the parameters that follow the masses and the charges in heyoka's ``par``.
    """

    position: tuple[Any, ...]
    velocity: tuple[Any, ...]
    acceleration: tuple[Any, ...]
    names: tuple[str, ...]

    @property
    def system(self) -> list[tuple[Any, Any]]:
        """The first-order system, positions first."""
        return [*zip(self.position, self.velocity, strict=True), *zip(self.velocity, self.acceleration, strict=True)]


def equations(system: System, dim: int, bodies: int) -> Equations:
    """Build the equations of motion.

    Args:
        system: Table entry of the system.
        dim: Dimensions of space.
        bodies: Number of bodies.

    Raises:
        DistilleryError: A formula is not smooth, so that a Taylor series does not hold across its kinks.
    """
    force, external = system.radial_force, system.external_potential
    if system.softened_potential.has(*_ROUGH) or external.has(*_ROUGH):
        raise DistilleryError(
            f"potential {system.potential!r}: has kinks (if, abs, min, max), which simulate cannot integrate yet; "
            "use a smooth potential"
        )
    position = [[heyoka.expression(f"x{body}_{axis}") for axis in range(dim)] for body in range(bodies)]
    velocity = [[heyoka.expression(f"v{body}_{axis}") for axis in range(dim)] for body in range(bodies)]
    names = (*system.parameters, DAMPING) if system.damping else tuple(system.parameters)
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
        strength = _convert(force, symbols) / distance
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
                terms[body][axis].append(-_convert(slope, symbols))
            if system.damping:
                share = (bodies - 1) / bodies
                terms[body][axis].append(-share * parameter[DAMPING] * velocity[body][axis])
    acceleration = [heyoka.sum(terms[body][axis]) / mass[body] for body in range(bodies) for axis in range(dim)]
    return Equations(tuple(itertools.chain(*position)), tuple(itertools.chain(*velocity)), tuple(acceleration), names)


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


def _convert(expression: sympy.Expr, symbols: dict[Any, Any]) -> Any:
    # heyoka takes rational numbers only where they are exact in binary.
    numbers = [number for number in expression.atoms(sympy.Rational) if number.q & (number.q - 1)]
    numbers += expression.atoms(sympy.NumberSymbol)
    return heyoka.from_sympy(expression.xreplace({number: sympy.Float(float(number)) for number in numbers}), symbols)
