"""Initial conditions: a Gaussian random field, and particles displaced by it to second order (2LPT)."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy import fft

from distillery.halos import mesh
from distillery.halos.cosmology import Cosmology
from distillery.randomness import stream

# Offset of the lattice of particles in lattice constants.
LATTICE_OFFSET = 0.25


@dataclasses.dataclass(frozen=True, eq=False)
class Particles:
    """Equal particles of matter, changed in place as they move; single precision.

    Attributes:
        position: Comoving positions in Mpc/h; any periodic image. Each column lies together in memory.
        momentum: Canonical momenta over the mass, a² dx/dt / H₀, in Mpc/h.
    """

    position: Float[np.ndarray, "particles 3"]
    momentum: Float[np.ndarray, "particles 3"]

    def velocity(self, a: float) -> Float[np.ndarray, "particles 3"]:
        """Return peculiar velocities a dx/dt in km/s at scale factor a."""
        return self.momentum * np.float32(100.0 / a)


def gaussian_field(
    cosmology: Cosmology, cells: int, box: float, seed: int, workers: int = 1
) -> Float[np.ndarray, "cells cells cells"]:
    """Draw today's linear density contrast on a mesh.

    White noise, whose transform is multiplied with √(P(k)/volume of a cell); the mean is 0. Unlike amplitudes that are
    drawn mode by mode, it is real and homogeneous without further care.

    Args:
        cosmology: Gives the power spectrum.
        cells: Mesh points per side.
        box: Side of the box in Mpc/h.
        seed: Seed of the universe.
        workers: Threads of the transforms.

    Returns:
        δ, dimensionless.
    """
    modes = fft.rfftn(stream(seed, "universe").standard_normal((cells, cells, cells)), workers=workers)
    for plane, square in mesh.squared_planes(cells, box):
        # The mean, k = 0, is set below.
        power = cosmology.power(np.sqrt(np.where(square == 0, 1.0, square)))
        modes[plane] *= np.sqrt(power / (box / cells) ** 3)
    modes[0, 0, 0] = 0
    return fft.irfftn(modes, (cells, cells, cells), overwrite_x=True, workers=workers)


def displacements(
    field: Float[np.ndarray, "cells cells cells"], box: float, workers: int = 1
) -> tuple[Float[np.ndarray, "3 cells cells cells"], Float[np.ndarray, "3 cells cells cells"]]:
    """Return the displacements of first and second order of a linear density contrast.

    With x = q + D Ψ₁ + D₂ Ψ₂ (Bouchet et al. 1995; appendix D of Scoccimarro 1998): Ψ₁ = -∇φ₁, ∇²φ₁ = δ;
    Ψ₂ = ∇φ₂, ∇²φ₂ = Σ_(i<j) (φ₁,ii φ₁,jj - φ₁,ij²). Products are not dealiased.

    Args:
        field: δ at D = 1.
        box: Side of the box in Mpc/h.
        workers: Threads of the transforms.

    Returns:
        Ψ₁ and Ψ₂ in Mpc/h, in single precision.
    """
    cells = len(field)
    waves = mesh.derivative_numbers(cells, box)

    def back(spectrum: np.ndarray) -> np.ndarray:
        found: np.ndarray = fft.irfftn(spectrum, field.shape, overwrite_x=True, workers=workers)
        return found

    def inverted(source: np.ndarray) -> np.ndarray:
        """The transform of a field over k²."""
        modes: np.ndarray = fft.rfftn(source, workers=workers)
        for plane, square in mesh.squared_planes(cells, box):
            modes[plane] /= np.where(square == 0, np.inf, square)
        return modes

    modes = inverted(field)
    first = np.stack([back(1j * axis * modes).astype(np.float32) for axis in waves])
    # φ₁,ij has the transform k_i k_j δ/k².
    xx, yy, zz = (back(axis**2 * modes) for axis in waves)
    source = xx * yy + (xx + yy) * zz
    del xx, yy, zz
    for i, j in ((0, 1), (0, 2), (1, 2)):
        source -= back(waves[i] * waves[j] * modes) ** 2
    modes = inverted(source)
    del source
    # φ₂ has the transform of its source over -k².
    second = np.stack([back(-1j * axis * modes).astype(np.float32) for axis in waves])
    return first, second


def particles(cosmology: Cosmology, side: int, box: float, a: float, seed: int, workers: int = 1) -> Particles:
    """Place particles by second-order Lagrangian perturbation theory.

    Args:
        cosmology: Gives power spectrum and growth.
        side: Particles per side, on a lattice before they are displaced.
        box: Side of the box in Mpc/h.
        a: Scale factor at which they start.
        seed: Seed of the universe.
        workers: Threads of the transforms.

    Returns:
        Particles in the order of the lattice.
    """
    first, second = displacements(gaussian_field(cosmology, side, box, seed, workers), box, workers)
    d1, d2 = cosmology.growth(a), cosmology.second_growth(a)
    rate = a**2 * cosmology.expansion(a)
    m1, m2 = rate * cosmology.growth_rate(a) * d1, rate * cosmology.second_growth_rate(a) * d2
    # With an offset of a quarter, the lattice has no density contrast on a mesh twice as fine, and the effects of its
    # discreteness on the forces of small displacements cancel. The field has the same offset.
    start = (np.arange(side, dtype=np.float32) + np.float32(LATTICE_OFFSET)) * np.float32(box / side)
    position = np.empty((3, side**3), dtype=np.float32)
    momentum = np.empty_like(position)
    for axis in range(3):
        line = start.reshape([-1 if other == axis else 1 for other in range(3)])
        position[axis] = (line + np.float32(d1) * first[axis] + np.float32(d2) * second[axis]).reshape(-1)
        momentum[axis] = (np.float32(m1) * first[axis] + np.float32(m2) * second[axis]).reshape(-1)
    return Particles(mesh.wrapped(position, box).T, momentum.T)
