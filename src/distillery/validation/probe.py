"""The pairs by which a law is judged: pairs of the experiment's own data, every distance that bodies met among them.

A receiver is a body of the data. Half of its senders are drawn as the data have them, by whole neighbourhoods: all
senders of a body at one moment stay together, so that their sum is one that occurs. The other half is drawn with equal
odds from windows of the distance, so that a feature that few pairs met is compared too. Senders, distances and
directions come from pairs whose receiver has the same charge: distance and charges depend on each other.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from distillery.laws.composed import HeldOut
from distillery.laws.limits import FLOOR, typical
from distillery.laws.settings import VerificationSettings
from distillery.physics import formula
from distillery.physics.systems import System
from distillery.randomness import stream

# Width of a window of the distance (logarithm), and the fewest pairs of the data in one: a number and a share.
_WIDTH, _FEWEST, _LEAST_SHARE = 0.03, 20, 1e-3
# |F| is the largest within ±5 % of the distance, so that it is a measure where F itself crosses zero.
_NEARBY = (0.95, 0.975, 1.0, 1.025, 1.05)
# Pairs of the data from which a receiver's typical force is taken.
_TYPICAL = 1000
# A force moves a pair where its work over the distance is this share of the kinetic energy of the relative motion.
_MOVES = 0.2
# A receiver whose typical force is a smaller share of the usual one does not interact.
_FREE = 1e-9

Sides = tuple[Float[np.ndarray, "receiver sender"], Float[np.ndarray, "receiver sender"]]


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of bodies that occur in data; all dimensionless.

    Attributes:
        displacement: Δ = x_receiver - x_sender.
        mass: Masses of receiver and sender.
        charge: Charges of receiver and sender.
        body: A number for each receiving body at one moment, ascending.
        kinetic: Reduced mass times the square of the relative velocity.
    """

    displacement: Float[np.ndarray, "pair dim"]
    mass: Float[np.ndarray, "pair 2"]
    charge: Float[np.ndarray, "pair 2"]
    body: Int[np.ndarray, " pair"]
    kinetic: Float[np.ndarray, " pair"]

    @property
    def distance(self) -> Float[np.ndarray, " pair"]:
        """Their distances."""
        return np.linalg.norm(self.displacement, axis=1)

    def only(self, chosen: np.ndarray) -> Pairs:
        """Return the chosen pairs."""
        parts = (self.displacement, self.mass, self.charge, self.body, self.kinetic)
        return Pairs(*(part[chosen] for part in parts))


def pairs_of(graphs: HeldOut) -> Pairs:
    """Return the pairs along all edges of some graphs.

    Args:
        graphs: Snapshots of the data.
    """
    order = np.argsort(graphs.receivers, kind="stable")
    receivers, senders = graphs.receivers[order], graphs.senders[order]
    delta, motion = (values[:, receivers] - values[:, senders] for values in (graphs.position, graphs.velocity))
    mass, charge = (
        np.stack([values[:, receivers], values[:, senders]], axis=-1).reshape(-1, 2).astype(float)
        for values in (graphs.mass, graphs.charge)
    )
    bodies = np.arange(len(graphs.mass))[:, None] * graphs.mass.shape[1] + receivers
    kinetic = mass.prod(axis=1) / mass.sum(axis=1) * (motion.astype(float) ** 2).sum(axis=-1).ravel()
    return Pairs(delta.reshape(-1, delta.shape[-1]), mass, charge, bodies.ravel(), kinetic)


