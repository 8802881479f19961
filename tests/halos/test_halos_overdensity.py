"""Overdensity in balls: of waves exactly, of particles by counting them."""

from __future__ import annotations

import numpy as np
import pytest

from distillery.halos import mesh
from distillery.halos.cosmology import Cosmology, top_hat
from distillery.halos.overdensity import smoothed


def test_a_wave_is_damped_by_the_transform_of_the_ball() -> None:
    cells, box, radius = 32, 100.0, 12.0
    line = np.arange(cells) * box / cells
    k = 2 * np.pi / box * np.array([2, 1, 0])
    x = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
    field = np.cos(x @ k)
    places = x.reshape(-1, 3)[::97]
    q = radius * np.linalg.norm(k)
    damped = 3 * (np.sin(q) - q * np.cos(q)) / q**3
    found = smoothed(field, box, (radius, 2.0), places)
    np.testing.assert_allclose(found[0], damped * np.cos(places @ k), atol=1e-10)
    assert np.abs(found[1]).max() > np.abs(found[0]).max()


@pytest.mark.slow
def test_it_is_what_counting_particles_says() -> None:
    random = np.random.default_rng(3)
    box, cells, radius, count = 100.0, 64, 15.0, 40_000
    clumps = random.uniform(0, box, (30, 3))[random.integers(0, 30, count)] + random.normal(0, 8, (count, 3))
    position = np.mod(np.concatenate([clumps, random.uniform(0, box, (count, 3))]), box)
    places = random.uniform(0, box, (60, 3))
    offset = np.abs(places[:, None] - position)
    offset = np.minimum(offset, box - offset)
    counted = ((offset**2).sum(-1) < radius**2).sum(1) / (len(position) * 4 / 3 * np.pi * radius**3 / box**3) - 1
    (found,) = smoothed(mesh.contrast(position, box, cells), box, (radius,), places)
    assert counted.std() > 0.2
    np.testing.assert_allclose(found, counted, atol=0.06)
    assert np.sqrt(((found - counted) ** 2).mean()) < 0.02


def test_its_mean_over_the_box_is_zero() -> None:
    random = np.random.default_rng(4)
    field = mesh.contrast(random.uniform(0, 50, (5000, 3)), 50.0, 16)
    line = np.arange(16) * 50 / 16
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    (found,) = smoothed(field, 50.0, (8.0,), points)
    assert found.std() > 0.01
    assert found.mean() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(("per_radius", "lost"), [(5, 0.009), (10, 0.0023)])
def test_reading_lowers_fluctuations_as_much_as_the_guide_says(per_radius: int, lost: float) -> None:
    # Linear fluctuations on a mesh of that many cells for each radius, read between its points. What is said there is
    # the size of their projection on what an exact reading would find, a wave at a time.
    radius, cells = 20.0, 32
    box = cells * radius / per_radius
    places = np.random.default_rng(0).uniform(0, box, (20_000, 3))
    line = np.arange(cells) * box / cells
    mesh_points = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
    for mode in ((1, 0, 0), (2, 1, 0), (3, 2, 1)):
        k = 2 * np.pi / box * np.array(mode)
        (found,) = smoothed(np.cos(mesh_points @ k), box, (radius,), places)
        exact = top_hat(np.array([radius * np.linalg.norm(k)]))[0] * np.cos(places @ k)
        window = np.sinc(k * box / cells / (2 * np.pi)).prod() ** 2
        assert (found @ exact) / (exact @ exact) == pytest.approx(window, abs=2e-3)
    # The same window over the spectrum of linear theory.
    waves = np.geomspace(1e-4, 3.0, 400)
    draws = np.random.default_rng(1).normal(size=(100, 3))
    along = draws / np.linalg.norm(draws, axis=1)[:, None]
    read = np.sinc(waves[:, None, None] * along * radius / per_radius / (2 * np.pi)).prod(-1) ** 4
    power = Cosmology().power(waves) * top_hat(waves * radius) ** 2 * waves**3
    kept, whole = (np.trapezoid(power * share, np.log(waves)) for share in (read.mean(1), 1.0))
    assert 1 - np.sqrt(kept / whole) == pytest.approx(lost, rel=0.1)
