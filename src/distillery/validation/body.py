"""Is an expression the true energy of a single body, where the data are?

Motion determines an energy by its derivatives: E ≈ p²/2m + V has ∂E/∂p = p/m and -∂E/∂x = -∂V/∂x, and whatever depends
on mass and charge alone does not matter. Bodies are those of the data, each in states of bodies of the same charge.
Residuals are relative to the velocity and to the external force, both at least a share of the typical one. Besides the
median and the 90th percentile, the force must agree in narrow windows of its size and of each coordinate, so that a
small region in which it acts counts where bodies met it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import sympy
from jaxtyping import Float, Int

from distillery.laws.composed import HeldOut
from distillery.laws.limits import (
    FLOOR,
    Verdict,
    bounded,
    not_finite,
    refused,
    run_in_words,
    typical,
    within_limits,
)
from distillery.laws.settings import VerificationSettings
from distillery.networks.functions import AXES
from distillery.physics import formula
from distillery.physics.systems import System
from distillery.randomness import stream
from distillery.validation.constants import fit_constants, with_numbers_named
from distillery.validation.gauge import Energy, factor_flaw
from distillery.validation.probe import by_window

# Windows of a size or a coordinate, and the fewest states in one.
_WINDOWS, _FEWEST = 50, 20
_FIT_BODIES, _FIT_STATES = 20, 80


@dataclasses.dataclass(frozen=True, eq=False)
class States:
    """Bodies of the data, each in states that occur in the data.

    Attributes:
        values: Position, momentum, mass and charge by name.
        velocity: Velocities.
        pull: True external forces -∂V/∂x.
        drawn: Which states are drawn as the data have them; the others are drawn evenly over sizes of the force.
        speed: What residuals of velocities are relative to.
        strength: What residuals of forces are relative to.
    """

    values: dict[str, Float[np.ndarray, "body state"]]
    velocity: Float[np.ndarray, "body state dim"]
    pull: Float[np.ndarray, "body state dim"]
    drawn: Int[np.ndarray, "body state"]
    speed: Float[np.ndarray, "body state"]
    strength: Float[np.ndarray, "body state"]

    @property
    def truth(self) -> Float[np.ndarray, "body state part"]:
        """Velocities, and external forces."""
        return np.concatenate([self.velocity, self.pull], axis=-1)


def states_of(system: System, graphs: HeldOut, settings: VerificationSettings) -> States:
    """Draw bodies, and states for each, from snapshots of the data.

    Args:
        system: The system whose energies are the truth.
        graphs: The snapshots.
        settings: Counts and seed.
    """
    dim = graphs.position.shape[-1]
    place, velocity, acceleration = (
        values.reshape(-1, dim) for values in (graphs.position, graphs.velocity, graphs.acceleration)
    )
    mass, charge = (values.ravel().astype(float) for values in (graphs.mass, graphs.charge))
    draw = stream(settings.seed, "verify", "bodies")
    own = draw.choice(len(mass), settings.receivers)
    half = (settings.senders + 1) // 2
    size = np.linalg.norm(_pull(system, _values(place, velocity, mass, charge), dim), axis=-1)
    window = _bins(size)
    chosen = np.zeros((len(own), settings.senders), dtype=int)
    for row, body in enumerate(own):
        alike = np.flatnonzero(charge == charge[body])
        chosen[row, :half] = draw.choice(alike, half)
        chosen[row, half:] = alike[by_window(draw, window[alike], (1, settings.senders - half))[0]]
    shape = chosen.shape
    values = _values(
        place[chosen],
        velocity[chosen],
        np.broadcast_to(mass[own, None], shape),
        np.broadcast_to(charge[own, None], shape),
    )
    pull = _pull(system, values, dim)
    forces = np.linalg.norm(acceleration, axis=-1) * mass
    usual = float(typical(np.linalg.norm(pull, axis=-1).ravel())) or float(typical(forces)) or 1.0
    swiftness = np.linalg.norm(velocity[chosen], axis=-1)
    return States(
        values,
        velocity[chosen],
        pull,
        np.broadcast_to(np.arange(settings.senders) < half, shape).astype(int),
        np.maximum(swiftness, FLOOR * (float(typical(swiftness.ravel())) or 1.0)),
        np.maximum(np.linalg.norm(pull, axis=-1), FLOOR * usual),
    )


def judge_body(expression: sympy.Expr, system: System, over: States, settings: VerificationSettings) -> Verdict:
    """Decide whether an expression is the energy of a single body, kinetic and in the external potential.

    Args:
        expression: In px, py (pz), m, q and, where there is an external potential, x, y (z).
        system: The system whose energies are the truth.
        over: States of the data.
        settings: Limits.
    """
    dim = over.velocity.shape[-1]
    found = _derivatives(expression, over.values, dim)
    if refusal := not_finite(found, "bodies of the data"):
        return refusal
    if not found.any():
        return refused("does not depend on the energy at all")
    law = with_numbers_named(system)
    cut = np.ix_(*(np.linspace(0, n - 1, min(n, most)).astype(int) for n, most in _few(found)))
    few = {name: values[cut] for name, values in over.values.items()}

    def residual_of(constants: dict[str, float]) -> np.ndarray:
        pull = _pull(law, few, dim, constants)
        off = np.linalg.norm(found[cut][..., dim:] - pull, axis=-1)
        return bounded(off / over.strength[cut])

    constants = {**law.parameters}
    if system.body_potential is not None:
        constants = fit_constants(residual_of, law, settings, law.external_potential, 0.0)
    verdict = _verdict(found, law, over, constants, settings)
    known = {symbol.name for symbol in system.external_potential.free_symbols} & set(system.constants)
    return dataclasses.replace(verdict, constants={name: constants[name] for name in constants if name in known})


def _verdict(
    found: Float[np.ndarray, "body state part"],
    law: System,
    over: States,
    constants: dict[str, float],
    settings: VerificationSettings,
) -> Verdict:
    dim = over.velocity.shape[-1]
    truth = np.concatenate([over.velocity, _pull(law, over.values, dim, constants)], axis=-1)
    scaled = np.repeat(np.stack([over.speed, over.strength], axis=-1), dim, axis=-1)
    gauge = Energy(sympy.Integer(0)).fitted(found / scaled, truth / scaled, np.ones(found.shape[:2]))
    factor = gauge.linear[:, 0, 0]
    error = (found - gauge.of(truth)) / scaled / np.where(factor == 0, 1e-300, factor)[:, None, None]
    parts = {"velocity": np.linalg.norm(error[..., :dim], axis=-1)}
    if law.body_potential is not None:
        parts["force"] = np.linalg.norm(error[..., dim:], axis=-1)
    drawn = over.drawn.astype(bool)
    limits = {name: within_limits(bounded(own)[drawn], settings) for name, own in parts.items()}
    median, p90, _ = max(limits.values(), key=lambda each: (bool(each[2]), each[0]))
    reasons = [f"of the {name}, {own[2]}" for name, own in limits.items() if own[2]]
    if "force" in parts:
        reasons.append(_local(bounded(parts["force"]), over, settings))
    reasons.append(factor_flaw(factor, settings))
    reason = "; ".join(part for part in reasons if part)
    return Verdict(not reason, None if reason else "energy", reason, median, p90, constants, factor[:, None])


def _local(residual: Float[np.ndarray, "body state"], over: States, settings: VerificationSettings) -> str:
    """Return where the external force differs, in windows of its size and of each coordinate."""
    keys = {"external forces of": np.linalg.norm(over.pull, axis=-1)}
    keys |= {axis: over.values[axis] for axis in AXES[: over.velocity.shape[-1]]}
    for name, key in keys.items():
        place, size = _bins(key.ravel()), np.minimum(residual.ravel(), 1.0) ** 2
        number = np.bincount(place)
        root = np.sqrt(np.bincount(place, size) / np.maximum(number, 1))
        wrong = root >= settings.local_residual
        if wrong.any():
            first, last = run_in_words(wrong, number / number.sum())
            there = key.ravel()[(place >= first) & (place <= last)]
            return f"the external force differs at {name} = {there.min():.3g} … {there.max():.3g}"
    return ""


def _bins(key: Float[np.ndarray, " any"]) -> Int[np.ndarray, " any"]:
    """Return the number of the window of each value: windows of equal width, joined where they hold too few."""
    low, high = float(key.min()), float(key.max())
    if not high > low:
        return np.zeros(len(key), dtype=int)
    ordered = np.sort(key)
    least = min(_FEWEST, len(key))
    bounds = [0]
    for place in np.searchsorted(ordered, np.linspace(low, high, _WINDOWS + 1)[1:-1]):
        if place - bounds[-1] >= least and len(key) - place >= least:
            bounds.append(int(place))
    return np.searchsorted(ordered[bounds[1:]], key, side="right")


def _few(found: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    return (found.shape[0], _FIT_BODIES), (found.shape[1], _FIT_STATES)


def _values(place: np.ndarray, velocity: np.ndarray, mass: np.ndarray, charge: np.ndarray) -> dict[str, np.ndarray]:
    dim = place.shape[-1]
    found = {"m": mass, "q": charge}
    for k, axis in enumerate(AXES):
        found[axis] = place[..., k] if k < dim else np.zeros_like(mass)
        if k < dim:
            found[f"p{axis}"] = mass * velocity[..., k]
    return found


def _derivatives(energy: sympy.Expr, values: dict[str, np.ndarray], dim: int) -> Float[np.ndarray, "body state part"]:
    """Return ∂E/∂p and -∂E/∂x; NaN where the energy itself is not finite."""
    names = [*(f"p{axis}" for axis in AXES[:dim]), *AXES[:dim]]
    found = [formula.evaluate(sympy.diff(energy, formula.symbol(name)), values) for name in names]
    signed = [own if name.startswith("p") else -own for name, own in zip(names, found, strict=True)]
    parts = np.stack([np.broadcast_to(own, values["m"].shape) for own in signed], axis=-1)
    finite = np.isfinite(np.broadcast_to(formula.evaluate(energy, values), values["m"].shape))
    return np.where(finite[..., None], parts, np.nan)


def _pull(
    system: System, values: dict[str, np.ndarray], dim: int, constants: dict[str, float] | None = None
) -> np.ndarray:
    """Return the external force -∂V/∂x."""
    given = {**values, **(constants or system.parameters)}
    slopes = [sympy.diff(system.external_potential, formula.symbol(axis)) for axis in AXES[:dim]]
    found = [np.broadcast_to(-formula.evaluate(slope, given), values["m"].shape) for slope in slopes]
    return np.stack(found, axis=-1)