@dataclasses.dataclass(frozen=True, eq=False)
class Probe:
    """Receivers, each with senders.

    Attributes:
        displacement: Δ = x_receiver - x_sender.
        mass: Masses of receiver and sender.
        charge: Charges of receiver and sender.
    """

    displacement: Float[np.ndarray, "receiver sender dim"]
    mass: Sides
    charge: Sides

    @functools.cached_property
    def distance(self) -> Float[np.ndarray, "receiver sender"]:
        """The distances."""
        return np.linalg.norm(self.displacement, axis=-1)

    @functools.cached_property
    def unit(self) -> Float[np.ndarray, "receiver sender dim"]:
        """The directions of the displacements."""
        return self.displacement / self.distance[..., None]

    @functools.cached_property
    def values(self) -> dict[str, Float[np.ndarray, "receiver sender"]]:
        """The inputs of an expression by name."""
        found = dict(zip(("dx", "dy", "dz"), np.moveaxis(self.displacement, -1, 0), strict=False))
        found["r"] = self.distance
        found["m1"], found["m2"] = self.mass
        found["q1"], found["q2"] = self.charge
        return found

    def strength(
        self, system: System, constants: Mapping[str, float], factor: float | np.ndarray = 1.0
    ) -> Float[np.ndarray, "receiver sender"]:
        """Return the true force along the displacement, positive where the pair repels.

        Args:
            system: The system.
            constants: Its constants and softening.
            factor: Of the distance.
        """
        values = {**constants, **self.values, "r": factor * self.distance}
        return np.broadcast_to(formula.evaluate(system.radial_force, values), self.mass[0].shape)

    def nearby(self, system: System, constants: Mapping[str, float]) -> Float[np.ndarray, "receiver sender"]:
        """Return |F|, the largest within ±5 % of the distance; NaN or infinite strengths near it do not count."""
        sizes = np.abs(np.stack([self.strength(system, constants, factor) for factor in _NEARBY]))
        return np.asarray(np.max(np.where(np.isfinite(sizes), sizes, 0.0), axis=0))


@dataclasses.dataclass(frozen=True, eq=False)
class DataProbe(Probe):
    """Receivers and senders drawn from data.

    Attributes:
        body: The neighbourhoods of the receiver, numbered from 0; -1 for senders that were drawn by their distance.
        window: Number of the window in which the distance lies.
        edges: Distances that bound the windows.
        shares: Share of the data's pairs in each window.
        typical: Typical |F| on the receiver where the data are.
        interacts: Whether any force acts on the receiver.
        scale: What residuals are relative to: |F| within ±5 % of the distance, at least a share of the typical one.
        acting: Whether |F| is more than that share.
        middle: Median distance of the data's pairs in windows that decide (see ``_deciding``).
    """

    body: Int[np.ndarray, "receiver sender"]
    window: Int[np.ndarray, "receiver sender"]
    edges: Float[np.ndarray, " edge"]
    shares: Float[np.ndarray, " window"]
    typical: Float[np.ndarray, " receiver"]
    interacts: Bool[np.ndarray, " receiver"]
    scale: Float[np.ndarray, "receiver sender"]
    acting: Bool[np.ndarray, "receiver sender"]
    middle: float

    @property
    def as_in_data(self) -> Bool[np.ndarray, "receiver sender"]:
        """Which senders are drawn as the data have them."""
        return self.body >= 0

    def part(self, receivers: int, senders: int) -> DataProbe:
        """Return receivers and senders in a smaller number, evenly spread over all."""
        rows = np.linspace(0, len(self.typical) - 1, min(receivers, len(self.typical))).astype(int)
        columns = np.linspace(0, self.body.shape[1] - 1, min(senders, self.body.shape[1])).astype(int)
        cut = np.ix_(rows, columns)
        return dataclasses.replace(
            self,
            displacement=self.displacement[cut],
            mass=(self.mass[0][cut], self.mass[1][cut]),
            charge=(self.charge[0][cut], self.charge[1][cut]),
            body=self.body[cut],
            window=self.window[cut],
            typical=self.typical[rows],
            interacts=self.interacts[rows],
            scale=self.scale[cut],
            acting=self.acting[cut],
        )


