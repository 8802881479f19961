"""Hamilton's equations (arXiv:2006.11287, section 4): from the energy of a body to its acceleration."""

from __future__ import annotations

from collections.abc import Sequence

import sympy

from distillery.networks.functions import AXES
from distillery.physics import formula


def momenta(dim: int) -> list[sympy.Symbol]:
    """Return the momenta that energies are made of."""
    return [formula.symbol(f"p{axis}") for axis in AXES[:dim]]


def acceleration(velocities: Sequence[sympy.Expr], pulls: Sequence[sympy.Expr]) -> list[sympy.Expr]:
    """Return d/dt ∂E/∂p = Σ_j (∂²E/∂p∂p_j · ṗ_j + ∂²E/∂p∂x_j · ẋ_j) for each axis; of E = p²/2m it is ṗ/m.

    Args:
        velocities: ẋ = ∂E/∂p in px, py (pz), m, q and the position, an expression for each axis.
        pulls: ṗ, an expression for each axis.
    """
    places = [formula.symbol(axis) for axis in AXES[: len(velocities)]]
    return [
        sympy.Add(
            *(sympy.diff(own, p) * pull for p, pull in zip(momenta(len(velocities)), pulls, strict=True)),
            *(sympy.diff(own, x) * other for x, other in zip(places, velocities, strict=True)),
        )
        for own in velocities
    ]
