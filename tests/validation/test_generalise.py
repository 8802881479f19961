"""Conditions, rollouts and energies beyond the training data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distillery.data.graph import edges_of
from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError
from distillery.laws.composed import HeldOut
from distillery.laws.rollout import rolled_out
from distillery.physics.systems import SYSTEMS, System
from distillery.simulate.initial import Bodies
from distillery.simulate.integrator import Integrator
from distillery.validation.conditions import trajectories, varied
from distillery.validation.energy import drift, total_energy
from distillery.validation.rollout import distance, doubling_time, horizon
from distillery.validation.settings import ConditionSettings
from distillery.workflow.sweep import Sweep

CONDITIONS = {
    "as trained": {},
    "many": {"bodies": 7},
    "wider": {"positions": 3.0},
    "faster": {"velocities": 3.0},
    "other masses": {"masses": 2.0},
}


@pytest.fixture
def sweep(make_sweep: Callable[..., Sweep]) -> Sweep:
    return make_sweep(generalisation={"conditions": CONDITIONS, "simulations": 60, "snapshots": 3})


def simulated(sweep: Sweep, name: str) -> Trajectories | str:
    experiment, settings = sweep.experiments[0], sweep.config.generalisation
    system = sweep.system(experiment)
    length = sweep.settings[experiment].steps * system.time_step
    return trajectories(
        system,
        settings.conditions[name],
        name,
        dim=experiment.dim,
        bodies=experiment.bodies,
        seed=experiment.seed,
        simulations=settings.simulations,
        times=np.arange(settings.snapshots) * (length / settings.snapshots),
        tolerance=sweep.config.simulation.tolerance,
    )


def start_of(sweep: Sweep, name: str) -> tuple[np.ndarray, ...]:
    found = simulated(sweep, name)
    assert not isinstance(found, str)
    return found.position[:, 0], found.velocity[:, 0], found.mass, found.acceleration[:, 0]


def test_a_condition_changes_only_the_named_quantity(sweep: Sweep) -> None:
    spreads = {}
    for name in CONDITIONS:
        position, velocity, mass, _ = start_of(sweep, name)
        assert position.shape == (60, 7 if name == "many" else 4, 2)
        spreads[name] = (position.std(), velocity.std(), np.log(mass).std())
    # 480 normal draws: their spread is known to 3 %.
    for name, expected in {
        "as trained": (1, 1, 1),
        "many": (1, 1, 1),
        "wider": (3, 1, 1),
        "faster": (1, 3, 1),
        "other masses": (1, 1, 2),
    }.items():
        assert spreads[name] == pytest.approx(expected, rel=0.15)


def test_conditions_have_separate_draws_that_repeat(sweep: Sweep) -> None:
    (one, *_), (again, *_), (other, *_) = (start_of(sweep, name) for name in ("as trained", "as trained", "faster"))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_accelerations_under_a_condition_are_those_of_the_system(sweep: Sweep) -> None:
    position, _, mass, acceleration = start_of(sweep, "many")
    senders, receivers = edges_of("complete", 7)
    delta = position[:, receivers] - position[:, senders]
    # The spring with its softening: F = -2 (r + 0.01 - 1) Δ/r.
    r = np.linalg.norm(delta, axis=-1, keepdims=True)
    force = -2 * (r + 0.01 - 1) * delta / r
    total = np.stack([force[:, receivers == body].sum(1) for body in range(7)], axis=1)
    np.testing.assert_allclose(acceleration, total / mass[..., None], rtol=1e-9, atol=1e-9)


def test_extreme_masses_are_refused() -> None:
    with pytest.raises(DistilleryError, match="masses: 4 times"):
        varied(SYSTEMS["spring"], ConditionSettings(masses=4.0))


@pytest.mark.slow
def test_condition_that_no_simulation_survives_has_a_reason(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Integrator.propagate

    def lost(self: Integrator, *arguments: object) -> object:
        motion = whole(self, *arguments)  # type: ignore[arg-type]
        return dataclasses.replace(motion, reached=np.zeros_like(motion.reached))

    monkeypatch.setattr(Integrator, "propagate", lost)
    found = simulated(sweep, "faster")
    assert isinstance(found, str)
    assert "did not reach its end in 20 draws" in found


def moved(name: str, bodies: Bodies, times: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, Integrator]:
    integrator = Integrator(SYSTEMS[name], 2, bodies.mass.shape[1], 1e-12)

    def pull(graphs: HeldOut) -> np.ndarray:
        return integrator.acceleration(Bodies(graphs.mass, graphs.charge, graphs.position, graphs.velocity))

    return *rolled_out(pull, bodies, edges_of("complete", bodies.mass.shape[1]), times, steps), integrator


def pairs(count: int = 5, bodies: int = 3) -> Bodies:
    random = np.random.default_rng(3)
    shape = (count, bodies, 2)
    charges = random.choice([-1.0, 1.0], shape[:2])
    return Bodies(
        np.exp(random.normal(size=shape[:2])), charges, 2 * random.normal(size=shape), random.normal(size=shape)
    )


@pytest.mark.slow
def test_rollout_under_the_true_law_is_the_true_motion() -> None:
    bodies, times = pairs(), np.linspace(0.0, 2.0, 5)
    position, velocity, integrator = moved("spring", bodies, times, 200)
    true = integrator.propagate(bodies, times)
    np.testing.assert_allclose(position, np.swapaxes(true.position, 0, 1), atol=1e-6)
    np.testing.assert_allclose(velocity, np.swapaxes(true.velocity, 0, 1), atol=1e-5)
    off = distance(position, np.swapaxes(true.position, 0, 1))
    assert off.max() < 1e-6
    assert horizon(off, times, 0.1) == times[-1]


@pytest.mark.slow
def test_rollout_is_of_fourth_order() -> None:
    bodies, times = pairs(), np.linspace(0.0, 2.0, 3)
    errors = []
    for steps in (100, 200):
        position, _, integrator = moved("spring", bodies, times, steps)
        errors.append(np.median(np.abs(position - np.swapaxes(integrator.propagate(bodies, times).position, 0, 1))[-1]))
    assert 10 < errors[0] / errors[1] < 24


def test_escaped_bodies_are_infinitely_far() -> None:
    bodies = pairs(2)

    def away(graphs: HeldOut) -> np.ndarray:
        return np.where(graphs.mass[:1, :1, None] == graphs.mass[:, :1, None], 1e9, 0.0) * np.ones_like(graphs.position)

    position, _ = rolled_out(away, bodies, edges_of("complete", 3), np.linspace(0.0, 1.0, 3), 4)
    off = distance(position, np.repeat(bodies.position[None], 3, axis=0))
    assert np.isinf(off[1:, 0]).all()
    assert np.isfinite(off[:, 1]).all()


def test_horizon_is_the_median_time_of_the_first_excess() -> None:
    times = np.array([0.0, 1.0, 2.0, 3.0])
    off = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=float)
    assert horizon(off, times, 0.5) == 2.0


def test_doubling_time_is_that_of_the_growth_between_rounding_and_the_limit() -> None:
    times = np.linspace(0.0, 20.0, 101)
    # From 1e-12 past rounding and the limit to saturation at 1.
    growing = np.minimum(1e-12 * 2 ** (times[:, None] / np.array([0.3, 0.5, 0.4])), 1.0)
    assert doubling_time(growing, times, 0.1) == pytest.approx(0.4)
    # A prediction that is right to rounding does not grow; the growth of one that fails at once cannot be measured.
    assert doubling_time(np.full((101, 3), 1e-12), times, 0.1) is None
    lost = np.where(times > 0, np.inf, 0.0)[:, None]
    assert doubling_time(lost, times, 0.1) is None
    assert doubling_time(np.hstack([growing, lost]), times, 0.1) == pytest.approx(0.4)
    # Distances that shrink never double; half of the simulations must grow.
    shrinking = 1e-3 * 2 ** -times[:, None] + np.zeros(5)
    assert doubling_time(np.hstack([growing, shrinking]), times, 0.1) is None


def test_doubling_time_of_a_chaotic_motion_is_that_of_the_motion() -> None:
    """In a repelling spring of rate 1 every error grows as exp(t)."""
    times = np.linspace(0.0, 12.0, 101)
    still = Bodies(np.ones((3, 1)), np.ones((3, 1)), np.zeros((3, 1, 2)), np.zeros((3, 1, 2)))
    edges = np.zeros((2, 0), dtype=int)
    for error in (1e-6, 1e-5):
        position, _ = rolled_out(lambda graphs, error=error: graphs.position + error, still, edges, times, 10)  # type: ignore[misc]
        off = np.sqrt((position**2).sum(-1).mean(-1))
        assert doubling_time(off, times, 0.1) == pytest.approx(np.log(2), rel=0.1)


@pytest.mark.parametrize(
    ("potential", "others", "kept"),
    [
        ("(r - 1)**2", {}, True),
        ("(r - 1)**2", {"damping": 0.5}, False),
        ("(r - 1)**2 if r > 1 else 0", {}, True),
        ("(r - 1)**2 if r > 2 else 0", {}, False),
        ("abs(r - 2) + min(r, 3)", {}, True),
        ("r if m1*m2 > 1 else 2*r + 5", {}, True),
        ("((r if r > 1 else 1) if r < 3 else 4)", {}, False),
        ("q1*q2*(1/r if r < 2 else 1/2)", {}, True),
        ("r", {"body_potential": "m*(x if x > 3 else 3)"}, True),
        ("r", {"body_potential": "m*(x if x > 3 else 2)"}, False),
    ],
)
def test_energy_is_conserved_without_jumps_and_damping(potential: str, others: dict[str, Any], kept: bool) -> None:
    assert System(potential=potential, time_step=0.01, **others).conserves_energy == kept


def test_built_in_systems_that_do_not_conserve_energy() -> None:
    assert {name for name, system in SYSTEMS.items() if not system.conserves_energy} == {"damped", "discontinuous"}


@pytest.mark.parametrize("name", ["spring", "charge", "discontinuous"])
def test_true_motion_conserves_the_total_energy(name: str) -> None:
    bodies = pairs(4, 4)
    integrator = Integrator(SYSTEMS[name], 2, 4, 1e-12)
    times = np.linspace(0.0, 200 * SYSTEMS[name].time_step, 6)
    motion = integrator.propagate(bodies, times)
    senders, receivers = edges_of("complete", 4)
    energies = np.stack(
        [
            total_energy(
                SYSTEMS[name],
                HeldOut(
                    *(
                        motion.position[:, k],
                        motion.velocity[:, k],
                        bodies.mass,
                        bodies.charge,
                        motion.acceleration[:, k],
                    ),
                    *(receivers, senders),
                ),
            )
            for k in range(len(times))
        ]
    )
    kinetic = 0.5 * (bodies.mass[..., None] * bodies.velocity**2).sum((1, 2))
    assert (drift(energies, kinetic)[-1] < 1e-7) == SYSTEMS[name].conserves_energy
    gradient = 1e-6
    shifted = bodies.position.copy()
    shifted[:, 0, 0] += gradient
    still = np.zeros_like(shifted)
    there, here = (
        total_energy(SYSTEMS[name], HeldOut(at, still, bodies.mass, bodies.charge, still, receivers, senders))
        for at in (shifted, bodies.position)
    )
    force = -(there - here) / gradient
    np.testing.assert_allclose(force, bodies.mass[:, 0] * motion.acceleration[:, 0, 0, 0], rtol=1e-3, atol=1e-4)