def windows(distance: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " edge"]:
    """Return the bounds of windows of the distance in which enough pairs of the data are.

    Args:
        distance: Distances in the data, ascending.
    """
    first, last = distance[0], distance[-1]
    least = min(max(_FEWEST, int(_LEAST_SHARE * len(distance))), len(distance))
    count = max(int(np.ceil(np.log(last / first) / _WIDTH)), 1)
    places = np.searchsorted(distance, np.geomspace(first, last, count + 1)[1:-1])
    bounds = [0]
    for place in places:
        if place - bounds[-1] >= least and len(distance) - place >= least:
            bounds.append(int(place))
    return np.array([first, *((distance[k - 1] + distance[k]) / 2 for k in bounds[1:]), last])


def probe(system: System, pairs: Pairs, settings: VerificationSettings) -> DataProbe | None:
    """Draw receivers and senders from data; None where the data have no pair with a finite force.

    Args:
        system: The system whose force is the truth.
        pairs: Pairs of the data.
        settings: Counts and seed.
    """
    pairs, strength = _finite(system, pairs)
    if not len(pairs.body):
        return None
    draw = stream(settings.seed, "verify")
    distance = pairs.distance
    edges = windows(np.sort(distance))
    window = _window(distance, edges)
    deciding = _deciding(pairs, strength, window, edges)
    own = draw.choice(len(pairs.body), settings.receivers)
    shape = (settings.receivers, settings.senders)
    chosen, sample = np.zeros(shape, dtype=int), np.zeros((shape[0], _TYPICAL), dtype=int)
    body = np.full(shape, -1)
    # Each receiver's senders in the data come first, so that neighbourhoods stand together.
    half = (shape[1] + 1) // 2
    for charge in np.unique(pairs.charge[own, 0]):
        alike = np.flatnonzero(pairs.charge[:, 0] == charge)
        rows = np.flatnonzero(pairs.charge[own, 0] == charge)
        for row in rows:
            chosen[row, :half], body[row, :half] = _neighbourhoods(draw, pairs.body[alike], half)
        chosen[rows, half:] = _evenly(draw, window[alike], deciding, (len(rows), shape[1] - half))
        chosen[rows] = alike[chosen[rows]]
        sample[rows] = draw.choice(alike, (len(rows), _TYPICAL))
    found = _placed(pairs, own, chosen)
    near = found.nearby(system, system.parameters)
    usual = typical(np.abs(_placed(pairs, own, sample).strength(system, system.parameters)))
    # A force that acts on pairs too rare for a sample is seen where distances are drawn evenly.
    usual = np.where(usual > 0, usual, typical(near))
    interacts = usual > _FREE * (np.median(usual[usual > 0]) if usual.any() else 0.0)
    usual = np.where(interacts, usual, np.median(usual[interacts]) if interacts.any() else 1.0)
    # Where the force is stronger than usual at a distance, for most pairs, so is what counts as faint: terms of a sum
    # that are large there may cancel for some.
    place, ratio = window[chosen], near / usual[:, None]
    stronger = np.array([np.median(ratio[own] if (own := place == k).any() else 0) for k in range(len(edges) - 1)])
    least = FLOOR * usual[:, None] * np.maximum(stronger, 1.0)[place]
    return DataProbe(
        found.displacement,
        found.mass,
        found.charge,
        body,
        window[chosen],
        edges,
        np.bincount(window, minlength=len(edges) - 1) / len(window),
        usual,
        interacts,
        np.maximum(near, least),
        near >= least,
        float(np.median(distance[deciding[window]])),
    )


