"""A flat universe of matter and a cosmological constant: expansion, growth, and the linear power spectrum.

Radiation is left out of the expansion, as in the simulations that this stands in for. Lengths are comoving Mpc/h, wave
numbers h/Mpc, the Hubble constant today is 1 in formulas for growth.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator

from distillery.util.settings import Settings

# Critical density today in h² Msun/Mpc³, 3·(100 km/s/Mpc)²/(8πG); G from CODATA 2018, the Sun's GM from IAU 2015.
CRITICAL_DENSITY = 2.77536627e11
# Temperature of the cosmic microwave background over 2.7 K (Fixsen 2009: 2.7255 K).
_THETA = 2.7255 / 2.7


class Cosmology(Settings):
    """Parameters of a flat ΛCDM universe; defaults: those of Quijote's latin_hypercube/0."""

    omega_m: float = Field(0.1755, ge=0.05, le=1.0, description="Density of matter today over the critical one, Ωm.")
    omega_b: float = Field(0.06681, gt=0, le=0.5, description="Density of baryons today over the critical one, Ωb.")
    h: float = Field(0.7737, ge=0.3, le=1.5, description="Hubble constant today over 100 km/s/Mpc, h.")
    n_s: float = Field(0.8849, ge=0.5, le=1.5, description="Spectral index of primordial fluctuations, ns.")
    sigma_8: float = Field(
        0.6641, gt=0, le=2.0, description="Linear fluctuations today in balls of 8 Mpc/h, their standard deviation σ8."
    )

    @model_validator(mode="after")
    def _baryons_are_matter(self) -> Cosmology:
        if self.omega_b >= self.omega_m:
            raise ValueError(f"omega_b {self.omega_b:g} must be less than omega_m {self.omega_m:g}: baryons are matter")
        return self

    def expansion(self, a: float) -> float:
        """Return the Hubble rate over that of today, E(a)² = Ωm a⁻³ + 1 - Ωm.

        Args:
            a: Scale factor, 1 today.
        """
        return math.sqrt(self.omega_m * a**-3.0 + 1.0 - self.omega_m)

    def matter(self, a: float) -> float:
        """Return the density of matter over the critical one at a scale factor, Ωm(a)."""
        return self.omega_m * a**-3.0 / self.expansion(a) ** 2

    def growth(self, a: float) -> float:
        """Return the linear growth factor D(a), 1 today.

        Heath (1977) as a hypergeometric function: D ∝ a ₂F₁(1/3, 1; 11/6; -a³ (1 - Ωm)/Ωm).

        Args:
            a: Scale factor, 1 today.
        """
        return _early_growth(self.omega_m, a) / _early_growth(self.omega_m, 1.0)

    def growth_rate(self, a: float) -> float:
        """Return f = dlnD/dlna, the derivative of the same formula: Ωm(a) (5 a/D - 3)/2 with D → a early on."""
        return self.matter(a) * (2.5 * a / _early_growth(self.omega_m, a) - 1.5)

    def second_growth(self, a: float) -> float:
        """Return the growth factor of second order, D₂ = -3/7 D² Ωm(a)^(-1/143) (Bouchet et al. 1995)."""
        return -3.0 / 7.0 * self.growth(a) ** 2 * self.matter(a) ** (-1.0 / 143.0)

    def second_growth_rate(self, a: float) -> float:
        """Return f₂ = dlnD₂/dlna ≈ 2 Ωm(a)^(6/11) (Bouchet et al. 1995)."""
        return 2.0 * self.matter(a) ** (6.0 / 11.0)

    def transfer(self, k: Float[np.ndarray, "*modes"]) -> Float[np.ndarray, "*modes"]:
        """Return the transfer function of Eisenstein & Hu (1998), the full one with the baryons' wiggles.

        Args:
            k: Wave numbers in h/Mpc, greater than 0.

        Returns:
            T(k), dimensionless, 1 for k → 0; their equations 2 to 24.
        """
        from scipy import special

        wave = np.asarray(k, dtype=float) * self.h
        matter, baryons = self.omega_m * self.h**2, self.omega_b * self.h**2
        share = self.omega_b / self.omega_m
        z_eq = 2.50e4 * matter * _THETA**-4
        k_eq = 7.46e-2 * matter * _THETA**-2
        b1 = 0.313 * matter**-0.419 * (1 + 0.607 * matter**0.674)
        b2 = 0.238 * matter**0.223
        z_drag = 1291 * matter**0.251 / (1 + 0.659 * matter**0.828) * (1 + b1 * baryons**b2)
        ratio_drag, ratio_eq = (31.5 * baryons * _THETA**-4 * 1000 / z for z in (z_drag, z_eq))
        sound = (
            2 / (3 * k_eq) * np.sqrt(6 / ratio_eq)
            * np.log((np.sqrt(1 + ratio_drag) + np.sqrt(ratio_drag + ratio_eq)) / (1 + np.sqrt(ratio_eq)))
        )  # fmt: skip
        silk = 1.6 * baryons**0.52 * matter**0.73 * (1 + (10.4 * matter) ** -0.95)

        q = wave / (13.41 * k_eq)
        a1 = (46.9 * matter) ** 0.670 * (1 + (32.1 * matter) ** -0.532)
        a2 = (12.0 * matter) ** 0.424 * (1 + (45.0 * matter) ** -0.582)
        alpha_c = a1**-share * a2 ** -(share**3)
        c1 = 0.944 / (1 + (458 * matter) ** -0.708)
        c2 = (0.395 * matter) ** -0.0266
        beta_c = 1 / (1 + c1 * ((1 - share) ** c2 - 1))
        mix = 1 / (1 + (wave * sound / 5.4) ** 4)
        cold = mix * _pressureless(q, 1.0, beta_c) + (1 - mix) * _pressureless(q, alpha_c, beta_c)

        y = (1 + z_eq) / (1 + z_drag)
        root = np.sqrt(1 + y)
        g = y * (-6 * root + (2 + 3 * y) * np.log((root + 1) / (root - 1)))
        alpha_b = 2.07 * k_eq * sound * (1 + ratio_drag) ** -0.75 * g
        beta_b = 0.5 + share + (3 - 2 * share) * np.sqrt((17.2 * matter) ** 2 + 1)
        node = 8.41 * matter**0.435
        shifted = sound / (1 + (node / (wave * sound)) ** 3) ** (1 / 3)
        baryonic = (
            _pressureless(q, 1.0, 1.0) / (1 + (wave * sound / 5.2) ** 2)
            + alpha_b / (1 + (beta_b / (wave * sound)) ** 3) * np.exp(-((wave / silk) ** 1.4))
        ) * special.spherical_jn(0, wave * shifted)
        return share * baryonic + (1 - share) * cold

    def power(self, k: Float[np.ndarray, "*modes"]) -> Float[np.ndarray, "*modes"]:
        """Return the linear power spectrum of matter today, P(k) ∝ k^ns T(k)², normalised to σ8.

        Args:
            k: Wave numbers in h/Mpc, greater than 0.

        Returns:
            P in (Mpc/h)³.
        """
        return (self.sigma_8 / _shape_deviation(self, 8.0)) ** 2 * _shape(self, k)

    def deviation(self, radius: float) -> float:
        """Return the standard deviation of linear fluctuations today in balls of a radius in Mpc/h."""
        return self.sigma_8 * _shape_deviation(self, radius) / _shape_deviation(self, 8.0)

    def particle_mass(self, particles: int, box: float) -> float:
        """Return the mass in Msun/h of each of a number of equal particles of all matter.

        Args:
            particles: How many there are.
            box: Side of the box in Mpc/h.
        """
        return self.omega_m * CRITICAL_DENSITY * box**3 / particles


