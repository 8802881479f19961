"""The softening of a law: found with its error if the data have one, and only then."""

from __future__ import annotations

import dataclasses
from unittest import mock

import numpy as np
import pytest

from distillery.laws import text
from distillery.laws.clean import cleaned, fitted
from distillery.laws.compose import composed_energies
from distillery.laws.law import Law, as_content, from_content, momentum_names
from distillery.laws.potential import as_system, entry_of
from distillery.laws.problem import Data
from distillery.laws.refit import Fit
from distillery.laws.shown import shown_form
from distillery.laws.softening import softened, with_softening
from distillery.networks.functions import feature_names
from distillery.physics import formula
from distillery.physics.printing import rounded
from distillery.physics.systems import SYSTEMS
from distillery.workflow.config import parse_config
from support.laws import PLAIN, SETTINGS, error, graphs, law

# Expressions in the notation of engines, and the true law.
LAWS = {
    "charge": ("q1*q2*1.1/(m1*r^3)", "a = Σ q1*q2*Δ/(m1*r*(r + {})**2)"),
    "r^-1": ("-0.9*m2/r^2", "a = Σ -m2*Δ/(r*(r + {}))"),
    "r^-2": ("-0.97*m2/r^3", "a = Σ -m2*Δ/(r*(r + {})**2)"),
}


def central(strength: str, dim: int = 2) -> Law:
    """Return a law whose messages are a strength times the displacement."""
    return law(tuple(f"d{axis}*({strength})" for axis in "xyz"[:dim]), tuple(f"s{k + 1}" for k in range(dim)), dim)


def data_of(system: str, softening: float = 0.01, noise: float = 0.0, dim: int = 2) -> Data:
    """Return snapshots of a system with another softening."""
    other = SYSTEMS[system].model_copy(update={"softening": softening})
    with mock.patch.dict(SYSTEMS, {system: other}):
        return dataclasses.replace(graphs(system, dim, count=200, noise=noise), relative=True)


def fit_of(start: Law, data: Data) -> Fit:
    draws = np.random.default_rng(0)
    return softened(fitted(start, data, SETTINGS, draws), data, SETTINGS, draws)


def constant_of(fit: Fit) -> str:
    """Return the name of the softening: the last constant."""
    return list(fit.law.constants)[-1]


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("system", LAWS)
def test_the_softening_is_found_within_its_error_and_the_law_becomes_clean(system: str, dim: int) -> None:
    strength, true = LAWS[system]
    data = data_of(system, noise=1e-3, dim=dim)
    found = fit_of(central(strength, dim), data)
    name = constant_of(found)
    assert 0 < found.errors[name] < 1e-3
    assert abs(found.law.constants[name] - 0.01) < 3 * found.errors[name]
    clean = cleaned(found, data, SETTINGS, np.random.default_rng(0))
    assert text.line(clean.law) == true.format(rounded(clean.law.constants[name]))


@pytest.mark.parametrize("system", LAWS)
def test_without_noise_the_law_is_the_true_one(system: str) -> None:
    strength, true = LAWS[system]
    data = data_of(system)
    found = fit_of(central(strength), data)
    clean = cleaned(found, data, SETTINGS, np.random.default_rng(0))
    assert text.line(clean.law) == true.format("0.01000")
    assert error(clean.law, graphs(system, seed=1)) < 1e-8
    assert "(r + 0.01" in text.latex(clean.law).replace(r"\left(", "(")
    assert from_content(as_content(clean.law), "law.json") == clean.law
    entry = as_system(clean.law, SYSTEMS[system], 4)
    assert parse_config({**PLAIN, "systems": {"found": entry_of(entry)}}).systems["found"] == entry
    given = np.array([[0.03, -0.02]]), (np.array([2.0]), np.array([3.0])), (np.ones(1), -np.ones(1))
    np.testing.assert_allclose(entry.pair_force(*given), SYSTEMS[system].pair_force(*given), rtol=1e-9)


