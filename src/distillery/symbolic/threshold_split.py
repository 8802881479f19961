"""Threshold split: the feature and threshold at which two functions fit a target better than one.

It serves engines without ``if``: both sides of the split are searched separately and joined to ``A if feature >
threshold else B``.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import sympy
from jaxtyping import Bool, Float

from distillery.physics import formula
from distillery.symbolic import tuning


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of the samples.

    Attributes:
        feature: Name of the feature.
        threshold: Samples above it are on the upper side (dimensionless).
        share: Error with the split relative to the error without.
    """

    feature: str
    threshold: float
    share: float

    def upper(self, features: Mapping[str, Float[np.ndarray, " sample"]]) -> Bool[np.ndarray, " sample"]:
        """Return for each sample whether it is on the upper side."""
        return np.asarray(features[self.feature] > self.threshold)

    def joined(self, upper: sympy.Expr, lower: sympy.Expr) -> sympy.Expr:
        """Return the piecewise expression of an upper and a lower side."""
        condition = formula.symbol(self.feature) > sympy.Float(self.threshold)
        return sympy.Piecewise((upper, condition), (lower, True))


def best_split(
    features: Mapping[str, Float[np.ndarray, " sample"]], target: Float[np.ndarray, " sample"]
) -> Split | None:
    """Return the best split, or None if none pays.

    A regression on products of up to two features approximates the expression of a side. Its error on both sides of a
    threshold is compared with that of one regression over all samples. A strong bend may pay too; the front decides
    later whether two branches are worth their complexity.

    Args:
        features: Training inputs by name (dimensionless). Features with few different values are not split.
        target: Training target (dimensionless).
    """
    design = _design(features)
    whole = _error(design, target)
    found: list[Split] = []
    for name, column in features.items():
        if len(np.unique(column[: 1 + len(column) // 2])) < tuning.THRESHOLDS or whole <= 0:
            continue
        thresholds = np.quantile(column, np.linspace(tuning.SMALLEST_SIDE, 1 - tuning.SMALLEST_SIDE, tuning.THRESHOLDS))
        tried = {float(t): _split_error(design, target, column > t) for t in thresholds}
        coarse = min(tried, key=lambda t: tried[t])
        place = int(np.searchsorted(thresholds, coarse))
        around = thresholds[max(place - 1, 0)], thresholds[min(place + 1, len(thresholds) - 1)]
        tried |= {float(t): _split_error(design, target, column > t) for t in np.linspace(*around, 9)[1:-1]}
        threshold = min(tried, key=lambda t: tried[t])
        found.append(Split(name, threshold, tried[threshold] / whole))
    best = min(found, key=lambda split: split.share, default=None)
    return best if best is not None and best.share < tuning.SPLIT_PAYS else None


def _design(features: Mapping[str, np.ndarray]) -> Float[np.ndarray, "sample term"]:
    """Return the standardised products of up to two features; with many features only squares."""
    columns = []
    for column in features.values():
        spread = float(column.std())
        if spread > 0:
            columns.append((column - column.mean()) / spread)
    pairs = [a * b for a, b in itertools.combinations_with_replacement(columns, 2)]
    if len(columns) + len(pairs) > tuning.MOST_REGRESSION_TERMS * len(next(iter(features.values()))):
        pairs = [column**2 for column in columns]
    return np.column_stack([np.ones(len(next(iter(features.values())))), *columns, *pairs])


def _split_error(design: np.ndarray, target: np.ndarray, upper: np.ndarray) -> float:
    share = float(upper.mean())
    if min(share, 1.0 - share) < tuning.SMALLEST_SIDE * 0.9:
        return np.inf
    return share * _error(design[upper], target[upper]) + (1.0 - share) * _error(design[~upper], target[~upper])


def _error(design: np.ndarray, target: np.ndarray) -> float:
    """Return the mean absolute error of a robust regression."""
    weight = np.ones_like(target)
    residual = target
    ridge = tuning.REGRESSION_RIDGE * len(target) * np.eye(design.shape[1])
    for _ in range(tuning.REGRESSION_REWEIGHTINGS):
        weighted = design * weight[:, None]
        residual = target - design @ np.linalg.solve(weighted.T @ design + ridge, weighted.T @ target)
        size = np.abs(residual)
        weight = 1.0 / np.maximum(size, max(float(np.median(size)), 1e-300))
        weight /= weight.max()
    # A regression with so many coefficients has a smaller error on its own samples than on others.
    freedom = max(1.0 - design.shape[1] / len(target), 0.1)
    return float(np.mean(np.abs(residual))) / freedom


def refined(
    split: Split,
    upper: sympy.Expr,
    lower: sympy.Expr,
    features: Mapping[str, Float[np.ndarray, " sample"]],
    target: Float[np.ndarray, " sample"],
) -> Split:
    """Return the split with the threshold of least mean absolute error for the expressions of its sides.

    Args:
        split: Start of the scan, which covers all thresholds within a quarter of the samples on either side.
        upper: Expression of the upper side.
        lower: Expression of the lower side.
        features: Training inputs by name (dimensionless).
        target: Training target (dimensionless).
    """
    threshold = best_threshold(
        features[split.feature],
        np.abs(formula.evaluate(upper, features) - target),
        np.abs(formula.evaluate(lower, features) - target),
        split.threshold,
    )
    return dataclasses.replace(split, threshold=threshold)


def best_threshold(
    column: Float[np.ndarray, " sample"],
    above: Float[np.ndarray, " sample"],
    below: Float[np.ndarray, " sample"],
    start: float,
    within: float = 0.25,
) -> float:
    """Return the threshold of a feature that minimises the summed error of two sides.

    Args:
        column: The feature.
        above: Error of each sample if it is above the threshold.
        below: Error of each sample if it is below.
        start: A threshold to begin with; it stays if none is better.
        within: Share of the samples on either side of it among which thresholds are compared.
    """
    above, below = np.broadcast_to(above, column.shape), np.broadcast_to(below, column.shape)
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    # total[k]: error if the k lowest samples are below and all others above.
    total = np.concatenate([[0.0], np.cumsum(below[order])])
    total[:-1] += np.cumsum(above[order][::-1])[::-1]
    place = int(np.searchsorted(ordered, start, side="right"))
    reach = max(int(within * len(column)), 1)
    tried = np.arange(max(place - reach, 1), min(place + reach + 1, len(column)))
    # No threshold separates equal values.
    tried = tried[ordered[tried - 1] < ordered[tried]] if len(tried) else tried
    if not len(tried) or not np.isfinite(total[tried]).any():
        return start
    best = int(tried[np.nanargmin(np.where(np.isfinite(total[tried]), total[tried], np.inf))])
    if not total[best] < total[place]:
        return start
    return float(ordered[best - 1] + ordered[best]) / 2
