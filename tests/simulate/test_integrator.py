"""The integrator: conservation laws, symmetries, exact solutions and DOP853."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float

from distillery.physics import formula
from distillery.physics.systems import SYSTEMS, System
from distillery.simulate import integrator as integrators
from distillery.simulate.initial import Bodies, draw
from distillery.simulate.integrator import Motion
from support.integration import integrator

SMOOTH = [name for name, system in SYSTEMS.items() if not system.is_piecewise]


CONSERVATIVE = [name for name in SMOOTH if SYSTEMS[name].damping == 0]


# Systems without external forces on a complete graph.
ISOLATED = [name for name in CONSERVATIVE if SYSTEMS[name].body_potential is None]


TRAP = System(
    potential="0.5*k*(r - 1)**2 + q1*q2/(3*r)",
    constants={"k": 2.5, "g": 0.7},
    body_potential="g*m*y + k*x**2/3 + q*x*y + 0.1*z**2",
    damping=0.3,
    time_step=0.01,
)


STRING = System(potential="(r - 1)**2", graph="chain", damping=0.5, time_step=0.01)


def drawn(name: str, dim: int = 2, bodies: int = 4, count: int = 16) -> Bodies:
    return draw(SYSTEMS[name], dim, bodies, 5, "train", range(count), [0] * count)


def times(name: str, snapshots: int = 100, stride: int = 10) -> Float[np.ndarray, "time"]:
    return np.arange(snapshots) * stride * SYSTEMS[name].time_step


def _pair_indices(system: System, bodies: int) -> list[tuple[int, int]]:
    near = system.graph == "chain"
    return [(i, j) for i, j in itertools.combinations(range(bodies), 2) if not near or j == i + 1]


def potential_energy(
    system: System, mass: Any, charge: Any, position: Float[np.ndarray, "... particle space"]
) -> Float[np.ndarray, "..."]:
    """Return the sum of the potentials, parsed from their text, with softening."""
    total = np.zeros(position.shape[:-2])
    pair = formula.parse(system.potential, ("r", "m1", "m2", "q1", "q2", *system.constants))
    for i, j in _pair_indices(system, position.shape[-2]):
        r = np.sqrt(((position[..., i, :] - position[..., j, :]) ** 2).sum(-1)) + system.softening
        values = {"r": r, "m1": mass[..., i], "m2": mass[..., j], "q1": charge[..., i], "q2": charge[..., j]}
        total += formula.evaluate(pair, {**system.constants, **values})
    if system.body_potential is not None:
        body = formula.parse(system.body_potential, ("x", "y", "z", "m", "q", *system.constants))
        for i in range(position.shape[-2]):
            place = dict.fromkeys("xyz", 0.0) | dict(zip("xyz", np.moveaxis(position[..., i, :], -1, 0), strict=False))
            values = {**system.constants, **place, "m": mass[..., i], "q": charge[..., i]}
            total += formula.evaluate(body, values)
    return total


def energy(system: System, bodies: Bodies, motion: Motion) -> Float[np.ndarray, "simulation time"]:
    kinetic = 0.5 * (bodies.mass[:, None, :, None] * motion.velocity**2).sum((-1, -2))
    return kinetic + potential_energy(system, bodies.mass[:, None], bodies.charge[:, None], motion.position)


@pytest.mark.parametrize(
    ("system", "dim", "bodies"),
    [
        *[pytest.param(SYSTEMS[name], dim, 4, id=f"{name}-{dim}d") for name in SMOOTH for dim in (2, 3)],
        pytest.param(TRAP, 2, 3, id="trap-2d"),
        pytest.param(TRAP, 3, 2, id="trap-3d"),
        pytest.param(STRING, 2, 5, id="string-2d"),
        pytest.param(SYSTEMS["charge"], 3, 8, id="charge-3d-8b"),
    ],
)
def test_accelerations_are_minus_the_gradient_of_the_energy(system: System, dim: int, bodies: int) -> None:
    random = np.random.default_rng(3)
    count, h = 20, 1e-6
    state = Bodies(
        random.lognormal(size=(count, bodies)),
        random.choice((-1.0, 1.0), size=(count, bodies)),
        random.normal(size=(count, bodies, dim)),
        random.normal(size=(count, bodies, dim)),
    )
    expected = -system.damping * (bodies - 1) / bodies * state.velocity
    for body in range(bodies):
        for axis in range(dim):
            step = np.zeros((bodies, dim))
            step[body, axis] = h
            there, back = (
                potential_energy(system, state.mass, state.charge, state.position + sign * step) for sign in (1, -1)
            )
            expected[:, body, axis] -= (there - back) / (2 * h)
    expected /= state.mass[:, :, None]
    np.testing.assert_allclose(integrator(system, dim, bodies).acceleration(state), expected, rtol=1e-5, atol=1e-5)


# The limits include simulations with close encounters; the largest deviation found is a twentieth of them.
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("name", CONSERVATIVE)
def test_energy_and_in_isolated_systems_momentum_and_angular_momentum_are_conserved(name: str, dim: int) -> None:
    bodies = drawn(name, dim)
    motion = integrator(SYSTEMS[name], dim).propagate(bodies, times(name))
    assert motion.reached.all()
    total = energy(SYSTEMS[name], bodies, motion)
    drift = np.abs(total - total[:, :1]) / (1 + np.abs(total[:, :1]))
    assert drift.max() < 5e-7
    if name not in ISOLATED:
        return
    momentum = (bodies.mass[:, None, :, None] * motion.velocity).sum(2)
    np.testing.assert_allclose(momentum, np.broadcast_to(momentum[:, :1], momentum.shape), rtol=0, atol=1e-11)
    x, v = motion.position, motion.velocity
    for a, b in itertools.combinations(range(dim), 2):
        spin = (bodies.mass[:, None] * (x[..., a] * v[..., b] - x[..., b] * v[..., a])).sum(-1)
        np.testing.assert_allclose(spin, np.broadcast_to(spin[:, :1], spin.shape), rtol=0, atol=5e-7)


def test_damping_reduces_energy() -> None:
    bodies = drawn("damped")
    total = energy(SYSTEMS["damped"], bodies, integrator(SYSTEMS["damped"]).propagate(bodies, times("damped")))
    assert (np.diff(total, axis=1) < 1e-9).all()
    assert (total[:, -1] < 0.5 * total[:, 0]).all()


def two(mass: tuple[float, float], position: list[list[float]], velocity: list[list[float]]) -> Bodies:
    return Bodies(np.array([mass]), np.ones((1, 2)), np.array([position]), np.array([velocity]))


def test_circular_orbit_has_keplers_period() -> None:
    gravity = System(potential="-m1*m2/r", softening=0.0, time_step=0.001)
    m1, m2, distance = 1.5, 0.5, 2.0
    rate = np.sqrt((m1 + m2) / distance**3)
    r1, r2 = distance * m2 / (m1 + m2), -distance * m1 / (m1 + m2)
    start = two((m1, m2), [[r1, 0.0], [r2, 0.0]], [[0.0, rate * r1], [0.0, rate * r2]])
    moments = np.linspace(0.0, 2 * np.pi / rate, 41)
    motion = integrator(gravity, 2, 2).propagate(start, moments)
    circle = np.stack([np.cos(rate * moments), np.sin(rate * moments)], -1)
    np.testing.assert_allclose(motion.position[0, :, 0], r1 * circle, atol=1e-7)
    np.testing.assert_allclose(motion.position[0, :, 1], r2 * circle, atol=1e-7)
    np.testing.assert_allclose(motion.acceleration[0, :, 0], -(rate**2) * r1 * circle, atol=1e-7)


def test_spring_oscillates_with_the_reduced_mass() -> None:
    spring = System(potential="(r - rest)**2", constants={"rest": 1.0}, softening=0.0, time_step=0.01)
    m1, m2, amplitude = 2.0, 0.7, 0.3
    rate = np.sqrt(2 * (m1 + m2) / (m1 * m2))
    start = two((m1, m2), [[0.0, 0.0, 0.0], [0.0, 0.0, 1 + amplitude]], [[0.0] * 3, [0.0] * 3])
    moments = np.linspace(0.0, 20.0, 101)
    motion = integrator(spring, 3, 2).propagate(start, moments)
    distance = motion.position[0, :, 1, 2] - motion.position[0, :, 0, 2]
    np.testing.assert_allclose(distance, 1 + amplitude * np.cos(rate * moments), atol=1e-6)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("name", CONSERVATIVE)
def test_motion_is_reversible(name: str, dim: int) -> None:
    bodies, moments = drawn(name, dim), times(name, 20)
    there = integrator(SYSTEMS[name], dim).propagate(bodies, moments)
    turned = Bodies(bodies.mass, bodies.charge, there.position[:, -1], -there.velocity[:, -1])
    back = integrator(SYSTEMS[name], dim).propagate(turned, moments)
    np.testing.assert_allclose(back.position[:, -1], bodies.position, rtol=0, atol=5e-7)
    np.testing.assert_allclose(-back.velocity[:, -1], bodies.velocity, rtol=0, atol=5e-6)
    # The same with decreasing times.
    backwards = Bodies(bodies.mass, bodies.charge, there.position[:, -1], there.velocity[:, -1])
    past = integrator(SYSTEMS[name], dim).propagate(backwards, moments[::-1].copy())
    np.testing.assert_allclose(past.position[:, -1], bodies.position, rtol=0, atol=5e-7)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("name", ISOLATED)
def test_motion_is_invariant_under_permutation_translation_and_boost(name: str, dim: int) -> None:
    bodies, moments = drawn(name, dim), times(name, 20)
    motion = integrator(SYSTEMS[name], dim).propagate(bodies, moments)
    order, shift, boost = [2, 0, 3, 1], np.array([3.0, -7.0, 2.0])[:dim], np.array([0.5, 0.25, -1.0])[:dim]
    changed = Bodies(
        bodies.mass[:, order],
        bodies.charge[:, order],
        bodies.position[:, order] + shift,
        bodies.velocity[:, order] + boost,
    )
    moved = integrator(SYSTEMS[name], dim).propagate(changed, moments)
    expected = motion.position[:, :, order] + shift + boost * moments[:, None, None]
    np.testing.assert_allclose(moved.position, expected, rtol=0, atol=1e-7)


def test_a_simulation_does_not_depend_on_others_of_its_batch() -> None:
    bodies, moments = drawn("r^-2", count=11), times("r^-2", 30, 30)
    together = integrator(SYSTEMS["r^-2"]).propagate(bodies, moments)
    for chosen in ([3], [10, 4], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]):
        apart = integrator(SYSTEMS["r^-2"]).propagate(bodies[chosen], moments)
        np.testing.assert_array_equal(apart.position, together.position[chosen])
        np.testing.assert_array_equal(apart.acceleration, together.acceleration[chosen])


def test_a_failed_simulation_is_reported_and_does_not_affect_others() -> None:
    bodies, moments = drawn("r^-2", count=11), times("r^-2", 30)
    clean = integrator(SYSTEMS["r^-2"]).propagate(bodies, moments)
    bodies.position[4, 1] = bodies.position[4, 0]
    motion = integrator(SYSTEMS["r^-2"]).propagate(bodies, moments)
    others = [i for i in range(11) if i != 4]
    assert not motion.reached[4]
    assert motion.reached[others].all()
    np.testing.assert_array_equal(motion.velocity[others], clean.velocity[others])


def test_a_step_size_that_collapses_ends_at_the_step_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrators, "MOST_STEPS", 60)
    monkeypatch.setattr(integrators, "MOST_STEPS_PER_TIME_STEP", 0)
    bodies, moments = drawn("r^-2", count=16), times("r^-2", 30)
    motion = integrator(SYSTEMS["r^-2"]).propagate(bodies, moments)
    assert 0 < motion.reached.sum() < 16
    monkeypatch.undo()
    clean = integrator(SYSTEMS["r^-2"]).propagate(bodies, moments)
    np.testing.assert_array_equal(motion.position[motion.reached], clean.position[motion.reached])


def test_the_starting_state_and_a_single_time_are_exact() -> None:
    bodies = drawn("spring", count=9)
    motion = integrator(SYSTEMS["spring"]).propagate(bodies, np.zeros(1))
    np.testing.assert_array_equal(motion.position[:, 0], bodies.position)
    np.testing.assert_array_equal(motion.velocity[:, 0], bodies.velocity)
    np.testing.assert_array_equal(motion.acceleration[:, 0], integrator(SYSTEMS["spring"]).acceleration(bodies))


def test_initial_conditions_follow_their_distributions() -> None:
    system = System(potential="r", time_step=0.1, position_scale=2.0, velocity_scale=0.5)
    bodies = draw(system, 3, 8, 1, "train", range(2000), [0] * 2000)
    assert np.log(bodies.mass).mean() == pytest.approx(0.0, abs=0.03)
    assert np.log(bodies.mass).std() == pytest.approx(1.0, abs=0.03)
    assert set(np.unique(bodies.charge)) == {-1.0, 1.0}
    assert bodies.charge.mean() == pytest.approx(0.0, abs=0.03)
    assert bodies.position.std() == pytest.approx(2.0, rel=0.02)
    assert bodies.velocity.std() == pytest.approx(0.5, rel=0.02)
    assert abs(bodies.position.mean()) < 0.04


def test_each_simulation_split_attempt_and_seed_has_its_own_stream() -> None:
    one = draw(SYSTEMS["spring"], 2, 4, 0, "train", [7], [0])
    again = draw(SYSTEMS["spring"], 2, 4, 0, "train", [5, 6, 7], [0, 3, 0])
    np.testing.assert_array_equal(again.position[2], one.position[0])
    others = [
        draw(SYSTEMS["spring"], 2, 4, 0, "test", [7], [0]),
        draw(SYSTEMS["spring"], 2, 4, 0, "train", [7], [1]),
        draw(SYSTEMS["spring"], 2, 4, 0, "train", [8], [0]),
        draw(SYSTEMS["spring"], 2, 4, 1, "train", [7], [0]),
    ]
    for other in others:
        assert not np.isin(other.position, one.position).any()


def test_masses_and_charges_of_a_system_are_used() -> None:
    system = System(potential="r", time_step=0.1, mass_spread=0.0, charges=(0.0, 2.0, -1.0))
    bodies = draw(system, 2, 8, 1, "train", range(50), [0] * 50)
    np.testing.assert_array_equal(bodies.mass, 1.0)
    assert set(np.unique(bodies.charge)) == {0.0, 2.0, -1.0}


def test_damping_is_the_same_for_every_body() -> None:
    damped = SYSTEMS["damped"]
    bodies = drawn("damped")
    still = Bodies(bodies.mass, bodies.charge, bodies.position, np.zeros_like(bodies.velocity))
    drag = integrator(damped).acceleration(bodies) - integrator(damped).acceleration(still)
    np.testing.assert_allclose(drag, -0.75 * bodies.velocity / bodies.mass[..., None], atol=1e-12)


def reference(system: System, bodies: Bodies, moments: Float[np.ndarray, "time"]) -> Float[np.ndarray, "time state"]:
    """Integrate one simulation by SciPy's DOP853, with the accelerations that another test compares with the energy."""
    from scipy.integrate import solve_ivp

    count, dim = bodies.position.shape[1:]
    compiled = integrator(system, dim, count)

    def slope(_: float, y: Float[np.ndarray, "state"]) -> Float[np.ndarray, "state"]:
        x, v = y.reshape(2, 1, count, dim)
        return np.concatenate([v.ravel(), compiled.acceleration(Bodies(bodies.mass, bodies.charge, x, v)).ravel()])

    start = np.concatenate([bodies.position.ravel(), bodies.velocity.ravel()])
    found = solve_ivp(slope, (moments[0], moments[-1]), start, "DOP853", moments, rtol=1e-12, atol=1e-13)
    assert found.success
    return found.y.T


@pytest.mark.parametrize(
    ("name", "dim", "count"),
    [
        pytest.param("charge", 3, 2, id="few"),
        *[pytest.param(name, 2, 5, id=f"{name}-2d", marks=pytest.mark.slow) for name in SMOOTH],
        pytest.param("charge", 3, 10, id="charge-3d", marks=pytest.mark.slow),
    ],
)
def test_agrees_with_dop853(name: str, dim: int, count: int) -> None:
    bodies, moments = drawn(name, dim, count=count), times(name, 25, 20)
    motion = integrator(SYSTEMS[name], dim).propagate(bodies, moments)
    for index in range(count):
        exact = reference(SYSTEMS[name], bodies[[index]], moments)[:, : 4 * dim]
        found = motion.position[index].reshape(len(moments), -1)
        assert (np.abs(found - exact).max(-1) / np.abs(exact).max(-1)).max() < 1e-7
