"""The result of judging one expression, and the limits that residuals must keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from distillery.laws.settings import VerificationSettings

Form = Literal["force", "acceleration", "gauge", "energy"]

# Sizes below this share of the typical one are not measures of their own: where a force dies out or crosses zero,
# an error counts relative to this share of the typical force.
FLOOR = 0.05
# Forces below this share of a strong one count as no force.
_NOTHING = 1e-3
# Strong is the first of these quantiles that is not a smaller share of the next one than that: a force of short range
# may be next to nothing for 99 of 100 pairs, and close encounters may have one of any size.
_STRONG, _RARE = (0.99, 0.999, 1.0), 1e-12
# With this word an extent says that a law differs from the true one somewhere beyond the data.
DIFFERS = "differs"
# Residuals are cut here, so that every statistic of them is a number.
_LARGEST = 1e6


@dataclasses.dataclass(frozen=True)
class Extent:
    """Distances over which a statement holds (dimensionless).

    Attributes:
        data_from: Smallest distance of a pair in the data.
        data_to: Largest one.
        agrees_from: Smallest distance down to which the law agrees with the true one.
        agrees_to: Largest distance up to which it does.
        looked_from: Smallest distance at which it was compared.
        looked_to: Largest one.
    """

    data_from: float
    data_to: float
    agrees_from: float
    agrees_to: float
    looked_from: float
    looked_to: float

    @classmethod
    def common(cls, extents: Sequence[Extent]) -> Extent:
        """Return the extent over which all of several agree that were compared in the same data.

        Args:
            extents: At least one.
        """
        return dataclasses.replace(
            extents[0],
            agrees_from=max(extent.agrees_from for extent in extents),
            agrees_to=min(extent.agrees_to for extent in extents),
        )

    @property
    def words(self) -> str:
        """Distances at which the law agrees, and those from which it differs."""
        within = f"recovered within the data (r = {self.data_from:.2g} … {self.data_to:.2g})"
        differs = [f"below r = {self.agrees_from:.2g}"] if self.agrees_from > self.looked_from else []
        differs += [f"beyond r = {self.agrees_to:.2g}"] if self.agrees_to < self.looked_to else []
        if not differs:
            return f"{within}, agrees from r = {self.looked_from:.2g} to {self.looked_to:.2g}, as far as compared"
        return f"{within}, {DIFFERS} {' and '.join(differs)}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether an expression is the law.

    Attributes:
        recovered: Whether the residuals are within the limits.
        form: The relation of the expression to the force, where recovered: the ``force`` up to a fixed linear map, the
            ``acceleration`` (the map goes as 1/m1), or another ``gauge``; or the ``energy`` that it derives from.
        reason: Why not recovered.
        median_residual: Median of the relative residuals; None where there are none.
        p90_residual: Their 90th percentile.
        constants: The law's constants and softening that fit best.
        gauge: The a_k, one vector per receiver; None where there are none.
        extent: Finds the distances around the data up to which the expression agrees on; None where there are none.
    """

    recovered: bool
    form: Form | None
    reason: str
    median_residual: float | None
    p90_residual: float | None
    constants: dict[str, float]
    gauge: np.ndarray | None = dataclasses.field(default=None, compare=False)
    extent: Callable[[], Extent] | None = dataclasses.field(default=None, compare=False, repr=False)


def refused(reason: str) -> Verdict:
    """Return the verdict on an expression that cannot be compared at all."""
    return Verdict(False, None, reason, None, None, {})


def not_finite(values: Float[np.ndarray, "*any"], of_what: str) -> Verdict | None:
    """Return the refusal of values that are not all finite, with their share; None where all are.

    Args:
        values: The values.
        of_what: What there is one value of, for the reason.
    """
    if np.all(np.isfinite(values)):
        return None
    return refused(f"not finite for {float(np.mean(~np.isfinite(values))):.1%} of {of_what}")


def bounded(residual: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Return residuals with what is not a number, or too large for one, cut at a large number."""
    return np.minimum(np.nan_to_num(residual, nan=_LARGEST, posinf=_LARGEST), _LARGEST)


def within_limits(residual: Float[np.ndarray, "*any"], settings: VerificationSettings) -> tuple[float, float, str]:
    """Return the median and the 90th percentile of residuals, and which limits they break; empty where none.

    Args:
        residual: Relative residuals.
        settings: The limits.
    """
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


def typical(sizes: Float[np.ndarray, "*rows sample"]) -> Float[np.ndarray, "*rows"]:
    """Return the median of the sizes that are not next to nothing, along the last axis; 0 where all are 0.

    A plain median is no measure of a force of short range, which is zero for most pairs, and a mean is none of a force
    with close encounters, which decide over it.

    Args:
        sizes: Sizes, not negative.
    """
    *lower, strong = np.quantile(sizes, _STRONG, axis=-1, keepdims=True, method="lower")
    largest = strong
    for one, following in zip(reversed(lower), (strong, *reversed(lower)), strict=False):
        strong = np.where(one >= _RARE * following, one, strong)
    some = np.where(sizes > _NOTHING * strong, sizes, np.nan)
    some = np.where(largest > 0, some, 0.0)
    return np.asarray(np.nanmedian(some, axis=-1))


def floored(sizes: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Return sizes, each at least a share of the typical one; 1 where all are 0.

    Args:
        sizes: Sizes of what residuals are relative to.
    """
    return np.maximum(sizes, FLOOR * (float(typical(sizes.ravel())) or 1.0))


def run_in_words(wrong: Bool[np.ndarray, " window"], shares: Float[np.ndarray, " window"]) -> tuple[int, int]:
    """Return the first and the last window of the run of wrong ones in which most samples are.

    Args:
        wrong: Which windows are wrong; at least one.
        shares: Share of all samples in each.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], wrong.astype(int), [0]])))
    runs = list(zip(edges[::2], edges[1::2] - 1, strict=True))
    first, last = max(runs, key=lambda run: float(shares[run[0] : run[1] + 1].sum()))
    return int(first), int(last)
