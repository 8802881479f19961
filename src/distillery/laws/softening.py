"""Add a softening to a law: one small constant that is added to every distance, if the data support it.

Forces that diverge at zero distance are softened in simulations, r → r + ε in the potential, so that the force of a
pair is -U'(r + ε) along Δ/r (see ``physics.systems``). Engines do not find a constant that only close encounters depend
on, and without it all refitted constants of such a law are biased. A law linear in r needs none: its other constants
absorb it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import sympy

from distillery.errors import DistilleryError
from distillery.laws import tuning
from distillery.laws.compose import by_hamilton
from distillery.laws.law import Law
from distillery.laws.problem import Data
from distillery.laws.refit import Fit, refit
from distillery.laws.settings import ReplacementSettings
from distillery.laws.terms import terms_of
from distillery.networks.functions import AXES
from distillery.physics import formula
from distillery.util.budget import OutOfBudget

_R = formula.symbol("r")
_DELTAS = {formula.symbol(f"d{axis}") for axis in AXES}


def softened(fit: Fit, data: Data, settings: ReplacementSettings, draws: np.random.Generator) -> Fit:
    """Return a fitted law with softened distances, refitted, if that lowers the loss clearly.

    Args:
        fit: The fitted law.
        data: Snapshots that it was fitted to.
        settings: Loss.
        draws: Source of starts.

    Returns:
        The law with one more constant, or the given one if that does not pay.
    """
    law = with_softening(fit.law)
    if law is None or fit.cost <= tuning.SOFTENING_ROUNDING**2:
        return fit
    (name,) = set(law.constants) - set(fit.law.constants)
    once, typical = settings.model_copy(update={"starts": 1}), float(np.median(data.graphs.edges["r"]))
    best = fit
    for share in tuning.SOFTENING_STARTS:
        try:
            found = refit(law.having({name: share * typical}), data, once, draws)
        except DistilleryError:
            continue
        except OutOfBudget:
            break
        value, error = found.law.constants[name], found.errors.get(name, np.inf)
        softening = tuning.SOFTENING_SIGNIFICANT * error < value <= tuning.LARGEST_SOFTENING * typical
        if softening and found.cost < min(tuning.SOFTENING_PAYS * fit.cost, best.cost):
            best = found
    return best


def with_softening(law: Law) -> Law | None:
    """Return a law with r + ε in place of distances, with the new constant ε = 0; None if that changes nothing.

    A term of a message along the line of two bodies is g(r)·Δ/r and becomes g(r + ε)·Δ/r; a term of an energy is U(r)
    and becomes U(r + ε). Other terms stay.

    Args:
        law: The law.
    """
    name = f"c{max((int(name[1:]) for name in law.constants), default=0) + 1}"
    soft, constants = formula.symbol(name), {**law.constants, name: 0.0}
    if law.energies:
        pair, body = law.energies
        terms = [(term, not term.free_symbols & _DELTAS) for term in terms_of(pair)]
        # A quadratic potential has a force linear in r.
        if not any(radial and _is_bent(term, 3) for term, radial in terms):
            return None
        pair = sympy.Add(*(term.xreplace({_R: _R + soft}) if radial else term for term, radial in terms))
        return by_hamilton(dataclasses.replace(law, energies=(pair, body), constants=constants))
    messages, bent = [], False
    for message in law.messages:
        terms = []
        for term in terms_of(message):
            delta = _direction(term)
            if delta is None:
                terms.append(term)
                continue
            strength = _strength(term, delta)
            bent = bent or _is_bent(strength)
            terms.append(_along(strength.xreplace({_R: _R + soft}), delta))
        messages.append(sympy.Add(*terms))
    return dataclasses.replace(law, messages=tuple(messages), constants=constants) if bent else None


def _direction(term: sympy.Expr) -> sympy.Symbol | None:
    """Return the displacement Δ of a term g·Δ/r in which g does not depend on directions."""
    found = term.free_symbols & _DELTAS
    if len(found) != 1:
        return None
    (delta,) = found
    return None if _strength(term, delta).free_symbols & _DELTAS else delta


def _strength(term: sympy.Expr, delta: sympy.Symbol) -> sympy.Expr:
    """Return g of a term g·Δ/r."""
    if isinstance(term, sympy.Piecewise):
        return sympy.Piecewise(*((_strength(value, delta), condition) for value, condition in term.args))
    return sympy.Add(*(part * _R / delta for part in terms_of(term)))


def _along(strength: sympy.Expr, delta: sympy.Symbol) -> sympy.Expr:
    if isinstance(strength, sympy.Piecewise):
        return sympy.Piecewise(*((_along(value, delta), condition) for value, condition in strength.args))
    return strength * delta / _R


def _is_bent(strength: sympy.Expr, order: int = 2) -> bool:
    """Return whether a derivative by r is nonzero somewhere, in any of the branches."""
    if isinstance(strength, sympy.Piecewise):
        return any(_is_bent(value, order) for value, _ in strength.args)
    return bool(sympy.diff(strength, _R, order) != 0)
