"""The motion of matter: a particle mesh whose steps are exact for linear growth (FastPM, Feng et al. 2016).

Positions and momenta are moved by a leapfrog, kick-drift-kick. In place of the integrals over time of Quinn et al.
(1997) its factors are those by which Zel'dovich's solution x = q + D Ψ, p = a² E f D Ψ moves, so that large scales grow
right however few the steps are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import fft

from distillery.halos import mesh
from distillery.halos.cosmology import Cosmology
from distillery.halos.initial import Particles


def force(
    position: Float[np.ndarray, "particles 3"], box: float, cells: int, workers: int = 1
) -> Float[np.ndarray, "particles 3"]:
    """Return -∇∇⁻²δ at particles, the force in units of 3/2 Ωm H₀²/a; to first order it is D Ψ₁.

    The density contrast is painted and the force read by cloud-in-cell, both as they are. The gradient is the
    difference of four points, as in FastPM: it fades towards the mesh's shortest waves, where the exact derivative
    would ring along the axes. Either is odd, so the forces of particles on each other are opposite and momentum is
    conserved to rounding.

    Args:
        position: Comoving positions in Mpc/h.
        box: Side of the box in Mpc/h.
        cells: Cells of the mesh per side.
        workers: Threads of the transforms.

    Returns:
        Forces in Mpc/h, in single precision. Memory: three meshes of cells³ times 4 bytes.
    """
    modes = fft.rfftn(mesh.contrast(position, box, cells), overwrite_x=True, workers=workers)
    for plane, square in mesh.squared_planes(cells, box, np.float32):
        modes[plane] /= np.where(square == 0, np.float32(np.inf), square)
    # -φ, with ∇²φ = δ.
    depth = fft.irfftn(modes, (cells, cells, cells), overwrite_x=True, workers=workers)
    del modes
    columns = [mesh.read([_difference(depth, axis, box / cells)], position, box)[:, 0] for axis in range(3)]
    return np.stack(columns).T


def _difference(
    field: Float[np.ndarray, "cells cells cells"], axis: int, spacing: float
) -> Float[np.ndarray, "cells cells cells"]:
    """Return the derivative along an axis by four points, exact for polynomials of fourth degree."""
    slope = np.empty_like(field)
    last = len(field) - 1
    # Plane by plane, which stay in a processor's cache.
    for plane in range(len(field)):
        out = slope[plane]
        if axis == 0:
            next_, after = field[plane - last], field[plane - last + 1]
            before, last_but_one = field[plane - 1], field[plane - 2]
        else:
            next_, after, before, last_but_one = (np.roll(field[plane], by, axis - 1) for by in (-1, -2, 1, 2))
        np.subtract(next_, before, out=out)
        out *= field.dtype.type(8)
        out -= after
        out += last_but_one
        out *= field.dtype.type(1 / (12 * spacing))
    return slope


def evolve(
    particles: Particles,
    cosmology: Cosmology,
    box: float,
    cells: int,
    times: Float[np.ndarray, "times"],
    workers: int = 1,
    show: Callable[[int, str], None] | None = None,
) -> None:
    """Move particles, in place, from the first of some scale factors to the last.

    Args:
        particles: What moves.
        cosmology: Gives expansion and growth.
        box: Side of the box in Mpc/h.
        cells: Cells of the force's mesh per side.
        times: Scale factors, increasing; one step between each two.
        workers: Threads of the transforms.
        show: Told how many steps are done.
    """
    pulls = force(particles.position, box, cells, workers)
    for step, (before, after) in enumerate(itertools.pairwise(times.tolist())):
        half = float(np.sqrt(before * after))
        _kick(particles, pulls, cosmology, before, half, before)
        factor = (cosmology.growth(after) - cosmology.growth(before)) / linear_momentum(cosmology, half)
        np.add(particles.position, np.float32(factor) * particles.momentum, out=particles.position)
        particles.position[...] = mesh.wrapped(particles.position, box)
        pulls = force(particles.position, box, cells, workers)
        _kick(particles, pulls, cosmology, half, after, after)
        if show is not None:
            show(step + 1, f"a = {after:.2f}")


def linear_momentum(cosmology: Cosmology, a: float) -> float:
    """Return a² E f D, the momentum of Zel'dovich's solution per displacement Ψ."""
    return a**2 * cosmology.expansion(a) * cosmology.growth_rate(a) * cosmology.growth(a)


def _kick(
    particles: Particles,
    pulls: Float[np.ndarray, "particles 3"],
    cosmology: Cosmology,
    before: float,
    after: float,
    at: float,
) -> None:
    gain = linear_momentum(cosmology, after) - linear_momentum(cosmology, before)
    particles.momentum[...] += np.float32(gain / cosmology.growth(at)) * pulls
