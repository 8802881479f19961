"""The gauge of an expression: the map and the offset of each receiver that motion does not determine.

The node model sees the receiver, so a message f = A(receiver)·F + b(receiver) predicts as well as the force F itself.
An energy has no such freedom but what no force depends on; the force that it gives is a·F with a = 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import sympy
from jaxtyping import Float

from distillery.laws.limits import Form, bounded
from distillery.laws.settings import VerificationSettings
from distillery.networks.functions import AXES
from distillery.physics import formula
from distillery.validation.probe import DataProbe, Probe

# Rounds of reweighting, and the residual beyond which a sender counts by its size and not by its square: where a law
# lacks a feature, that must not change its gauge elsewhere.
_ROUNDS, _USUAL = 8, 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Gauge:
    """For each receiver k the best f ≈ A_k·F + b_k; f has as many components as A_k has rows.

    Attributes:
        linear: The A_k.
        offset: The b_k.
    """

    linear: Float[np.ndarray, "receiver component dim"]
    offset: Float[np.ndarray, "receiver component"]

    @property
    def size(self) -> Float[np.ndarray, " receiver"]:
        """The size of A_k: what a force of size 1 becomes, in its best direction."""
        return np.linalg.norm(self.linear, axis=2).max(axis=1)

    def of(self, vector: Float[np.ndarray, "receiver sender dim"]) -> Float[np.ndarray, "receiver sender component"]:
        """Return A_k·F."""
        return np.einsum("kcd,ksd->ksc", self.linear, vector)

    def filled(self, over: DataProbe) -> Gauge:
        """Return the gauge with the usual size for receivers on which no force acts: they do not determine it."""
        if over.interacts.all():
            return self
        usual = np.median(self.linear[over.interacts], axis=0)
        return dataclasses.replace(self, linear=np.where(over.interacts[:, None, None], self.linear, usual))


@dataclasses.dataclass(frozen=True)
class Message:
    """An expression of a message, which is the force up to a map and an offset of each receiver."""

    expression: sympy.Expr

    def values(self, over: Probe) -> Float[np.ndarray, "receiver sender 1"]:
        """Return its values."""
        shape = over.mass[0].shape
        return np.broadcast_to(formula.evaluate(self.expression, over.values), shape)[..., None]

    def fitted(
        self,
        values: Float[np.ndarray, "receiver sender 1"],
        force: Float[np.ndarray, "receiver sender dim"],
        scale: Float[np.ndarray, "receiver sender"],
        rounds: int = _ROUNDS,
    ) -> Gauge:
        """Return the gauge with the smallest residuals relative to a scale.

        Args:
            values: Values of the expression.
            force: True forces.
            scale: What residuals are relative to.
            rounds: Rounds of reweighting; with 1 squares are minimised.
        """
        design = np.concatenate([force, np.ones((*scale.shape, 1))], axis=-1)

        def fit(weight: np.ndarray) -> Gauge:
            columns = design * weight[..., None]
            # Columns of one size: units must not decide over rounding.
            size = np.linalg.norm(columns, axis=1, keepdims=True)
            size[size == 0] = 1.0
            solution = np.linalg.pinv(columns / size) @ (values * weight[..., None]) / np.swapaxes(size, 1, 2)
            return Gauge(np.swapaxes(solution[:, :-1], 1, 2), solution[:, -1])

        return _reweighted(fit, values, force, scale, rounds)

    def flaw(self, gauge: Gauge, over: DataProbe, settings: VerificationSettings) -> tuple[str, Form | None]:
        """Return nothing against any gauge, and its form."""
        vectors = gauge.linear[over.interacts, 0]
        candidates: dict[Form, np.ndarray] = {
            "force": vectors,
            "acceleration": vectors * over.mass[0][over.interacts, :1],
        }
        for form, own in candidates.items():
            centre = np.median(own, axis=0)
            size = float(np.linalg.norm(centre))
            if size > 0 and np.percentile(np.linalg.norm(own - centre, axis=-1) / size, 90) < settings.p90_residual:
                return "", form
        return "", "gauge"


@dataclasses.dataclass(frozen=True)
class Energy:
    """An expression of the energy of a pair, of which the force -∂/∂Δ is compared.

    Additive constants, anything that depends on masses and charges alone, and jumps of a potential exert no force.
    """

    expression: sympy.Expr

    def values(self, over: Probe) -> Float[np.ndarray, "receiver sender dim"]:
        """Return the force on the receiver; NaN where the energy itself is not finite."""
        given, unit = over.values, over.unit
        by_distance = formula.evaluate(sympy.diff(self.expression, formula.symbol("r")), given)
        found = -unit * np.broadcast_to(by_distance, over.mass[0].shape)[..., None]
        for k, axis in enumerate(AXES[: unit.shape[-1]]):
            found[..., k] -= formula.evaluate(sympy.diff(self.expression, formula.symbol(f"d{axis}")), given)
        energy = np.broadcast_to(formula.evaluate(self.expression, given), over.mass[0].shape)
        return np.where(np.isfinite(energy)[..., None], found, np.nan)

    def fitted(
        self,
        values: Float[np.ndarray, "receiver sender dim"],
        force: Float[np.ndarray, "receiver sender dim"],
        scale: Float[np.ndarray, "receiver sender"],
        rounds: int = _ROUNDS,
    ) -> Gauge:
        """Return the factor of each receiver with the smallest residuals relative to a scale; see ``Message``."""
        eye = np.eye(force.shape[-1])

        def fit(weight: np.ndarray) -> Gauge:
            own, true = values * weight[..., None], force * weight[..., None]
            squares = (true**2).sum(axis=(1, 2))
            factor = (own * true).sum(axis=(1, 2)) / np.where(squares > 0, squares, 1.0)
            return Gauge(factor[:, None, None] * eye, np.zeros((len(factor), len(eye))))

        return _reweighted(fit, values, force, scale, rounds)

    def flaw(self, gauge: Gauge, over: DataProbe, settings: VerificationSettings) -> tuple[str, Form | None]:
        """Return how the factor differs from 1; Hamilton's equations leave an energy none."""
        return factor_flaw(gauge.linear[over.interacts, 0, 0], settings), "energy"


def factor_flaw(factors: Float[np.ndarray, " one"], settings: VerificationSettings) -> str:
    """Return how the factors of energies differ from 1; empty where they do not."""
    widest = float(np.percentile(np.abs(factors - 1), 90))
    if widest < settings.p90_residual:
        return ""
    return f"the factor of the energy differs from 1 by {widest:.3g}, over {settings.p90_residual:g}"


def _reweighted(
    fit: Callable[[np.ndarray], Gauge],
    values: Float[np.ndarray, "receiver sender component"],
    force: Float[np.ndarray, "receiver sender dim"],
    scale: Float[np.ndarray, "receiver sender"],
    rounds: int,
) -> Gauge:
    """Fit again and again, with less weight for senders with large residuals."""
    gauge = fit(1 / scale)
    for _ in range(rounds - 1):
        error = np.linalg.norm(values - gauge.of(force) - gauge.offset[:, None], axis=-1)
        size = gauge.size[:, None]
        residual = bounded(error / np.where(size > 0, size, np.inf) / scale)
        gauge = fit(1 / (scale * np.sqrt(np.maximum(residual / _USUAL, 1.0))))
    return gauge
