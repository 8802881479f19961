"""The data choose energies: those of bodies without a favourite axis, and those of pairs from their front."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from distillery import formula
from distillery.distill.common import Candidate
from distillery.functions import feature_names
from distillery.replace import text
from distillery.replace.clean import cleaned, fitted
from distillery.replace.energies import energies_by_data, symmetric
from distillery.replace.law import momentum_names
from test_replace import SETTINGS, graphs

SPRING, KINETIC = "r*(r - 1.9)", "(px^2 + py^2)/(2*m)"
LAW = "H = Σ r*(r - 1.980) + (px**2/2 + py**2/2)/m"


def pair(expression: str) -> sympy.Expr:
    return formula.parse(expression, feature_names(2))


def body(expression: str) -> sympy.Expr:
    return formula.parse(expression, momentum_names(2))


def front(*expressions: sympy.Expr) -> list[Candidate]:
    return [Candidate(expression, 2 * k + 1, 1 / (k + 1)) for k, expression in enumerate(expressions)]


def chosen(own: tuple[str, str], pairs: tuple[str, ...], bodies: tuple[str, ...]) -> tuple[str, str]:
    """Return where the form of the law is from, and the clean law."""
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


def test_an_energy_of_pairs_that_was_not_chosen_is_found_on_its_front() -> None:
    assert chosen(("r", "0.4*px^2/m"), ("r", "r^2", SPRING, "r^3"), (KINETIC, "px^2/m"))[1] == LAW


def test_nothing_on_the_fronts_leaves_the_choice() -> None:
    source, law = chosen(("m1*m2", "0.5*px^2/m"), ("m1*m2",), ("0.5*px^2/m",))
    assert source in ("messages", "neighbours")
    assert "r" not in law.removeprefix("H = ")


def test_a_mean_over_the_axes_has_no_favourite_one() -> None:
    names = momentum_names(3)
    found = symmetric(formula.parse("(px^2 + pz^2)/m + q", names), 3)
    assert sympy.expand(found - formula.parse("2*(px^2 + py^2 + pz^2)/(3*m) + q", names)) == 0
