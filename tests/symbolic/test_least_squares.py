"""Fits of constants do not depend on the units of features, constants and residuals."""

from __future__ import annotations

import numpy as np
import pytest

from distillery.physics import formula
from distillery.symbolic.least_squares import least_squares
from distillery.symbolic.tidying import parametrise, refit

SIZES = [1e-11, 1e-5, 1.0, 1e5, 1e11]


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_a_constant_is_fitted_whatever_the_size_of_its_feature(size: float, robust: bool) -> None:
    r = size * np.linspace(0.1, 10, 200)
    target = 3 / (1 + 0.7 / size * r)

    def residual(values: np.ndarray) -> np.ndarray:
        return values[0] / (1 + values[1] * r) - target

    def jacobian(values: np.ndarray) -> np.ndarray:
        below = 1 + values[1] * r
        return np.stack([1 / below, -values[0] * r / below**2], axis=1)

    start = np.array([1.0, 2 / size])
    found = least_squares(residual, jacobian, start, scale=0.1 if robust else None, evaluations=100)
    np.testing.assert_allclose(found.values, [3, 0.7 / size], rtol=1e-7)


@pytest.mark.parametrize("size", SIZES)
def test_bounds_have_the_units_of_parameters(size: float) -> None:
    bounds = np.array([0.0]), np.array([2 / size])
    found = least_squares(
        lambda v: size * v - 3, lambda v: np.full((1, 1), size), np.array([1 / size]), bounds=bounds, evaluations=50
    )
    np.testing.assert_allclose(found.values, [2 / size], rtol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_tidying_fits_constants_whatever_the_size_of_features(size: float) -> None:
    r = size * np.linspace(0.1, 10, 200)
    skeleton = parametrise(formula.parse(f"1.5/(1.2 + {1.1 / size!r}*r)", ["r"]))
    target = 3 / (1.2 + 0.7 / size * r)
    fit = refit(skeleton, {"r": r}, target, iterations=50)
    assert fit.error < 1e-6
