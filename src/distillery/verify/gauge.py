"""Is an expression the true pairwise force, up to what no message can tell?

The node model sees the receiver, so a message f = A(receiver)·F + b(receiver) predicts as well as the force
F itself. Exactly that is tested: random receivers, each with many random senders, far outside of the
training range; for every receiver k the best f ≈ a_k·F + b_k; residuals relative to the size of a_k·F.

F is the pair force alone, on whichever graph, with all its cases. Forces on single bodies (an external potential,
damping) depend on the receiver: they are part of the node model, and of b where a message carries them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Literal

import numpy as np
import sympy
from jaxtyping import Float
from scipy.optimize import minimize

from distillery import formula
from distillery.randomness import stream
from distillery.settings import VerificationSettings
from distillery.systems import FARTHEST, NEAREST, SOFTENING, System

Form = Literal["force", "acceleration", "gauge", "energy"]

_LOG_MASS_SPREAD = 1.5
# Where edges are looked for, and how near to one is beside it.
_EDGE_GRID, _BESIDE = 4001, 1.25
# |F| is taken as the largest within ±5 % of the distance, so that it is a scale where F itself passes through 0.
_NEARBY = (0.95, 0.975, 1.0, 1.025, 1.05)
# Fitting the law's constants needs fewer samples than the verdict.
FIT_RECEIVERS, FIT_SENDERS = 20, 80
_HOPELESS = 0.5
# Points per axis of the grid on which that begins, by the number of constants.
_POINTS = {1: 5, 2: 5, 3: 4, 4: 3}


@dataclasses.dataclass(frozen=True, eq=False)
class Probe:
    """Random receivers, each with random senders.

    Attributes:
        displacement: Δ = x_receiver - x_sender.
        mass: Masses of receiver and sender.
        charge: Charges of receiver and sender.
        scale: |F|, the largest within ±5 % of the distance.
    """

    displacement: Float[np.ndarray, "receiver sender dim"]
    mass: tuple[Float[np.ndarray, "receiver sender"], Float[np.ndarray, "receiver sender"]]
    charge: tuple[Float[np.ndarray, "receiver sender"], Float[np.ndarray, "receiver sender"]]
    scale: Float[np.ndarray, "receiver sender"]

    @property
    def values(self) -> dict[str, Float[np.ndarray, "receiver sender"]]:
        """The inputs of an expression by name."""
        found = dict(zip(("dx", "dy", "dz"), np.moveaxis(self.displacement, -1, 0), strict=False))
        found["r"] = np.linalg.norm(self.displacement, axis=-1)
        found["m1"], found["m2"] = self.mass
        found["q1"], found["q2"] = self.charge
        return found

    def part(self, receivers: int, senders: int) -> Probe:
        """Return the first receivers and senders."""
        cut = (slice(receivers), slice(senders))
        return Probe(
            self.displacement[cut],
            (self.mass[0][cut], self.mass[1][cut]),
            (self.charge[0][cut], self.charge[1][cut]),
            self.scale[cut],
        )


def probe(system: System, dim: int, settings: VerificationSettings) -> Probe:
    """Draw receivers and senders, farther and heavier than those of the data.

    Distances are log-uniform in 0.05 … 20. Where the law has edges, as at ``r > 2``, every other sender is within a
    fourth of one of them: among distances of all sizes few would show a wrong edge. Directions are uniform, masses
    log-normal with 1.5 times the spread of the data. Senders have charges as in the data (where they are ±1, q and 1/q
    cannot be told apart). Every other receiver has such a charge times 0.5 … 2.

    Args:
        system: The system whose force is the truth.
        dim: Dimensions of space.
        settings: Counts and seed.
    """
    shape = (settings.receivers, settings.senders)
    draw = stream(settings.seed, "verify")
    displacement = displacements(draw, shape, dim, edges(system))
    own_mass, own_charge = bodies(draw, system, shape[0])
    spread = _LOG_MASS_SPREAD * system.mass_spread
    mass = (np.broadcast_to(own_mass, shape).copy(), np.exp(spread * draw.normal(size=shape)))
    charge = (np.broadcast_to(own_charge, shape).copy(), draw.choice(system.charges, shape))
    return Probe(displacement, mass, charge, force_scale(system, displacement, mass, charge))


def displacements(
    draw: np.random.Generator, shape: tuple[int, int], dim: int, places: tuple[float, ...] = ()
) -> Float[np.ndarray, "one other dim"]:
    """Draw displacements: distances log-uniform, where there are edges every other one near one; directions uniform.

    Args:
        draw: Source of the draws.
        shape: How many.
        dim: Dimensions of space.
        places: Distances of edges, see ``edges``.
    """
    distance = np.exp(draw.uniform(np.log(NEAREST), np.log(FARTHEST), shape))
    if places:
        near = draw.choice(places, distance[:, 1::2].shape)
        distance[:, 1::2] = near * np.exp(draw.uniform(-1, 1, near.shape) * np.log(_BESIDE))
    direction = draw.normal(size=(*shape, dim))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    return distance[..., None] * direction


def bodies(
    draw: np.random.Generator, system: System, count: int
) -> tuple[Float[np.ndarray, "body 1"], Float[np.ndarray, "body 1"]]:
    """Draw masses and charges of bodies; every other charge is 0.5 … 2 times one of the data's."""
    mass = np.exp(_LOG_MASS_SPREAD * system.mass_spread * draw.normal(size=(count, 1)))
    charge = draw.choice(system.charges, (count, 1))
    charge[1::2] *= np.exp(draw.uniform(-1, 1, (count, 1)) * np.log(2))[1::2]
    return mass, charge


