"""The data choose energies: those of pairs from their front, and those of bodies also with p²/2m."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from distillery.laws import text
from distillery.laws.clean import cleaned, fitted
from distillery.laws.energies import energies_by_data, newtonian
from distillery.laws.law import momentum_names
from distillery.networks.functions import feature_names
from distillery.physics import formula
from distillery.symbolic.shared_form import Candidate
from support.laws import SETTINGS, graphs

SPRING, KINETIC = "r*(r - 1.9)", "(px^2 + py^2)/(2*m)"
LAW = "H = Σ r*(r - 1.980) + (px**2/2 + py**2/2)/m"


def pair(expression: str) -> sympy.Expr:
    return formula.parse(expression, feature_names(2))


def body(expression: str) -> sympy.Expr:
    return formula.parse(expression, momentum_names(2))


def front(*expressions: sympy.Expr) -> list[Candidate]:
    return [Candidate(expression, 2 * k + 1, 1 / (k + 1)) for k, expression in enumerate(expressions)]


def chosen(own: tuple[str, str], pairs: tuple[str, ...], bodies: tuple[str, ...]) -> tuple[str, str]:
    """Return the source of the form of the law, and the clean law."""
    data, draws = graphs(), np.random.default_rng(0)
    fronts = (front(*map(pair, pairs)), front(*map(body, bodies)))
    found = energies_by_data((pair(own[0]), body(own[1])), fronts, data, SETTINGS, draws)
    return found.source, text.line(cleaned(fitted(found.law, data, SETTINGS, draws), data, SETTINGS, draws).law)


def test_energies_that_are_right_stay() -> None:
    assert chosen((SPRING, KINETIC), (SPRING, "r^2"), (KINETIC, "px^2/m")) == ("messages", LAW)


@pytest.mark.parametrize(
    ("bodies", "source"), [(("0.5*px^2/m",), "neighbours"), (("0.5*px^2/m", "0.4*(px^2 + py^2)/m"), "fronts")]
)
def test_an_axis_that_the_energy_of_bodies_lacks_comes_back(bodies: tuple[str, ...], source: str) -> None:
    found, law = chosen((SPRING, bodies[0]), (SPRING,), bodies)
    assert law == LAW
    assert found == source


def test_a_kinetic_energy_that_mixes_momentum_and_place_gives_way() -> None:
    found, law = chosen((SPRING, "0.3*m - 0.2*px*m"), (SPRING,), ("0.3*m - 0.2*px*m", "py"))
    assert (found, law) == ("neighbours", LAW)


def test_an_energy_of_pairs_that_was_not_chosen_is_found_on_its_front() -> None:
    assert chosen(("r", "0.4*px^2/m"), ("r", "r^2", SPRING, "r^3"), (KINETIC, "px^2/m"))[1] == LAW


def test_nothing_on_the_fronts_leaves_the_choice() -> None:
    source, law = chosen(("m1*m2", "0.5*px^2/m"), ("m1*m2",), ("0.5*px^2/m",))
    assert source == "neighbours"
    assert "r" not in law.removeprefix("H = ")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("m*y + 0.55*py^2/m", "m*y + (px^2 + py^2 + pz^2)/(2*m)"),
        ("y*(m + 0.1*py) - 1.8*py + 0.9", "m*y + (px^2 + py^2 + pz^2)/(2*m)"),
        ("0.3*px^2 + 1.4", "(px^2 + py^2 + pz^2)/(2*m)"),
    ],
)
def test_what_bodies_have_at_rest_stays_beside_their_kinetic_energy(found: str, expected: str) -> None:
    names = (*momentum_names(3), "x", "y", "z")
    energy = newtonian(formula.parse(found, names), 3)
    assert energy is not None
    assert sympy.expand(energy - formula.parse(expected, names)) == 0


@pytest.mark.parametrize("case", ["py/px > 1", "log(px^2) > 1"])
def test_a_condition_that_has_no_value_at_rest_ends_no_search(case: str) -> None:
    odd = f"0.5*px^2/m + (1 if {case} else 0)"
    assert chosen((SPRING, "0.5*px^2/m"), (SPRING,), ("0.5*px^2/m", odd)) == ("neighbours", LAW)


def test_an_energy_that_is_singular_at_rest_has_no_newtonian_form() -> None:
    assert newtonian(formula.parse("m/px", momentum_names(2)), 2) is None
