"""Convert a law to a system that can be simulated, given by its potential, or by its force if that is unknown.

The acceleration f·Δ of a pair follows from a potential if the force m1·f is the same for both bodies: U = -∫ m1·f·r dr.
Terms that are powers of r, or of r + ε, are integrated, separately in each branch of a piecewise law; U may jump
between branches, which does no work. Other terms are not integrated: the force m1·f·r determines the motion as well.
The terms of a single body may be drag, -c·v/m, or a force m·g along each axis that depends on the position along this
axis alone, -∂V/∂x. The kinetic energy must be p²/2m, for a system has no other. Such a system is simulated like any
other (see ``distillery.physics.systems``).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import sympy
from pydantic import ValidationError

from distillery.errors import DistilleryError
from distillery.laws import tuning
from distillery.laws.law import Law, momentum_names, sums
from distillery.laws.terms import terms_of
from distillery.laws.text import radial_part
from distillery.networks.functions import AXES, feature_names
from distillery.physics import formula
from distillery.physics.printing import plain
from distillery.physics.systems import ForceSystem, System

_R, _M1, _M, _Q = (formula.symbol(name) for name in ("r", "m1", "m", "q"))


def as_system(law: Law, like: System, bodies: int) -> System:
    """Return the system that obeys a law.

    Args:
        law: The law. If its components have one form, numbers that agree to rounding are set equal.
        like: The system of the data: its time step, graph and initial states are kept.
        bodies: Number of bodies of the data; in a system, drag acts per pair, in a law, per body.

    Raises:
        DistilleryError: The law is not a sum of central forces of pairs and forces that a system supports.
    """
    if law.energies:
        pair, outer = _of_energies(law)
        drag, interaction = 0.0, {"potential": formula.to_text(pair)}
    else:
        agreed = law if law.shared else _agreed(law)
        interaction = _interaction(_radial(agreed))
        drag, outer = _own(agreed)
    entry = {
        **like.model_dump(),
        "potential": "",
        **interaction,
        "constants": {},
        "softening": 0.0,
        "body_potential": None if outer == 0 else formula.to_text(outer),
        "damping": drag * bodies / (bodies - 1),
    }
    kind = ForceSystem if "force" in interaction else System
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        raise DistilleryError(f"law: makes no system ({why(error)}); simulate another one") from None


def why(error: ValidationError) -> str:
    """Return on one line what is wrong with the entry of a system."""
    finding = error.errors()[0]
    text = str(finding["msg"]).removeprefix("Value error, ").splitlines()[0]
    place = ".".join(str(part) for part in finding["loc"])
    return f"{place}: {text}" if place else text


def entry_of(system: System) -> dict[str, Any]:
    """Return a system as an entry of the section ``systems`` of a configuration, without default values.

    Raises:
        DistilleryError: The system is given by a force, but an entry needs a potential.
    """
    if isinstance(system, ForceSystem):
        raise DistilleryError(
            f"law: the potential of the force {system.force} is not known (known are those of powers of r); "
            "it can be simulated with --law, and is no entry of a configuration"
        )
    return fields_of(system)


def fields_of(system: System) -> dict[str, Any]:
    """Return the fields of a system whose values are not default."""
    fields = type(system).model_fields
    given = {name: value for name, value in system.model_dump().items() if value != fields[name].default}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def _of_energies(law: Law) -> tuple[sympy.Expr, sympy.Expr]:
    """Return the potential of a pair, and that of a single body."""
    pair, body = law.filled(law.energies)
    axes = AXES[: law.dim]
    if pair.free_symbols & {formula.symbol(f"d{axis}") for axis in axes}:
        raise DistilleryError("law: its energy of a pair depends on directions; only potentials of r can be simulated")
    draws = np.random.default_rng(0)
    state = {name: draws.normal(size=tuning.TRIALS) for name in momentum_names(law.dim)}
    state |= {"m": np.exp(state["m"]), "q": draws.choice([-1.0, 1.0], tuning.TRIALS)}
    given = np.stack([np.broadcast_to(formula.evaluate(v, state), tuning.TRIALS) for v in law.filled(law.velocities)])
    right = np.stack([state[f"p{axis}"] / state["m"] for axis in axes])
    if not np.all(np.abs(given - right) <= tuning.ALIKE * np.linalg.norm(right, axis=0)):
        momenta = {formula.symbol(f"p{axis}") for axis in axes}
        moving = sympy.Add(*(term for term in sympy.Add.make_args(body) if term.free_symbols & momenta))
        raise DistilleryError(
            f"law: its kinetic energy is {plain(moving)}; only bodies with p**2/(2*m) can be simulated"
        )
    return pair, body.xreplace({formula.symbol(f"p{axis}"): sympy.Integer(0) for axis in axes})


def _agreed(law: Law) -> Law:
    """Return a law without constants, in which numbers that agree are replaced by their mean or the exact one."""
    parts = (law.filled(law.messages), law.filled(law.nodes))
    numbers = sorted({n for part in parts for e in part for n in e.atoms(sympy.Number) if n.is_finite}, key=float)
    put: dict[Any, Any] = {}
    while numbers:
        first = numbers[0]
        alike = [n for n in numbers if abs(float(n) - float(first)) <= tuning.ALIKE * abs(float(first))]
        exact = [n for n in alike if n.is_Rational]
        mean = sympy.Float(sum(float(n) for n in alike) / len(alike))
        if not exact and len(alike) > 1:
            put |= dict.fromkeys(alike, mean)
        elif len(exact) == 1:
            put |= {n: exact[0] for n in alike if n != exact[0]}
        numbers = numbers[len(alike) :]
    messages, nodes = (tuple(e.xreplace(put) for e in part) for part in parts)
    found = dataclasses.replace(law, messages=messages, nodes=nodes, constants={})
    if not _as_before(parts[0], messages, law.dim):
        return dataclasses.replace(found, messages=tuple(parts[0]), nodes=tuple(parts[1]))
    return found


def _as_before(before: list[sympy.Expr], after: tuple[sympy.Expr, ...], dim: int) -> bool:
    draws = np.random.default_rng(0)
    given = {name: draws.normal(size=tuning.TRIALS) for name in feature_names(dim)}
    given["r"] = np.sqrt(sum(given[f"d{axis}"] ** 2 for axis in AXES[:dim]))
    given |= {name: np.exp(given[name]) for name in ("m1", "m2")}
    given |= {name: np.sign(given[name]) for name in ("q1", "q2")}
    for one, other in zip(before, after, strict=True):
        values = formula.evaluate(one, given)
        off, size = np.abs(formula.evaluate(other, given) - values), np.abs(values)
        if not np.median(off) <= tuning.CHANGED * np.median(size):
            return False
    return True


def _radial(law: Law) -> sympy.Expr:
    """Return f of a pair's acceleration f·Δ."""
    radial = radial_part(law)
    if radial is None:
        each = ", ".join(plain(e) for e in law.filled(law.messages if law.added else law.nodes))
        raise DistilleryError(f"law: is no sum of central forces of pairs ({each}); only these can be simulated")
    return sympy.piecewise_fold(radial)


