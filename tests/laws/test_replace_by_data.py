"""The data choose the form of a law: an inaccurate network does not make the law wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sympy

from distillery.laws import text
from distillery.laws.choose import Chosen, chosen_by_data
from distillery.laws.clean import cleaned, fitted
from distillery.laws.compose import composed
from distillery.laws.law import own_names
from distillery.laws.prefit import Prefit, validation_rows
from distillery.laws.problem import Data
from distillery.laws.vector import Term, message_terms, node_terms, without_numbers
from distillery.networks.functions import feature_names
from distillery.physics import formula
from distillery.symbolic.shared_form import Candidate
from support.laws import SETTINGS, error, graphs, law

Front = tuple[str, ...]
# Start of the front of every axis.
PLAIN: Front = ("0.1",)
OVER_MASS: tuple[Front, Front] = (("s1", "0.8*s1/m"), ("s2", "0.8*s2/m"))


def choose(messages: tuple[Front, ...], nodes: tuple[Front, ...], own: tuple[int, ...], data: Data) -> Chosen:
    """Return the choice by the data, given the index of the messages' own choice; that of nodes is the last."""
    names = (feature_names(len(nodes)), ("s1", "s2", *own_names(len(nodes))))
    fronts = [
        [[Candidate(formula.parse(t, known), 2 * k + 1, 1 / (k + 1)) for k, t in enumerate(front)] for front in part]
        for part, known in zip((messages, nodes), names, strict=True)
    ]
    sent = [front[k].expression for front, k in zip(fronts[0], own, strict=True)]
    start = composed(sent, [front[-1].expression for front in fronts[1]], 3, unit_charges=True)
    return chosen_by_data(start, (fronts[0], fronts[1]), data, SETTINGS, np.random.default_rng(0))


def line(chosen: Chosen, data: Data) -> str:
    draws = np.random.default_rng(0)
    return text.line(cleaned(fitted(chosen.law, data, SETTINGS, draws), data, SETTINGS, draws).law)


def damped(data: Data) -> Data:
    """Return the same states with drag."""
    of = data.graphs
    slower = of.acceleration - 0.75 * of.velocity / of.mass[..., None]
    return dataclasses.replace(data, graphs=dataclasses.replace(of, acceleration=slower))


@pytest.mark.slow
def test_the_right_form_on_the_front_of_one_axis_becomes_the_law_of_all() -> None:
    data = graphs()
    messages = ((*PLAIN, "dx*r", "dx*(1.1 - r)"), (*PLAIN, "dy*r", "-2.6*dy + 2.5*dy/r + 0.02*dx + 0.1"))
    found = choose(messages, OVER_MASS, (2, 1), data)
    assert found.source == "fronts"
    assert found.error < 1e-6 < found.own_error
    assert line(found, data) == "a = Σ Δ*(-2 + 1.980/r)/m1"


@pytest.mark.slow
def test_a_right_law_in_disguise_is_shown_without_it() -> None:
    data = graphs()
    messages = ((*PLAIN, "dx*(1.1 - r)", "dx*(2.4/r - 2.5)"), (*PLAIN, "dy*(1.1 - r)", "dy*(2.4/r - 2.5)"))
    nodes = (*OVER_MASS[0], "4e7*s1/(m*(5e7 + s1))"), (*OVER_MASS[1], "0.8*s2/m")
    found = choose(messages, nodes, (2, 2), data)
    assert found.own_error < 1e-4, "it is right as it is"
    assert found.source == "fronts"
    assert line(found, data) == "a = Σ Δ*(-2 + 1.980/r)/m1"
    # A node without a linear part except a constant of zero has no factor.
    nodes = (*OVER_MASS[0], "0.8*s1/(m + 0.001*s1)"), (*OVER_MASS[1], "0.8*s2/m")
    found = choose(messages, nodes, (2, 2), data)
    assert found.source == "messages"
    assert line(found, data) == "a = Σ Δ*(-2 + 1.980/r)/m1"


@pytest.mark.slow
def test_a_form_beside_those_on_fronts_is_found() -> None:
    data = graphs()
    found = choose(((*PLAIN, "-1.2*dx"), (*PLAIN, "-1.2*dy")), OVER_MASS, (1, 1), data)
    assert found.source == "neighbours"
    assert line(found, data) == "a = Σ Δ*(-2 + 1.980/r)/m1"


@pytest.mark.slow
def test_nodes_of_one_axis_serve_all() -> None:
    data = damped(graphs())
    right = tuple((*PLAIN, f"d{a}*(2.5 - 2.4/r)") for a in "xy")
    nodes = (("s1", "0.06*(m - 9.5)*(s1 + vx)"), ("s2", "0.3*s2", "(-s2 - 0.9*vy - 0.05)/(m + 0.4)"))
    found = choose(right, nodes, (1, 1), data)
    assert found.error < 1e-6 < found.own_error
    assert line(found, data) == "ax = Σ dx*(-2 + 1.980/r)/m1 - 3*vx/(4*m); ay = Σ dy*(-2 + 1.980/r)/m1 - 3*vy/(4*m)"


@pytest.mark.slow
def test_forces_become_accelerations_in_one_step() -> None:
    """Division by the mass lowers the error neither for pairs alone nor for drag alone."""
    data = damped(graphs())
    messages = tuple((*PLAIN, f"d{a}*(2.5 - 2.4/r)") for a in "xy")
    found = choose(messages, (("-s1 - vx", "-0.4*s1"), ("-s2 - vy", "-0.4*s2")), (1, 1), data)
    assert found.source == "neighbours"
    assert line(found, data) == "ax = Σ dx*(-2 + 1.980/r)/m1 - 3*vx/(4*m); ay = Σ dy*(-2 + 1.980/r)/m1 - 3*vy/(4*m)"


