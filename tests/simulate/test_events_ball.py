"""A string that falls on a ball: events of a body potential."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from jaxtyping import Float

from distillery.physics.systems import SYSTEMS
from distillery.simulate.initial import Bodies
from support.integration import drawn, integrator, kinetic, made

BALL = SYSTEMS["string_ball"]


def test_reversing_the_order_of_a_string_changes_nothing() -> None:
    bodies, times = drawn(BALL, 3, 5), np.arange(21) * 0.1
    motion = integrator(BALL, 3, 5).propagate(bodies, times)
    turned = Bodies(*(values[:, ::-1].copy() for values in vars(bodies).values()))
    other = integrator(BALL, 3, 5).propagate(turned, times)
    np.testing.assert_allclose(other.position[:, :, ::-1], motion.position, atol=1e-6)
    aside = Bodies(bodies.mass, bodies.charge, bodies.position + np.array([1.0, 0.0, 0.0]), bodies.velocity)
    string = SYSTEMS["string"]
    shifted, unshifted = (integrator(string, 3, 5).propagate(state, times).position for state in (aside, bodies))
    np.testing.assert_allclose(shifted, unshifted + np.array([1.0, 0.0, 0.0]), atol=1e-6)


@pytest.mark.parametrize("dim", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_string_that_falls_on_the_ball_conserves_energy(dim: int) -> None:
    bodies = drawn(BALL, dim)
    motion = integrator(BALL, dim).propagate(bodies, np.arange(200) * 0.05)
    assert motion.reached.all()
    x = motion.position
    tension = sum((np.linalg.norm(x[:, :, i] - x[:, :, i + 1], axis=-1) + 0.01 - 1) ** 2 for i in range(3))
    depth = np.maximum(4 - np.linalg.norm(x - np.array([0.0, -10.0, 0.0])[:dim], axis=-1), 0)
    weight = (bodies.mass[:, None] * x[..., 1]).sum(-1)
    total = kinetic(bodies, motion.velocity) + tension + weight + (1000 * depth**2).sum(-1)
    assert 0.05 < depth.max() < 1
    drift = np.abs(total - total[:, :1]) / (1 + np.abs(kinetic(bodies, motion.velocity)).max(1, keepdims=True))
    assert drift.max() < 1e-6


def thrown(dim: int, count: int) -> Bodies:
    """Return strings just above the ball that move down."""
    bodies = drawn(BALL, dim, count=count)
    bodies.position[..., 1] -= 3.0
    bodies.velocity[..., 1] -= 2.0
    return bodies


def depths(position: Float[np.ndarray, "*some space"]) -> Float[np.ndarray, "*some"]:
    """Return the depths of bodies in the ball."""
    return 4 - np.linalg.norm(position - np.array([0.0, -10.0, 0.0])[: position.shape[-1]], axis=-1)


@pytest.mark.parametrize("dim", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_a_string_on_the_ball_agrees_with_dop853(dim: int) -> None:
    """Integrate independent formulas of the forces: springs, weight, and 2000 d out of the ball at a depth d."""
    from scipy.integrate import solve_ivp

    many, times = thrown(dim, 2), np.linspace(0, 2, 21)
    motion = integrator(BALL, dim).propagate(many, times)
    depth = depths(motion.position)
    assert (depth[:, 0] < 0).all()
    assert (depth.max((1, 2)) > 0.03).all()
    for index in range(2):
        mass = many.mass[index][:, None]

        def slope(_: float, state: Any, mass: Any = mass) -> Any:
            position, velocity = state.reshape(2, 4, dim)
            along = np.diff(position, axis=0)
            distance = np.linalg.norm(along, axis=-1, keepdims=True)
            tension = 2 * (distance + 0.01 - 1) * along / distance
            from_centre = position - np.array([0.0, -10.0, 0.0])[:dim]
            unit = from_centre / np.linalg.norm(from_centre, axis=-1, keepdims=True)
            force = 2000 * np.maximum(depths(position), 0)[:, None] * unit
            force[:-1] += tension
            force[1:] -= tension
            force[:, 1:2] -= mass
            return np.concatenate([velocity.ravel(), (force / mass).ravel()])

        start = np.concatenate([many.position[index].ravel(), many.velocity[index].ravel()])
        exact = solve_ivp(slope, (0, 2), start, "DOP853", times, rtol=1e-12, atol=1e-13)
        assert exact.success
        position, velocity = exact.y.T.reshape(21, 2, 4, dim).swapaxes(0, 1)
        np.testing.assert_allclose(motion.position[index], position, rtol=0, atol=2e-7)
        np.testing.assert_allclose(motion.velocity[index], velocity, rtol=0, atol=1e-5)
        pull = np.stack([slope(0.0, state)[4 * dim :].reshape(4, dim) for state in exact.y.T])
        np.testing.assert_allclose(motion.acceleration[index], pull, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dim", [2, 3])
def test_motion_of_a_string_that_bounces_off_the_ball_is_reversible(dim: int) -> None:
    bodies, times = thrown(dim, 8), np.linspace(0, 2, 21)
    there = integrator(BALL, dim).propagate(bodies, times)
    assert (depths(there.position).max((1, 2)) > 0.02).all()
    for sign in (1, -1):  # decreasing times, or reversed velocities
        end = Bodies(bodies.mass, bodies.charge, there.position[:, -1], sign * there.velocity[:, -1])
        back = integrator(BALL, dim).propagate(end, times[::-1].copy() if sign > 0 else times)
        assert back.reached.all()
        np.testing.assert_allclose(back.position[:, -1], bodies.position, rtol=0, atol=1e-6)


def test_an_elastic_wall_reverses_the_normal_velocity() -> None:
    ball = made(
        "0*r",
        body_potential="k*(1 - x)**2 if x < 1 else 0",
        constants={"k": 50.0},
    )
    start = Bodies(
        np.ones((1, 2)), np.ones((1, 2)), np.array([[[3.0, 0.0], [9.0, 0.0]]]), np.array([[[-2.0, 0.5]] * 2])
    )
    motion = integrator(ball, 2, 2).propagate(start, np.array([0.0, 1.0, 1.0 + np.pi / 10, 3.0]))
    np.testing.assert_allclose(motion.velocity[0, 2, 0], [2.0, 0.5], atol=1e-7)
    np.testing.assert_allclose(motion.position[0, 3, 0], [1 + 2 * (2 - np.pi / 10), 1.5], atol=1e-6)
    np.testing.assert_array_equal(motion.velocity[0, :, 1], [[-2.0, 0.5]] * 4)
