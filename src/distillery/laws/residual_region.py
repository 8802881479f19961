"""Detect a force confined to a region (wall, ball) from the residuals of a law.

Few bodies are in the region at a time, so the median error does not show it, and networks hardly learn it. If a law is
exact everywhere else, its residual accelerations locate the region. A residual that points to or from one place, or
along one axis, and is a simple function of the distance from there, is added to the law, as an acceleration or, for a
Hamiltonian law, as a potential energy. It is fitted to some simulations and added if the others confirm it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import sympy
from jaxtyping import Bool, Float
from scipy.optimize import brentq

from distillery.laws import tuning
from distillery.laws.compose import by_hamilton
from distillery.laws.composed import HeldOut
from distillery.laws.law import Law
from distillery.laws.problem import Data
from distillery.laws.shown import accelerations
from distillery.laws.threshold import simplest_between
from distillery.networks.functions import AXES
from distillery.physics import formula

_DISTANCE = formula.symbol("distance")
_M, _Q = formula.symbol("m"), formula.symbol("q")
# Factors of an acceleration besides its profile, and powers of the distance in a profile.
_FACTORS = (1 / _M, sympy.Integer(1), _Q / _M)
_POWERS = (1, 0, -1, -2)


@dataclasses.dataclass(frozen=True)
class Region:
    """A force confined to a region.

    Attributes:
        distance: Distance from a place, or a coordinate, in x, y (z).
        edge: Distance at which the force ends (dimensionless).
        inside: Whether it acts below that distance, or above.
        profile: Force away from the place (along the axis), in ``distance``.
        factor: Acceleration divided by force: 1/m, 1 or q/m.
    """

    distance: sympy.Expr
    edge: float
    inside: bool
    profile: sympy.Expr
    factor: sympy.Expr

    def accelerations(self, dim: int) -> list[sympy.Expr]:
        """Return the accelerations that the force adds along each axis."""
        force = self.profile.xreplace({_DISTANCE: self.distance}) * self.factor
        slopes = [sympy.diff(self.distance, formula.symbol(axis)) for axis in AXES[:dim]]
        return [self._inside_region(force * slope) if slope != 0 else sympy.Integer(0) for slope in slopes]

    def energy(self) -> sympy.Expr:
        """Return the potential energy of a body, zero at the edge."""
        edge = sympy.Float(self.edge)
        # A coordinate may be negative and has no logarithm then; relative to the edge it is positive.
        lost = -sympy.integrate(self.profile, _DISTANCE).replace(sympy.log, lambda u: sympy.log(u / edge))
        above = sympy.expand(lost - lost.xreplace({_DISTANCE: edge}))
        return self._inside_region(above.xreplace({_DISTANCE: self.distance}) * self.factor * _M)

    def _inside_region(self, expression: sympy.Expr) -> sympy.Expr:
        there = self.distance < self.edge if self.inside else self.distance > self.edge
        return sympy.Piecewise((expression, there), (0, True))


@dataclasses.dataclass(frozen=True, eq=False)
class _Residuals:
    """Residuals of a law on some snapshots.

    Attributes:
        graphs: The snapshots.
        force: True accelerations minus those of the law.
        affected: Which bodies have a significant residual.
    """

    graphs: HeldOut
    force: Float[np.ndarray, "graph body dim"]
    affected: Bool[np.ndarray, "graph body"]


def find_region(law: Law, data: Data) -> Region | None:
    """Return the region of another force, if the law is exact elsewhere and the residuals determine one.

    Args:
        law: The law with fitted constants.
        data: Training snapshots.
    """
    size = np.linalg.norm(data.graphs.acceleration, axis=-1)
    typical = float(np.median(np.abs(data.graphs.acceleration).sum(axis=-1)))
    residual = data.graphs.acceleration - accelerations(law, data.graphs)
    off = np.linalg.norm(residual, axis=-1)
    # Rounding grows with the acceleration, as in close encounters.
    affected = off > tuning.REGION_AFFECTED * np.maximum(typical, size)
    if (
        not np.isfinite(off).all()
        or np.median(off) > tuning.REGION_EXACT * typical
        or affected.mean() > tuning.LARGEST_REGION
    ):
        return None
    half = np.isin(data.simulation, np.unique(data.simulation)[::2])
    fitted, checked = (_Residuals(data.part(rows).graphs, residual[rows], affected[rows]) for rows in (half, ~half))
    if min(fitted.affected.sum(), checked.affected.sum()) < tuning.FEWEST_AFFECTED:
        return None
    found = [region for distance in _distances(fitted) for region in _regions(distance, fitted)]
    unexplained = {region: _unexplained(region, checked) for region in found}
    best = min(unexplained, key=lambda region: unexplained[region], default=None)
    return best if best is not None and unexplained[best] <= tuning.UNEXPLAINED else None


def with_region(law: Law, region: Region) -> Law:
    """Return a law with the force of a region added.

    Args:
        law: The law.
        region: The region.
    """
    if law.energies:
        pair, body = law.energies
        return by_hamilton(dataclasses.replace(law, energies=(pair, body + region.energy())))
    added = region.accelerations(law.dim)
    return dataclasses.replace(law, nodes=tuple(node + own for node, own in zip(law.nodes, added, strict=True)))


def without_region(data: Data, region: Region) -> Data:
    """Return snapshots without the accelerations that the force of a region adds."""
    graphs = data.graphs
    rest = graphs.acceleration - _accelerations_of(region, graphs)
    return dataclasses.replace(data, graphs=dataclasses.replace(graphs, acceleration=rest))


def _accelerations_of(region: Region, graphs: HeldOut) -> Float[np.ndarray, "graph body dim"]:
    dim = graphs.position.shape[-1]
    with np.errstate(all="ignore"):
        found = [_at(graphs, own) for own in region.accelerations(dim)]
    return np.stack(found, axis=-1)


def _at(graphs: HeldOut, expression: sympy.Expr) -> Float[np.ndarray, "graph body"]:
    return np.asarray(np.broadcast_to(formula.evaluate(expression, graphs.nodes), graphs.mass.shape))


def _unexplained(region: Region, residuals: _Residuals) -> float:
    """Return how many bodies a region leaves unexplained or disturbs, as a share of the affected bodies.

    An affected body counts by the share of its residual that is left; another one counts fully if the region affects
    it.
    """
    after = np.linalg.norm(residuals.force - _accelerations_of(region, residuals.graphs), axis=-1)
    before = np.linalg.norm(residuals.force, axis=-1)
    least = before[residuals.affected].min()
    disturbed = int(np.sum(after[~residuals.affected] > least))
    share = (float(np.minimum(after[residuals.affected] / before[residuals.affected], 1.0).sum()) + disturbed) / float(
        residuals.affected.sum()
    )
    return share if np.isfinite(share) else np.inf


def _regions(distance: sympy.Expr, residuals: _Residuals) -> Iterator[Region]:
    """Yield the regions for these distances: for each factor, the simplest profile that leaves little residual."""
    graphs, at = residuals.graphs, _at(residuals.graphs, distance)
    slopes = [sympy.diff(distance, formula.symbol(axis)) for axis in AXES[: residuals.force.shape[-1]]]
    with np.errstate(all="ignore"):
        outward = (residuals.force * np.stack([_at(graphs, slope) for slope in slopes], axis=-1)).sum(axis=-1)
    for inside in (True, False):
        between = _edge(at, residuals.affected, inside)
        if between is None:
            continue
        there = residuals.affected & (at <= between[0] if inside else at >= between[0])
        for factor in _FACTORS:
            profile = _profile(at[there], outward[there], _at(graphs, factor)[there])
            if profile is None:
                continue
            edge = _ending(profile, *between)
            # A coordinate may end at 0, where a force of its inverse has no end.
            if profile.is_polynomial(_DISTANCE) or edge:
                yield Region(distance, edge, inside, profile, factor)


def _distances(residuals: _Residuals) -> list[sympy.Expr]:
    """Return the distances to try: coordinates along which residuals lie, and the distance from their common point."""
    position, residual = residuals.graphs.position[residuals.affected], residuals.force[residuals.affected]
    size = np.linalg.norm(residual, axis=-1)
    direction = residual / size[:, None]
    dim = position.shape[1]
    along = [np.mean(1 - np.abs(direction[:, axis]) < tuning.ANGLE) >= 1 - tuning.DEVIATING for axis in range(dim)]
    found = [formula.symbol(axis) for axis, fits in zip(AXES, along, strict=False) if fits]
    # Find the point nearest to all lines of force, weighted by their size; then again without the most distant lines.
    across = (np.eye(dim) - direction[:, :, None] * direction[:, None, :]) * (size / size.max())[:, None, None]
    near = np.ones(len(position), dtype=bool)
    for _ in range(2):
        whole = across[near].sum(axis=0)
        if np.linalg.cond(whole) > tuning.WORST_CONDITION:
            return found
        centre = np.linalg.solve(whole, (across @ position[:, :, None])[near].sum(axis=0))[:, 0]
        away = position - centre
        off = np.linalg.norm(across @ away[:, :, None], axis=(1, 2))
        near = off <= np.quantile(off, 1 - tuning.DEVIATING)
    cosine = np.abs((direction * away).sum(axis=1)) / np.linalg.norm(away, axis=1)
    if np.mean(1 - cosine < tuning.ANGLE) < 1 - tuning.DEVIATING:
        return found
    within = max(tuning.AGREEING * float(np.median(off)), tuning.REGION_SHARPEST * float(np.abs(position).max()))
    squares = ((formula.symbol(a) - _plain(c, within)) ** 2 for a, c in zip(AXES[:dim], centre.tolist(), strict=True))
    return [*found, sympy.sqrt(sympy.Add(*squares))]


def _edge(
    at: Float[np.ndarray, "graph body"], affected: Bool[np.ndarray, "graph body"], inside: bool
) -> tuple[float, float] | None:
    """Return the last distance of an affected body and the next one of an unaffected body; None if both mix.

    The edge leaves the fewest bodies on the wrong side.
    """
    sign = 1.0 if inside else -1.0
    order = np.argsort(sign * at, axis=None)
    places, there = (sign * at).ravel()[order], affected.ravel()[order]
    wrong = np.cumsum(~there) + (there.sum() - np.cumsum(there))
    best = int(np.argmin(wrong))
    if wrong[best] > tuning.DEVIATING * there.sum() or best + 1 == len(places) or places[best] == places[best + 1]:
        return None
    return sign * float(places[best]), sign * float(places[best + 1])


def _profile(
    at: Float[np.ndarray, " body"], outward: Float[np.ndarray, " body"], factor: Float[np.ndarray, " body"]
) -> sympy.Expr | None:
    """Return the force as the shortest sum of powers of the distance that, times a factor, leaves little residual."""
    best: dict[int, tuple[float, sympy.Expr]] = {}
    for count in (1, 2):
        for powers in itertools.combinations(_POWERS, count):
            with np.errstate(all="ignore"):
                columns = np.stack([at**power * factor for power in powers], axis=1)
            if not np.isfinite(columns).all():
                continue
            values, *_ = np.linalg.lstsq(columns, outward)
            rest = outward - columns @ values
            share = float(np.abs(rest).sum() / np.abs(outward).sum())
            if share > tuning.PROFILE_LEAVES or share >= best.get(count, (np.inf,))[0]:
                continue
            spread = float(rest @ rest) / max(len(outward) - count, 1)
            errors = np.sqrt(np.diag(np.linalg.pinv(columns.T @ columns)) * spread)
            numbers = [
                _plain(value, max(tuning.AGREEING * error, tuning.REGION_SHARPEST * abs(value)))
                for value, error in zip(values.tolist(), errors.tolist(), strict=True)
            ]
            force = sympy.Add(*(n * _DISTANCE**power for n, power in zip(numbers, powers, strict=True)))
            if force != 0:
                best[count] = (share, force)
    if 1 in best and (2 not in best or best[2][0] > tuning.LONGER_PROFILE * best[1][0]):
        return best[1][1]
    return best[2][1] if 2 in best else None


def _ending(profile: sympy.Expr, last: float, after: float) -> float:
    """Return the distance at which the force ends: its zero, or else a simple number between two bodies."""
    far = last + tuning.REACH * (after - last) / abs(after - last) * abs(last)
    values = {_DISTANCE.name: np.array([last, far])}
    with np.errstate(all="ignore"):
        begins, ends = np.broadcast_to(formula.evaluate(profile, values), 2)
    if begins * ends < 0:
        root = brentq(lambda at: float(formula.evaluate(profile, {_DISTANCE.name: at})), last, far)
        within = tuning.AGREEING * tuning.REGION_SHARPEST * abs(root)
        return float(_plain(root, within))
    return simplest_between(min(last, after), max(last, after))


def _plain(value: float, within: float) -> sympy.Number:
    """Return the number of fewest decimals within a distance of a value."""
    found = simplest_between(value - within, value + within)
    return sympy.Integer(int(found)) if found == int(found) else sympy.Float(found)
