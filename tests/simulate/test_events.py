"""Piecewise forces: crossings of an edge are found as events, and forces are exact on both sides."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float

from distillery.physics import formula
from distillery.physics.systems import SYSTEMS, System
from distillery.simulate.initial import Bodies
from distillery.workflow.stages import simulate as run
from distillery.workflow.stages.simulate import simulate
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import read_trajectories
from support.integration import drawn, integrator, kinetic, made, pair_distances

EDGE = SYSTEMS["discontinuous"]


Pull = Callable[[Any], Any]


def reference(
    bodies: Bodies, times: Float[np.ndarray, "time"], edge: float, inside: Pull, outside: Pull
) -> Float[np.ndarray, "time particle space"]:
    """Integrate one simulation by SciPy's DOP853 with events at an edge between two radial forces."""
    from scipy.integrate import solve_ivp

    count, dim = bodies.position.shape[1:]
    pairs = list(itertools.combinations(range(count), 2))
    state = np.concatenate([bodies.position.ravel(), bodies.velocity.ravel()])

    def levels(state: Any) -> Any:
        return pair_distances(state[: count * dim].reshape(count, dim)) - edge

    beyond = levels(state) > 0
    found, now = [bodies.position[0]], times[0]
    while now < times[-1]:

        def slope(_: float, state: Any, beyond: Any = tuple(beyond)) -> Any:
            position, force = state[: count * dim].reshape(count, dim), np.zeros((count, dim))
            for (i, j), far in zip(pairs, beyond, strict=True):
                delta = position[i] - position[j]
                r = np.linalg.norm(delta)
                pull = (outside if far else inside)(r) * delta / r
                force[i] += pull
                force[j] -= pull
            return np.concatenate([state[count * dim :], (force / bodies.mass[0][:, None]).ravel()])

        events: list[Any] = [lambda _, state, pair=pair: levels(state)[pair] for pair in range(len(pairs))]
        for event, far in zip(events, beyond, strict=True):
            event.terminal, event.direction = True, -1.0 if far else 1.0
        part = solve_ivp(
            slope, (now, times[-1]), state, "DOP853", rtol=1e-12, atol=1e-13, events=events, dense_output=True
        )
        assert part.success
        wanted = times[(times > now) & (times <= part.t[-1])]
        found += [part.sol(moment)[: count * dim].reshape(count, dim) for moment in wanted]
        now, state = part.t[-1], part.y[:, -1]
        beyond ^= np.array([len(moments) > 0 for moments in part.t_events])
    return np.array(found)


@pytest.mark.parametrize(
    ("dim", "bodies", "count"),
    [
        pytest.param(2, 3, 1, id="few"),
        pytest.param(2, 4, 4, id="2d", marks=pytest.mark.slow),
        pytest.param(3, 4, 4, id="3d", marks=pytest.mark.slow),
    ],
)
def test_discontinuous_agrees_with_dop853(dim: int, bodies: int, count: int) -> None:
    many, times = drawn(EDGE, dim, bodies, count), np.linspace(0, 3 if bodies == 3 else 10, 31)
    motion = integrator(EDGE, dim, bodies).propagate(many, times)
    crossings = np.diff(pair_distances(motion.position) > 1.99, axis=1).sum()
    assert crossings > 5 * count
    for index in range(count):
        exact = reference(many[[index]], times, 1.99, lambda _: 0.0, lambda r: -2 * (r + 0.01 - 1))
        np.testing.assert_allclose(motion.position[index], exact, atol=1e-7)


