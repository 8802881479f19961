"""How bodies move by a law: of a Hamiltonian one by Hamilton's equations, whatever its energy makes of momenta.

``ẋ = ∂H/∂p`` and ``ṗ = -∂H/∂x``, at momenta p = m·v (``verify.hamilton``). A body whose energy lacks the momentum along
an axis never moves along it, however right the forces are.
"""

from __future__ import annotations

import numpy as np
import sympy

from distillery.laws.composed import HeldOut
from distillery.laws.hamilton import acceleration, momenta
from distillery.laws.law import Law
from distillery.laws.limits import floored, not_finite, within_limits
from distillery.laws.settings import VerificationSettings
from distillery.networks.functions import AXES
from distillery.physics import formula

_M = formula.symbol("m")


def moved(law: Law) -> tuple[sympy.Expr, ...]:
    """Return the accelerations of a law's nodes, in s1, s2 …, m, q, the velocity, the position and the constants.

    Args:
        law: The law; of one that is not Hamiltonian, or has p²/2m, they are its ``nodes``.
    """
    newton = (sympy.expand(_M * v - p) == 0 for v, p in zip(law.filled(law.velocities), momenta(law.dim), strict=False))
    if not law.velocities or all(newton):
        return law.nodes
    found = acceleration(law.velocities, [_M * node for node in law.nodes])
    return tuple(at_velocities(expression, law.dim) for expression in found)


def at_velocities(expression: sympy.Expr, dim: int) -> sympy.Expr:
    """Return an expression with m·v in the place of momenta."""
    at = {p: _M * formula.symbol(f"v{axis}") for p, axis in zip(momenta(dim), AXES, strict=False)}
    return expression.xreplace(at)


def flaw_of_velocities(law: Law, graphs: HeldOut, settings: VerificationSettings) -> str:
    """Return in what way ∂H/∂p of a Hamiltonian law is not the velocity of bodies; nothing where it is.

    Args:
        law: Any law; others have no energy that could be wrong.
        graphs: Where.
        settings: Limits of residuals, relative to each velocity.
    """
    if not law.velocities:
        return ""
    given = [np.broadcast_to(formula.evaluate(v, graphs.nodes), graphs.mass.shape) for v in law.filled(law.velocities)]
    size = floored(np.linalg.norm(graphs.velocity, axis=-1))
    with np.errstate(invalid="ignore", over="ignore"):
        residual = np.linalg.norm(np.stack(given, axis=-1) - graphs.velocity, axis=-1) / size
    refusal = not_finite(residual, "bodies")
    reason = refusal.reason if refusal else within_limits(residual, settings)[2]
    return f"its energy does not move bodies as they move: of dH/dp as their velocity, {reason}" if reason else ""
