"""A law as a system of its own: the potential from which it follows, where there is one.

The acceleration f·Δ by a pair is that of a potential where the force m1·f is the same for both bodies,
U = -∫ m1·f·r dr, taken term by term where terms are powers of r, or of r + ε. Such a system is simulated like any
other (see ``distillery.systems``).
"""

from __future__ import annotations

from typing import Any

import sympy

from distillery import formula
from distillery.errors import DistilleryError
from distillery.functions import AXES
from distillery.replace.law import Law
from distillery.replace.terms import terms_of
from distillery.replace.text import radial_part
from distillery.systems import System

_R, _M1 = formula.symbol("r"), formula.symbol("m1")


def as_system(law: Law, like: System) -> System:
    """Return the system that obeys a law.

    Args:
        law: The law.
        like: The system that it was found in: its time step, graph, bodies and initial states are kept.

    Raises:
        DistilleryError: The law follows from no potential of pairs that could be found.
    """
    entry = {
        **like.model_dump(),
        "potential": formula.to_text(_potential(law)),
        "constants": {},
        "softening": 0.0,
        "body_potential": None,
        "damping": 0.0,
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
    radial, own = radial_part(law), [node - formula.symbol(f"s{k + 1}") for k, node in enumerate(law.nodes)]
    if radial is None or any(own):
        raise DistilleryError("law: is no sum of central forces of pairs alone; only these can be simulated")
    return sympy.Add(*(-_integrated(term) for term in terms_of(_M1 * radial * _R)))


def _integrated(term: sympy.Expr) -> sympy.Expr:
    factor, power = term.as_independent(_R)
    base, exponent = power.as_base_exp()
    if power == 1:
        return factor * _R
    if not (base - _R).is_number or not exponent.is_number:
        raise DistilleryError(f"law: {formula.to_text(term)} is no power of r, so its potential is not known")
    return factor * (sympy.log(base) if exponent == -1 else base ** (exponent + 1) / (exponent + 1))
