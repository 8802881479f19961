"""Integration by Taylor's method in double precision, four simulations at a time (heyoka).

The lanes of a batch take steps of their own, and a simulation comes out the same in any lane, beside any others.
But a batch lasts as long as its slowest lane: close encounters need up to a hundred times the steps of a quiet
simulation. So simulations that start with similar accelerations, the best predictor of those tried, go together;
that saves 20 % of the steps for springs and 40 % for r^-2.
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

# A disk cache that cannot be written costs seconds of compilation, which is not worth a warning.
heyoka.set_logger_level_error()

LANES = 4
# Steps per unit of the system's own time step: three orders of magnitude above what close encounters were
# seen to need (11,000 for 1,000 time steps), so only a step size that collapses comes here.
_STEPS_PER_TIME_STEP = 1000
_MIN_STEPS = 100_000
# Above this many force components (8 bodies in 3D have 84) building the fast form takes more than the 5 s that it
# is worth; the compact form builds in a tenth of the time and steps 1.8 times slower.
_COMPACT_FROM = 100
_FAILURES = (heyoka.taylor_outcome.err_nf_state, heyoka.taylor_outcome.step_limit)
# Trajectories are stored as float32; what comes near its range is no trajectory.
_LARGEST = 1e30


@dataclasses.dataclass(frozen=True)
class Motion:
    """Trajectories of some simulations; all dimensionless.

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

    def propagate(
        self, bodies: Bodies, times: Float[np.ndarray, "time"], kind: type[np.floating[Any]] = np.float64
    ) -> Motion:
        """Integrate simulations from the first time to the last.

        Args:
            bodies: Bodies at ``times[0]``, of any number of simulations.
            times: The times to save, strictly monotonic (dimensionless).
            kind: Type that trajectories are rounded to; all arithmetic is float64.

        Returns:
            The trajectories.
        """
        count, half = len(bodies.mass), self.bodies * self.dim
        values = parameters(self.system, self._equations.names, bodies.mass, bodies.charge)
        start = np.concatenate([_columns(bodies.position), _columns(bodies.velocity)])
        motion = np.empty((3, count, len(times), half), dtype=kind)
        reached = np.zeros(count, dtype=bool)
        waiting = np.abs(self.acceleration(bodies)).max(axis=(1, 2)).argsort(kind="stable").tolist()
        while waiting:
            lanes, waiting = waiting[:LANES], waiting[LANES:]
            saved, reached[lanes], interrupted = self._batch(start[:, lanes], values[:, lanes], times)
            pulls = self._acceleration(saved, values[:, lanes])
            with np.errstate(over="ignore"):
                for column, lane in enumerate(lanes):
                    motion[0, lane] = saved[:, :half, column]
                    motion[1, lane] = saved[:, half:, column]
                    motion[2, lane] = pulls[:, :, column]
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