def _deciding(
    pairs: Pairs,
    strength: Float[np.ndarray, " pair"],
    window: Int[np.ndarray, " pair"],
    edges: Float[np.ndarray, " edge"],
) -> Bool[np.ndarray, " window"]:
    """Return the windows of the distance that decide about the law: all, or those in which forces move bodies.

    A force moves a pair where its work over the distance is a fair share of the kinetic energy of the relative motion.
    If it does so in less than half of the windows, for most pairs of each, the others say next to nothing: their
    distances are no scale of the law, and drawn as often they would leave a receiver too few senders with a force.
    """
    virial = np.log(np.maximum(pairs.distance * strength, 1e-300)) - np.log(np.maximum(pairs.kinetic, 1e-300))
    middle = [np.median(virial[window == k]) if (window == k).any() else -np.inf for k in range(len(edges) - 1)]
    moves = np.array(middle) >= np.log(_MOVES)
    return moves if 0 < moves.mean() < 0.5 else np.ones_like(moves)


def _evenly(
    draw: np.random.Generator,
    window: Int[np.ndarray, " pair"],
    deciding: Bool[np.ndarray, " window"],
    size: tuple[int, int],
) -> Int[np.ndarray, "receiver sender"]:
    """Draw pairs with equal odds from all windows of the distance, half of them from those that decide."""
    chosen = by_window(draw, window, size)
    moving = np.flatnonzero(deciding[window])
    if len(moving) and not deciding.all():
        half = size[1] // 2
        chosen[:, :half] = moving[by_window(draw, window[moving], (size[0], half))]
    return chosen


def _finite(system: System, pairs: Pairs) -> tuple[Pairs, Float[np.ndarray, " pair"]]:
    """Return the pairs with a finite force, and its size."""
    distance = pairs.distance
    values = {**system.parameters, "r": distance}
    for name, both in (("m", pairs.mass), ("q", pairs.charge)):
        values |= {f"{name}1": both[:, 0], f"{name}2": both[:, 1]}
    strength = np.abs(np.broadcast_to(formula.evaluate(system.radial_force, values), distance.shape))
    chosen = np.isfinite(strength) & (distance > 0)
    return pairs.only(chosen), strength[chosen]


def _window(distance: Float[np.ndarray, " pair"], edges: Float[np.ndarray, " edge"]) -> Int[np.ndarray, " pair"]:
    return np.clip(np.searchsorted(edges, distance, side="right") - 1, 0, len(edges) - 2)


def _placed(pairs: Pairs, own: Int[np.ndarray, " receiver"], chosen: Int[np.ndarray, "receiver sender"]) -> Probe:
    """Put receivers before the senders of other pairs, at the same displacements."""

    def both(values: Float[np.ndarray, "pair 2"]) -> Sides:
        return np.broadcast_to(values[own, :1], chosen.shape).copy(), values[chosen, 1]

    return Probe(pairs.displacement[chosen], both(pairs.mass), both(pairs.charge))


def _neighbourhoods(
    draw: np.random.Generator, bodies: Int[np.ndarray, " pair"], count: int
) -> tuple[Int[np.ndarray, " sender"], Int[np.ndarray, " sender"]]:
    """Draw pairs by whole neighbourhoods; the last one is cut off. Return the pairs, and the neighbourhood of each."""
    starts = np.flatnonzero(np.diff(bodies, prepend=bodies[0] - 1))
    ends = np.append(starts[1:], len(bodies))
    drawn = draw.integers(len(starts), size=count)
    parts = [np.arange(starts[k], ends[k]) for k in drawn]
    numbers = np.repeat(np.arange(count), [len(part) for part in parts])
    return np.concatenate(parts)[:count], numbers[:count]


def by_window(
    draw: np.random.Generator, window: Int[np.ndarray, " pair"], size: tuple[int, int]
) -> Int[np.ndarray, "receiver sender"]:
    """Draw members of windows, each window with equal odds.

    Args:
        draw: Source of the draws.
        window: The number of the window of each member.
        size: How many are drawn.
    """
    order = np.argsort(window, kind="stable")
    starts = np.flatnonzero(np.diff(window[order], prepend=-1))
    counts = np.diff(np.append(starts, len(order)))
    which = draw.integers(len(starts), size=size)
    return np.asarray(order[starts[which] + (draw.random(size) * counts[which]).astype(int)])
