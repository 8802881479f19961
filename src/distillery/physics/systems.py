"""The systems: each entry gives a potential as a formula, from which forces and energies are derived.

Potentials and numbers are those of arXiv:2006.11287, appendix B (the superposition and the strings: of its code; the
position and stiffness of the ball are chosen here). All quantities are dimensionless. The acceleration of body i is
``a_i = -(1/m_i) Σ_j ∇_i U(r_ij) - (1/m_i) ∇_i V(x_i) - damping·(n-1)/n·v_i/m_i``: each of n bodies is damped by each of
the n-1 others, whichever pairs interact.
"""

from __future__ import annotations

import functools
import keyword
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import sympy
from jaxtyping import Float
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_serializer,
    model_validator,
)

from distillery.errors import DistilleryError
from distillery.physics import formula, piecewise
from distillery.physics.nesting import require_shallow
from distillery.physics.singularities import pair_singularities, place_text

PAIR_SYMBOLS = ("r", "m1", "m2", "q1", "q2")
BODY_SYMBOLS = ("x", "y", "z", "m", "q")
SOFTENING = "softening"
DAMPING = "damping"
# Distances at which the force of a pair must be finite.
NEAREST, FARTHEST = 0.05, 20.0
# Random places at which a system's formulas are tested.
_TRIALS = 64
_RANGE = np.geomspace(NEAREST, FARTHEST, 100)
# Relative accuracy of the position of a singularity.
_ROUNDING = 1e-7
# Distance from the origin within which an edge of a body potential is located.
_FAR = 10.0


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

    mass_spread: float = Field(
        1.0,
        ge=0,
        le=3,
        description="Standard deviation of the logarithm of the masses, whose mean is 0; with 0 all are 1.",
    )
    charges: tuple[float, ...] = Field(
        (-1.0, 1.0), min_length=1, description="The charges that bodies have, drawn with equal odds."
    )

    @field_validator("constants")
    @classmethod
    def _constant_names(cls, given: dict[str, float]) -> dict[str, float]:
        # Normalise as Python does for names: the micro sign is the Greek letter.
        constants = {unicodedata.normalize("NFKC", name): value for name, value in given.items()}
        if len(constants) < len(given):
            raise ValueError(f"two of {', '.join(given)} are one name in formulas; rename one")
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
            for expression in (self._of_pair, self.external_potential):
                piecewise.require_comparisons(expression)
            self._refuse_what_has_no_force()
        except DistilleryError as error:
            raise ValueError(str(error)) from None
        return self

    def _refuse_what_has_no_force(self) -> None:
        """Refuse formulas that are singular where bodies are, and pair potentials that differ for the two bodies."""
        random = np.random.default_rng(0)
        bodies = {
            "m": np.exp(self.mass_spread * random.normal(size=(2, _TRIALS))),
            "q": random.choice(self.charges, (2, _TRIALS)),
        }
        place = {axis: random.normal(0.0, self.position_scale, _TRIALS) for axis in ("x", "y", "z")}
        given = {**self.parameters, "r": np.exp(random.uniform(np.log(NEAREST), np.log(FARTHEST), _TRIALS))}
        given |= {f"{name}{body + 1}": values[body] for name, values in bodies.items() for body in (0, 1)}
        swapped = given | {"m1": given["m2"], "m2": given["m1"], "q1": given["q2"], "q2": given["q1"]}
        there, back = (formula.evaluate(self.radial_force, values) for values in (given, swapped))
        every = {name: np.asarray(value).reshape(-1, 1) for name, value in given.items()} | {"r": _RANGE}
        finite = [np.isfinite(formula.evaluate(each, every)) for each in (self._of_pair, self.radial_force)]
        named = ("r", *(name for name in PAIR_SYMBOLS[1:] if formula.symbol(name) in self._of_pair.free_symbols))
        _refuse(self.pair_text, "it or its force is not finite", ~np.logical_and(*finite), every, named)
        # Singularities lie between these distances. Those of nearer or farther pairs cause a warning (see
        # ``reachable_singularities``).
        for singularity in self.singularities:
            if NEAREST * (1 - _ROUNDING) <= singularity["r"] <= FARTHEST * (1 + _ROUNDING):
                at = place_text({name: singularity[name] for name in named})
                soft = f" (softening {self.softening:g} is added to r)" if self.softening else ""
                raise DistilleryError(
                    f"formula {self.pair_text!r}: its force is not finite at {at}; from r = {NEAREST:g} to "
                    f"{FARTHEST:g} it must be{soft}"
                )
        # All stages assume F_12 = -F_21: a pair has one potential.
        unequal = np.abs(there - back) > 1e-9 * (np.abs(there) + np.abs(back))
        _refuse(self.pair_text, "it is another for bodies 1 and 2 exchanged", unequal, given, PAIR_SYMBOLS)
        if self.body_potential is not None:
            given = {**self.parameters, **place, **{name: values[0] for name, values in bodies.items()}}
            value = formula.evaluate(self.external_potential, given)
            _refuse(self.body_potential, "is not finite", ~np.isfinite(value), given, BODY_SYMBOLS)

    @model_serializer(mode="wrap")
    def _without_later_fields(self, handler: Callable[[Any], Any]) -> dict[str, Any]:
        """Omit default values of fields that were added later, so that keys of existing data stay the same."""
        content: dict[str, Any] = handler(self)
        for name in ("mass_spread", "charges"):
            if getattr(self, name) == type(self).model_fields[name].default:
                del content[name]
        return content

    @property
    def pair_text(self) -> str:
        """The formula of the pair interaction, as it was written."""
        return self.potential

    @property
    def _of_pair(self) -> sympy.Expr:
        return self.softened_potential

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
        return _external(self.body_potential, tuple(self.constants))

    @property
    def acts_on_bodies(self) -> bool:
        """Whether there is a potential of single bodies, so that laws may contain positions."""
        return self.body_potential is not None

    @property
    def depends_on_place(self) -> bool:
        """Whether the force of the body potential depends on the position; that of gravity, m·y, does not."""
        return self.body_potential is not None and _differs(self.body_potential, tuple(self.constants))

    @property
    def is_piecewise(self) -> bool:
        """Whether a potential is piecewise (``if``, abs, min, max), so that no Taylor series holds across branches."""
        return any(expression.has(sympy.Piecewise) for expression in (self._of_pair, self.external_potential))

    @property
    def conserves_energy(self) -> bool:
        """Whether kinetic plus potential energy is conserved: no damping, no potential that jumps.

        A jump has no force, so bodies cross it without a change of speed (docs/systems.md).
        """
        if self.damping or not self.is_piecewise:
            return not self.damping
        random = np.random.default_rng(0)
        pair = {name: np.exp(self.mass_spread * random.normal(size=_TRIALS)) for name in ("m1", "m2")}
        pair |= {name: random.choice(self.charges, _TRIALS) for name in ("q1", "q2")}
        ends = ({**self.parameters, **pair, "r": distance} for distance in (0.01, 100.0))
        if piecewise.jumps(self.softened_potential, *ends):
            return False
        body = {"m": pair["m1"], "q": pair["q1"]}
        places = ({axis: random.normal(0.0, _FAR, _TRIALS) for axis in BODY_SYMBOLS[:3]} for _ in range(2))
        return not piecewise.jumps(self.external_potential, *({**self.parameters, **body, **place} for place in places))

    @property
    def singularities(self) -> tuple[dict[str, float], ...]:
        """Singularities of the force of a pair, softening included: values of ``r`` and all other symbols."""
        return pair_singularities(self.radial_force, tuple(self.parameters.items()), self.charges, self.mass_spread)

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


