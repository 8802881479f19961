"""Friends of friends against all pairs, over periodic edges, and whatever way the box is cut."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from distillery.halos import friends as finder
from distillery.halos.friends import friends, groups

BOX = 10.0


def clustered(seed: int, count: int = 600) -> np.ndarray:
    """Points half of which lie in clumps, some over the edges of the box."""
    random = np.random.default_rng(seed)
    centres = np.concatenate([random.uniform(0, BOX, (8, 3)), np.zeros((1, 3)), [[BOX / 2, 0, BOX]]])
    clumps = centres[random.integers(0, len(centres), count // 2)] + random.normal(0, 0.25, (count // 2, 3))
    points = np.mod(np.concatenate([clumps, random.uniform(0, BOX, (count - count // 2, 3))]), BOX)
    return points.astype(np.float32)


def by_all_pairs(points: np.ndarray, length: float) -> np.ndarray:
    """Labels by the matrix of all distances, numbered as they first appear."""
    offset = points[:, None].astype(float) - points[None].astype(float)
    offset -= BOX * np.round(offset / BOX)
    labels = connected_components((offset**2).sum(-1) <= length**2, directed=False)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


@pytest.mark.parametrize("slab", [3, 37, 599, 10**6])
@pytest.mark.parametrize("length", [0.15, 0.4, 0.9])
def test_groups_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch, slab: int, length: float) -> None:
    monkeypatch.setattr(finder, "_SLAB", slab)
    points = clustered(1)
    expected = by_all_pairs(points, length)
    assert 2 < expected.max() < len(points) - 50
    np.testing.assert_array_equal(friends(points, BOX, length), expected)


def test_few_points_far_apart_meet_over_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slab that reaches from edge to edge finds its own image."""
    points = np.array([[0.05, 5, 5], [5, 5, 5], [9.95, 5, 5], [9.98, 0.1, 0.1], [0.05, 9.95, 9.95]])
    for slab in (1, 2, 4, 5):
        monkeypatch.setattr(finder, "_SLAB", slab)
        np.testing.assert_array_equal(friends(points, BOX, 0.3), [0, 1, 0, 2, 2])


def test_nobody_has_friends() -> None:
    points = np.array([[1.0, 1, 1], [3, 3, 3], [9, 9, 9]])
    np.testing.assert_array_equal(friends(points, BOX, 0.5), [0, 1, 2])
    found = groups(points, points, BOX, 0.5, 2)
    assert found.position.shape == (0, 3)
    assert found.particles.shape == (0,)


def test_means_are_taken_over_the_edge() -> None:
    points = np.array([[9.9, 5, 0.0], [5, 5, 5], [0.2, 5, 0.1], [0.05, 5, 9.9], [5, 5.1, 5]])
    speeds = np.arange(15.0).reshape(5, 3)
    found = groups(points, speeds, BOX, 0.4, 2)
    np.testing.assert_array_equal(found.particles, [3, 2])
    np.testing.assert_allclose(found.position[0], [0.05, 5, 0.0], atol=1e-12)
    np.testing.assert_allclose(found.position[1], [5, 5.05, 5], atol=1e-12)
    np.testing.assert_allclose(found.velocity, [speeds[[0, 2, 3]].mean(0), speeds[[1, 4]].mean(0)])
    assert len(groups(points, speeds, BOX, 0.4, 3).particles) == 1


def test_shifted_particles_give_shifted_halos() -> None:
    points = clustered(2).astype(np.float64)
    shift = np.array([3.3, 7.7, 5.1])
    here, there = (groups(np.mod(place, BOX), points, BOX, 0.4, 5) for place in (points, points + shift))
    assert len(here.particles) > 5
    np.testing.assert_array_equal(here.particles, there.particles)
    offset = there.position - here.position - shift
    np.testing.assert_allclose(offset - BOX * np.round(offset / BOX), 0.0, atol=1e-12)
    np.testing.assert_allclose(here.velocity, there.velocity)
    assert np.all((there.position >= 0) & (there.position < BOX))
