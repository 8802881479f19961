"""A law as a system of its own: the potential from which it follows, where there is one.

The acceleration f·Δ by a pair is that of a potential where the force m1·f is the same for both bodies,
U = -∫ m1·f·r dr, taken term by term where terms are powers of r, or of r + ε, in each case of a law that has cases:
where they meet U may jump, which does no work. What a body adds by itself may be drag, -c·v/m, or a force m·g along
each axis that depends on the place along this axis alone, -∂V/∂x. Such a system is simulated like any other (see
``distillery.systems``).
"""

from __future__ import annotations

from typing import Any

import sympy

from distillery import formula
from distillery.errors import DistilleryError
from distillery.functions import AXES
from distillery.replace.law import Law, sums
from distillery.replace.terms import terms_of
from distillery.replace.text import radial_part
from distillery.systems import System

_R, _M1, _M, _Q = (formula.symbol(name) for name in ("r", "m1", "m", "q"))


def as_system(law: Law, like: System, bodies: int) -> System:
    """Return the system that obeys a law.

    Args:
        law: The law.
        like: The system that it was found in: its time step, graph and initial states are kept.
        bodies: Number of bodies that it was found with; drag is a pair's in a system, and a body's in a law.

    Raises:
        DistilleryError: The law follows from no potentials that could be found.
    """
    pair = _potential(law)
    drag, outer = (0.0, sympy.Integer(0)) if law.energies else _own(law)
    entry = {
        **like.model_dump(),
        "potential": formula.to_text(pair),
        "constants": {},
        "softening": 0.0,
        "body_potential": None if outer == 0 else formula.to_text(outer),
        "damping": drag * bodies / (bodies - 1),
    }
    try:
        return System.model_validate(entry)
    except ValueError as error:
        reason = str(error).splitlines()[-2 if "\n" in str(error) else 0].strip()
        raise DistilleryError(f"law: makes no system ({reason}); simulate another one") from None


def entry_of(system: System) -> dict[str, Any]:
    """Return a system as an entry of the section ``systems`` of a configuration, without what is default."""
    fields = type(system).model_fields
    given = {name: value for name, value in system.model_dump().items() if value != fields[name].default}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def _potential(law: Law) -> sympy.Expr:
    if law.energies:
        pair, body = law.filled(law.energies)
        momenta = {formula.symbol(f"p{axis}") for axis in AXES}
        directed = pair.free_symbols & {formula.symbol(f"d{axis}") for axis in AXES}
        kinetic = all(term.free_symbols & momenta for term in sympy.Add.make_args(body) if term != 0)
        if directed or not kinetic:
            raise DistilleryError("law: depends on directions or places; only potentials of pairs can be simulated")
        return pair
    radial = radial_part(law)
    if radial is None:
        raise DistilleryError("law: is no sum of central forces of pairs; only these can be simulated")
    folded = sympy.piecewise_fold(radial)
    if not isinstance(folded, sympy.Piecewise):
        return _of_radial(folded)
    return sympy.Piecewise(*((_of_radial(case), where) for case, where in folded.args))


def _own(law: Law) -> tuple[float, sympy.Expr]:
    """Return c of the drag -c·v/m of a body and the potential of the force on it beside drag."""
    drags, outer = [], []
    for k, axis in enumerate(AXES[: law.dim]):
        own = sympy.expand(law.filled(law.nodes)[k] - sums(len(law.messages))[k])
        place, velocity = formula.symbol(axis), formula.symbol(f"v{axis}")
        drag = own.coeff(velocity)
        force = sympy.expand(_M * (own - drag * velocity))
        drags.append(sympy.simplify(-_M * drag))
        if force.free_symbols - {_M, _Q, place} or not force.is_polynomial(place):
            raise DistilleryError(
                f"law: {formula.to_text(own)} of a body is neither drag nor a force that depends on {axis} alone; "
                "only these can be simulated"
            )
        outer.append(-sympy.integrate(force, place))
    if any(not drag.is_number or drag != drags[0] for drag in drags):
        texts = ", ".join(formula.to_text(drag) for drag in drags)
        raise DistilleryError(f"law: drag of {texts} over the mass; only one number for all axes can be simulated")
    return float(drags[0]), sympy.Add(*outer)


def _of_radial(radial: sympy.Expr) -> sympy.Expr:
    return sympy.Add(*(-_integrated(_shortened(term)) for term in terms_of(_M1 * radial * _R)))


def _shortened(term: sympy.Expr) -> sympy.Expr:
    """Return a term without the power of r that its numerator and the terms of its denominator share."""
    above, below = term.as_numer_denom()
    if not above.is_polynomial(_R) or not below.is_polynomial(_R):
        return term
    shared = _R ** min(degree for part in (above, below) for (degree,) in sympy.Poly(part, _R).monoms())
    if shared == 1:
        return term
    return sympy.expand(above / shared) / sympy.expand(below / shared)


def _integrated(term: sympy.Expr) -> sympy.Expr:
    factor, power = term.as_independent(_R)
    base, exponent = power.as_base_exp()
    if power == 1:
        return factor * _R
    if not (base - _R).is_number or not exponent.is_number:
        raise DistilleryError(f"law: {formula.to_text(term)} is no power of r, so its potential is not known")
    return factor * (sympy.log(base) if exponent == -1 else base ** (exponent + 1) / (exponent + 1))
