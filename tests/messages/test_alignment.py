"""Alignment: components of messages are rotated to the axes of space."""

from __future__ import annotations

import numpy as np
import pytest

from distillery.messages.alignment import alignment
from distillery.physics.systems import SYSTEMS
from distillery.randomness import stream


@pytest.fixture
def physics() -> tuple[np.ndarray, np.ndarray]:
    """Return random forces in two dimensions and the receivers' masses."""
    draws = stream(0, "test physics")
    return draws.normal(size=(SAMPLES, 2)), np.exp(draws.normal(size=SAMPLES))


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("law", ["charge", "spring", "r^-2"])
@pytest.mark.parametrize("mirror", [1, -1])
def test_alignment_undoes_any_linear_map_of_the_force(dim: int, law: str, mirror: int) -> None:
    draws = stream(dim, "test alignment", law)
    displacement = draws.normal(size=(4000, dim)) * np.sqrt(2)
    mass, charge = np.exp(draws.normal(size=(2, 4000))), draws.choice([-1.0, 1.0], size=(2, 4000))
    force = SYSTEMS[law].pair_force(displacement, (mass[0], mass[1]), (charge[0], charge[1]))
    mixing = draws.normal(size=(dim, dim)) + 2 * np.diag([mirror, 1, 1][:dim])
    noise = 0.02 * np.median(np.abs(force)) * draws.normal(size=force.shape)
    turned = alignment((force + noise) @ mixing + draws.normal(size=dim), displacement)
    assert turned is not None
    total = mixing @ turned
    total /= np.abs(total).max()
    along = np.abs(np.diag(total))
    assert along.min() > 0.85
    np.testing.assert_allclose(total - np.diag(np.diag(total)), 0.0, atol=0.04)


def test_alignment_needs_as_many_independent_components_as_dimensions() -> None:
    displacement = stream(0, "test alignment").normal(size=(500, 2))
    assert alignment(displacement[:, :1] @ np.array([[1.0, 2.0]]), displacement) is None
    assert alignment(displacement[:, :1], displacement) is None
    assert alignment(np.zeros((500, 2)), displacement) is None


def test_alignment_finds_a_force_that_most_pairs_do_not_feel() -> None:
    draws = stream(0, "test alignment", "silence")
    displacement = draws.normal(size=(8000, 2)) * np.sqrt(2)
    far = np.linalg.norm(displacement, axis=1) > 2.5
    assert 0.15 < far.mean() < 0.25
    mixing = np.array([[1.0, 0.4], [-0.3, 2.0]])
    message = (displacement * far[:, None] + 0.02 * draws.normal(size=displacement.shape)) @ mixing
    turned = alignment(message, displacement)
    assert turned is not None
    total = mixing @ turned
    total /= np.abs(total).max()
    np.testing.assert_allclose(np.abs(np.diag(total)), 1.0, atol=0.1)
    np.testing.assert_allclose(total - np.diag(np.diag(total)), 0.0, atol=0.05)


def test_alignment_does_not_change_noise() -> None:
    draws = stream(0, "test alignment", "noise")
    assert alignment(draws.normal(size=(4000, 2)), draws.normal(size=(4000, 2))) is None
