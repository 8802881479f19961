"""Integration by Taylor's method in double precision, eight simulations at a time (heyoka).

The lanes of a batch take steps of their own, but a batch lasts as long as its slowest lane.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import heyoka
import numpy as np
from jaxtyping import Bool, Float

from distillery.simulate.equations import Equations, equations, parameters
from distillery.simulate.initial import Bodies
from distillery.systems import System

LANES = 8
# Steps per unit of the system's own time step: three orders of magnitude above what close encounters were
# seen to need (11,000 for 1,000 time steps), so only a step size that collapses comes here.
_STEPS_PER_TIME_STEP = 1000
_MIN_STEPS = 100_000
# Above this many force components the compact form wins: for 8 bodies in 3D it builds in 0.4 s instead of 5 s
# and steps 11 % slower, while for 4 bodies it saves 0.1 s and steps 1.6 times slower.
_COMPACT_FROM = 40
_FAILURES = (heyoka.taylor_outcome.err_nf_state, heyoka.taylor_outcome.step_limit)
# Trajectories are stored as float32; what comes near its range is no trajectory.
_LARGEST = 1e30


@dataclasses.dataclass(frozen=True)
class Motion:
    """Trajectories of some simulations; all dimensionless, float64.

    Attributes:
        position: Positions at the saved times.
        velocity: Velocities at the saved times.
        acceleration: Accelerations, from the formula at these positions and velocities.
        reached: Whether the last time was reached; where not, the simulation's other entries mean nothing.
    """

    position: Float[np.ndarray, "simulation time particle space"]
    velocity: Float[np.ndarray, "simulation time particle space"]
    acceleration: Float[np.ndarray, "simulation time particle space"]
    reached: Bool[np.ndarray, "simulation"]

    def replace(self, chosen: Sequence[int], others: Motion) -> None:
        """Put other trajectories in the place of the chosen simulations."""
        for mine, other in zip(vars(self).values(), vars(others).values(), strict=True):
            mine[list(chosen)] = other


@dataclasses.dataclass(frozen=True)
class Integrator:
    """A system's compiled equations of motion.

    Attributes:
        system: Table entry of the system.
        dim: Dimensions of space.
        bodies: Number of bodies.
        tolerance: Relative tolerance of a step.
    """

    system: System
    dim: int
    bodies: int
    tolerance: float

    @functools.cached_property
    def _equations(self) -> Equations:
        return equations(self.system, self.dim, self.bodies)

    @property
    def _compact(self) -> bool:
        return self.dim * self.bodies * (self.bodies - 1) // 2 > _COMPACT_FROM

    @functools.cached_property
    def _taylor(self) -> Any:
        return heyoka.taylor_adaptive_batch(
            self._equations.system,
            np.zeros((2 * self.bodies * self.dim, LANES)),
            tol=self.tolerance,
            compact_mode=self._compact,
            force_avx512=True,
        )

    @functools.cached_property
    def _formula(self) -> Any:
        e = self._equations
        return heyoka.cfunc(e.acceleration, [*e.position, *e.velocity], compact_mode=self._compact, force_avx512=True)

    def propagate(self, bodies: Bodies, times: Float[np.ndarray, "time"]) -> Motion:
        """Integrate simulations from the first time to the last.

        Args:
            bodies: Bodies at ``times[0]``, of any number of simulations.
            times: The times to save, strictly monotonic (dimensionless).

        Returns:
            The trajectories.
        """
        count, half = len(bodies.mass), self.bodies * self.dim
        values = parameters(self.system, self._equations.names, bodies.mass, bodies.charge)
        start = np.concatenate([_columns(bodies.position), _columns(bodies.velocity)])
        motion = np.empty((3, count, len(times), half))
        reached = np.zeros(count, dtype=bool)
        waiting = list(range(count))
        while waiting:
            lanes, waiting = waiting[:LANES], waiting[LANES:]
            saved, reached[lanes], interrupted = self._batch(start[:, lanes], values[:, lanes], times)
            pulls = self._acceleration(saved, values[:, lanes])
            for part, columns in zip(motion, (saved[:, :half], saved[:, half:], pulls), strict=True):
                part[lanes] = np.moveaxis(columns, -1, 0)
            waiting = [lane for lane, again in zip(lanes, interrupted, strict=True) if again] + waiting
        axes = (0, 2, 3)
        reached &= np.maximum(motion.max(axis=axes), -motion.min(axis=axes)) < _LARGEST
        position, velocity, acceleration = motion.reshape(3, count, len(times), self.bodies, self.dim)
        return Motion(position, velocity, acceleration, reached)

    def acceleration(self, bodies: Bodies) -> Float[np.ndarray, "simulation particle space"]:
        """Return the accelerations that the equations of motion give.

        Args:
            bodies: The bodies of some simulations.
        """
        values = parameters(self.system, self._equations.names, bodies.mass, bodies.charge)
        state = np.concatenate([_columns(bodies.position), _columns(bodies.velocity)])[None]
        return self._acceleration(state, values)[0].T.reshape(bodies.position.shape)

    def _batch(
        self,
        start: Float[np.ndarray, "variable lane"],
        values: Float[np.ndarray, "parameter lane"],
        times: Float[np.ndarray, "time"],
    ) -> tuple[Float[np.ndarray, "time variable lane"], Bool[np.ndarray, "lane"], Bool[np.ndarray, "lane"]]:
        """Integrate up to a batch; also return which lanes came to the end and which were interrupted by others."""
        taylor, count = self._taylor, start.shape[1]
        # Lanes without a simulation repeat the last one: they end with it.
        filled = [*range(count), *[count - 1] * (LANES - count)]
        taylor.state[:] = start[:, filled]
        taylor.pars[:] = values[: len(taylor.pars), filled]
        taylor.set_time(np.full(LANES, times[0]))
        if len(times) == 1:
            return start[None], np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
        limit = max(_MIN_STEPS, round(_STEPS_PER_TIME_STEP * abs(times[-1] - times[0]) / self.system.time_step))
        _, saved = taylor.propagate_grid(np.repeat(times[:, None], LANES, axis=1), max_steps=limit)
        outcomes = [outcome for outcome, *_ in taylor.propagate_res][:count]
        saved = saved[:, :, :count]
        reached = np.isfinite(saved).all(axis=(0, 1))
        failed = np.array([outcome in _FAILURES for outcome in outcomes])
        # A lane that turns non-finite ends the whole batch; the others are not to blame and start again.
        return saved, reached, ~reached & ~failed & failed.any()

    def _acceleration(
        self, state: Float[np.ndarray, "time variable simulation"], values: Float[np.ndarray, "parameter simulation"]
    ) -> Float[np.ndarray, "time half simulation"]:
        times, variables, count = state.shape
        points = np.ascontiguousarray(np.moveaxis(state, 1, 0).reshape(variables, times * count))
        given = np.ascontiguousarray(np.tile(values[: self._formula.nparams], times))
        return np.moveaxis(self._formula(points, pars=given).reshape(variables // 2, times, count), 0, 1)


def _columns(vectors: Float[np.ndarray, "simulation particle space"]) -> Float[np.ndarray, "half simulation"]:
    return vectors.reshape(len(vectors), -1).T
