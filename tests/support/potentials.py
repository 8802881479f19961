"""Potentials, near misses of their laws, and random data sets."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import sympy

from distillery.data.graph import edges_of
from distillery.laws.composed import HeldOut
from distillery.physics import formula
from distillery.physics.systems import PAIR_SYMBOLS, System
from distillery.randomness import stream
from distillery.validation.probe import Pairs, pairs_of

SOFTENING = 0.01


@dataclasses.dataclass(frozen=True)
class Case:
    """A potential in its own units, with near misses.

    Attributes:
        text: The potential, with ``{0}`` and so on for its numbers.
        numbers: Their values.
        misses: Other potentials that data can tell from it.
        length: Unit of length.
        energy: Unit of energy.
        closest: No two bodies of the data are closer, in units of length; as where a force keeps them apart.
        more: Other entries of the system.
    """

    text: str
    numbers: tuple[float, ...]
    misses: tuple[str, ...]
    length: float = 1.0
    energy: float = 1.0
    closest: float = 0.0
    more: tuple[tuple[str, Any], ...] = ()

    def potential(self, factors: tuple[float, ...] | None = None) -> str:
        """Return the potential with its numbers multiplied by factors."""
        own = factors or (1.0,) * len(self.numbers)
        return self.text.format(*(repr(v * f) for v, f in zip(self.numbers, own, strict=True)))

    @functools.cached_property
    def system(self) -> System:
        """Return the system without named constants."""
        return System(
            potential=self.in_units(self.potential()),
            time_step=0.01,
            softening=SOFTENING * self.length,
            position_scale=self.length,
            velocity_scale=math.sqrt(self.energy),
            **dict(self.more),
        )

    def in_units(self, text: str) -> str:
        """Return a potential in the units of length and energy of this case."""
        r = sympy.Symbol("r", real=True)
        scaled = formula.parse(text, PAIR_SYMBOLS).subs(r, r / sympy.Float(self.length))
        return formula.to_text(sympy.Float(self.energy) * scaled)

    def message(self, potential: str, gauge: str = "dx", dim: int = 2) -> sympy.Expr:
        """The message of a potential: its force along ``gauge``, which may hold ``{f}`` for it over the distance."""
        radial = self._system(potential).radial_force.subs(self._softening())
        names = (*("dx", "dy", "dz")[:dim], "r", "m1", "m2", "q1", "q2", "f")
        if "f" not in gauge:
            gauge = f"({gauge})*f"
        return formula.parse(gauge, names).subs(formula.symbol("f"), radial / formula.symbol("r"))

    def pair_energy(self, potential: str, more: str = "0") -> sympy.Expr:
        """Return the energy of a pair plus a function of masses and charges."""
        return self._system(potential).softened_potential.subs(self._softening()) + formula.parse(more, PAIR_SYMBOLS)

    def _softening(self) -> dict[sympy.Symbol, float]:
        return {formula.symbol("softening"): SOFTENING * self.length}

    def _system(self, potential: str) -> System:
        return System.model_construct(potential=self.in_units(potential), constants={}, softening=SOFTENING)

    @functools.cached_property
    def pairs(self) -> Pairs:
        """Return pairs of the data of the case."""
        return drawn(self.system, closest=self.closest * self.length)


def drawn(
    system: System, dim: int = 2, bodies: int = 4, snapshots: int = 4000, closest: float = 0.0, spread: float = 1.0
) -> Pairs:
    """Return pairs of random initial conditions without bodies closer than a distance."""
    return pairs_of(states(system, dim, bodies, snapshots, closest, spread))


def states(
    system: System, dim: int = 2, bodies: int = 4, snapshots: int = 4000, closest: float = 0.0, spread: float = 1.0
) -> HeldOut:
    """Return random initial conditions without accelerations."""
    draws = stream(0, "test states")
    senders, receivers = edges_of(system.graph, bodies)
    position = system.position_scale * spread * draws.normal(size=(snapshots, bodies, dim))
    while True:
        near = np.linalg.norm(position[:, receivers] - position[:, senders], axis=-1).min(axis=1) < closest
        if not near.any():
            break
        position[near] = system.position_scale * spread * draws.normal(size=(int(near.sum()), bodies, dim))
    velocity = system.velocity_scale * draws.normal(size=position.shape)
    mass = np.exp(system.mass_spread * draws.normal(size=position.shape[:2]))
    charge = draws.choice(system.charges, position.shape[:2])
    return HeldOut(position, velocity, mass, charge, np.zeros_like(position), receivers, senders)


SPRING = "({0})*(r - {1})**2"
# By name. Exponents are part of the text, because they are not constants.
CASES: dict[str, Case] = {
    "spring": Case("{0}*(r - {1})**2", (1.0, 1.0), ("(r - 1.15)**2", "r**2", "m1*m2*(r - 1)**2", "(r - 1)**4")),
    "micro spring": Case("{0}*(r - {1})**2", (1.0, 1.0), ("(r - 1.15)**2", "r**2"), length=1e-6, energy=1e-6),
    "giant spring": Case("{0}*(r - {1})**2", (1.0, 1.0), ("(r - 1.15)**2", "r"), length=1e6, energy=1e6),
    "stiff short spring": Case("{0}*(r - {1})**2", (1.0, 1.0), ("r**2",), length=0.005, energy=2.5e-3),
    "hooke": Case("{0}*r**2", (1.5,), ("r**3", "(r - 0.3)**2", "m1*m2*r**2")),
    "line": Case("{0}*r", (1.0,), ("r**2", "sqrt(r)", "q1*q2*r"), length=1e3),
    "root": Case("{0}*sqrt(r)", (1.0,), ("r", "log(r)"), energy=1e6),
    "cube": Case("{0}*m1*m2*r**3", (0.2,), ("m1*m2*r**2", "m1*m2*r**4", "r**3")),
    "quartic": Case("{0}*r**4 - {1}*r**2", (0.1, 1.0), ("0.1*r**4", "0.1*r**4 - 1.3*r**2"), length=1e-3),
    "logarithm": Case("{0}*m1*m2*log(r)", (1.0,), ("-m1*m2/r", "m1*m2*sqrt(r)", "m1*log(r) + m2*log(r)")),
    "gravity": Case("-{0}*m1*m2/r", (1.0,), ("m1*m2*log(r)", "-m1*m2/r**2", "-m1*m2*exp(-r/2)/r", "-m1*m2/(r+0.2)")),
    "faint gravity": Case("-{0}*m1*m2/r", (1.0,), ("-m1*m2/r**2",), length=1e6, energy=1e-6),
    "coulomb": Case("{0}*q1*q2/r", (1.0,), ("1/r", "q1*q2/r**2", "q1*q2*exp(-r/4)/r"), length=1e-6),
    "charges of three kinds": Case(
        "{0}*q1*q2/r", (1.0,), ("q1*q2/r**2", "q1*q1*q2*q2/r"), more=(("charges", (-1.0, 0.0, 2.0)),)
    ),
    "inverse square": Case("{0}*m1*m2/r**2", (1.0,), ("m1*m2/r", "m1*m2/r**3"), closest=0.2),
    "inverse cube": Case("{0}*q1*q2/r**3", (0.3,), ("q1*q2/r**2", "q1*q2/r**4"), closest=0.2),
    "inverse sixth": Case("{0}/r**6 + {1}", (1.0, 5.0), ("1/r**5", "1/r**8"), closest=0.5),
    "inverse twelfth": Case("{0}/r**12", (1.0,), ("1/r**10", "1/r**14"), closest=0.8),
    "short yukawa": Case("{0}*q1*q2*exp(-{1}*r)/r", (1.0, 5.0), ("q1*q2*exp(-6.5*r)/r", "q1*q2/r", "q1*q2*exp(-5*r)")),
    "yukawa of half": Case("{0}*q1*q2*exp(-{1}*r)/r", (1.0, 2.0), ("q1*q2*exp(-2.6*r)/r", "q1*q2/r**2")),
    "yukawa of one": Case("{0}*m1*m2*exp(-{1}*r)/r", (-1.0, 1.0), ("-m1*m2*exp(-1.3*r)/r", "m1*m2*exp(-r)")),
    "yukawa of two": Case("{0}*exp(-{1}*r)/r", (1.0, 0.5), ("exp(-0.8*r)/r", "1/r"), length=1e3, energy=1e-3),
    "yukawa and logarithm": Case(
        "q1*q2*exp(-{0}*r)/r + {1}*m1*m2*log(r)",
        (1.0, 0.3),
        ("q1*q2*exp(-1.2*r)/r + 0.3*m1*m2*log(r)", "q1*q2*exp(-r)/r + 0.4*m1*m2*log(r)", "0.3*m1*m2*log(r)"),
    ),
    "morse": Case(
        "{0}*(1 - exp(-{1}*(r - {2})))**2 - {3}",
        (1.0, 2.0, 1.0, 1.0),
        ("(1 - exp(-2*(r - 1.15)))**2", "(1 - exp(-3*(r - 1)))**2", "(r - 1)**2"),
        closest=0.5,
    ),
    "wide morse": Case(
        "{0}*m1*m2*(1 - exp(-{1}*(r - {2})))**2",
        (2.0, 0.7, 1.5),
        ("2*m1*m2*(1 - exp(-0.9*(r - 1.5)))**2", "2*m1*m2*(1 - exp(-0.7*(r - 1.8)))**2"),
        energy=1e6,
    ),
    "lennard-jones": Case(
        "{0}*({1}/r**12 - {2}/r**6)",
        (4.0, 1.0, 1.0),
        ("4/r**12", "1/r**12 - 2.6/r**6", "4*(1/r**9 - 1/r**6)"),
        closest=0.9,
    ),
    "small lennard-jones": Case(
        "{0}*({1}/r**12 - {2}/r**6)", (1.0, 0.002, 0.05), ("0.002/r**12", "-0.05/r**6"), 1e-6, 1e-3, 0.5
    ),
    "gaussian": Case("-{0}*exp(-{1}*r**2)", (1.0, 0.5), ("-exp(-0.7*r**2)", "-1/(1 + r**2)", "0.3*r**2")),
    "narrow gaussian": Case("-{0}*m1*m2*exp(-{1}*r**2)", (1.0, 8.0), ("-m1*m2*exp(-11*r**2)", "-m1*m2*exp(-4*r)")),
    "ring": Case("{0}*exp(-{1}*(r - {2})**2)", (1.0, 4.0, 2.0), ("exp(-4*(r - 2.2)**2)", "exp(-6*(r - 2)**2)")),
    "spring with a bump": Case(
        "(r - {0})**2 + {1}*exp(-{2}*(r - {3})**2)",
        (1.0, 0.5, 20.0, 2.0),
        ("(r - 1)**2", "(r - 1)**2 + 0.5*exp(-20*(r - 2.3)**2)", "(r - 1)**2 + 0.25*exp(-20*(r - 2)**2)"),
    ),
    "spring with a narrow bump": Case(
        "(r - {0})**2 + {1}*exp(-{2}*(r - {3})**2)", (1.0, 0.5, 100.0, 3.0), ("(r - 1)**2",), length=1e6, energy=1e-6
    ),
    "logarithm with a step": Case(
        "{0}*log(r) + {1}/(1 + exp(-{2}*(r - {3})))",
        (1.0, 0.5, 10.0, 2.0),
        ("log(r)", "log(r) + 0.5/(1 + exp(-10*(r - 1.5)))"),
    ),
    "step": Case("{0}/(1 + exp({1}*(r - {2})))", (1.0, 4.0, 1.5), ("1/(1 + exp(4*(r - 1.8)))", "exp(-r**2)")),
    "discontinuous": Case(
        "{0}*(r - {1})**2 if r > {2} else 0",
        (1.0, 1.0, 2.0),
        ("(r - 1)**2", "(r - 1)**2 if r > 2.3 else 0", "(r - 1)**2 if r > 1.7 else 0", "r**2 if r > 2 else 0"),
    ),
    "edge far inside": Case(
        "{0}*(r - {1})**2 if r > {2} else 0",
        (1.0, 1.0, 0.3),
        ("(r - 1)**2", "(r - 1)**2 if r > 0.4 else 0"),
        length=1e3,
    ),
    "contact": Case(
        "{0}*({1} - r)**2 if r < {1} else 0", (10.0, 1.0), ("10*(1.2 - r)**2 if r < 1.2 else 0", "10*(1 - r)**2", "5/r")
    ),
    "two slopes": Case("{0}*r**2 if r < {1} else {2}*r", (1.0, 1.5, 4.0), ("r**2", "r**2 if r < 1.5 else 3*r", "4*r")),
    "gravity with a core": Case(
        "-m1*m2/r + {0}/r**4", (1e-3,), ("-m1*m2/r", "-m1*m2/r + 0.003/r**4", "-m1*m2/(r + 0.1)"), closest=0.1
    ),
    "gravity and charge": Case(
        "{0}*q1*q2/r - {1}*m1*m2/r", (1.0, 1.0), ("q1*q2/r", "q1*q2/r - 1.3*m1*m2/r", "-m1*m2/r"), energy=1e-6
    ),
    "spring and charge": Case(
        "{0}*(r - {1})**2 + {2}*q1*q2/r", (1.0, 1.0, 0.5), ("(r - 1)**2", "(r - 1)**2 + 0.5/r", "0.5*q1*q2/r")
    ),
    "kink": Case("{0}*abs(r - {1})", (1.0, 1.5), ("(r - 1.5)**2", "abs(r - 1.8)", "r"), energy=1e3),
    "rope": Case("{0}*max(r - {1}, 0)**2", (1.0, 1.5), ("(r - 1.5)**2", "max(r - 1.8, 0)**2", "r**2")),
    "buckingham": Case(
        "{0}*exp(-{1}*r) - {2}/r**6",
        (50.0, 4.0, 0.1),
        ("50*exp(-4*r)", "-0.1/r**6", "30*exp(-4*r) - 0.1/r**6"),
        closest=0.7,
    ),
    "plummer": Case("-{0}*m1*m2/sqrt(r**2 + {1})", (1.0, 0.09), ("-m1*m2/r", "-m1*m2/sqrt(r**2 + 0.2)")),
    "dipoles and rest": Case(
        "{0}*q1*q2/r**3 + {1}*(r - {2})**2",
        (0.2, 0.5, 1.0),
        ("0.5*(r - 1)**2", "q1*q2*0.2/r**2 + 0.5*(r - 1)**2"),
        closest=0.2,
    ),
}