@pytest.mark.parametrize("dim", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_each_crossing_of_the_edge_changes_the_energy_by_its_jump(dim: int) -> None:
    bodies = drawn(EDGE, dim)
    motion = integrator(EDGE, dim).propagate(bodies, np.arange(200) * 0.05)
    assert motion.reached.all()
    distance = pair_distances(motion.position) + 0.01
    outside = (distance > 2).sum(-1)
    total = kinetic(bodies, motion.velocity) + np.where(distance > 2, (distance - 1) ** 2, 0).sum(-1)
    assert np.ptp(outside, axis=1).max() >= 3
    # U jumps by (2 - 1)² = 1 at the edge; velocities are continuous.
    gained = total - total[:, :1]
    np.testing.assert_allclose(gained, outside - outside[:, :1], atol=1e-6)
    momentum = (bodies.mass[:, None, :, None] * motion.velocity).sum(2)
    np.testing.assert_allclose(momentum, np.broadcast_to(momentum[:, :1], momentum.shape), atol=1e-9)


@pytest.mark.parametrize("system", [EDGE, made("abs(r - 1)"), made("max(r, 1.5)*m1*m2", softening=0.0)])
def test_motion_is_reversible(system: System) -> None:
    bodies, times = drawn(system), np.arange(21) * 0.05
    there = integrator(system).propagate(bodies, times)
    turned = Bodies(bodies.mass, bodies.charge, there.position[:, -1], -there.velocity[:, -1])
    back = integrator(system).propagate(turned, times)
    assert there.reached.all()
    assert back.reached.all()
    np.testing.assert_allclose(back.position[:, -1], bodies.position, atol=1e-6)
    end = Bodies(bodies.mass, bodies.charge, there.position[:, -1], there.velocity[:, -1])
    past = integrator(system).propagate(end, times[::-1].copy())
    np.testing.assert_allclose(past.position[:, -1], bodies.position, atol=1e-6)


def test_motion_is_invariant_under_permutation_translation_and_boost() -> None:
    bodies, times = drawn(EDGE), np.arange(21) * 0.1
    motion = integrator(EDGE).propagate(bodies, times)
    order, shift, boost = [2, 0, 3, 1], np.array([3.0, -7.0]), np.array([0.5, 0.25])
    changed = Bodies(
        bodies.mass[:, order],
        bodies.charge[:, order],
        bodies.position[:, order] + shift,
        bodies.velocity[:, order] + boost,
    )
    moved = integrator(EDGE).propagate(changed, times)
    np.testing.assert_allclose(
        moved.position, motion.position[:, :, order] + shift + boost * times[:, None, None], atol=1e-6
    )


def test_motion_in_a_wedge_potential_is_parabolic() -> None:
    wedge = made("f*abs(r - 1)", constants={"f": 0.5}, softening=0.0)
    start = Bodies(np.ones((1, 2)), np.ones((1, 2)), np.array([[[0.0, 0.0], [1.5, 0.0]]]), np.zeros((1, 2, 2)))
    # Relative acceleration 2·f/m = 1: half a unit to the rest length takes a time of 1, a period 4.
    times = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 40.0])
    motion = integrator(wedge, 2, 2).propagate(start, times)
    distance = motion.position[0, :, 1, 0] - motion.position[0, :, 0, 0]
    np.testing.assert_allclose(distance, [1.5, 1.375, 1.0, 0.625, 0.5, 1.0, 1.5, 1.5], atol=1e-8)


@pytest.mark.parametrize(
    "potential",
    [
        "(1/r if q1*q2 > 0 else -1/r)",
        pytest.param("(r - 1)**2 if m1 + m2 < 2 else 2*(r - 1)**2", marks=pytest.mark.slow),
        pytest.param("((r - 1)**2 if r < 1 else 0) + (2*(r - 1.5)**2 if r*r > 2.25 else 0)", marks=pytest.mark.slow),
        "0 if r < 1 else ((r - 1)**2 if 2 > r else 2*r - 3)",
        pytest.param("(r if r > 2 else 2) + (r**2 if r**2 >= 4 else 4)", marks=pytest.mark.slow),
        "min(r, 2, 3 - r)",
        pytest.param("max(abs(r - 1), 0.5)", marks=pytest.mark.slow),
        "log(r - 0.5) if r > 1 else log(0.5) + 2*(r - 1)",
    ],
)
def test_continuous_piecewise_potentials_conserve_energy(potential: str) -> None:
    system = made(potential)
    bodies = drawn(system)
    motion = integrator(system).propagate(bodies, np.arange(100) * 0.05)
    total = kinetic(bodies, motion.velocity)
    assert motion.reached.sum() >= 14
    for i, j in itertools.combinations(range(4), 2):
        r = np.linalg.norm(motion.position[:, :, i] - motion.position[:, :, j], axis=-1) + 0.01
        values = {"r": r, "m1": bodies.mass[:, None, i], "m2": bodies.mass[:, None, j]}
        values |= {"q1": bodies.charge[:, None, i], "q2": bodies.charge[:, None, j]}
        total = total + formula.evaluate(formula.parse(potential, values), values)
    drift = (np.abs(total - total[:, :1]) / (1 + np.abs(total[:, :1])))[motion.reached]
    assert drift.max() < 1e-5


