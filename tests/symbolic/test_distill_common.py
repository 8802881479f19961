"""The form shared by all components of a law."""

from __future__ import annotations

import pytest

from distillery.networks.functions import feature_names
from distillery.physics import formula
from distillery.symbolic.shared_form import Candidate, common_choice, form


def front(*entries: tuple[int, float, str], dim: int = 3) -> list[Candidate]:
    return [Candidate(formula.parse(text, feature_names(dim)), cost, error) for cost, error, text in entries]


X = front((1, 1.0, "0.1"), (7, 0.3, "dx*q1*q2/r"), (9, 0.05, "4*dx*q1*q2/r**3"))
Y = front((1, 1.0, "0"), (9, 0.06, "0.25*dy*q1*q2/(r - 1.4)"), (10, 0.05, "3.9*dy*q1/(q2*r**3)"), (20, 0.04, "dy**2*r"))
Z = front((1, 1.0, "-0.2"), (5, 0.2, "dz*q1"), (9, 0.055, "-4.1*q1*q2*dz/r**3"))


def test_a_form_on_all_fronts_is_preferred_to_three_that_differ() -> None:
    assert common_choice([X, Y, Z], [2, 1, 2], unit_charges=True) == (2, 2, 2)
    # For charges of any size q1/q2 differs from q1*q2, and only a constant is common.
    assert common_choice([X, Y, Z], [2, 1, 2], unit_charges=False) is None


def test_choices_of_one_form_stay() -> None:
    assert common_choice([X, Y, Z], [2, 2, 2], unit_charges=True) is None


def test_common_forms_that_are_worse_than_the_choices_are_left() -> None:
    poor = front((1, 1.0, "0.1"), (9, 0.9, "dx*q1*q2/r**3"), (12, 0.01, "dx*q1*q2*exp(-r)"))
    other = front((1, 1.0, "0.1"), (9, 0.9, "dy*q1*q2/r**3"), (12, 0.01, "dy*q1*q2/(r + 2)"))
    assert common_choice([poor, other], [2, 2], unit_charges=True) is None


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("dx*(-2.5 + 2.4/r)", "dy*(1.1 - 1.3/r)", True),
        ("dx*(2 - 2/r)", "dy*2*(1 - 1/r)", True),
        ("-dx/r**3", "2.2*dy/r**3", True),
        ("dx/r**3", "dy/r**2", False),
        ("dx/r**3", "dx/r**3", False),
        ("dx + 0.1*dy", "dy + 0.2*dx", True),
        ("dx if r > 2 else 0", "1.5*dy if r > 1.9 else 0", True),
        ("dx*m2", "dy*m1", False),
    ],
)
def test_forms_are_alike_but_for_numbers_and_the_axis(one: str, other: str, alike: bool) -> None:
    names = feature_names(2)
    assert (form(formula.parse(one, names), 0) == form(formula.parse(other, names), 1)) == alike
