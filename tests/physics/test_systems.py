"""Systems: forces follow from the potential alone, with the paper's numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml
from jaxtyping import Float
from pydantic import ValidationError

from distillery.errors import DistilleryError
from distillery.physics import formula
from distillery.physics.reachable_singularities import warnings_about
from distillery.physics.systems import SYSTEMS, ForceSystem, System
from distillery.workflow.config import parse_config
from distillery.workflow.sweep import Sweep, sweep_from

PAIRS = 200


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def _pair_potential(
    system: System, displacement: Float[np.ndarray, "pair dim"], values: dict[str, np.ndarray]
) -> Float[np.ndarray, "pair"]:
    """Return U itself, with the softening added to the distance here instead of by the code under test."""
    distance = np.sqrt((displacement**2).sum(-1)) + system.softening
    expression = formula.parse(system.potential, ("r", "m1", "m2", "q1", "q2", *system.constants))
    return formula.evaluate(expression, {**system.constants, **values, "r": distance})


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("name", SYSTEMS)
def test_pair_force_is_minus_the_gradient_at_the_receiver(name: str, dim: int, random: np.random.Generator) -> None:
    system = SYSTEMS[name]
    receiver, sender = random.normal(size=(2, PAIRS, dim)) * 1.5
    masses = random.lognormal(size=(2, PAIRS))
    charges = random.choice((-1.0, 1.0), size=(2, PAIRS))
    values = {"m1": masses[0], "m2": masses[1], "q1": charges[0], "q2": charges[1]}
    force = system.pair_force(receiver - sender, (masses[0], masses[1]), (charges[0], charges[1]))
    h = 1e-6
    # A step must not straddle the edge of a discontinuous potential.
    edge = system.constants.get("edge", np.inf)
    clear = np.abs(np.linalg.norm(receiver - sender, axis=-1) + system.softening - edge) > 1e-3
    assert clear.sum() > PAIRS * 0.9
    for axis in range(dim):
        step = h * np.eye(dim)[axis]
        slope = (
            _pair_potential(system, receiver + step - sender, values)
            - _pair_potential(system, receiver - step - sender, values)
        ) / (2 * h)
        np.testing.assert_allclose(force[clear, axis], -slope[clear], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SYSTEMS)
def test_action_equals_reaction(name: str, random: np.random.Generator) -> None:
    displacement = random.normal(size=(PAIRS, 3))
    one, two = random.lognormal(size=(2, PAIRS))
    plus, minus = random.choice((-1.0, 1.0), size=(2, PAIRS))
    there = SYSTEMS[name].pair_force(displacement, (one, two), (plus, minus))
    back = SYSTEMS[name].pair_force(-displacement, (two, one), (minus, plus))
    np.testing.assert_allclose(there, -back, rtol=1e-13)


def test_the_papers_forces_by_hand() -> None:
    displacement = np.array([[3.0, 4.0]])
    masses, charges = (np.array([2.0]), np.array([3.0])), (np.array([1.0]), np.array([-1.0]))
    r = 5.01
    by_hand = {
        "spring": -2 * (r - 1),
        "damped": -2 * (r - 1),
        "r^-1": -6 / r,
        "r^-2": -6 / r**2,
        "charge": -1 / r**2,
        "discontinuous": -2 * (r - 1),
        "superposition": (-1 - 6) / r**2,
        "string": -2 * (r - 1),
        "string_ball": -2 * (r - 1),
    }
    assert set(by_hand) == set(SYSTEMS)
    for name, strength in by_hand.items():
        found = SYSTEMS[name].pair_force(displacement, masses, charges)
        np.testing.assert_allclose(found, strength * displacement / 5.0, rtol=1e-14)
    inside = SYSTEMS["discontinuous"].pair_force(displacement * 0.39, masses, charges)
    np.testing.assert_array_equal(inside, 0.0)


def test_time_steps_are_the_papers() -> None:
    steps = {"r^-2": 0.001, "r^-1": 0.005, "spring": 0.01, "damped": 0.02, "charge": 0.001, "discontinuous": 0.01}
    steps |= {"superposition": 0.001, "string": 0.01, "string_ball": 0.01}
    assert {name: system.time_step for name, system in SYSTEMS.items()} == steps
    assert all(system.softening == 0.01 for system in SYSTEMS.values())


def test_constants_can_be_moved() -> None:
    displacement = np.array([[2.0, 0.0]])
    unit = np.array([1.0])
    moved = SYSTEMS["spring"].pair_force(
        displacement, (unit, unit), (unit, unit), {"rest_length": 1.5, "softening": 0.0}
    )
    np.testing.assert_allclose(moved, [[-1.0, 0.0]], rtol=1e-15)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"potential": "(r - k)**2"}, "unknown symbol 'k'"),
        ({"potential": "__import__('os').getpid()"}, "not allowed"),
        ({"potential": "r +"}, "does not parse"),
        ({"body_potential": "m*g*r"}, "unknown symbol 'g'"),
        ({"time_step": 0.0}, "greater than 0"),
        ({"time_step": "0.1"}, "0.1"),
        ({"softening": -0.1}, "greater than or equal to 0"),
        ({"constants": {"m1": 1.0}}, "taken"),
        ({"constants": {"a b": 1.0}}, "name"),
        ({"constants": {"damping": 3.0}, "damping": 1.0}, "'damping' cannot name a constant"),
        ({"constants": {"lambda": 1.0}}, "'lambda' cannot name a constant"),
        ({"colour": "red"}, "unknown key"),
        ({"damping": "strong"}, "strong"),
        ({"mass_spread": -1.0}, "greater than or equal to 0"),
        ({"charges": []}, "empty"),
        ({"charges": ["a"]}, "charges"),
        ({"potential": "m1*r"}, "bodies 1 and 2 exchanged"),
        ({"potential": "r if q1 > 0 else r**2"}, "bodies 1 and 2 exchanged"),
        ({"potential": "log(r - 1)"}, "it or its force is not finite, as at r = 0."),
        ({"potential": "exp(40*r)"}, "it or its force is not finite, as at r = "),
        (
            {"potential": "1/(r - 1)"},
            "its force is not finite at r = 0.99; from r = 0.05 to 20 it must be (softening 0",
        ),
        ({"potential": "1/(r - a)", "constants": {"a": 3.0}, "softening": 0.0}, "not finite at r = 3; from"),
        ({"potential": "1/(r - m1 - m2)"}, "its force is not finite at r = 0.261, m1 = 0.135, m2 = 0.135; from"),
        ({"body_potential": "log(y)"}, "'log(y)': is not finite"),
    ],
)
def test_bad_systems_are_refused_in_one_line_that_names_the_place(changes: dict[str, object], complaint: str) -> None:
    content = {
        "systems": {"mine": {"potential": "r**2", "time_step": 0.01, **changes}},
        "experiments": [{"system": "mine"}],
        "models": ["bottleneck"],
    }
    with pytest.raises(DistilleryError, match=r"systems\.mine") as refusal:
        parse_config(content)
    assert complaint in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def _poles_of(potential: str, **more: Any) -> list[float]:
    """Return the singularities of a pair, unless it is refused for one of them."""
    return sorted({round(pole["r"], 9) for pole in System(potential=potential, time_step=0.01, **more).singularities})


@pytest.mark.parametrize(
    "potential",
    [
        "1/(r - 1)",
        "1/(r - 3)",
        "1/(r - 1)**2",
        "log(abs(r - 2))",
        "1/(r**2 - 2*r + 1)",
        "sqrt(abs(r - 1))",
        "abs(r - 1)**0.9",
        "(r - 1)*log(abs(r - 1))",
        "1e-9/(r - 1) - 1/r",
        "1/(r - 1) + 1e6*r",
        "1/((r - 1)*(r - 1.001))",
        "m1*m2/log(r)",
        "1/(exp(r) - 5)",
        "1/(r - m1*m2)",
        "1/(min(r, 2) - 1)",
        "1/(r - 2) if r > 2 else 0",
        "0 if r > 2 else sqrt(2 - r)",
        "1/(r - 0.06)",
        "1/(r - 20)",
    ],
)
def test_a_pole_of_a_pair_is_refused_however_narrow(potential: str) -> None:
    with pytest.raises(ValueError, match=r"its force is not finite at r = .*; from r = 0\.05 to 20 it must be"):
        System(potential=potential, time_step=0.01)


@pytest.mark.parametrize(
    "potential",
    [
        "exp(-((r - 1)/0.01)**2)",
        "exp(-((r - 1)/0.0001)**2)",
        "4*((1/r)**12 - (1/r)**6)",
        "1/((r - 1)**2 + 1e-6)",
        "1/((r - 1)**2 + 1e-12)",
        "-m1*m2/sqrt(r**2 + 0.0001)",
        "q1*q2/(abs(r - 1) + 0.001)",
        "1/(r - 1) if r > 1.001 else 0",
        "1/(r - 3) if r < 2 else 0",
        "sqrt(r - 1)**3 if r > 1 else 0",
        "1000 if r > 2 else 0",
        "abs(r - 1)",
        "1/max(r, 1)",
        "1/(r + m1*m2)",
        "log(r)",
        "r**r",
        # Rounding of cancelling terms grows; the force itself does not.
        "(r**2 - 1)/(r - 1)",
        "(r - 1)**2*log(abs(r - 1))",
        "exp(-1/(r - 1)**2)",
    ],
)
def test_steep_forces_and_edges_are_no_poles(potential: str) -> None:
    for softening in (0.0, 0.01):
        assert _poles_of(potential, softening=softening) == []


def test_a_pole_nearer_or_farther_than_forces_must_be_finite_is_known_and_not_refused() -> None:
    assert _poles_of("1/(r - 0.02)") == [0.01]
    assert _poles_of("1/(r - 0.02)", softening=0.03) == []
    assert _poles_of("1/(r - 30)/(r - 0.04)") == [0.03, 29.99]
    # With softening there is no singularity at zero distance.
    assert _poles_of("1/r", softening=0.0) == []


@pytest.mark.parametrize("name", SYSTEMS)
def test_built_in_systems_have_no_poles_and_are_not_warned_of(name: str) -> None:
    assert SYSTEMS[name].singularities == ()
    assert [line for dim in (2, 3) for line in warnings_about(name, SYSTEMS[name], dim)] == []


@pytest.mark.parametrize(
    ("potential", "dim", "place"),
    [
        ("1/x", 2, "x = 0, y = 0"),
        ("m/sqrt(x**2 + y**2)", 2, "x = 0, y = 0"),
        ("q/x", 3, "x = 0, y = 0, z = 0"),
        ("log(x**2)", 2, "x = 0, y = 0"),
        ("abs(y)**0.5", 2, "x = 0, y = 0"),
        ("(y + 10)**1.5", 2, "x = 0, y = -10"),
        ("1/(x - 1)", 2, "x = 1, y = 0"),
        ("1/(y - x - 1)", 2, "x = -1, y = 0"),
        ("m/(y - a)**2", 2, "x = 0, y = 1.5"),
        ("m/(x - m)", 2, "x = 0.135, y = 0"),
        ("-m/sqrt((x - 1)**2 + (y + 2)**2)", 2, "x = 1, y = -2"),
        ("-m/sqrt((x - 1)**2 + (y + 2)**2 + (z - a)**2)", 3, "x = 1, y = -2, z = 1.5"),
        ("1/z", 2, "z = 0"),
        # In the plane z is 0.
        ("1/(z - 1)", 3, "x = 0, y = 0, z = 1"),
        ("1/(z - 1)", 2, None),
        ("-m/sqrt(x**2 + y**2 + 0.01)", 2, None),
        ("sqrt(x**2 + y**2)", 2, None),
        ("(1 - sqrt(x**2 + y**2))**2 if x**2 + y**2 < 1 else 0", 2, None),
        ("100 if x > 0 else 0", 2, None),
        ("(x**2 - 1)/(x - 1)", 2, None),
        ("m*abs(y)", 2, None),
    ],
)
def test_a_body_potential_that_is_not_finite_is_warned_of_with_the_place(
    potential: str, dim: int, place: str | None
) -> None:
    system = System(potential="r**2", body_potential=potential, constants={"a": 1.5}, time_step=0.01)
    found = warnings_about("mine", system, dim)
    start = f"systems.mine: body_potential {potential!r} or its force is not finite at {place}; simulations"
    assert [line.startswith(start) for line in found] == [True] * (place is not None)
    assert all("\n" not in line for line in found)


def test_fields_that_were_added_later_change_no_key_where_they_say_nothing() -> None:
    """Existing trajectories are found again; this is their key."""
    content: dict[str, Any] = {
        "systems": {
            "mine": {
                "potential": "(r-a)**2",
                "constants": {"a": 1.5},
                "time_step": 0.01,
                "body_potential": "m*y",
                "graph": "chain",
                "velocity_scale": 0.5,
            }
        },
        "experiments": [{"system": "mine"}, {"system": "spring"}],
        "models": ["l1"],
    }
    sweep = sweep_from(content, "config")
    mine, spring = sweep.experiments
    assert sweep.data_key(mine, "train") == "c30d1f13fd8a662a"
    assert sweep.data_key(spring, "train") == "01c69d7f624ef3ef"
    content["systems"]["mine"]["charges"] = [1.0, 2.0]
    changed = sweep_from(content, "config")
    assert changed.data_key(mine, "train") != "c30d1f13fd8a662a"
    again = parse_config(yaml.safe_load(yaml.safe_dump(changed.config.model_dump(mode="json"))))
    assert again == changed.config


def test_a_system_may_be_given_by_a_force_whose_potential_is_not_known() -> None:
    given = ForceSystem(force="m1*m2*exp(-r) if r > 1 else -abs(q1*q2)", time_step=0.01)
    delta, ones = np.array([[0.0, 2.0], [0.6, 0.0]]), np.ones(2)
    force = given.pair_force(delta, (2 * ones, 3 * ones), (ones, -ones))
    np.testing.assert_allclose(force, [[0.0, 6 * np.exp(-2)], [-1.0, 0.0]])
    assert given.is_piecewise
    with pytest.raises(DistilleryError, match="potential of this force is not known"):
        _ = given.softened_potential
    for wrong, reason in (("m1/r", "another for bodies 1 and 2 exchanged"), ("1/(r - r)", "not a finite")):
        with pytest.raises(ValueError, match=reason):
            ForceSystem(force=wrong, time_step=0.01)


@pytest.mark.parametrize(
    ("body_potential", "differs"),
    [
        (None, False),
        ("2*m*y", False),
        ("5*m*(x**2 + y**2)", True),
        ("(x if x > 1 else 1)", True),
    ],
)
def test_a_force_that_differs_from_place_to_place_forbids_moving_bodies_elsewhere(
    make_sweep: Callable[..., Sweep], body_potential: str | None, differs: bool
) -> None:
    trap = {"potential": "q1*q2/r", "time_step": 0.01, "body_potential": body_potential}
    sweep = make_sweep(systems={"trap": trap}, experiments=[{"system": "trap"}, {"system": "spring"}])
    moved = [sweep.training(experiment).translation > 0 for experiment in sweep.experiments]
    assert moved == [not differs, True]


@pytest.mark.parametrize(
    ("potential", "charges", "place"),
    [("1/(r + 8.5 - q1*q2)", (1.0, 2.0, 3.0), 0.49), ("1/(r + 24.5 - q1*q2)", (1.0, 2.0, 3.0, 4.0, 5.0), 0.49)],
)
def test_poles_are_found_that_one_pair_of_charges_has(potential: str, charges: tuple[float, ...], place: float) -> None:
    with pytest.raises(ValidationError, match=f"not finite at r = {place}"):
        System(potential=potential, charges=charges, time_step=0.01)


def test_poles_of_masses_that_no_body_has_are_none() -> None:
    potential = "1/(r - 0.5*abs(log(m1*m2)) + 0.1)"
    assert not System(potential=potential, mass_spread=0.0, time_step=0.01).singularities
    with pytest.raises(ValidationError, match="not finite"):
        System(potential=potential, time_step=0.01)


def test_a_condition_on_what_is_not_real_there_is_no_pole() -> None:
    system = System(potential="r if sqrt(r - 1.5) > 0.5 else (r**2 - 1)/(r - 1)", time_step=0.01, softening=0.0)
    assert not [pole for pole in system.singularities if pole["r"] > 0.05]
    body = "y if log(x - 1) > 0 else (exp(y - 1) - 1)/(y - 1)"
    assert isinstance(warnings_about("s", System(potential="r**2", body_potential=body, time_step=0.01), 2), list)


def test_a_place_is_warned_of_that_bodies_of_one_charge_cannot_pass() -> None:
    for charges in ((-1.0, 1.0), (1.0, -1.0)):
        system = System(potential="r**2", body_potential="1/(x**2 + 1 - q)", charges=charges, time_step=0.01)
        (line,) = warnings_about("s", system, 2)
        assert "is not finite at x = 0, y = 0" in line
    assert not warnings_about("s", system.model_copy(update={"charges": (-1.0,)}), 2)
