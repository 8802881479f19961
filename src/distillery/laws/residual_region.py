"""What acts on bodies in some places only: a wall, a ball, what catches them beyond a distance.

Few bodies are there at a time, so that no median sees it, and networks hardly. A law that is right everywhere else says
where it is: there accelerations lack something. Where that points to or from one place, or along one axis, and is a
simple function of the distance from there, it is added to the law, as an acceleration or (of a Hamiltonian law) as the
potential energy that it comes from. It is fitted to some simulations and stays if the others lack it too.
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
# What a force may go as beside the distance, and as which powers of it.
_FACTORS = (1 / _M, sympy.Integer(1), _Q / _M)
_POWERS = (1, 0, -1, -2)


@dataclasses.dataclass(frozen=True)
class Region:
    """Where something acts, and what.

    Attributes:
        distance: The distance from a place, or a coordinate, in x, y (z).
        edge: The distance at which it ends (dimensionless).
        inside: Whether it acts below that distance, and not beyond.
        profile: The force away from there (along the axis), in ``distance``.
        factor: What the acceleration is times the force: 1/m, 1 or q/m.
    """

    distance: sympy.Expr
    edge: float
    inside: bool
    profile: sympy.Expr
    factor: sympy.Expr

    def accelerations(self, dim: int) -> list[sympy.Expr]:
        """Return what it adds to the acceleration along each axis."""
        force = self.profile.xreplace({_DISTANCE: self.distance}) * self.factor
        slopes = [sympy.diff(self.distance, formula.symbol(axis)) for axis in AXES[:dim]]
        return [self._there(force * slope) if slope != 0 else sympy.Integer(0) for slope in slopes]

    def energy(self) -> sympy.Expr:
        """Return the potential energy of a body, zero at the edge."""
        edge = sympy.Float(self.edge)
        # A coordinate may be negative, and its logarithm none: relative to the edge it has the same sign.
        lost = -sympy.integrate(self.profile, _DISTANCE).replace(sympy.log, lambda u: sympy.log(u / edge))
        above = sympy.expand(lost - lost.xreplace({_DISTANCE: edge}))
        return self._there(above.xreplace({_DISTANCE: self.distance}) * self.factor * _M)

    def _there(self, expression: sympy.Expr) -> sympy.Expr:
        there = self.distance < self.edge if self.inside else self.distance > self.edge
        return sympy.Piecewise((expression, there), (0, True))


@dataclasses.dataclass(frozen=True, eq=False)
class _Lack:
    """What a law lacks on some graphs.

    Attributes:
        graphs: The graphs.
        lacking: True accelerations minus those of the law.
        felt: Which bodies lack something.
    """

    graphs: HeldOut
    lacking: Float[np.ndarray, "graph body dim"]
    felt: Bool[np.ndarray, "graph body"]


def region_lacking(law: Law, data: Data) -> Region | None:
    """Return what a law lacks in some places, if it is right everywhere else and that can be told.

    Args:
        law: The law, its constants fitted.
        data: Training snapshots.
    """
    size = np.linalg.norm(data.graphs.acceleration, axis=-1)
    typical = float(np.median(np.abs(data.graphs.acceleration).sum(axis=-1)))
    lacking = data.graphs.acceleration - accelerations(law, data.graphs)
    off = np.linalg.norm(lacking, axis=-1)
    # In close encounters, where accelerations are large, so is their rounding.
    felt = off > tuning.REGION_AFFECTED * np.maximum(typical, size)
    if (
        not np.isfinite(off).all()
        or np.median(off) > tuning.REGION_EXACT * typical
        or felt.mean() > tuning.LARGEST_REGION
    ):
        return None
    half = np.isin(data.simulation, np.unique(data.simulation)[::2])
    fitted, checked = (_Lack(data.part(rows).graphs, lacking[rows], felt[rows]) for rows in (half, ~half))
    if min(fitted.felt.sum(), checked.felt.sum()) < tuning.FEWEST_AFFECTED:
        return None
    found = [region for distance in _distances(fitted) for region in _regions(distance, fitted)]
    unexplained = {region: _unexplained(region, checked) for region in found}
    best = min(unexplained, key=lambda region: unexplained[region], default=None)
    return best if best is not None and unexplained[best] <= tuning.UNEXPLAINED else None


def with_region(law: Law, region: Region) -> Law:
    """Return a law with what acts in a region added to it.

    Args:
        law: The law.
        region: What it lacks.
    """
    if law.energies:
        pair, body = law.energies
        return by_hamilton(dataclasses.replace(law, energies=(pair, body + region.energy())))
    added = region.accelerations(law.dim)
    return dataclasses.replace(law, nodes=tuple(node + own for node, own in zip(law.nodes, added, strict=True)))


def without_region(data: Data, region: Region) -> Data:
    """Return data as they would be without what acts in a region."""
    graphs = data.graphs
    rest = graphs.acceleration - _given(region, graphs)
    return dataclasses.replace(data, graphs=dataclasses.replace(graphs, acceleration=rest))


def _given(region: Region, graphs: HeldOut) -> Float[np.ndarray, "graph body dim"]:
    dim = graphs.position.shape[-1]
    with np.errstate(all="ignore"):
        found = [_at(graphs, own) for own in region.accelerations(dim)]
    return np.stack(found, axis=-1)


def _at(graphs: HeldOut, expression: sympy.Expr) -> Float[np.ndarray, "graph body"]:
    return np.asarray(np.broadcast_to(formula.evaluate(expression, graphs.nodes), graphs.mass.shape))


def _unexplained(region: Region, lack: _Lack) -> float:
    """Return how many bodies a region leaves unexplained or disturbs, as a share of those that feel something.

    A body that feels something counts by what is left of it; one that does not counts as one where it would.
    """
    after = np.linalg.norm(lack.lacking - _given(region, lack.graphs), axis=-1)
    before = np.linalg.norm(lack.lacking, axis=-1)
    least = before[lack.felt].min()
    disturbed = int(np.sum(after[~lack.felt] > least))
    share = (float(np.minimum(after[lack.felt] / before[lack.felt], 1.0).sum()) + disturbed) / float(lack.felt.sum())
    return share if np.isfinite(share) else np.inf


def _regions(distance: sympy.Expr, lack: _Lack) -> Iterator[Region]:
    """Yield what may act at these distances, with each factor the simplest profile that leaves little."""
    graphs, at = lack.graphs, _at(lack.graphs, distance)
    slopes = [sympy.diff(distance, formula.symbol(axis)) for axis in AXES[: lack.lacking.shape[-1]]]
    with np.errstate(all="ignore"):
        outward = (lack.lacking * np.stack([_at(graphs, slope) for slope in slopes], axis=-1)).sum(axis=-1)
    for inside in (True, False):
        between = _edge(at, lack.felt, inside)
        if between is None:
            continue
        there = lack.felt & (at <= between[0] if inside else at >= between[0])
        for factor in _FACTORS:
            profile = _profile(at[there], outward[there], _at(graphs, factor)[there])
            if profile is None:
                continue
            edge = _ending(profile, *between)
            # A coordinate may end at 0, where no force of its inverse does.
            if profile.is_polynomial(_DISTANCE) or edge:
                yield Region(distance, edge, inside, profile, factor)


def _distances(lack: _Lack) -> list[sympy.Expr]:
    """Return from where distances are counted: what is lacking lies along an axis, or points to or from one place."""
    position, lacking = lack.graphs.position[lack.felt], lack.lacking[lack.felt]
    size = np.linalg.norm(lacking, axis=-1)
    direction = lacking / size[:, None]
    dim = position.shape[1]
    along = [np.mean(1 - np.abs(direction[:, axis]) < tuning.ANGLE) >= 1 - tuning.DEVIATING for axis in range(dim)]
    found = [formula.symbol(axis) for axis, fits in zip(AXES, along, strict=False) if fits]
    # The place that is nearest to all lines along which something is lacking, large forces first. Once more without
    # the lines that are farthest from it.
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
    at: Float[np.ndarray, "graph body"], felt: Bool[np.ndarray, "graph body"], inside: bool
) -> tuple[float, float] | None:
    """Return the last distance at which something is felt and the next at which nothing is; None where both mix.

    It is where fewest bodies are on the wrong side: silent ones within, strangers beyond.
    """
    sign = 1.0 if inside else -1.0
    order = np.argsort(sign * at, axis=None)
    places, there = (sign * at).ravel()[order], felt.ravel()[order]
    wrong = np.cumsum(~there) + (there.sum() - np.cumsum(there))
    best = int(np.argmin(wrong))
    if wrong[best] > tuning.DEVIATING * there.sum() or best + 1 == len(places) or places[best] == places[best + 1]:
        return None
    return sign * float(places[best]), sign * float(places[best + 1])


def _profile(
    at: Float[np.ndarray, " body"], outward: Float[np.ndarray, " body"], factor: Float[np.ndarray, " body"]
) -> sympy.Expr | None:
    """Return the force as the shortest sum of powers of the distance that, times a factor, leaves little."""
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
    """Return where something ends: where it has become nothing, or else between two distances of bodies."""
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
    """Return the number of fewest decimals that is as near."""
    found = simplest_between(value - within, value + within)
    return sympy.Integer(int(found)) if found == int(found) else sympy.Float(found)
