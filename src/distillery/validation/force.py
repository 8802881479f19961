"""Is an expression the true law of pairs, where the data are and beyond?

Within the data: for every receiver the best f ≈ A·F + b over its senders; residuals relative to |A|·|F|. The median and
the 90th percentile over pairs as the data have them must keep their limits, over all of them and over those on which a
force acts; so must the sums over a body's senders; and in every window of the distance the law must agree. Beyond the
data the distances are found up to which it agrees on.

F is the pair force alone, on whichever graph, with all its cases. Forces on single bodies (an external potential,
damping) depend on the receiver: they are part of the node model, and of b where a message carries them.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import sympy
from jaxtyping import Bool, Float

from distillery.laws.limits import (
    FLOOR,
    Extent,
    Verdict,
    bounded,
    not_finite,
    refused,
    run_in_words,
    within_limits,
)
from distillery.laws.settings import VerificationSettings
from distillery.physics import formula, piecewise
from distillery.physics.systems import System
from distillery.validation.constants import fit_constants, with_numbers_named
from distillery.validation.gauge import Energy, Gauge, Message
from distillery.validation.probe import DataProbe, Probe

# Fitting the law's constants needs fewer samples than the verdict.
_FIT_RECEIVERS, _FIT_SENDERS = 20, 80
# An expression that varies by less than this share of its size over senders varies by rounding.
_ROUNDING = 1e-12
# In a window the true law may be taken at a distance that is off by so much, next to an edge by more: no fit finds an
# edge exactly, and between its place and the true one a law differs wholly.
_SHIFT, _EDGE_SHIFT = 0.002, 0.02
# Beyond the data forces below this share of the typical one in the data are not compared.
_FAINT = 1e-3
# How far beyond the data is looked (a factor), in how many steps, with how many receivers and senders each.
_BEYOND, _STEPS, _RECEIVERS, _SENDERS = 100.0, 96, 20, 10
# Pairs of which the residual is taken, at the least, for a statistic of those on which a force acts.
_FEW = 20


def judge(reading: Message | Energy, system: System, over: DataProbe | None, settings: VerificationSettings) -> Verdict:
    """Decide whether an expression is the pair force of a system, up to its gauge, where the data are.

    Args:
        reading: The expression and how it is read: of a message or an energy; receiver 1, sender 2.
        system: The system whose force is the truth.
        over: Pairs of the data, see ``probe``.
        settings: Limits.
    """
    if over is None or not over.interacts.any():
        return refused("no force acts between bodies where the data are, so that no law can be compared")
    found = reading.values(over)
    if refusal := not_finite(found, "pairs of the data"):
        return refusal
    if _is_constant(reading, found):
        return refused(f"does not depend on the {'energy' if isinstance(reading, Energy) else 'force'} at all")
    law = with_numbers_named(system)
    verdict = _verdict(reading, found, law, over, _fitted(reading, law, over, settings), settings)
    if not verdict.recovered:
        # Constants that fit most pairs best may be wrong for a few that the law's own ones describe.
        own = _verdict(reading, found, law, over, law.parameters, settings)
        verdict = own if own.recovered else verdict
    return dataclasses.replace(verdict, constants={name: verdict.constants[name] for name in system.parameters})


def _fitted(
    reading: Message | Energy, law: System, over: DataProbe, settings: VerificationSettings
) -> dict[str, float]:
    """Return the constants with which the law fits an expression best."""
    few = over.part(_FIT_RECEIVERS, _FIT_SENDERS)
    values = reading.values(few)

    def residual_of(constants: dict[str, float]) -> np.ndarray:
        force = _force(law, few, constants)
        return _Match(few, values, force, reading.fitted(values, force, few.scale, rounds=1).filled(few)).residual

    return fit_constants(residual_of, law, settings, law.radial_force, over.middle)


def _verdict(
    reading: Message | Energy,
    found: Float[np.ndarray, "receiver sender component"],
    law: System,
    over: DataProbe,
    constants: dict[str, float],
    settings: VerificationSettings,
) -> Verdict:
    force = _force(law, over, constants)
    gauge = reading.fitted(found, force, over.scale).filled(over)
    match = _Match(over, found, force, gauge)
    median, p90, reason = match.statistics(settings)
    flaw, form = reading.flaw(gauge, over, settings)
    reason = "; ".join(part for part in (reason, match.elsewhere(law, constants, settings), flaw) if part)
    vectors = gauge.linear[over.interacts, 0]
    reach = functools.partial(_extent, reading, law, over, constants, gauge, settings)
    return Verdict(not reason, None if reason else form, reason, median, p90, constants, vectors, reach)


def judge_message(
    expression: sympy.Expr, system: System, over: DataProbe | None, settings: VerificationSettings
) -> Verdict:
    """Decide whether an expression of a message is the pair force of a system up to the gauge; see ``judge``."""
    return judge(Message(expression), system, over, settings)


def judge_pair(
    expression: sympy.Expr, system: System, over: DataProbe | None, settings: VerificationSettings
) -> Verdict:
    """Decide whether an expression is the energy of a pair, up to what exerts no force; see ``judge``."""
    return judge(Energy(expression), system, over, settings)


def _extent(
    reading: Message | Energy,
    law: System,
    over: DataProbe,
    constants: dict[str, float],
    gauge: Gauge,
    settings: VerificationSettings,
) -> Extent:
    """Return the distances around the data up to which a law that was recovered there agrees.

    It agrees at a distance where its root mean square error, with the gauge and the constants of the data, is within
    the limit of the 90th percentile, relative to the force there or, where this is fainter, to a thousandth of the
    typical force in the data.
    """
    rows = np.flatnonzero(over.interacts)[:_RECEIVERS]
    columns = np.linspace(0, over.body.shape[1] - 1, _SENDERS).astype(int)
    cut = np.ix_(rows, columns)
    own = Gauge(gauge.linear[rows], gauge.offset[rows])
    first, last = float(over.edges[0]), float(over.edges[-1])
    spread = np.geomspace(1.0, _BEYOND, _STEPS + 1)[1:]

    def agrees(distances: Float[np.ndarray, " step"]) -> Float[np.ndarray, " agreeing"]:
        """Return up to which of the distances, in their order, the law agrees with the true one."""
        shape = (len(rows), len(distances), len(columns))

        def along(values: np.ndarray) -> np.ndarray:
            return np.broadcast_to(values[cut][:, None], shape).reshape(len(rows), -1)

        places = distances[:, None, None] * over.unit[cut][:, None]
        there = Probe(
            places.reshape(len(rows), -1, places.shape[-1]),
            (along(over.mass[0]), along(over.mass[1])),
            (along(over.charge[0]), along(over.charge[1])),
        )
        force = _force(law, there, constants)
        found = reading.values(there)
        with np.errstate(all="ignore"):
            error = np.linalg.norm(found - own.of(force) - own.offset[:, None], axis=-1)
            scale = np.maximum(there.nearby(law, constants), _FAINT * over.typical[rows, None])
            residual = bounded(error / (own.size[:, None] * scale)).reshape(shape)
        root = np.sqrt(np.mean(np.minimum(residual, 1.0) ** 2, axis=(0, 2)) * _directions(own))
        wrong = root >= settings.p90_residual
        return distances[: int(wrong.argmax()) if wrong.any() else len(distances)]

    inward, outward = agrees(first / spread), agrees(last * spread)
    ends = (float(inward[-1]) if len(inward) else first, float(outward[-1]) if len(outward) else last)
    return Extent(first, last, *ends, first / _BEYOND * (1 + _ROUNDING), last * _BEYOND * (1 - _ROUNDING))


@dataclasses.dataclass(frozen=True, eq=False)
class _Match:
    """An expression next to the true force in its gauge.

    Attributes:
        over: Where.
        found: Values of the expression.
        force: True forces.
        gauge: Its gauge.
    """

    over: DataProbe
    found: Float[np.ndarray, "receiver sender component"]
    force: Float[np.ndarray, "receiver sender dim"]
    gauge: Gauge

    @property
    def error(self) -> Float[np.ndarray, "receiver sender component"]:
        return self.found - self.gauge.of(self.force) - self.gauge.offset[:, None]

    def _relative(self, size: np.ndarray, scale: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return bounded(size / (self.gauge.size[:, None] * scale))

    @property
    def residual(self) -> Float[np.ndarray, "receiver sender"]:
        return self._relative(np.linalg.norm(self.error, axis=-1), self.over.scale)

    def statistics(self, settings: VerificationSettings) -> tuple[float, float, str]:
        """Return median, 90th percentile and broken limits: of all pairs, or of those with a force if they are worse.

        Args:
            settings: Limits.
        """
        own = self.over.as_in_data
        residual = self.residual
        found = [within_limits(residual[own], settings)]
        acting = own & self.over.acting
        if np.count_nonzero(acting) >= _FEW:
            found.append(within_limits(residual[acting], settings))
        return max(found, key=lambda each: (bool(each[2]), each[0], each[1]))

    def elsewhere(self, system: System, constants: dict[str, float], settings: VerificationSettings) -> str:
        """Return where the law differs though it agrees with most pairs: at some distance, or in sums."""
        local = np.minimum(self._nearest(system, constants), 1.0) ** 2
        count = len(self.over.shares)
        number = np.bincount(self.over.window.ravel(), minlength=count)
        total = np.bincount(self.over.window.ravel(), local.ravel(), minlength=count)
        root = np.sqrt(total / np.maximum(number, 1) * _directions(self.gauge))
        wrong = root >= settings.local_residual
        if wrong.any():
            first, last = run_in_words(wrong, self.over.shares)
            share = float(self.over.shares[first : last + 1].sum())
            most = float(root[first : last + 1].max())
            return (
                f"differs at r = {self.over.edges[first]:.3g} … {self.over.edges[last + 1]:.3g}, where {share:.2g} of "
                f"the pairs are, by {'more than the force' if most >= 1 else f'{most:.0%} of the force'}"
            )
        residual = self._of_sums()
        flaw = within_limits(residual, settings)[2] if len(residual) else ""
        return f"of the sums over a body's senders, {flaw}" if flaw else ""

    def _nearest(self, system: System, constants: dict[str, float]) -> Float[np.ndarray, "receiver sender"]:
        """Return residuals from the true law at the nearby distance where it comes closest."""
        shift = np.where(_next_to_edge(system, self.over, constants), _EDGE_SHIFT, _SHIFT)
        factors = (1 - shift, np.ones_like(shift), 1 + shift)
        strengths = np.stack([self.over.strength(system, constants, factor) for factor in factors])
        strengths = np.where(np.isfinite(strengths), strengths, strengths[1])
        direction = self.gauge.of(self.over.unit)
        rest = self.found - self.gauge.offset[:, None]
        squares = (direction**2).sum(axis=-1)
        along = (rest * direction).sum(axis=-1) / np.where(squares > 0, squares, 1.0)
        along = np.clip(along, strengths.min(axis=0), strengths.max(axis=0))
        return self._relative(np.linalg.norm(rest - direction * along[..., None], axis=-1), self.over.scale)

    def _of_sums(self) -> Float[np.ndarray, " body"]:
        """Return residuals of sums over whole neighbourhoods, relative to the sum of forces."""
        rows, columns = np.nonzero(self.over.as_in_data)
        most = int(self.over.body.max()) + 1
        place = rows * most + self.over.body[rows, columns]

        def summed(values: np.ndarray) -> np.ndarray:
            each = [np.bincount(place, v, minlength=len(self.found) * most) for v in values[rows, columns].T]
            return np.linalg.norm(np.stack(each, axis=-1), axis=-1).reshape(-1, most)

        there = np.bincount(place, minlength=len(self.found) * most).reshape(-1, most) > 0
        scale = np.maximum(summed(self.force), FLOOR * self.over.typical[:, None])
        return np.asarray(self._relative(summed(self.error), scale)[there])


def _force(system: System, over: Probe, constants: dict[str, float]) -> Float[np.ndarray, "receiver sender dim"]:
    return over.strength(system, constants)[..., None] * over.unit


def _next_to_edge(law: System, over: Probe, constants: dict[str, float]) -> Bool[np.ndarray, "receiver sender"]:
    """Return at which distances a condition of the force changes nearby."""
    found = np.zeros(over.distance.shape, dtype=bool)
    for level in piecewise.levels_of(law.radial_force):
        near, far = (
            formula.evaluate(level, {**constants, **over.values, "r": factor * over.distance}) > 0
            for factor in (1 - _EDGE_SHIFT, 1 + _EDGE_SHIFT)
        )
        found |= near != far
    return found


def _directions(gauge: Gauge) -> float:
    """Return by how much larger a mean square is of whole forces than of the components that are compared."""
    _, components, dim = gauge.linear.shape
    return dim / components


def _is_constant(reading: Message | Energy, found: Float[np.ndarray, "receiver sender component"]) -> bool:
    if isinstance(reading, Energy):
        return not found.any()
    return bool(np.all(np.ptp(found, axis=1) <= _ROUNDING * np.abs(found).max(axis=1)))