def top_hat(x: Float[np.ndarray, "*modes"]) -> Float[np.ndarray, "*modes"]:
    """Return the Fourier transform of a ball of unit mass, 3 (sin x - x cos x)/x³ = j₀ + j₂, at x = k·radius."""
    from scipy import special

    return special.spherical_jn(0, x) + special.spherical_jn(2, x)


def _early_growth(omega_m: float, a: float) -> float:
    """D with D → a early on."""
    from scipy import special

    return a * float(special.hyp2f1(1 / 3, 1.0, 11 / 6, -(a**3) * (1 - omega_m) / omega_m))


def _shape(cosmology: Cosmology, k: Float[np.ndarray, "*modes"]) -> Float[np.ndarray, "*modes"]:
    return k**cosmology.n_s * cosmology.transfer(k) ** 2


@functools.lru_cache(maxsize=64)
def _shape_deviation(cosmology: Cosmology, radius: float) -> float:
    """σ(radius) of the spectrum before it is normalised, on a grid in log k with an accuracy of 1e-5."""
    k = np.geomspace(1e-6 / radius, 1e3 / radius, 60_001)
    integrand = k**3 * _shape(cosmology, k) * top_hat(k * radius) ** 2 / (2 * np.pi**2)
    return float(np.sqrt(np.trapezoid(integrand, np.log(k))))


def _pressureless(q: Float[np.ndarray, "*modes"], alpha: float, beta: float) -> Float[np.ndarray, "*modes"]:
    """Equations 19 and 20 of Eisenstein & Hu (1998)."""
    logarithm = np.log(np.e + 1.8 * beta * q)
    return logarithm / (logarithm + (14.2 / alpha + 386 / (1 + 69.9 * q**1.08)) * q**2)
