"""Fits of messages to known forces: raw, robust, gauge-free."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from distillery.messages.fits import fit_component, trimmed_fit
from distillery.randomness import stream

SAMPLES = 4000


@pytest.fixture
def physics() -> tuple[np.ndarray, np.ndarray]:
    """Return random forces in two dimensions and the receivers' masses."""
    draws = stream(0, "test physics")
    return draws.normal(size=(SAMPLES, 2)), np.exp(draws.normal(size=SAMPLES))


def fit(message: np.ndarray, force: np.ndarray, mass: np.ndarray, target: str = "force") -> tuple[float, ...]:
    return dataclasses.astuple(fit_component(message, force, mass, trim=0.9, bins=20)[target])


def test_rotated_force_is_read_as_force_and_not_as_acceleration(physics: Any) -> None:
    force, mass = physics
    message = force @ [0.6, -0.8] * 3 + 0.7
    assert fit(message, force, mass) == pytest.approx((1, 1, 1))
    raw, _, gauge_free = fit(message, force, mass, "acceleration")
    assert raw < 0.7
    assert gauge_free == pytest.approx(1)


def test_acceleration_is_read_as_acceleration_and_gauge_free_as_either(physics: Any) -> None:
    force, mass = physics
    message = force @ [0.6, -0.8] / mass
    assert fit(message, force, mass, "acceleration") == pytest.approx((1, 1, 1))
    raw, _, gauge_free = fit(message, force, mass)
    assert raw < 0.7
    assert gauge_free == pytest.approx(1)


def test_gauge_free_r2_ignores_factors_and_offsets_of_the_receiver(physics: Any) -> None:
    force, mass = physics
    message = force @ [1.0, 2.0] * (2 + np.sin(mass)) + 5 * np.cos(mass)
    raw, _, gauge_free = fit(message, force, mass)
    assert raw < 0.8
    assert gauge_free > 0.95


def test_gauge_free_r2_does_not_count_the_offset(physics: Any) -> None:
    force, mass = physics
    _, _, gauge_free = fit(np.where(mass > np.median(mass), 7.0, 1.0) + 0.1 * np.sin(1e4 * mass), force, mass)
    assert gauge_free < 0.1


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_noise_lowers_r2_by_its_share_of_the_variance(physics: Any, noise: float) -> None:
    force, mass = physics
    message = force[:, 0] + noise * stream(1, "test noise").normal(size=SAMPLES)
    raw, _, gauge_free = fit(message, force, mass)
    assert raw == pytest.approx(1 / (1 + noise**2), abs=0.01)
    assert gauge_free == pytest.approx(1 / (1 + noise**2), abs=0.02)


def test_robust_fit_ignores_outliers(physics: Any) -> None:
    force, mass = physics
    message = force @ [0.6, -0.8] * 3 + 0.7
    spoiled = stream(2, "test outliers").choice(SAMPLES, size=SAMPLES // 20, replace=False)
    # All on one side and at large forces, so that they bias the first least-squares fit.
    message[spoiled] = 500 * np.abs(force[spoiled, 0])
    raw, robust, _ = fit(message, force, mass)
    assert raw < 0.5
    assert robust == pytest.approx(1)


def test_trimmed_fit_keeps_the_share_with_the_smallest_error() -> None:
    draws = stream(3, "test trimming")
    design = np.column_stack([draws.normal(size=1000), np.ones(1000)])
    kept, residual = trimmed_fit(design, design @ [2.0, 1.0] + draws.normal(size=1000), 0.9)
    assert kept.sum() == 900
    assert np.abs(residual[kept]).max() <= np.abs(residual[~kept]).min()


@pytest.mark.parametrize(("samples", "reported"), [(2, False), (29, False), (34, True)])
def test_r2_of_few_samples_is_not_reported(samples: int, reported: bool) -> None:
    """Two forces and an offset fit any three samples, so an R² of 1 has no meaning."""
    force = stream(0, "few").normal(size=(samples, 2))
    raw, robust, gauge_free = fit(force @ [0.6, -0.8], force, np.ones(samples))
    assert np.isfinite([raw, robust]).all() == reported
    assert np.isnan(gauge_free)


def test_bins_hold_enough_samples_or_are_fewer(physics: Any) -> None:
    """Twenty bins of 200 samples would have ten samples each."""
    force, mass = (values[:200] for values in physics)
    assert fit(force @ [1.0, 2.0] / mass, force, mass)[2] == pytest.approx(1)
    noise = stream(0, "noise").normal(size=200)
    assert fit(noise, force, mass)[2] < 0.5


def test_component_without_variance_has_no_r2(physics: Any) -> None:
    force, mass = physics
    assert np.isnan(fit(np.zeros(SAMPLES), force, mass)[0])
