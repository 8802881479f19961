"""Is an expression the true energy, up to what no motion can tell?

Of a pair: E ≈ a·U + b, where b is anything that depends on the two bodies and a is 1 for all pairs. U is
the potential that the true force is the gradient of, continuous across edges: where a potential jumps, no force acts,
and the jump counts for nothing. Of a single body: E ≈ a·(p²/2m + V) + b in the same way. Residuals are relative to
|r·F|, or to |p·∂H/∂p| + |x·∂H/∂x|.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import sympy
from jaxtyping import Float

from distillery import formula, pieces
from distillery.functions import AXES
from distillery.randomness import stream
from distillery.settings import VerificationSettings
from distillery.systems import FARTHEST, NEAREST, System
from distillery.verify.gauge import (
    FIT_RECEIVERS,
    FIT_SENDERS,
    Probe,
    Verdict,
    bodies,
    displacements,
    edges,
    fit_constants,
    fit_each,
    force_scale,
    not_finite,
    typical_where_zero,
    within_limits,
)

# Steps of the integral over the logarithm of the distance.
_STEPS = 2000
# Speeds in units of the data's.
_SLOWEST, _FASTEST = 0.1, 10.0
# Places that are tried for each case of an external potential, and how far out half of them lie in units of the data's.
_PLACES, _FAR = 20_000, 10.0
_OWN = tuple(formula.symbol(name) for name in ("m", "q"))


def judge_pair(expression: sympy.Expr, system: System, dim: int, settings: VerificationSettings) -> Verdict:
    """Decide whether an expression is the energy of a pair, up to what no force tells.

    Args:
        expression: In dx, dy (dz), r, m1, m2, q1, q2.
        system: The system whose potential is the truth.
        dim: Dimensions of space.
        settings: Limits, counts and seed.
    """
    over = _pairs(system, dim, settings)
    found = np.broadcast_to(formula.evaluate(expression, over.values), over.scale.shape)
    if refusal := not_finite(found, "pairs and distances"):
        return refusal
    few, part = found[:FIT_RECEIVERS, :FIT_SENDERS], over.part(FIT_RECEIVERS, FIT_SENDERS)

    def residual_of(constants: dict[str, float]) -> np.ndarray:
        return fit_each(few, potential(system, part, constants)[..., None], part.scale)[1]

    constants = fit_constants(residual_of, system, settings, system.radial_force)
    slopes, residual = fit_each(found, potential(system, over, constants)[..., None], over.scale)
    # The network knows the charges of its data alone: no factor can be right for others.
    usual = np.isin(over.charge[0][:, 0], system.charges)
    return _verdict(slopes, residual, usual, constants, settings)


def judge_body(expression: sympy.Expr, system: System, dim: int, settings: VerificationSettings) -> Verdict:
    """Decide whether an expression is the energy of a single body, kinetic and in the external potential.

    Args:
        expression: In px, py (pz), m, q and, where there is an external potential, x, y (z).
        system: The system whose energies are the truth.
        dim: Dimensions of space.
        settings: Limits, counts and seed.
    """
    over = _states(system, dim, settings)
    found = np.broadcast_to(formula.evaluate(expression, over.values), over.scale.shape)
    if refusal := not_finite(found, "bodies and momenta"):
        return refusal

    def residual_of(constants: dict[str, float]) -> np.ndarray:
        return fit_each(found, over.energy(system, constants)[..., None], over.scale)[1]

    constants = fit_constants(residual_of, system, settings, system.external_potential)
    slopes, residual = fit_each(found, over.energy(system, constants)[..., None], over.scale)
    known = {symbol.name for symbol in system.external_potential.free_symbols}
    own = {name: value for name, value in constants.items() if name in known}
    return _verdict(slopes, residual, np.ones(len(slopes), dtype=bool), own, settings)


def potential(system: System, over: Probe, constants: dict[str, float]) -> Float[np.ndarray, "receiver sender"]:
    """Return the continuous potential of pairs, 0 at the nearest distance: minus the integral of the radial force.

    Args:
        system: The system.
        over: Pairs, each of the same two bodies at many distances.
        constants: Its constants and softening.
    """
    grid = np.linspace(np.log(NEAREST), np.log(FARTHEST), _STEPS + 1)
    values = {**constants, "r": np.exp(grid)}
    for name, both in (("m", over.mass), ("q", over.charge)):
        values |= {f"{name}{k + 1}": own[:, :1] for k, own in enumerate(both)}
    strength = formula.evaluate(system.radial_force, values)
    by_logarithm = np.broadcast_to(strength * np.exp(grid), (len(over.scale), len(grid)))
    steps = (by_logarithm[:, 1:] + by_logarithm[:, :-1]) / 2 * (grid[1] - grid[0])
    energy = -np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)], axis=1)
    distance = np.log(np.linalg.norm(over.displacement, axis=-1))
    return np.stack([np.interp(own, grid, along) for own, along in zip(distance, energy, strict=True)])


def _pairs(system: System, dim: int, settings: VerificationSettings) -> Probe:
    """Draw pairs of bodies, each at many distances; pairs that feel no force at all are left out, if others do."""
    shape = (settings.receivers, settings.senders)
    draw = stream(settings.seed, "verify", "pairs")
    displacement = displacements(draw, shape, dim, edges(system))
    (mass, charge), (other_mass, _) = bodies(draw, system, shape[0]), bodies(draw, system, shape[0])
    other_charge = draw.choice(system.charges, (shape[0], 1))
    masses, charges = (
        (np.broadcast_to(one, shape).copy(), np.broadcast_to(other, shape).copy())
        for one, other in ((mass, other_mass), (charge, other_charge))
    )
    acts = np.any(system.pair_force(displacement, masses, charges) != 0, axis=(1, 2))
    if acts.any():
        displacement = displacement[acts]
        masses, charges = ((one[acts], other[acts]) for one, other in (masses, charges))
    scale = np.linalg.norm(displacement, axis=-1) * force_scale(system, displacement, masses, charges)
    return Probe(displacement, masses, charges, scale)


@dataclasses.dataclass(frozen=True, eq=False)
class _States:
    """Random bodies, each in many states.

    Attributes:
        values: Momentum, mass, charge and position by name.
        scale: |p·∂H/∂p| + |x·∂H/∂x|.
    """

    values: dict[str, Float[np.ndarray, "body state"]]
    scale: Float[np.ndarray, "body state"]

    def energy(self, system: System, constants: dict[str, float]) -> Float[np.ndarray, "body state"]:
        """Return the true energies."""
        kinetic = sum(self.values[f"p{axis}"] ** 2 for axis in AXES if f"p{axis}" in self.values)
        external = formula.evaluate(system.external_potential, {**self.values, **constants})
        return np.asarray(kinetic / (2 * self.values["m"]) + external)


def _states(system: System, dim: int, settings: VerificationSettings) -> _States:
    shape = (settings.receivers, settings.senders)
    draw = stream(settings.seed, "verify", "bodies")
    mass, charge = (np.broadcast_to(own, shape).copy() for own in bodies(draw, system, shape[0]))
    direction = draw.normal(size=(*shape, dim))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    speed = np.exp(draw.uniform(np.log(_SLOWEST), np.log(_FASTEST), shape)) * (system.velocity_scale or 1.0)
    momentum = mass[..., None] * speed[..., None] * direction
    position = np.zeros((*shape, len(AXES)))
    position[..., :dim] = system.position_scale * draw.normal(size=(*shape, dim))
    if (others := _in_every_case(system, (shape[0], shape[1] // 2), dim, settings)) is not None:
        position[:, : shape[1] // 2, :dim] = others
    values = {"m": mass, "q": charge, **{axis: position[..., k] for k, axis in enumerate(AXES)}}
    values |= {f"p{axis}": momentum[..., k] for k, axis in enumerate(AXES[:dim])}
    outer = np.zeros(shape)
    for axis in AXES[:dim]:
        slope = sympy.diff(system.external_potential, formula.symbol(axis))
        outer = outer + np.abs(values[axis] * formula.evaluate(slope, {**values, **system.parameters}))
    for region in _regions(system, values):
        # Far from the origin, a small region's energy is little beside position times slope.
        there = np.where(region, formula.evaluate(system.external_potential, {**values, **system.parameters}), np.nan)
        known = region.sum(axis=1) > 1
        spread = np.full((len(region), 1), np.inf)
        spread[known] = np.nanstd(there[known], axis=1, keepdims=True)
        outer = np.where(region, np.minimum(outer, spread), outer)
    scale = mass * speed**2 + outer
    return _States(values, typical_where_zero(scale))


def _in_every_case(
    system: System, shape: tuple[int, int], dim: int, settings: VerificationSettings
) -> Float[np.ndarray, "body state dim"] | None:
    """Return places of which each case of the external potential has as many; None where it has no cases.

    Chance alone would hardly meet a small region in which a force acts, and an energy without it would pass.
    """
    draw = stream(settings.seed, "verify", "places")
    near, far = (scale * draw.normal(size=(_PLACES, dim)) for scale in (1.0, _FAR))
    places = system.position_scale * np.concatenate([near, far])
    values = {axis: places[:, k] if k < dim else np.zeros(len(places)) for k, axis in enumerate(AXES)}
    regions = _regions(system, values)
    if not regions:
        return None
    odds = np.sum([region / region.sum() for region in regions], axis=0)
    return places[draw.choice(len(places), shape, p=odds / odds.sum())]


def _regions(system: System, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return which places lie in each case of the external potential; nothing where it has no cases of place."""
    levels = [level for level in pieces.levels_of(system.external_potential) if not level.has(*_OWN)]
    if not levels:
        return []
    shape = values["x"].shape
    above = [np.broadcast_to(formula.evaluate(each, {**values, **system.parameters}) > 0, shape) for each in levels]
    number = np.sum([part * 2**k for k, part in enumerate(above)], axis=0)
    return [number == own for own in np.unique(number)]


def _verdict(
    slopes: Float[np.ndarray, "one 1"],
    residual: Float[np.ndarray, "one other"],
    usual: np.ndarray,
    constants: dict[str, float],
    settings: VerificationSettings,
) -> Verdict:
    if not np.all(np.isfinite(residual)):
        return Verdict(False, None, "does not depend on the energy at all", None, None, constants)
    median, p90, reason = within_limits(residual, settings)
    # Hamilton's equations leave an energy no factor: accelerations and velocities are its derivatives.
    widest = float(np.percentile(np.abs(slopes[usual] - 1), 90))
    if not reason and widest >= settings.p90_residual:
        reason = f"the factor of the energy differs from 1 by {widest:.3g}, over {settings.p90_residual:g}"
    return Verdict(not reason, None if reason else "energy", reason, median, p90, constants, slopes)