def test_accelerations_equal_the_pair_forces_of_the_system() -> None:
    system = made("(r - 1)**2*m1*m2 if r > 1.5 else abs(r - 1)*(q1 + q2)")
    bodies = drawn(system, 3, 3, 50)
    expected = np.zeros_like(bodies.position)
    for i, j in itertools.permutations(range(3), 2):
        sides = [(values[:, i], values[:, j]) for values in (bodies.mass, bodies.charge)]
        expected[:, i] += system.pair_force(bodies.position[:, i] - bodies.position[:, j], *sides)
    found = integrator(system, 3, 3).acceleration(bodies)
    np.testing.assert_allclose(found, expected / bodies.mass[..., None], rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_a_simulation_does_not_depend_on_others_of_its_batch() -> None:
    bodies, times = drawn(EDGE, count=11), np.arange(30) * 0.3
    together = integrator(EDGE).propagate(bodies, times)
    for chosen in ([3], [10, 4], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]):
        apart = integrator(EDGE).propagate(bodies[chosen], times)
        np.testing.assert_array_equal(apart.position, together.position[chosen])
        np.testing.assert_array_equal(apart.acceleration, together.acceleration[chosen])


def test_sliding_along_a_kink_fails_and_does_not_affect_others() -> None:
    held = made("abs(r - 1)", damping=50.0)
    bodies = drawn(held, 2, 2, 6)
    bodies.position[3] = [[0.0, 0.0], [50.0, 0.0]]
    bodies.velocity[3] = 0.0
    motion = integrator(held, 2, 2).propagate(bodies, np.arange(30) * 0.2)
    assert motion.reached[3]
    assert not motion.reached.all()


@pytest.mark.slow
def test_an_interrupted_piecewise_simulation_resumes_with_the_same_bits(
    make_sweep: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    experiment = {"system": "discontinuous", "simulations": 20, "test_simulations": 1, "snapshots": 10, "steps": 100}
    sweep: Sweep = make_sweep(experiments=[experiment], simulation={"block": 8})
    original, done = run.integrated, []

    def stopping(*given: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(given)
        return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(run, "integrated", stopping)
        with pytest.raises(KeyboardInterrupt):
            simulate(sweep, sweep.experiments[0], "train", 1)
    simulate(sweep, sweep.experiments[0], "train", 1)
    unbroken = Sweep(sweep.config, tmp_path / "unbroken")
    simulate(unbroken, unbroken.experiments[0], "train", 1)
    one, other = (read_trajectories(each, sweep.experiments[0], "train") for each in (sweep, unbroken))
    for name, values in vars(one).items():
        np.testing.assert_array_equal(values, getattr(other, name))


def nested(form: str, depth: int) -> str:
    """Return a formula of r that nests a form in itself, with another number c at each level."""
    text = "r"
    for level in range(depth):
        text = form.format(text, c=0.3 + 0.37 * level)
    return text


def test_nested_kinks_conserve_energy() -> None:
    text = nested("abs({0} - {c})", 6)
    system = made(text)
    bodies = drawn(system, count=8)
    motion = integrator(system).propagate(bodies, np.linspace(0.0, 2.0, 21))
    assert motion.reached.all()
    r = pair_distances(motion.position)
    energy = kinetic(bodies, motion.velocity) + formula.evaluate(
        formula.parse(text, ("r",)), {"r": r + system.softening}
    ).sum(axis=-1)
    np.testing.assert_allclose(energy, np.broadcast_to(energy[:, :1], energy.shape), rtol=1e-6)