def _interaction(radial: sympy.Expr) -> dict[str, str]:
    """Return the potential of a pair, or its force if the potential is unknown."""
    cases = radial.args if isinstance(radial, sympy.Piecewise) else ((radial, sympy.true),)
    potentials = [(_of_radial(case), where) for case, where in cases]
    if any(potential is None for potential, _ in potentials):
        return {"force": formula.to_text(_M1 * radial * _R)}
    whole = sympy.Piecewise(*potentials) if isinstance(radial, sympy.Piecewise) else potentials[0][0]
    return {"potential": formula.to_text(whole)}


def _own(law: Law) -> tuple[float, sympy.Expr]:
    """Return c of the drag -c·v/m of a body, and the potential of the other forces on it."""
    drags, outer = [], []
    for k, axis in enumerate(AXES[: law.dim]):
        own = sympy.expand(law.filled(law.nodes)[k] - sums(len(law.messages))[k])
        place, velocity = formula.symbol(axis), formula.symbol(f"v{axis}")
        drag = own.coeff(velocity)
        force = sympy.expand(_M * (own - drag * velocity))
        drags.append(sympy.simplify(-_M * drag))
        if force.free_symbols - {_M, _Q, place} or not force.is_polynomial(place):
            raise DistilleryError(
                f"law: {formula.to_text(own)} of a body is neither drag nor a force that is a polynomial in {axis}; "
                "only these can be simulated"
            )
        outer.append(-sympy.integrate(force, place))
    if any(not drag.is_number or drag != drags[0] for drag in drags):
        texts = ", ".join(formula.to_text(drag) for drag in drags)
        raise DistilleryError(f"law: drag of {texts} over the mass; only one number for all axes can be simulated")
    return float(drags[0]), sympy.Add(*outer)


def _of_radial(radial: sympy.Expr) -> sympy.Expr | None:
    """Return the potential of a force m1·f·r, or None if a term is not a power of r."""
    found = [_integrated(_shortened(term)) for term in terms_of(_M1 * radial * _R)]
    return None if any(part is None for part in found) else -sympy.Add(*found)


def _shortened(term: sympy.Expr) -> sympy.Expr:
    """Return a term without the power of r that its numerator and all terms of its denominator share."""
    above, below = term.as_numer_denom()
    if not above.is_polynomial(_R) or not below.is_polynomial(_R):
        return term
    shared = _R ** min(degree for part in (above, below) for (degree,) in sympy.Poly(part, _R).monoms())
    if shared == 1:
        return term
    return sympy.expand(above / shared) / sympy.expand(below / shared)


def _integrated(term: sympy.Expr) -> sympy.Expr | None:
    factor, power = term.as_independent(_R)
    base, exponent = power.as_base_exp()
    if power == 1:
        return factor * _R
    if not (base - _R).is_number or not exponent.is_number:
        return None
    return factor * (sympy.log(base) if exponent == -1 else base ** (exponent + 1) / (exponent + 1))
