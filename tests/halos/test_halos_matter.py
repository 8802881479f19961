"""Matter: its initial spectrum, second-order displacements, forces, and growth on a mesh against known solutions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import fft

from distillery.halos import initial, mesh, motion
from distillery.halos.cosmology import Cosmology
from distillery.halos.initial import Particles

COSMOLOGY = Cosmology()
EINSTEIN_DE_SITTER = Cosmology(omega_m=1.0, omega_b=0.05)


def wave_length(cells: int, box: float) -> np.ndarray:
    return np.sqrt(sum(axis**2 for axis in mesh.wave_numbers(cells, box)))


def lattice(side: int, box: float) -> np.ndarray:
    line = np.arange(side) * box / side
    return np.stack(np.meshgrid(line, line, line, indexing="ij"))


def test_particles_are_painted_whole_and_read_back() -> None:
    random = np.random.default_rng(0)
    position = random.uniform(-3, 13, (500, 3))
    painted = mesh.paint(position, 10.0, 8, 2.0)
    assert painted.sum() == pytest.approx(1000.0, rel=1e-5)
    # Far images and edges are the same places.
    np.testing.assert_allclose(mesh.paint(position + 10.0, 10.0, 8, 2.0), painted, atol=1e-4)
    on_points = (lattice(8, 10.0).reshape(3, -1).T[:50]).astype(np.float64)
    np.testing.assert_allclose(mesh.read([painted], on_points, 10.0)[:, 0], painted.reshape(-1)[:50], rtol=1e-6)
    # What is painted and what is read have the same weights: <paint(x), g> = Σ read(g, x).
    other = random.normal(size=(8, 8, 8))
    read = mesh.read([other], position, 10.0)
    assert float((painted * other).sum()) == pytest.approx(2.0 * float(read.sum()), rel=1e-4)


def test_a_linear_field_is_read_exactly_between_points() -> None:
    x = lattice(16, 16.0)
    position = np.random.default_rng(1).uniform(1, 14, (100, 3))
    field = 2.0 * x[0] - x[1] + 0.5 * x[2]
    np.testing.assert_allclose(mesh.read([field], position, 16.0)[:, 0], position @ [2.0, -1.0, 0.5], atol=1e-9)


def test_positions_never_reach_the_box() -> None:
    for box in (123.4, 125.0, 1000 / 3):
        ends = np.array([-1e-9, 0, box, np.nextafter(np.float32(box), np.float32(0)), 3 * box], dtype=np.float32)
        inside = mesh.wrapped(ends, box)
        assert np.all((inside >= 0) & (inside.astype(np.float64) < box))


def test_the_initial_field_has_the_linear_spectrum() -> None:
    cells, box = 48, 200.0
    field = initial.gaussian_field(COSMOLOGY, cells, box, seed=4)
    assert abs(field.mean()) < 1e-12
    k = wave_length(cells, box)
    # Planes at both ends of the last axis stand for themselves, the others for two modes each.
    twice = np.full(k.shape, 2.0)
    twice[..., [0, -1]] = 1.0
    ratio = np.abs(fft.rfftn(field)) ** 2 / cells**6 * box**3
    ratio[0, 0, 0] = 0
    ratio.reshape(-1)[1:] /= COSMOLOGY.power(k.reshape(-1)[1:])
    edges = np.linspace(0.05, np.pi * cells / box * 1.7, 9)
    for low, high in itertools.pairwise(edges):
        chosen = (k >= low) & (k < high)
        modes = float(twice[chosen].sum())
        # |δ_k|² over its mean is exponential; each pair k, -k is one draw.
        assert np.average(ratio[chosen], weights=twice[chosen]) == pytest.approx(1.0, abs=4.5 * np.sqrt(2 / modes))
    # Phases are random: nothing of third order.
    assert abs(((field / field.std()) ** 3).mean()) < 0.1


def test_other_seeds_are_other_universes_and_the_same_seed_the_same() -> None:
    first, again, other = (initial.gaussian_field(COSMOLOGY, 16, 50.0, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first.reshape(-1), other.reshape(-1))[0, 1]) < 0.2


def test_displacements_of_crossed_waves_are_those_on_paper() -> None:
    side, box, height = 16, 30.0, 0.3
    k = 2 * np.pi / box
    x, y, _ = k * lattice(side, box)
    first, second = initial.displacements(height * (np.cos(x) + np.cos(y)), box)
    zero = np.zeros_like(x)
    # φ₁ = -A/k² (cos kx + cos ky) and ∇²φ₂ = A² cos kx cos ky.
    np.testing.assert_allclose(first, -height / k * np.stack([np.sin(x), np.sin(y), zero]), atol=1e-5)
    expected = height**2 / (2 * k) * np.stack([np.sin(x) * np.cos(y), np.cos(x) * np.sin(y), zero])
    np.testing.assert_allclose(second, expected, atol=1e-5)
    _, alone = initial.displacements(height * np.cos(x), box)
    np.testing.assert_allclose(alone, 0.0, atol=1e-7)


def test_particles_start_with_the_growing_mode() -> None:
    side, box, a = 24, 300.0, 0.02
    matter = initial.particles(COSMOLOGY, side, box, a, seed=2)
    first, _ = initial.displacements(initial.gaussian_field(COSMOLOGY, side, box, 2), box)
    rest = lattice(side, box) + initial.LATTICE_OFFSET * box / side
    moved = (matter.position - rest.reshape(3, -1).T + box / 2) % box - box / 2
    expected = COSMOLOGY.growth(a) * first.reshape(3, -1).T
    scale = expected.std()
    np.testing.assert_allclose(moved, expected, atol=0.05 * scale)
    # v = a H f D Ψ.
    speed = 100 * a * COSMOLOGY.expansion(a) * COSMOLOGY.growth_rate(a) * expected
    np.testing.assert_allclose(matter.velocity(a), speed, atol=0.1 * speed.std())


def test_two_bodies_attract_as_newton_says_and_oppositely() -> None:
    box = 100.0
    for direction in ([1.0, 0, 0], [0.6, 0.0, 0.8]):
        here = np.array([31.3, 48.7, 50.2])
        pair = np.stack([here, here + 15.0 * np.array(direction)])
        pulls = motion.force(pair, box, 64)
        np.testing.assert_allclose(pulls[0], -pulls[1], atol=2e-4 * np.abs(pulls).max())
        # δ of one of two bodies is V/2 at a point; its neighbours and the mean density take a percent.
        assert pulls[0] @ direction == pytest.approx(box**3 / 2 / (4 * np.pi * 15.0**2), rel=0.03)


@pytest.mark.parametrize("cosmology", [COSMOLOGY, EINSTEIN_DE_SITTER])
@pytest.mark.parametrize("steps", [3, 12])
def test_a_plane_wave_grows_as_zeldovich_says(cosmology: Cosmology, steps: int) -> None:
    side, box, start = 16, 100.0, 0.1
    k = 2 * np.pi / box
    rest = lattice(side, box).reshape(3, -1) + initial.LATTICE_OFFSET * box / side
    psi = np.stack([-0.05 / k * np.sin(k * rest[0]), 0 * rest[1], 0 * rest[2]])
    speed = motion.linear_momentum(cosmology, start)
    matter = Particles(
        mesh.wrapped((rest + cosmology.growth(start) * psi).astype(np.float32), box).T,
        (speed * psi).astype(np.float32).T,
    )
    motion.evolve(matter, cosmology, box, 2 * side, np.linspace(start, 1.0, steps + 1))
    moved = (matter.position.T - rest + box / 2) % box - box / 2
    largest = np.abs(psi).max()
    np.testing.assert_allclose(moved, psi, atol=0.02 * largest)
    np.testing.assert_allclose(
        matter.velocity(1.0).T, 100 * cosmology.growth_rate(1.0) * psi, atol=0.03 * 100 * largest
    )


@pytest.mark.slow
def test_large_scales_grow_linearly_and_momentum_is_kept() -> None:
    side, box = 32, 640.0
    seeds = 2
    powers = np.zeros((2, seeds))
    for seed in range(seeds):
        matter = initial.particles(COSMOLOGY, side, box, 0.1, seed)
        before = matter.momentum.sum(0, dtype=np.float64)
        motion.evolve(matter, COSMOLOGY, box, 2 * side, np.linspace(0.1, 1.0, 11))
        total = matter.momentum.sum(0, dtype=np.float64)
        assert np.all(np.abs(total - before) < 1e-5 * np.abs(matter.momentum).sum(dtype=np.float64))
        # The particles' lattice, and the field with it, lies off the mesh.
        shift = np.exp(-1j * initial.LATTICE_OFFSET * box / side * sum(mesh.wave_numbers(side, box)))
        linear = shift * fft.rfftn(initial.gaussian_field(COSMOLOGY, side, box, seed))
        # What painting by cloud-in-cell takes from each wave.
        window = math.prod(np.sinc(axis * box / side / (2 * np.pi)) ** 2 for axis in mesh.wave_numbers(side, box))
        found = fft.rfftn(mesh.contrast(matter.position, box, side)) / window
        k = wave_length(side, box)
        large = (k > 0) & (k < 0.04)
        assert large.sum() > 50
        cross = (found * linear.conj()).real[large].sum()
        powers[:, seed] = (
            cross / (np.abs(linear) ** 2)[large].sum(),
            cross / np.sqrt((np.abs(linear) ** 2)[large].sum() * (np.abs(found) ** 2)[large].sum()),
        )
    growth, correlation = powers.mean(1)
    assert growth == pytest.approx(1.0, abs=0.015)
    assert correlation > 0.98


def test_threads_change_no_bit() -> None:
    one, two = (initial.particles(COSMOLOGY, 16, 60.0, 0.1, 7, workers) for workers in (1, 2))
    for matter, workers in ((one, 1), (two, 2)):
        motion.evolve(matter, COSMOLOGY, 60.0, 32, np.linspace(0.1, 1.0, 4), workers)
    np.testing.assert_array_equal(one.position, two.position)
    np.testing.assert_array_equal(one.momentum, two.momentum)
