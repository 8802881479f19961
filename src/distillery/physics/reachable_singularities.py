"""Warn of singularities in a system's formulas that bodies may reach.

Simulations that reach one are dropped and drawn again, which costs time, and biases results if it happens often.
``systems`` refuses formulas whose pair force is singular at a distance at which it must be finite.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import sympy
from jaxtyping import Float

from distillery.physics import formula
from distillery.physics.singularities import (
    diverges,
    guarded,
    masses_of_bodies,
    minima_along,
    pairs_of_bodies,
    place_text,
)
from distillery.physics.systems import BODY_SYMBOLS, System

# Places along an axis, in standard deviations of the initial positions.
_PLACES = np.linspace(-20.0, 20.0, 1601)
# Steps along the axes by which a place is approached: no surface has this direction.
_SLANT = dict(zip(BODY_SYMBOLS[:3], (1.0, 0.6180339887, 0.3247179572), strict=True))


def warnings_about(name: str, system: System, dim: int) -> list[str]:
    """Return one line for each formula of a system that is singular at places that bodies may reach.

    Args:
        name: The system's name.
        system: The system.
        dim: Dimensions of space.
    """
    dropped = "are dropped and drawn again"
    found = []
    if _singular_where_bodies_meet(system):
        found.append(
            f"systems.{name}: {system.pair_text!r} or its force is not finite at r = 0; simulations whose bodies come "
            f"too close {dropped}. Set softening above 0 to keep it finite"
        )
    if system.singularities:
        nearest = {"r": min(singularity["r"] for singularity in system.singularities)}
        found.append(
            f"systems.{name}: the force of {system.pair_text!r} is not finite at {place_text(nearest)}; "
            f"simulations whose bodies come there {dropped}. Change the formula or softening to keep it finite"
        )
    if place := _singular_place(system, dim):
        found.append(
            f"systems.{name}: body_potential {system.body_potential!r} or its force is not finite at "
            f"{place_text(place)}; simulations whose bodies come there {dropped}. Change the formula to keep it finite"
        )
    return found


def _singular_where_bodies_meet(system: System) -> bool:
    """Return whether the potential or its force is singular at zero distance, softening included."""
    pairs = pairs_of_bodies(system.charges, system.mass_spread)
    values = {**system.parameters, **pairs, "r": np.zeros(1)}
    both = (system.softened_potential, system.radial_force)
    return not all(np.all(np.isfinite(formula.evaluate(each, values))) for each in both)


def _singular_place(system: System, dim: int) -> dict[str, float] | None:
    """Return a place at which the body potential or its force is singular, or None if none was found.

    The search covers the origin and lines along each axis in turn: the first line through the origin, the next one
    through the place at which a part of the formulas was closest to zero, so that a centre elsewhere is found.
    """
    axes, flat = BODY_SYMBOLS[:dim], BODY_SYMBOLS[dim:3]
    potential = system.external_potential.subs({formula.symbol(axis): 0 for axis in flat})
    if potential.has(sympy.zoo, sympy.nan, sympy.oo):
        return dict.fromkeys(flat, 0.0)
    expressions = [potential, *(sympy.diff(potential, formula.symbol(axis)) for axis in axes)]
    parts = dict.fromkeys(part for each in expressions for part in guarded(each))
    slant = {axis: _SLANT[axis] for axis in axes}
    for body in _bodies(system) if parts else ():
        middle = body | dict.fromkeys(axes, np.zeros(1))
        if diverges(expressions, middle, slant).any():
            return dict.fromkeys(axes, 0.0)
        for part in parts:
            place = middle
            for axis in axes:
                _, along, zero = minima_along(part, axis, _PLACES * system.position_scale, place)
                at = {name: np.repeat(value, len(along)) for name, value in place.items()} | {axis: along}
                singular = np.flatnonzero(zero & diverges(expressions, at, slant))
                if len(singular):
                    # A zero of a square is not known more precisely.
                    return {name: round(float(at[name][singular[0]]), 6) + 0.0 for name in axes}
                if len(along):
                    nearest = np.argmin(np.abs(formula.evaluate(part, at)))
                    place = place | {axis: along[[nearest]]}
    return None


def _bodies(system: System) -> Iterator[dict[str, Float[np.ndarray, " 1"]]]:
    """Yield the values of all symbols of some bodies except their positions."""
    for mass, charge in itertools.product(masses_of_bodies(system.mass_spread), sorted(set(system.charges))):
        own = {"m": mass, "q": charge, **system.parameters}
        yield {name: np.full(1, value) for name, value in own.items()}
