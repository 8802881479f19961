"""Verdicts on energies: true potentials pass up to terms without a force, near misses fail."""

from __future__ import annotations

import pytest

from distillery.laws.limits import Verdict
from distillery.laws.settings import VerificationSettings
from distillery.networks.functions import feature_names
from distillery.physics import formula
from distillery.physics.systems import SYSTEMS, System
from distillery.validation.body import judge_body, states_of
from distillery.validation.force import judge_pair
from distillery.validation.probe import probe
from support import potentials

SETTINGS = VerificationSettings()
# Continuous potentials of the pair forces.
POTENTIALS = {
    "spring": "(r - 1)^2",
    "damped": "(r - 1)^2",
    "r^-1": "m1*m2*log(r)",
    "r^-2": "-m1*m2/r",
    "charge": "q1*q2/r",
    "discontinuous": "((r - 1)^2 - 1 if r > 2 else 0)",
    "superposition": "(q1*q2 - m1*m2)/r",
    "string": "(r - 1)^2",
    "string_ball": "(r - 1)^2",
}


def pair(system: str | System, text: str, dim: int = 2) -> Verdict:
    entry = SYSTEMS[system] if isinstance(system, str) else system
    found = probe(entry, potentials.drawn(entry, dim), SETTINGS)
    return judge_pair(formula.parse(text, feature_names(dim)), entry, found, SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("offset", ["", " + 0.3*m1*q2 - log(m2)", " + 1e3*m1^2"])
@pytest.mark.parametrize("dim", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("system", POTENTIALS)
def test_true_potentials_pass_with_any_offset_that_exerts_no_force(system: str, dim: int, offset: str) -> None:
    assert set(POTENTIALS) == set(SYSTEMS)
    found = pair(system, f"0.97*{POTENTIALS[system]}{offset}", dim)
    assert (found.recovered, found.form) == (True, "energy"), found.reason
    assert found.median_residual is not None
    assert found.median_residual < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("spring", "(r - 1.1)^2"),
        ("spring", "r^2"),
        ("spring", "-(r - 1)^2"),
        ("spring", "1.3*(r - 1)^2"),
        ("spring", "m1*(r - 1)^2"),
        ("spring", "(r - 1)^2/m2"),
        ("spring", "(r - 1)^2 + 0.1*dx"),
        ("r^-1", "m1*m2/r"),
        ("r^-1", "m1*log(r)"),
        ("r^-1", "log(r)"),
        ("r^-2", "m1*m2/r^2"),
        ("r^-2", "m1*m2*log(r)"),
        ("charge", "q1*q2/r^2"),
        ("charge", "q1/r"),
        ("charge", "1/r"),
        ("charge", "q1*q2/(r + 0.2)"),
        ("discontinuous", "(r - 1)^2"),
        ("superposition", "q1*q2/r"),
    ],
)
def test_other_energies_fail(system: str, text: str) -> None:
    found = pair(system, text)
    assert not found.recovered
    assert found.form is None
    assert found.reason


@pytest.mark.parametrize("text", ["0", "m1*m2", "q1 - 0.3*m2"])
def test_expressions_without_the_distance_fail(text: str) -> None:
    assert pair("spring", text).reason == "does not depend on the energy at all"


def test_expressions_that_are_not_finite_fail_with_that_reason() -> None:
    assert "not finite" in pair("spring", "log(r - 1)").reason


def test_pairs_without_any_force_are_skipped() -> None:
    neutral = System(potential="q1*q2/r", time_step=0.001, charges=(0.0, 1.0))
    assert pair(neutral, "q1*q2/r").recovered
    assert not pair(neutral, "q1*q2/r^2").recovered


def body(system: str | System, text: str, names: tuple[str, ...] = ("px", "py", "m", "q")) -> Verdict:
    entry = SYSTEMS[system] if isinstance(system, str) else system
    return judge_body(formula.parse(text, names), entry, states_of(entry, potentials.states(entry), SETTINGS), SETTINGS)


@pytest.mark.parametrize("text", ["(px^2 + py^2)/(2*m)", "0.52*(px^2 + py^2)/m + 0.2*q - m^2"])
def test_kinetic_energy_passes(text: str) -> None:
    assert body("charge", text).recovered


@pytest.mark.parametrize(
    "text",
    [
        "px^2/(2*m)",
        "(px^2 + py^2)/2",
        "m*(px^2 + py^2)",
        "0.5*(px^2 + py^2)/m + 0.5*px",
        "(px^2 + py^2)/m",
        "-(px^2 + py^2)/(2*m)",
        "m",
        "px",
    ],
)
def test_other_energies_of_a_body_fail(text: str) -> None:
    assert not body("charge", text).recovered


@pytest.mark.slow
def test_an_external_potential_belongs_to_the_energy_of_a_body() -> None:
    names = ("px", "py", "m", "q", "x", "y")
    system = System(potential="q1*q2/r", body_potential="k*m*(x**2 + y**2)", constants={"k": 2.0}, time_step=0.001)
    found = body(system, "(px^2 + py^2)/(2*m) + 2.04*m*(x^2 + y^2) - 3*q", names)
    assert found.recovered, found.reason
    assert found.constants == {"k": pytest.approx(2.04, abs=0.02)}
    assert not body(system, "(px^2 + py^2)/(2*m)", names).recovered
    assert not body(system, "(px^2 + py^2)/(2*m) + 2.5*m*(x^2 + y^2)", names).recovered


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 3])
def test_a_potential_in_a_small_region_belongs_to_the_energy_of_a_body(dim: int) -> None:
    names = ("px", "py", "pz", "m", "q", "x", "y", "z")
    kinetic = f"(px^2 + py^2{' + pz^2' if dim == 3 else ''})/(2*m) + m*y"
    squared = f"(x^2 + (y + 10)^2{' + z^2' if dim == 3 else ''})"
    ball = f"(1010*(4.01 - sqrt({squared}))^2 if {squared} < 16.08 else 0)"
    system = SYSTEMS["string_ball"]
    met, missed = (states_of(system, potentials.states(system, dim, spread=far), SETTINGS) for far in (5.0, 0.5))
    right, without, softer = (
        judge_body(formula.parse(text, names), system, met, SETTINGS)
        for text in (f"{kinetic} + {ball} - q", kinetic, f"{kinetic} + 0.3*{ball}")
    )
    assert right.recovered, right.reason
    assert not without.recovered
    assert "external force" in softer.reason
    # Bodies outside of the region do not determine it.
    assert judge_body(formula.parse(kinetic, names), system, missed, SETTINGS).recovered