def test_constants_are_fitted_to_some_simulations_and_judged_on_others() -> None:
    data = graphs()
    r, m1 = formula.symbol("r"), formula.symbol("m1")
    right = frozenset({Term(1 / m1, "d"), Term(1 / (m1 * r), "d")})
    error, values = Prefit(data).fit(right)
    assert error < 1e-6
    assert values == pytest.approx([1.98, -2.0])
    judged = validation_rows(data)
    assert {*data.simulation[judged]}.isdisjoint(data.simulation[~judged])
    # Validation simulations change no constant.
    other = np.where(judged[:, None, None], 3.0, 1.0) * data.graphs.acceleration
    louder = Prefit(dataclasses.replace(data, graphs=dataclasses.replace(data.graphs, acceleration=other))).fit(right)
    assert louder[0] > 0.1
    assert louder[1] == pytest.approx(values, rel=1e-5)


def test_a_law_that_is_not_finite_is_no_candidate() -> None:
    assert Prefit(graphs()).fit(frozenset({Term(sympy.log(formula.symbol("q1")), "d")})) == (np.inf, [])


@pytest.mark.slow
def test_the_edge_of_a_force_is_found_with_its_form() -> None:
    data, fresh = graphs("discontinuous"), graphs("discontinuous", seed=1)
    messages = (
        (*PLAIN, "-0.8*dx if r > 2.05 else 0", "-0.3*dx*r if r > 2.05 else 0"),
        (*PLAIN, "-0.8*dy if r > 2.05 else 0", "dy*(-1.4 + 1.5/r) if r > 2.02 else 0.001"),
    )
    found = choose(messages, OVER_MASS, (1, 1), data)
    assert found.source == "fronts"
    again = fitted(found.law, data, SETTINGS, np.random.default_rng(0)).law
    assert again.shared
    assert sorted(again.constants.values()) == pytest.approx([-2.0, 1.98])
    assert error(again, fresh) < 0.02


def test_a_law_that_is_right_stays_as_it_is() -> None:
    data = graphs()
    messages = tuple((*PLAIN, f"d{a}*(-2.6 + 2.5/r)", f"d{a}*(-2.6 + 2.5/r + 0.1/r**2)") for a in "xy")
    found = choose(messages, OVER_MASS, (1, 1), data)
    assert found.source == "messages"
    assert found.law == law(tuple(front[1] for front in messages), tuple(front[-1] for front in OVER_MASS))


def test_a_better_approximation_alone_does_not_take_a_laws_place() -> None:
    """Gravity along y is not isotropic: no vector law is exact, and all candidates are worse."""
    data = graphs()
    falling = dataclasses.replace(data.graphs, acceleration=data.graphs.acceleration - np.array([0.0, 1.0]))
    messages = tuple((*PLAIN, f"d{a}*(-2.6 + 2.5/r)") for a in "xy")
    found = choose(messages, (("0.8*s1/m",), ("0.8*s2/m - 0.9",)), (1, 1), dataclasses.replace(data, graphs=falling))
    assert found.source == "messages"
    assert found.own_error < 1e-6


@pytest.mark.slow
def test_a_node_that_becomes_linear_is_put_into_the_messages() -> None:
    data = graphs()
    start = law(("dx*(-2.6 + 2.5/r)", "dy*(-2.6 + 2.5/r)"), ("0.8*s1/(m + 0.01*s1)", "0.8*s2/(m + 0.01*s2)"))
    assert not start.added
    draws = np.random.default_rng(0)
    clean = cleaned(fitted(start, data, SETTINGS, draws), data, SETTINGS, draws)
    assert text.line(clean.law) == "a = Σ Δ*(-2 + 1.980/r)/m1"


def test_what_of_a_message_lies_along_its_axis() -> None:
    names = feature_names(2)
    r, m1 = formula.symbol("r"), formula.symbol("m1")
    found = message_terms(formula.parse("1.2*dy*(r + 3)/m1 + 0.4*dx + 0.1 + dy/dx", names), 1, 2, unit_charges=True)
    assert found == {Term(r / m1, "d"), Term(1 / m1, "d")}
    edge = r > sympy.Float(2.5)
    found = message_terms(formula.parse("2*dx*q1**2*m1 if r > 2.5 else -dx/r", names), 0, 2, unit_charges=True)
    assert found == {Term(m1, "d", edge), Term(1 / r, "d", edge, otherwise=True)}


def test_what_of_a_node_is_linear_along_its_axis() -> None:
    node = formula.parse("-(s2 + 0.7*vy - 0.1*s1 - 0.2)/(m + 0.4) + s2*s1 + 0.1*q*y", ("s1", "s2", *own_names(2)))
    factors, own = node_terms(node, 1, unit_charges=True)
    m1, m, q = (formula.symbol(name) for name in ("m1", "m", "q"))
    assert factors == {1 / (m1 + sympy.Float(0.4))}
    assert own == {Term(1 / (m + sympy.Float(0.4)), "v"), Term(q, "")}
    assert without_numbers(own, unit_charges=True) == {Term(1 / m, "v"), Term(q, "")}
