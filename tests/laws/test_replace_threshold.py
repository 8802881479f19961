"""Thresholds of laws are fitted to accelerations, and needless branches are removed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sympy
from sympy.core.relational import Relational

from distillery.laws import text
from distillery.laws.branches import without_needless_branches
from distillery.laws.clean import cleaned, fitted
from distillery.laws.compose import composed_energies
from distillery.laws.law import Law, as_content, from_content, momentum_names
from distillery.laws.refit import refit
from distillery.laws.threshold import simplest_between, with_optimal_thresholds
from distillery.networks.functions import feature_names
from distillery.physics import formula
from support.laws import SETTINGS, graphs, law

NODES = ("0.8*s1/m", "0.8*s2/m")


def thresholds(found: Law) -> set[float]:
    return {float(c.rhs) for message in found.messages for c in message.atoms(Relational)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "forms", [("d{}*(-2.4 + 2.5/r) if r > {} else 0",), ("0 if r < {1} else d{0}*(-2.4 + 2.5/r)",)]
)
@pytest.mark.parametrize("starts", [(1.7, 2.1), (2.4, 2.4)])
def test_the_edge_comes_back_for_all_axes_together(forms: tuple[str], starts: tuple[float, float]) -> None:
    data, draws = graphs("discontinuous"), np.random.default_rng(0)
    start = law(tuple(forms[0].format(axis, at) for axis, at in zip("xy", starts, strict=True)), NODES)
    clean = cleaned(fitted(start, data, SETTINGS, draws), data, SETTINGS, draws).law
    (edge,) = thresholds(clean)
    # The edge is at 2 with a softening of 0.01; no distance of the data lies between.
    apart = data.graphs.edges["r"]
    assert not np.any((apart > min(edge, 1.99)) & (apart < max(edge, 1.99)))
    assert clean.shared
    assert list(clean.constants.values()) == pytest.approx([1.98])
    assert text.line(clean).startswith("a = Σ Δ*(")


def test_a_threshold_at_the_best_place_and_laws_without_any_stay() -> None:
    data = graphs("discontinuous")
    right = law(("dx*(-2 + 1.98/r) if r > 1.99 else 0", "dy*(-2 + 1.98/r) if r > 1.99 else 0"), ("s1/m", "s2/m"))
    assert with_optimal_thresholds(right, data) == right
    whole = law(("dx", "dy"), ("s1/m", "s2/m"))
    assert with_optimal_thresholds(whole, data) == whole


@pytest.mark.slow
def test_the_edge_of_an_energy_comes_back() -> None:
    data, draws = graphs("discontinuous"), np.random.default_rng(0)
    given = ("r*(r - 1.97) if r > 1.93 else 0.1", feature_names(2)), ("(px^2 + py^2)/(2*m)", momentum_names(2))
    start = composed_energies(*(formula.parse(e, names) for e, names in given), 2, unit_charges=True)
    clean = cleaned(fitted(start, data, SETTINGS, draws), data, SETTINGS, draws).law
    (edge,) = thresholds(clean)
    apart = data.graphs.edges["r"]
    assert not np.any((apart > min(edge, 1.99)) & (apart < max(edge, 1.99)))
    assert list(clean.constants.values()) == pytest.approx([-1.98])
    assert clean.energies[0].atoms(Relational) == {c for m in clean.messages for c in m.atoms(Relational)}


def test_a_threshold_in_a_mass_is_found_too() -> None:
    data = graphs()
    heavy = np.where(data.graphs.mass > 1.3, 2.0, 1.0)
    target = dataclasses.replace(data.graphs, acceleration=data.graphs.acceleration * heavy[..., None])
    start = law(tuple(f"d{a}*(-4 + 3.96/r) if m1 > 0.9 else d{a}*(-2 + 1.98/r)" for a in "xy"), ("s1/m", "s2/m"))
    found = with_optimal_thresholds(start, dataclasses.replace(data, graphs=target))
    between = np.sort(np.unique(data.graphs.mass))
    k = int(np.searchsorted(between, 1.3))
    assert all(between[k - 1] < edge < between[k] for edge in thresholds(found))


@pytest.mark.parametrize(
    ("low", "high", "number"),
    [(1.98967, 1.99051, 1.99), (1.2, 3.1, 2.0), (-0.3, 0.2, 0.0), (0.12341, 0.12342, 0.123415)],
)
def test_the_number_of_fewest_decimals_lies_between(low: float, high: float, number: float) -> None:
    assert simplest_between(low, high) == number
    assert low < number < high


def test_a_case_that_only_noise_asked_for_goes() -> None:
    data, draws = graphs(), np.random.default_rng(0)
    heaviest = float(np.sort(np.unique(data.graphs.mass))[-2:].mean())
    forms = tuple(f"d{a}*(-2 + 1.98/r)" for a in "xy")
    noisy = law(tuple(f"{form} if m1 < {heaviest} else 0.1" for form in forms), ("s1/m", "s2/m"))
    clean = cleaned(fitted(noisy, data, SETTINGS, draws), data, SETTINGS, draws).law
    assert text.line(clean) == "a = Σ Δ*(-2 + 1.980/r)/m1"


def test_an_edge_that_the_data_have_stays() -> None:
    data, draws = graphs("discontinuous"), np.random.default_rng(0)
    edged = law(tuple(f"d{a}*(-2 + 1.98/r) if r > 1.99 else 0" for a in "xy"), ("s1/m", "s2/m"))
    fit = refit(edged, data, SETTINGS, draws)
    assert without_needless_branches(fit, data, SETTINGS, draws) is fit


def test_a_case_of_few_bodies_that_is_true_stays() -> None:
    data, draws = graphs(), np.random.default_rng(0)
    heavy = data.graphs.mass > np.quantile(data.graphs.mass, 0.97)
    lifted = data.graphs.acceleration * np.where(heavy, 1.002, 1.0)[..., None]
    data = dataclasses.replace(data, graphs=dataclasses.replace(data.graphs, acceleration=lifted))
    edge = float(np.sort(np.unique(data.graphs.mass[~heavy]))[-1]) + 1e-9
    form = "d{0}*(-2.004 + 1.98396/r) if m1 > {1} else d{0}*(-2 + 1.98/r)"
    fit = refit(law(tuple(form.format(a, edge) for a in "xy"), ("s1/m", "s2/m")), data, SETTINGS, draws)
    assert without_needless_branches(fit, data, SETTINGS, draws) is fit


def test_what_is_left_without_a_case_has_each_term_once() -> None:
    data, draws = graphs(noise=0.01), np.random.default_rng(0)
    forms = tuple(f"d{a}*(-2.02 + 1.97/r) + (0.1*d{a} if m1 > 1e3 else 0)" for a in "xy")
    fit = refit(law(forms, ("s1/m", "s2/m")), data, SETTINGS, draws)
    found = without_needless_branches(fit, data, SETTINGS, draws).law
    assert not any(message.has(sympy.Piecewise) for message in found.messages)
    assert len(found.constants) == 4


def test_a_case_that_acts_on_nothing_is_a_number() -> None:
    data, draws = graphs("discontinuous"), np.random.default_rng(0)
    pair, own = "r*(r - 1.98) if r > 1.99 else 0.3*log(0.5*m1)", "(px^2 + py^2)/(2*m)"
    energies = (formula.parse(e, n) for e, n in ((pair, feature_names(2)), (own, momentum_names(2))))
    start = composed_energies(*energies, 2, unit_charges=True)
    clean = cleaned(fitted(start, data, SETTINGS, draws), data, SETTINGS, draws).law
    assert from_content(as_content(clean), "law") == clean


def test_bodies_of_all_masses_have_a_kinetic_energy() -> None:
    data, draws = graphs(), np.random.default_rng(0)
    heaviest = float(np.sort(np.unique(data.graphs.mass))[-2:].mean())
    body = f"0 if m > {heaviest} else (px^2 + py^2)/(2*m)"
    pair, own = (formula.parse(e, n) for e, n in (("r*(r - 1.98)", feature_names(2)), (body, momentum_names(2))))
    start = composed_energies(pair, own, 2, unit_charges=True)
    clean = cleaned(fitted(start, data, SETTINGS, draws), data, SETTINGS, draws).law
    assert text.line(clean) == "H = Σ r*(r - 1.980) + (px**2/2 + py**2/2)/m"