class ForceSystem(System):
    """A system given by the force of a pair instead of a potential; its energy is unknown.

    It is integrated like any other. No configuration has one; access to its potential raises an error.
    """

    potential: str = ""
    softening: float = 0.0
    force: str = Field(description="Force on body 1 of a pair away from body 2, in r, m1, m2, q1, q2.")

    @property
    def pair_text(self) -> str:
        """The formula of the force."""
        return self.force

    @property
    def _of_pair(self) -> sympy.Expr:
        return self.radial_force

    @property
    def softened_potential(self) -> sympy.Expr:
        """Raise an error: the potential is unknown."""
        raise DistilleryError(f"force {self.force!r}: the potential of this force is not known")

    @property
    def radial_force(self) -> sympy.Expr:
        """The force itself: positive where the pair repels."""
        return _force(self.force)


def _refuse(text: str, what: str, where: Any, values: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Raise DistilleryError with the first place at which a condition holds, if there is any."""
    where, *places = np.broadcast_arrays(where, *(values[name] for name in names))
    if where.any():
        first = np.argmax(where)
        at = {name: float(place.flat[first]) for name, place in zip(names, places, strict=True)}
        raise DistilleryError(f"formula {text!r}: {what}, as at {place_text(at)}")


@functools.cache
def _softened(potential: str, constants: tuple[str, ...]) -> sympy.Expr:
    r = formula.symbol("r")
    return piecewise.as_piecewise(
        _parsed(potential, (*PAIR_SYMBOLS, *constants)).subs(r, r + formula.symbol(SOFTENING))
    )


@functools.cache
def _radial_force(potential: str, constants: tuple[str, ...]) -> sympy.Expr:
    return -sympy.diff(_softened(potential, constants), formula.symbol("r"))


@functools.cache
def _external(potential: str, constants: tuple[str, ...]) -> sympy.Expr:
    return piecewise.as_piecewise(_parsed(potential, (*BODY_SYMBOLS, *constants)))


# Evaluated for the keys of all cells of a sweep.
@functools.cache
def _differs(potential: str, constants: tuple[str, ...]) -> bool:
    place = [formula.symbol(axis) for axis in BODY_SYMBOLS[:3]]
    slopes = [sympy.diff(_external(potential, constants), axis) for axis in place]
    return any(slope.free_symbols & set(place) for slope in slopes)


@functools.cache
def _force(text: str) -> sympy.Expr:
    return piecewise.as_piecewise(_parsed(text, PAIR_SYMBOLS))


def _parsed(text: str, symbols: tuple[str, ...]) -> sympy.Expr:
    require_shallow(text)
    return formula.parse(text, symbols)


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
    "superposition": System(potential="q1*q2/r - m1*m2/r", time_step=0.001),
    "string": System(
        potential="(r - rest_length)**2",
        body_potential="gravity*m*y",
        constants={"rest_length": 1.0, "gravity": 1.0},
        graph="chain",
        time_step=0.01,
    ),
    "string_ball": System(
        potential="(r - rest_length)**2",
        body_potential="gravity*m*y + (stiffness*(radius - sqrt(x**2 + (y - height)**2 + z**2))**2"
        " if x**2 + (y - height)**2 + z**2 < radius**2 else 0)",
        constants={"rest_length": 1.0, "gravity": 1.0, "stiffness": 1000.0, "radius": 4.0, "height": -10.0},
        graph="chain",
        time_step=0.01,
    ),
}
