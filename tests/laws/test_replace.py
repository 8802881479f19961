"""Composition and refit of laws: known constants are recovered, with correct standard errors."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import sympy

from distillery.errors import DistilleryError
from distillery.laws import text
from distillery.laws.clean import cleaned, fitted, simple_number
from distillery.laws.compose import composed_energies
from distillery.laws.composed import through_nodes
from distillery.laws.law import Law, as_content, from_content, momentum_names, own_names
from distillery.laws.motion import flaw_of_velocities, moved
from distillery.laws.potential import as_system, entry_of
from distillery.laws.problem import Data, Problem
from distillery.laws.refit import SingularError, refit
from distillery.laws.settings import ReplacementSettings, VerificationSettings
from distillery.laws.shown import accelerations
from distillery.networks.functions import feature_names
from distillery.physics import formula
from distillery.physics.systems import SYSTEMS
from distillery.workflow.config import parse_config
from support.laws import KINETIC, PLAIN, SETTINGS, draws, error, graphs, hamiltonian, law

SQUARES = ReplacementSettings(robust=False)


SPRING = (("dx*(-2.58 + 2.55/r)", "dy*(-2.62 + 2.59/r)"), ("0.77*s1/m", "0.76*(s2 - 0.046)/m"))


def test_what_is_put_together_says_what_its_parts_say() -> None:
    data = graphs()
    messages = ("dx*(-2.6 + 2.5/r) + 0.3*m1*q1 + 0.2", "dy*q1*(1.5 - 1.6/r)/q2")
    nodes = ("0.8*s1/m - 0.4*s2*q + 0.1*vx", "(0.2 + 0.7/m)*s2 + 0.01*y")
    parsed = [formula.parse(m, feature_names(2)) for m in messages]
    expected = through_nodes(data.graphs, parsed, [formula.parse(n, ("s1", "s2", *own_names(2))) for n in nodes])
    found = law(messages, nodes)
    assert found.added
    np.testing.assert_allclose(
        through_nodes(data.graphs, found.filled(found.messages), found.filled(found.nodes)), expected, rtol=1e-10
    )


def test_constants_that_no_acceleration_tells_apart_become_one() -> None:
    found = law(("dx*(1.5 - 1.2/r) + 0.3", "dy*(1.5 - 1.2/r)"), ("2.0*s1/m + 0.7/m", "2.0*s2/m"))
    # Scales of message and node merge, and so do their offsets: 3·0.3·2 + 0.7.
    assert sorted(found.constants.values()) == pytest.approx([-2.4, -2.4, 2.5, 3.0, 3.0])
    data = graphs()
    jacobian = Problem(found, data, tuple(found.constants)).jacobian(np.array(list(found.constants.values())))
    assert np.linalg.cond(jacobian / np.linalg.norm(jacobian, axis=0)) < 100


def test_offsets_stay_apart_where_bodies_hear_different_numbers() -> None:
    found = law(("dx + 0.3", "dy"), ("s1 + 0.7", "s2"), arriving=None)
    assert sorted(found.constants.values()) == pytest.approx([0.3, 0.7, 1.0, 1.0])


def test_jacobian_is_the_derivative() -> None:
    data = graphs("r^-1", count=20)
    found = law(("dx*m2/(r + 0.3)^1.7", "dy*m2*exp(-0.4*r)"), ("s1^2/(m + 0.2) + 0.3*s2", "s2*s1/m + vx"))
    assert not found.added
    problem, values = Problem(found, data, tuple(found.constants)), np.array(list(found.constants.values()))
    steps = 1e-6 * np.eye(len(values))
    numeric = np.stack([(problem.residual(values + h) - problem.residual(values - h)) / 2e-6 for h in steps], axis=1)
    np.testing.assert_allclose(problem.jacobian(values), numeric, rtol=1e-5, atol=1e-7)


def test_the_spring_law_comes_back_from_crude_expressions() -> None:
    data, fresh = graphs(), graphs(seed=1)
    draws = np.random.default_rng(0)
    start = law(*SPRING)
    found = fitted(start, data, SETTINGS, draws)
    assert error(start, fresh) > 0.02
    assert error(found.law, fresh) < 1e-9
    clean = cleaned(found, data, SETTINGS, draws)
    assert clean.law.shared
    assert text.line(clean.law) == "a = Σ Δ*(-2 + 1.980/r)/m1"
    assert list(clean.law.constants.values()) == pytest.approx([1.98])


@pytest.mark.parametrize("dim", [2, 3])
def test_components_of_one_form_share_their_constants(dim: int) -> None:
    data = graphs(dim=dim)
    start = law(
        tuple(f"d{a}*(-2.5 + {c}/r)" for a, c in zip("xyz"[:dim], (2.4, 2.5, 2.6), strict=False)),
        tuple(f"0.8*s{k + 1}/m" for k in range(dim)),
        dim,
    )
    found = fitted(start, data, SETTINGS, np.random.default_rng(0)).law
    assert found.shared
    assert sorted(found.constants.values()) == pytest.approx([-2.0, 1.98])


def test_components_that_the_data_tell_apart_do_not_share() -> None:
    data = graphs()
    uneven = data.graphs.acceleration * np.array([1.0, 1.5])
    data = dataclasses.replace(data, graphs=dataclasses.replace(data.graphs, acceleration=uneven))
    found = fitted(law(*SPRING), data, SETTINGS, np.random.default_rng(0)).law
    assert not found.shared
    assert sorted(found.constants.values())[:2] == pytest.approx([-3.0, -2.0])


@pytest.mark.slow
@pytest.mark.parametrize("settings", [pytest.param(SETTINGS, marks=pytest.mark.slow), SQUARES])
def test_standard_errors_are_those_of_repeated_measurements(settings: ReplacementSettings) -> None:
    start = law(("dx*(-2 + 1.98/r)", "dy*(-2 + 1.98/r)"), ("s1/m", "s2/m"))
    fits = [
        refit(start, graphs(count=200, seed=seed, noise=0.3), settings, np.random.default_rng(0)) for seed in range(40)
    ]
    for name, true in start.constants.items():
        values = np.array([fit.law.constants[name] for fit in fits])
        claimed = np.array([fit.errors[name] for fit in fits])
        # Forty repetitions determine a standard deviation to 11 %.
        assert 0.65 < np.sqrt(np.mean(claimed**2)) / values.std() < 1.5
        assert np.mean(np.abs(values - true) < 2 * claimed) > 0.8


def test_a_few_wild_errors_do_not_decide_when_robust() -> None:
    data = graphs()
    wild = data.graphs.acceleration.copy()
    wild[::50] *= 1000
    data = dataclasses.replace(data, graphs=dataclasses.replace(data.graphs, acceleration=wild))
    found = refit(law(*SPRING), data, SETTINGS, np.random.default_rng(0))
    assert found.law.constants["c1"] == pytest.approx(-2.0, abs=1e-3)
    squares = refit(law(*SPRING), data, SQUARES, np.random.default_rng(0))
    assert abs(squares.law.constants["c1"] + 2.0) > 0.1


def test_energies_are_refitted_and_what_never_acts_is_left_out() -> None:
    pair = formula.parse("q1/q2*(r - 1.9)*r*0 + r*(r - 1.9) + 0.4*m1 + 0.98", feature_names(2))
    body = formula.parse("0.47*(px^2 + py^2)/m + 0.3*m", momentum_names(2))
    start, data = composed_energies(pair, body, 2, unit_charges=True), graphs()
    assert len(start.constants) == 4
    draws = np.random.default_rng(0)
    clean = cleaned(fitted(start, data, SETTINGS, draws), data, SETTINGS, draws)
    assert text.line(clean.law) == "H = Σ r*(r - 1.980) + (px**2/2 + py**2/2)/m"
    assert error(clean.law, data) < 1e-9


def test_a_constant_case_of_an_energy_is_zero_in_the_clean_form_and_comes_back() -> None:
    pair = formula.parse("(1.01*r^2 - 1.97*r) if r > 1.99 else 0.0001", feature_names(2))
    body = formula.parse("0.5*px^2/m + 0.499*py^2/m", momentum_names(2))
    data, draws = graphs("discontinuous"), np.random.default_rng(0)
    refitted = fitted(composed_energies(pair, body, 2, unit_charges=True), data, SETTINGS, draws)
    clean = cleaned(refitted, data, SETTINGS, draws)
    for found in (refitted.law, clean.law):
        assert error(from_content(as_content(found), "here"), data) == error(found, data) < 1e-9
    assert text.line(clean.law) == "H = Σ ((r*(r - 1.980)) if r > 1.990 else (0)) + (px**2/2 + py**2/2)/m"


def test_a_charge_is_its_own_inverse_where_charges_are_of_size_one() -> None:
    found = law(("dx*q2/(q1*r^3)", "dy*q2/r^3"), ("s1/m", "q*s2/m"))
    data = dataclasses.replace(graphs("charge"), relative=True)
    shared = fitted(found, data, SETTINGS, np.random.default_rng(0)).law
    assert shared.shared
    assert text.line(shared).endswith("*q1*q2*Δ/(m1*r**3)")


def test_what_the_data_say_nothing_about_is_held_and_named() -> None:
    found = refit(law(("1.5*dx/(2*r)^1", "dy/r"), ("(s1 + 0.5)^2", "s2")), graphs(), SETTINGS, np.random.default_rng(0))
    assert not found.undetermined
    twice = Law(2, *_twice())
    found = refit(twice, graphs(), SETTINGS, np.random.default_rng(0))
    assert len(found.undetermined) == 1
    assert set(found.errors) == {"c1", "c2", "c3"} - set(found.undetermined)
    assert all(np.isfinite(value) for value in found.errors.values())


def test_constants_that_grow_without_bound_are_reported() -> None:
    """Two terms that almost cancel approximate a third: c1*r^0.001 + c2 for log r, with 1000 and -1000."""
    data = of_law(Law(2, *_messages("-2*d{}*log(r)/m1", {})))
    found = refit(Law(2, *_messages("d{}*(c1*r**0.001 + c2)/m1", {"c1": -1.0, "c2": 1.0})), data, SETTINGS, draws())
    assert found.running_away == ("c1", "c2")
    assert found.law.constants["c1"] == pytest.approx(-2000, rel=1e-2)
    bounded = refit(Law(2, *_messages("d{}*(c1*log(r) + c2)/m1", {"c1": -1.0, "c2": 1.0})), data, SETTINGS, draws())
    assert bounded.running_away == ()


def of_law(true: Law, count: int = 400, noise: float = 0.0) -> Data:
    """Return random states with the accelerations of a law, and noise on these."""
    data = graphs(count=count)
    found = through_nodes(data.graphs, true.filled(true.messages), true.filled(true.nodes))
    found = found + noise * np.random.default_rng(1).normal(size=found.shape)
    return dataclasses.replace(data, graphs=dataclasses.replace(data.graphs, acceleration=found))


def _messages(message: str, constants: dict[str, float]) -> tuple[Any, Any, dict[str, float]]:
    names = (*feature_names(2), *constants)
    messages = tuple(formula.parse(message.replace("{}", axis), names) for axis in "xy")
    return messages, (formula.symbol("s1"), formula.symbol("s2")), constants


def test_starts_followed_on_some_graphs_lead_to_the_constants_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    form, constants = "c1*q1*q2*d{}/(m1*r*(r + c2)**2)", {"c1": 1.0, "c2": 0.1}
    data = of_law(Law(2, *_messages(form, constants)), noise=0.1)
    start = Law(2, *_messages(form, {"c1": 1.2, "c2": 0.15}))
    by_all = refit(start, data, SETTINGS, draws())
    monkeypatch.setattr("distillery.laws.tuning.START_SNAPSHOTS", 100)
    by_some = refit(start, data, SETTINGS, draws())
    for name, spread in by_all.errors.items():
        # The typical residual is measured at another point, which moves constants slightly.
        assert abs(by_some.law.constants[name] - by_all.law.constants[name]) < 0.02 * spread
        assert by_some.errors[name] == pytest.approx(spread, rel=0.02)
    # A law that is singular on some snapshots is refused with a count over all of them.
    at = data.graphs.position.copy()
    at[1, 0] = at[1, 1]
    meeting = dataclasses.replace(data, graphs=dataclasses.replace(data.graphs, position=at))
    with pytest.raises(SingularError, match="2 of 1600 bodies"):
        refit(start, meeting, SETTINGS, draws())


def _twice() -> tuple[Any, Any, dict[str, float]]:
    names = (*feature_names(2), "c1", "c2", "c3")
    messages = tuple(formula.parse(m, names) for m in ("c1*dx + c2*dx", "c3*dy"))
    return messages, (formula.symbol("s1"), formula.symbol("s2")), {"c1": 1.0, "c2": 2.0, "c3": 1.0}


def test_a_law_that_is_not_finite_on_the_data_is_refused_with_how_often() -> None:
    with pytest.raises(SingularError, match=r"is not finite for \d+ of 1600 bodies; look for a division by zero"):
        refit(law(("log(dx)", "dy"), ("s1", "s2")), graphs(), SETTINGS, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("value", "error", "number"),
    [
        (2.004, 0.002, 2.0),
        (2.02, 0.002, None),
        (-0.4999, 0.0001, -0.5),
        (0.6667, 0.001, 2 / 3),
        (1.98, 1e-9, None),
        (2.1, 0.5, None),
    ],
)
def test_simple_numbers_are_those_within_the_error(value: float, error: float, number: float | None) -> None:
    found = simple_number(value, error)
    assert (None if found is None else float(found)) == number


def test_a_law_is_a_system_that_has_its_forces() -> None:
    found = law(("dx*m2*(-2/r + 3/r^2 - 0.5)", "dy*m2*(-2/r + 3/r^2 - 0.5)"), ("s1", "s2"))
    system = as_system(found, SYSTEMS["spring"], 4)
    assert parse_config({**PLAIN, "systems": {"found": entry_of(system)}}).systems["found"] == system
    delta, mass = np.array([[0.3, -0.4]]), (np.array([2.0]), np.array([3.0]))
    force = system.pair_force(delta, mass, (np.ones(1), np.ones(1)))
    np.testing.assert_allclose(force, 2.0 * 3.0 * (-2 / 0.5 + 3 / 0.25 - 0.5) * delta)


@pytest.mark.parametrize(
    ("body", "factors", "flaw"),
    [
        (KINETIC, (1.0, 1.0), ""),
        ("py^2/(2*m)", (0.0, 1.0), "median residual"),
        ("0.8*px^2/m + 0.8*py^2/m", (1.6, 1.6), "median residual 0.6 is over"),
        (f"{KINETIC} + 0.3*m*px", (1.0, 1.0), "median residual"),
        (f"-({KINETIC})", (-1.0, -1.0), "median residual 2 is over"),
        ("0*px", (0.0, 0.0), "median residual 1 is over"),
    ],
)
def test_bodies_move_by_hamiltons_equations_of_the_whole_energy(
    body: str, factors: tuple[float, float], flaw: str
) -> None:
    data, found = graphs(), hamiltonian(body)
    np.testing.assert_allclose(accelerations(found, data.graphs), data.graphs.acceleration * factors, atol=1e-9)
    told = flaw_of_velocities(found, data.graphs, VerificationSettings())
    assert flaw in told
    assert bool(told) == bool(flaw)


def test_energies_in_which_momenta_and_places_meet_move_bodies_by_their_total_derivative() -> None:
    """The energy is (p - 0.2·m·y·e_x)²/2m, a field perpendicular to the plane; the law is written and read."""
    found = hamiltonian("(px - 0.2*m*y)^2/(2*m) + py^2/(2*m)", "0*r")
    again = from_content(as_content(found), "law.json")
    assert moved(again) == moved(found)
    data = graphs()
    speed = data.graphs.velocity
    # With p = m·v at the start: ẋ = vx - 0.2·y, ẏ = vy; d/dt of both, ṗy = 0.2·m·ẋ.
    there = speed[..., 0] - 0.2 * data.graphs.position[..., 1]
    expected = np.stack([-0.2 * speed[..., 1], 0.2 * there], axis=-1)
    np.testing.assert_allclose(accelerations(found, data.graphs), expected, atol=1e-9)


def test_a_law_with_the_kinetic_energy_has_the_accelerations_that_it_always_had() -> None:
    for body in (KINETIC, "0.5*px^2/m + 0.5*py^2/m"):
        found = hamiltonian(body)
        assert moved(found) is found.nodes


def test_energies_are_a_system_too() -> None:
    system = as_system(hamiltonian(KINETIC), SYSTEMS["charge"], 4)
    assert system.time_step == SYSTEMS["charge"].time_step
    assert formula.parse(system.potential, ("r",)) == formula.parse("1.0*r^2 - 1.98*r", ("r",))


@pytest.mark.parametrize(
    ("messages", "nodes", "reason"),
    [
        (("dx", "2*dy"), ("s1", "s2"), "no sum of central forces"),
        (("dx/m1", "dy/m1"), ("s1 - 0.1*vx/m", "s2 - 0.2*vy/m"), "drag of 0.1, 0.2 over the mass"),
        (("dx/m1", "dy/m1"), ("s1 - 0.1*vx", "s2 - 0.1*vy"), "only one number for all axes"),
        (("dx/m1", "dy/m1"), ("s1 + y", "s2 - x"), "neither drag nor a force that is a polynomial in x"),
        (("dx/m1", "dy/m1"), ("s1 + vx/m", "s2 + vy/m"), "greater than or equal to 0"),
        (("dx/m2", "dy/m2"), ("s1", "s2"), "another for bodies 1 and 2 exchanged"),
        (("dx*exp(-r)/m2", "dy*exp(-r)/m2"), ("s1", "s2"), "another for bodies 1 and 2 exchanged"),
        (("dx*(1.98/r - 2)/m1", "dy*(1.97/r - 2)/m1"), ("s1", "s2"), r"central forces of pairs \(.*1.980.*1.970"),
        (("dx/m1", "dy/m1"), ("s1/(m + 0.1*s1)", "s2/(m + 0.1*s2)"), r"central forces of pairs \(s1/\(m"),
    ],
)
def test_laws_that_follow_from_no_potential_are_no_system(messages: Any, nodes: Any, reason: str) -> None:
    with pytest.raises(DistilleryError, match=reason):
        as_system(law(messages, nodes), SYSTEMS["spring"], 4)


def test_components_whose_constants_agree_to_rounding_are_one_force_in_spite_of_gravity() -> None:
    messages = ("dx*(-2.00000002 + 1.98000001/r)/m1", "dy*(-2 + 1.97999999/r)/m1")
    system = as_system(law(messages, ("s1", "s2 - 1")), SYSTEMS["string"], 4)
    assert (system.graph, system.body_potential) == ("chain", "m*y")
    pair = sympy.Poly(formula.parse(system.potential, ("r",)), formula.symbol("r")).all_coeffs()
    assert [float(number) for number in pair] == pytest.approx([1.0, -1.98, 0.0], abs=2e-8)
    dragged = law(messages, ("s1 - 0.3000001*vx/m", "s2 - 0.2999999*vy/m - 1"))
    assert as_system(dragged, SYSTEMS["string"], 4).damping == pytest.approx(0.4)


def test_energies_with_a_place_are_a_system_and_with_other_momenta_are_none() -> None:
    system = as_system(hamiltonian(f"{KINETIC} + m*y"), SYSTEMS["string"], 4)
    assert system.body_potential is not None
    assert formula.parse(system.body_potential, ("m", "y")) == formula.parse("1.0*m*y", ("m", "y"))
    for body in ("0.8*px^2/m + 0.8*py^2/m", f"{KINETIC} + 0.3*m*px", f"-({KINETIC})", "m*y + py^2/(2*m)", "0*px"):
        with pytest.raises(
            DistilleryError, match=r"its kinetic energy is .*; only bodies with p\*\*2/\(2\*m\)"
        ) as refused:
            as_system(hamiltonian(body), SYSTEMS["string"], 4)
        assert "\n" not in str(refused.value)
    with pytest.raises(DistilleryError, match="depends on directions"):
        as_system(hamiltonian(KINETIC, "dx^2"), SYSTEMS["string"], 4)


def test_laws_are_rebuilt_from_text_alone() -> None:
    found = law(*SPRING)
    assert from_content(as_content(found), "law.json") == found
    with pytest.raises(DistilleryError, match=r"law\.json: formula .*unknown symbol 'mass'"):
        from_content({**as_content(found), "nodes": ["s1/mass", "s2"]}, "law.json")
    with pytest.raises(DistilleryError, match=r"law\.json: formula .*not allowed"):
        from_content({**as_content(found), "nodes": ["__import__('os').getpid()", "s2"]}, "law.json")
    with pytest.raises(DistilleryError, match="another version"):
        from_content({**as_content(found), "format": 0}, "law.json")
    with pytest.raises(DistilleryError, match="lacks what it should hold"):
        from_content({"format": 1, "dim": 2}, "law.json")


def test_the_file_of_a_law_is_read_by_sympy_cases_included() -> None:
    case = "(-2 + 1.98/r)/m1 if r > 1.9900000000000002 else abs(m2)*r**2"
    found = law((f"dx*({case})", f"dy*({case})"), ("s1 - 0.5*vx", "s2"))
    lines = dict(line.split(" = ") for line in text.listing(found, "a law").splitlines() if not line.startswith("#"))
    constants = {formula.symbol(name): value for name, value in found.constants.items()}
    names = {name: formula.symbol(name) for name in (*feature_names(2), *own_names(2), "s1", "s2", *found.constants)}
    for name, expression in (
        *((f"message_{k + 1}", message) for k, message in enumerate(found.messages)),
        *((f"acceleration_{k + 1}", node) for k, node in enumerate(found.nodes)),
    ):
        read = sympy.sympify(lines[name], locals=names)
        for r in (1.5, 1.9900000000000002, 1.9900000000000004, 3.0):
            values = {formula.symbol(n): v for n, v in {"r": r, "m1": 0.7, "m2": 1.3, "dx": 0.4, "dy": 0.2}.items()}
            assert (
                float((read - expression).subs({**constants, **values, **dict.fromkeys(read.free_symbols, 1.0)})) == 0
            )
    assert "Piecewise((" in lines["message_1"]


def test_the_module_gives_the_same_accelerations_and_learns() -> None:
    torch = pytest.importorskip("torch")
    from distillery.laws.module import LawModule

    data = graphs(count=50)
    found = law(("dx*(-2 + 1.98/r) if r > 1 else 0", "dy*abs(1.5 - 1.2/r)*exp(-0.1*m2)"), ("s1/m + 0.1*vx", "s1*s2"))
    module = LawModule(found)
    g = data.graphs
    still = LawModule(hamiltonian("py^2/(2*m)"))
    nodes = np.concatenate([g.position, g.velocity, np.stack([g.charge, g.mass], axis=-1)], axis=-1)
    expected = through_nodes(g, found.filled(found.messages), found.filled(found.nodes))
    given = module(torch.from_numpy(nodes))
    np.testing.assert_allclose(given.detach().numpy(), expected, rtol=1e-10)
    chain = LawModule(found, "chain")(torch.from_numpy(nodes))
    assert not torch.allclose(chain, given)
    assert not still(torch.from_numpy(nodes))[..., 0].any()
    given.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad != 0 for parameter in module.parameters())
