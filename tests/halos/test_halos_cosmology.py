"""The background: growth against its differential equation, the spectrum against σ8 and an independent code."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.integrate import solve_ivp

from distillery.halos.cosmology import Cosmology, top_hat

PLANCK = Cosmology(omega_m=0.3175, omega_b=0.049, h=0.6711, n_s=0.9624, sigma_8=0.834)
DENSE = Cosmology(omega_m=1.0, omega_b=0.05, h=0.5, n_s=1.0, sigma_8=0.8)
TIMES = (0.05, 0.2, 0.5, 1.0)


def grown(cosmology: Cosmology) -> np.ndarray:
    """D, dD/dlna, D₂ and dD₂/dlna at the times, from the equations of growth of first and second order."""

    def slope(log_a: float, state: np.ndarray) -> list[float]:
        a = np.exp(log_a)
        matter = cosmology.omega_m * a**-3 / cosmology.expansion(a) ** 2
        friction = 2.0 - 1.5 * matter
        d, d_rate, e, e_rate = state
        return [d_rate, 1.5 * matter * d - friction * d_rate, e_rate, 1.5 * matter * (e - d**2) - friction * e_rate]

    start = 1e-4
    state = [start, start, -3 / 7 * start**2, -6 / 7 * start**2]
    found = solve_ivp(slope, (np.log(start), 0.0), state, "DOP853", np.log(TIMES), rtol=1e-11, atol=1e-16)
    d_today = found.y[0, -1]
    return (found.y / np.array([d_today, d_today, d_today**2, d_today**2])[:, None]).T


@pytest.mark.parametrize("cosmology", [Cosmology(), PLANCK, DENSE])
def test_growth_solves_its_equation(cosmology: Cosmology) -> None:
    for a, (d, d_rate, d2, d2_rate) in zip(TIMES, grown(cosmology), strict=True):
        assert cosmology.growth(a) == pytest.approx(d, rel=1e-6)
        assert cosmology.growth(a) * cosmology.growth_rate(a) == pytest.approx(d_rate, rel=1e-6)
        # Fits, good to a few thousandths and a hundredth.
        assert cosmology.second_growth(a) == pytest.approx(d2, rel=6e-3)
        assert cosmology.second_growth(a) * cosmology.second_growth_rate(a) == pytest.approx(d2_rate, rel=2e-2)


def test_without_dark_energy_growth_is_the_scale_factor() -> None:
    for a in TIMES:
        assert DENSE.growth(a) == pytest.approx(a, rel=1e-12)
        assert DENSE.growth_rate(a) == pytest.approx(1.0, rel=1e-12)
        assert DENSE.second_growth(a) == pytest.approx(-3 / 7 * a**2, rel=1e-12)
        assert DENSE.expansion(a) == pytest.approx(a**-1.5, rel=1e-12)


@pytest.mark.parametrize("cosmology", [Cosmology(), PLANCK])
def test_the_spectrum_has_its_sigma_8(cosmology: Cosmology) -> None:
    k = np.geomspace(1e-5, 200.0, 400_000)
    window = 3 * (np.sin(8 * k) - 8 * k * np.cos(8 * k)) / (8 * k) ** 3
    variance = np.trapezoid(cosmology.power(k) * k**2 * window**2, k) / (2 * np.pi**2)
    assert np.sqrt(variance) == pytest.approx(cosmology.sigma_8, rel=1e-3)
    assert cosmology.deviation(8.0) == pytest.approx(cosmology.sigma_8, rel=1e-12)
    assert cosmology.deviation(20.0) < cosmology.sigma_8


def test_large_waves_are_primordial() -> None:
    cosmology = Cosmology()
    k = np.array([1e-5, 1e-4])
    np.testing.assert_allclose(cosmology.transfer(k), 1.0, atol=3e-3)
    assert np.diff(np.log(cosmology.power(k)))[0] / np.log(10) == pytest.approx(cosmology.n_s, abs=3e-3)


@pytest.mark.parametrize("cosmology", [Cosmology(), PLANCK])
def test_the_spectrum_is_that_of_another_code(cosmology: Cosmology) -> None:
    theirs = pytest.importorskip("colossus.cosmology.cosmology")
    given = {
        "flat": True, "H0": 100 * cosmology.h, "Om0": cosmology.omega_m, "Ob0": cosmology.omega_b,
        "sigma8": cosmology.sigma_8, "ns": cosmology.n_s, "relspecies": False, "Tcmb0": 2.7255,
    }  # fmt: skip
    reference = theirs.setCosmology("test", given, persistence="")
    k = np.geomspace(1e-3, 5.0, 300)
    np.testing.assert_allclose(cosmology.power(k), reference.matterPowerSpectrum(k, model="eisenstein98"), rtol=0.01)
    for a in TIMES:
        assert cosmology.growth(a) == pytest.approx(float(reference.growthFactor(1 / a - 1)), rel=1e-3)


def test_matter_adds_up_to_the_box() -> None:
    # The particle mass of Quijote's latin_hypercube/0: 512³ particles in 1 Gpc/h.
    assert Cosmology().particle_mass(512**3, 1000.0) == pytest.approx(3.63e11, rel=2e-3)


def test_the_window_is_that_of_a_ball() -> None:
    x = np.array([0.0, 0.1, 1.0, 4.4934095, 30.0])
    expected = [1.0, *(3 * (np.sin(x[1:]) - x[1:] * np.cos(x[1:])) / x[1:] ** 3)]
    np.testing.assert_allclose(top_hat(x), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"omega_m": 0.0}, "omega_m"),
        ({"omega_m": 1.2}, "omega_m"),
        ({"omega_b": 0.2}, "baryons are matter"),
        ({"h": float("nan")}, "h"),
        ({"sigma_8": -1.0}, "sigma_8"),
        ({"omega_k": 0.0}, "omega_k"),
    ],
)
def test_what_is_no_universe_is_refused(changes: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Cosmology(**changes)