@pytest.mark.parametrize(("system", "noise"), [(s, noise) for s in LAWS for noise in (0.0, 1e-3)])
def test_data_without_softening_give_none(system: str, noise: float) -> None:
    start = central(LAWS[system][0])
    found = fit_of(start, data_of(system, softening=0.0, noise=noise))
    assert len(found.law.constants) == 1
    assert "(r + " not in text.line(found.law)


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_a_spring_makes_up_for_it(noise: float) -> None:
    data = data_of("spring", noise=noise)
    found = fit_of(central("(-2.6 + 2.5/r)/m1"), data)
    assert with_softening(found.law) is None
    clean = cleaned(found, data, SETTINGS, np.random.default_rng(0))
    assert text.line(clean.law) == "a = Σ Δ*(-2 + 1.980/r)/m1"


@pytest.mark.slow
def test_energies_are_softened_too() -> None:
    data = data_of("r^-2")
    pair, body = (
        formula.parse("-1.1*m1*m2/r", feature_names(2)),
        formula.parse("0.47*(px^2 + py^2)/m", momentum_names(2)),
    )
    found = fit_of(composed_energies(pair, body, 2, unit_charges=True), data)
    clean = cleaned(found, data, SETTINGS, np.random.default_rng(0))
    assert text.line(clean.law) == "H = Σ -m1*m2/(r + 0.01000) + (px**2/2 + py**2/2)/m"
    assert error(clean.law, data) < 1e-8
    spring = composed_energies(formula.parse("r*(r - 1.9)", feature_names(2)), body, 2, unit_charges=True)
    assert with_softening(spring) is None


def test_only_terms_along_the_line_are_softened() -> None:
    start = law(("m2*dx/r^3 + 0.1*dx*dy/r + 0.2*m2", "m2*dy/r^3"), ("s1 - 0.1*vx", "s2 - 0.1*vy"))
    found = with_softening(start)
    assert found is not None
    given = {"dx": 0.3, "dy": 0.4, "r": 0.5, "m2": 2.0} | {**found.constants, list(found.constants)[-1]: 0.5}
    values = [formula.evaluate(message, given) for message in found.messages]
    assert values == pytest.approx([2 * 0.6 + 0.1 * 0.12 / 0.5 + 0.4, 2 * 0.8])
    assert found.nodes == start.nodes


def test_messages_of_a_node_model_that_is_not_linear_are_softened_each_along_its_line() -> None:
    found = with_softening(law(("m2*dx/r^3 - 0.5*m2*dy/r^3", "dy*m2/r^3"), ("s1^2", "s2")))
    assert found is not None
    given = {"dx": 0.3, "dy": 0.4, "r": 0.5, "m2": 2.0} | {**found.constants, list(found.constants)[-1]: 0.5}
    assert formula.evaluate(found.messages[0], given) == pytest.approx(2 * (0.6 - 0.4))


def test_cases_are_softened_with_their_thresholds() -> None:
    found = with_softening(central("(-2 + 1.98/r^2) if r > 2 else 0"))
    assert found is not None
    given = {**found.constants, list(found.constants)[-1]: 0.5, "dx": 1.2, "dy": 0.0, "r": 1.6}
    # g(r) = -2r + 1.98/r at r + 0.5, along Δ/r.
    expected = (-2 * 2.1 + 1.98 / 2.1) * 1.2 / 1.6
    assert formula.evaluate(found.messages[0], given) == pytest.approx(expected)


def test_the_module_softens_and_learns_the_softening() -> None:
    torch = pytest.importorskip("torch")
    from distillery.laws.module import LawModule

    data = data_of("charge")
    found = fit_of(central(LAWS["charge"][0]), data)
    module, g = LawModule(found.law), data.graphs
    nodes = np.concatenate([g.position, g.velocity, np.stack([g.charge, g.mass], axis=-1)], axis=-1)
    given = module(torch.from_numpy(nodes))
    np.testing.assert_allclose(given.detach().numpy(), g.acceleration, rtol=1e-6, atol=1e-9)
    given.square().sum().backward()
    assert module.constants[constant_of(found)].grad != 0


def test_the_form_that_is_shown_is_the_best_on_training_data() -> None:
    seen = data_of("charge", softening=0.0).graphs
    good, fair, poor = (central(f"{c}*q1*q2/(m1*r^3)") for c in (0.999, 0.98, 1.1))
    assert shown_form({"raw": poor, "refitted": fair, "clean": good}, seen)[0] == "clean"
    assert shown_form({"raw": poor, "refitted": good, "clean": fair}, seen)[0] == "refitted"
    form, reason = shown_form({"raw": good, "refitted": poor, "clean": poor}, seen)
    assert form == "raw"
    assert "median error on training snapshots" in reason
