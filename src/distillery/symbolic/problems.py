"""Build the problems of symbolic regression: one for each component of each sampled function."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float

from distillery.errors import DistilleryError
from distillery.symbolic.engine import Problem
from distillery.symbolic.outliers import without_outliers
from distillery.symbolic.settings import DistillationSettings

_Key = TypeVar("_Key")


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Samples of a function.

    Attributes:
        names: Names of the features.
        features: Inputs (dimensionless).
        target: Components of the function (dimensionless).
        held_out: True for samples on which errors are measured, false for training samples.
    """

    names: tuple[str, ...]
    features: Float[np.ndarray, "sample feature"]
    target: Float[np.ndarray, "sample component"]
    held_out: Bool[np.ndarray, " sample"]


def problems(samples: Mapping[_Key, Samples], settings: DistillationSettings) -> dict[tuple[_Key, int], Problem]:
    """Return the problems of some functions, by function and component, without outliers.

    Args:
        samples: Samples of each function.
        settings: Engine, operators, budgets, and the share of the samples that is fitted.

    Raises:
        DistilleryError: Values are not finite, or there are no training or no held-out samples.
    """
    found: dict[tuple[_Key, int], Problem] = {}
    for function, own in samples.items():
        if not (np.isfinite(own.features).all() and np.isfinite(own.target).all()):
            raise DistilleryError("holds values that are not finite")
        usual = smallest(own.target, settings.share)
        features, target, held_out = own.features[usual], own.target[usual], own.held_out[usual]
        if held_out.all() or not held_out.any():
            raise DistilleryError("lacks training or held-out samples")
        features, names = _varying(features, own.names)
        for component, values in enumerate(target.T.astype(np.float64)):
            whole = Problem(
                names=names,
                features=features[~held_out],
                target=values[~held_out],
                held_out_features=features[held_out],
                held_out_target=values[held_out],
                settings=settings,
            )
            found[function, component] = without_outliers(whole)
    return found


def smallest(target: Float[np.ndarray, "sample component"], share: float) -> Bool[np.ndarray, " sample"]:
    """Select the samples closest to the median of all components, in units of each component's typical deviation.

    Args:
        target: Components of a function (dimensionless).
        share: Share of the samples that is selected, up to 1.
    """
    apart = np.abs(target - np.median(target, axis=0))
    # Most values may be equal, as those beyond an edge: their deviation of 0 measures nothing.
    typical = [np.median(own[own > 0]) if np.any(own > 0) else 1.0 for own in apart.T]
    size = np.linalg.norm(apart / np.array(typical), axis=1)
    return size <= np.quantile(size, share)


def _varying(
    features: Float[np.ndarray, "sample feature"], names: tuple[str, ...]
) -> tuple[Float[np.ndarray, "sample left"], tuple[str, ...]]:
    """Return the features that differ between samples, with their names; all of them if none differs.

    A constant feature, such as the charge if all bodies have the same one, would only replace a number in a law.
    """
    varies = np.ptp(features, axis=0) > 0
    if not varies.any():
        return features, names
    return features[:, varies], tuple(name for name, kept in zip(names, varies, strict=True) if kept)