_Both = tuple[Float[np.ndarray, "one other"], Float[np.ndarray, "one other"]]


def force_scale(
    system: System, displacement: Float[np.ndarray, "one other dim"], mass: _Both, charge: _Both
) -> Float[np.ndarray, "one other"]:
    """Return |F|, the largest within ±5 % of the distance; where it vanishes altogether, the typical."""
    sizes = [np.linalg.norm(system.pair_force(factor * displacement, mass, charge), axis=-1) for factor in _NEARBY]
    return typical_where_zero(np.max(sizes, axis=0))


def typical_where_zero(scale: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Return sizes with the median of the others in place of zeros, which can be no measure."""
    typical = np.median(scale[scale > 0]) if np.any(scale > 0) else 1.0
    return np.where(scale == 0, typical, scale)


def edges(system: System) -> tuple[float, ...]:
    """Return the distances at which a condition in a system's force changes, for unit masses and charges.

    Args:
        system: The system; a smooth force has no edges.
    """
    distance = np.geomspace(NEAREST, FARTHEST, _EDGE_GRID)
    values = {**system.parameters, "r": distance, "m1": 1.0, "m2": 1.0, "q1": 1.0, "q2": 1.0}
    found: set[float] = set()
    for condition in system.radial_force.atoms(sympy.core.relational.Relational):
        holds = np.broadcast_to(formula.evaluate(sympy.Piecewise((1, condition), (0, True)), values), distance.shape)
        changes = np.flatnonzero(holds[1:] != holds[:-1])
        found |= {float(np.sqrt(distance[k] * distance[k + 1])) for k in changes}
    return tuple(sorted(found))


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether an expression is the law.

    Attributes:
        recovered: Whether the residuals are within the limits.
        form: What the expression is of the force, where recovered: the ``force`` up to a fixed linear map, the
            ``acceleration`` (the map goes as 1/m1), or another ``gauge``; or the ``energy`` that it derives from.
        reason: Why not recovered.
        median_residual: Median of the relative residuals; None where there are none.
        p90_residual: Their 90th percentile.
        constants: The law's constants and softening that fit best.
        gauge: The a_k, one vector per receiver; None where there are none.
    """

    recovered: bool
    form: Form | None
    reason: str
    median_residual: float | None
    p90_residual: float | None
    constants: dict[str, float]
    gauge: np.ndarray | None = dataclasses.field(default=None, compare=False)


def judge(expression: sympy.Expr, system: System, dim: int, settings: VerificationSettings) -> Verdict:
    """Decide whether an expression is the pairwise force of a system up to the gauge.

    Args:
        expression: In dx, dy (dz), r, m1, m2, q1, q2; receiver 1, sender 2.
        system: The system whose force is the truth.
        dim: Dimensions of space.
        settings: Limits, counts and seed.
    """
    everything = probe(system, dim, settings)
    found = np.broadcast_to(formula.evaluate(expression, everything.values), everything.scale.shape)
    if refusal := not_finite(found, "receivers and senders"):
        return refusal
    part, few = everything.part(FIT_RECEIVERS, FIT_SENDERS), found[:FIT_RECEIVERS, :FIT_SENDERS]
    constants = fit_constants(
        lambda constants: _per_receiver(few, part, system, constants)[1], system, settings, system.radial_force
    )
    gauge, residual = _per_receiver(found, everything, system, constants)
    if not np.all(np.isfinite(residual)):
        return Verdict(False, None, "does not depend on the force at all", None, None, constants)
    median, p90, reason = within_limits(residual, settings)
    if reason:
        return Verdict(False, None, reason, median, p90, constants, gauge)
    return Verdict(True, _form(gauge, everything, system, settings), "", median, p90, constants, gauge)


def not_finite(values: Float[np.ndarray, "*any"], of_what: str) -> Verdict | None:
    """Return the verdict on values that are not all finite, saying of how many of what; None where they are."""
    if np.all(np.isfinite(values)):
        return None
    share = float(np.mean(~np.isfinite(values)))
    return Verdict(False, None, f"not finite for {share:.1%} of {of_what}", None, None, {})


def within_limits(residual: Float[np.ndarray, "*any"], settings: VerificationSettings) -> tuple[float, float, str]:
    """Return the median and the 90th percentile of residuals, and which limits they break; empty where none."""
    median, p90 = (float(value) for value in np.percentile(residual, [50, 90]))
    reasons = [
        f"{name} residual {value:.3g} is over {limit:g}"
        for name, value, limit in (
            ("median", median, settings.median_residual),
            ("90th-percentile", p90, settings.p90_residual),
        )
        if value >= limit
    ]
    return median, p90, "; ".join(reasons)


def _per_receiver(
    found: np.ndarray, over: Probe, system: System, constants: dict[str, float]
) -> tuple[Float[np.ndarray, "receiver dim"], Float[np.ndarray, "receiver sender"]]:
    """Fit f ≈ a_k·F + b_k for each receiver, weighted by 1/|F|; return the a_k and the relative residuals."""
    force = system.pair_force(over.displacement, over.mass, over.charge, constants)
    return fit_each(found, force, over.scale)


def fit_each(
    found: Float[np.ndarray, "one other"],
    truth: Float[np.ndarray, "one other part"],
    scale: Float[np.ndarray, "one other"],
) -> tuple[Float[np.ndarray, "one part"], Float[np.ndarray, "one other"]]:
    """Fit f ≈ a_k·T + b_k for each k, weighted by 1/scale.

    Args:
        found: Values of f.
        truth: Values of T.
        scale: What residuals are relative to.

    Returns:
        The a_k and the residuals relative to |a_k| times the scale, infinite where f knows nothing of T.
    """
    weight = 1.0 / scale
    columns = np.concatenate([truth, np.ones((*scale.shape, 1))], axis=-1) * weight[..., None]
    # Columns of one size: the offset's is up to a thousand times the others.
    size = np.linalg.norm(columns, axis=1, keepdims=True)
    size[size == 0] = 1.0
    columns = columns / size
    wanted = (found * weight)[..., None]
    solution = np.linalg.pinv(columns) @ wanted
    residual = np.abs(wanted - columns @ solution)[..., 0]
    gauge = (solution[..., 0] / size[:, 0, :])[:, :-1]
    strength = np.linalg.norm(gauge, axis=-1, keepdims=True)
    # What is left of a constant after the fit is rounding; it must not count as a force.
    largest = np.max(np.abs(wanted[..., 0]), axis=-1, keepdims=True, initial=1e-300)
    with np.errstate(all="ignore"):
        return gauge, np.where(strength > 1e-9 * largest, residual / strength, np.inf)


def fit_constants(
    residual_of: Callable[[dict[str, float]], np.ndarray],
    system: System,
    settings: VerificationSettings,
    law: sympy.Expr,
) -> dict[str, float]:
    """Return the constants and the softening with the smallest residuals.

    Both move the distance at which a law has its features (r + softening - rest_length), so they share one
    allowance: the more of the softening's range is used, the less of the constants' tolerance is left. A system
    that is softened more than that range has its own softening for its end, and for where the use begins.

    Args:
        residual_of: Gives the relative residuals with other constants.
        system: The system whose law is the truth.
        settings: How far constants may move.
        law: What the constants stand in; one that is not in it keeps its value.
    """
    # Constants of the body potential alone say nothing about pairs, and the softening nothing about single bodies.
    known = {symbol.name for symbol in law.free_symbols}
    largest = max(settings.max_softening, system.softening) if SOFTENING in known else 0.0
    usual = system.softening if system.softening > settings.max_softening else 0.0
    free = [
        name
        for name, value in system.constants.items()
        if name in known and value != 0 and settings.constant_tolerance > 0
    ]
    dimensions = len(free) + (largest > 0)

    def constants(unit: np.ndarray) -> dict[str, float]:
        moves = np.clip(unit, 0.0, 1.0)
        softening = float(moves[-1]) * largest if largest > 0 else 0.0
        used = abs(softening - usual) / largest if largest > 0 else 0.0
        tolerance = settings.constant_tolerance * (1.0 - used)
        moved = {
            name: system.constants[name] * (1.0 + tolerance * (2.0 * float(move) - 1.0))
            for name, move in zip(free, moves, strict=False)
        }
        return {**system.constants, **moved, SOFTENING: softening}

    def loss(unit: np.ndarray) -> float:
        residual = residual_of(constants(unit))
        # Bounded, so that a few bad places do not decide; a logarithm, so that the slope never dies out.
        bounded = float(np.mean(np.minimum(np.nan_to_num(residual, nan=1.0, posinf=1.0), 1.0)))
        outside = float(np.sum(np.abs(unit - np.clip(unit, 0.0, 1.0))))
        return float(np.log(bounded + 1e-12)) + outside

    if not dimensions:
        return constants(np.zeros(0))
    points = _POINTS.get(dimensions, 2)
    grid = [np.array(point) for point in itertools.product(np.linspace(0, 1, points), repeat=dimensions)]
    if dimensions > max(_POINTS):
        # A grid would be too large; the own values of the law, with each softening, are close enough to begin with.
        grid = [np.append(np.full(dimensions - 1, 0.5), last) for last in np.linspace(0, 1, 5)]
    losses = [loss(point) for point in grid]
    best = grid[int(np.argmin(losses))]
    if np.exp(min(losses)) > _HOPELESS:
        return constants(best)
    inwards = np.diag(np.where(best > 0.5, -1.0, 1.0)) / (points - 1)
    options = {"maxfev": 150, "xatol": 1e-4, "fatol": 1e-5, "initial_simplex": np.vstack([best, best + inwards])}
    refined = minimize(loss, best, method="Nelder-Mead", options=options)
    return constants(refined.x)


def _form(gauge: np.ndarray, over: Probe, system: System, settings: VerificationSettings) -> Form:
    usual = np.isin(over.charge[0][:, 0], system.charges)
    candidates: dict[Form, np.ndarray] = {"force": gauge, "acceleration": gauge * over.mass[0][:, :1]}
    for form, vectors in candidates.items():
        centre = np.median(vectors[usual], axis=0)
        size = float(np.linalg.norm(centre))
        if size > 0:
            spread = np.linalg.norm(vectors[usual] - centre, axis=-1) / size
            if np.percentile(spread, 90) < settings.p90_residual:
                return form
    return "gauge"
