"""The systems: one entry per system, a potential as a formula; everything else is derived from it.

Potentials and numbers are those of arXiv:2006.11287, appendix B. All quantities are dimensionless.
The acceleration of body i is ``a_i = -(1/m_i) Σ_j ∇_i U(r_ij) - (1/m_i) ∇_i V(x_i) - damping·(n-1)/n·v_i/m_i``.
"""

from __future__ import annotations

import functools
import keyword
from collections.abc import Mapping
from typing import Literal

import numpy as np
import sympy
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from distillery import formula
from distillery.errors import DistilleryError

PAIR_SYMBOLS = ("r", "m1", "m2", "q1", "q2")
BODY_SYMBOLS = ("x", "y", "z", "m", "q")
SOFTENING = "softening"
DAMPING = "damping"


class System(BaseModel):
    """A system of interacting bodies, as a table entry or from a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    potential: str = Field(
        description="Pair potential U in r, m1, m2, q1, q2 and the constants; each pair counts once."
    )
    time_step: float = Field(gt=0, description="Time between two of the paper's saved steps (dimensionless).")
    constants: dict[str, float] = Field({}, description="Named constants of the potential, such as a rest length.")
    softening: float = Field(0.01, ge=0, description="Added to every distance inside the potential, r → r + softening.")
    body_potential: str | None = Field(None, description="External potential V in x, y, z, m, q and the constants.")
    damping: float = Field(0.0, ge=0, description="Linear damping: each receiver feels -damping·v/n from every pair.")
    graph: Literal["complete", "chain"] = Field("complete", description="Which pairs interact.")
    position_scale: float = Field(1.0, gt=0, description="Standard deviation of each initial position component.")
    velocity_scale: float = Field(1.0, ge=0, description="Standard deviation of each initial velocity component.")

    @field_validator("constants")
    @classmethod
    def _constant_names(cls, constants: dict[str, float]) -> dict[str, float]:
        for name in constants:
            if (
                not name.isidentifier()
                or keyword.iskeyword(name)
                or name in (*PAIR_SYMBOLS, *BODY_SYMBOLS, SOFTENING, DAMPING)
                or name in formula.FUNCTIONS
            ):
                raise ValueError(f"{name!r} cannot name a constant; it is no plain name or is taken")
        return constants

    @model_validator(mode="after")
    def _formulas_parse(self) -> System:
        try:
            formula.parse(self.potential, (*PAIR_SYMBOLS, *self.constants))
            if self.body_potential is not None:
                formula.parse(self.body_potential, (*BODY_SYMBOLS, *self.constants))
        except DistilleryError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def softened_potential(self) -> sympy.Expr:
        """U(r + softening) in the pair symbols, the constants and ``softening``, all free."""
        return _softened(self.potential, tuple(self.constants))

    @property
    def radial_force(self) -> sympy.Expr:
        """-dU/dr at r + softening: positive where the pair repels. Constants and ``softening`` stay free."""
        return _radial_force(self.potential, tuple(self.constants))

    @property
    def external_potential(self) -> sympy.Expr:
        """V in the body symbols and the constants; 0 where the system has none."""
        if self.body_potential is None:
            return sympy.Integer(0)
        return formula.parse(self.body_potential, (*BODY_SYMBOLS, *self.constants))

    @property
    def parameters(self) -> dict[str, float]:
        """The values of the constants and of ``softening``, by name."""
        return {**self.constants, SOFTENING: self.softening}

    def pair_force(
        self,
        displacement: Float[np.ndarray, "*pairs dim"],
        masses: tuple[Float[np.ndarray, "*pairs"], Float[np.ndarray, "*pairs"]],
        charges: tuple[Float[np.ndarray, "*pairs"], Float[np.ndarray, "*pairs"]],
        parameters: Mapping[str, float] | None = None,
    ) -> Float[np.ndarray, "*pairs dim"]:
        """Return the true force on the receiver (1) from the sender (2), F = -U'(r)·Δ/|Δ|.

        Args:
            displacement: Δ = x_receiver - x_sender.
            masses: Those of receivers and senders.
            charges: Those of receivers and senders.
            parameters: Values for constants and ``softening`` that differ from the system's own.
        """
        distance = np.linalg.norm(displacement, axis=-1)
        values = {**self.parameters, **(parameters or {}), "r": distance}
        values |= {"m1": masses[0], "m2": masses[1], "q1": charges[0], "q2": charges[1]}
        strength = formula.evaluate(self.radial_force, values)
        return (strength / distance)[..., None] * displacement


@functools.cache
def _softened(potential: str, constants: tuple[str, ...]) -> sympy.Expr:
    r = formula.symbol("r")
    return formula.parse(potential, (*PAIR_SYMBOLS, *constants)).subs(r, r + formula.symbol(SOFTENING))


@functools.cache
def _radial_force(potential: str, constants: tuple[str, ...]) -> sympy.Expr:
    return -sympy.diff(_softened(potential, constants), formula.symbol("r"))


SYSTEMS: dict[str, System] = {
    "spring": System(potential="(r - rest_length)**2", constants={"rest_length": 1.0}, time_step=0.01),
    "r^-1": System(potential="m1*m2*log(r)", time_step=0.005),
    "r^-2": System(potential="-m1*m2/r", time_step=0.001),
    "charge": System(potential="q1*q2/r", time_step=0.001),
    "damped": System(potential="(r - rest_length)**2", constants={"rest_length": 1.0}, damping=1.0, time_step=0.02),
    "discontinuous": System(
        potential="(r - rest_length)**2 if r > edge else 0",
        constants={"rest_length": 1.0, "edge": 2.0},
        time_step=0.01,
    ),
}
