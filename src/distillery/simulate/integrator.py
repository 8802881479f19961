"""Integration by Taylor's method in double precision, four simulations at a time (heyoka).

The lanes of a batch take steps of their own, and a simulation gives the same result in any lane, next to any others.
But a batch lasts as long as its slowest lane: close encounters need up to a hundred times the steps of a quiet
simulation. So simulations that start with similar accelerations, the best predictor of those tried, go together
(that saves 17 % of the steps for springs, 30 % for r^-2), and a batch has four lanes rather than eight (8 bodies in
3D: twice as fast).

Piecewise systems are integrated one simulation at a time (``distillery.simulate.events``): what ends a step of one
lane would end that of all.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import heyoka
import numpy as np
from jaxtyping import Bool, Float

from distillery.physics.systems import System
from distillery.simulate import MOST_STEPS, MOST_STEPS_PER_TIME_STEP
from distillery.simulate.equations import Equations, equations, parameters
from distillery.simulate.events import EventIntegrator
from distillery.simulate.initial import Bodies

# A disk cache that cannot be written costs seconds of compilation, which is not worth a warning.
heyoka.set_logger_level_error()

LANES = 4
# Above this many force components (8 bodies in 3D have 84) building the fast form takes more than the 5 s that it
# is worth; the compact form builds in a tenth of the time and steps 1.8 times slower.
_COMPACT_FROM = 100
_FAILURES = (heyoka.taylor_outcome.err_nf_state, heyoka.taylor_outcome.step_limit)


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
    def _events(self) -> EventIntegrator:
        return EventIntegrator(self._equations, self.tolerance, self._compact)

    @functools.cached_property
    def _formula(self) -> Any:
        """The accelerations, compiled; only damping needs velocities."""
        e = self._equations
        variables = [*e.position, *e.velocity] if self.system.damping else [*e.position]
        return heyoka.cfunc(e.acceleration, variables, compact_mode=self._compact, force_avx512=True)

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
        motion = np.empty((3, count, len(times), half), dtype=kind)
        reached = np.zeros(count, dtype=bool)
        with np.errstate(over="ignore", invalid="ignore"):
            for lanes, saved, values in self.batches(bodies, times):
                pulls = self._acceleration(saved, values)
                for column, lane in enumerate(lanes):
                    motion[0, lane] = saved[:, :half, column]
                    motion[1, lane] = saved[:, half:, column]
                    motion[2, lane] = pulls[:, :, column]
                    reached[lane] = True
            # One value that is not finite, or near the range of float32, makes the sum so.
            reached &= np.isfinite(motion.sum(axis=(0, 2, 3)))
        position, velocity, acceleration = motion.reshape(3, count, len(times), self.bodies, self.dim)
        return Motion(position, velocity, acceleration, reached)

    def batches(
        self, bodies: Bodies, times: Float[np.ndarray, "time"]
    ) -> Iterator[tuple[list[int], Float[np.ndarray, "time variable lane"], Float[np.ndarray, "parameter lane"]]]:
        """Integrate simulations batch by batch.

        Args:
            bodies: Bodies at ``times[0]``, of any number of simulations.
            times: The times to save, strictly monotonic (dimensionless).

        Yields:
            The simulations that came to the end in the first lanes of a batch, and all lanes' states (positions, then
            velocities) and parameters. Each simulation comes once, or not at all if it broke.
        """
        values = parameters(self.system, self._equations.names, bodies.mass, bodies.charge)
        start = np.concatenate([_columns(bodies.position), _columns(bodies.velocity)])
        waiting = np.abs(self.acceleration(bodies)).max(axis=(1, 2)).argsort(kind="stable").tolist()
        while waiting:
            lanes, waiting = waiting[:LANES], waiting[LANES:]
            # Lanes without a simulation repeat the last one: they end with it.
            filled = lanes + lanes[-1:] * (LANES - len(lanes))
            saved, failed = self._batch(start[:, filled], values[:, filled], times)
            ended = np.isfinite(saved[-1]).all(axis=0)
            order = [*np.flatnonzero(ended), *np.flatnonzero(~ended)]
            done = [lanes[column] for column in order if ended[column] and column < len(lanes)]
            if len(done) < len(lanes):
                # A lane that turns non-finite ends the whole batch; the others are not to blame and start again.
                blamed = {lane for lane, blame in zip(filled, failed | ended, strict=True) if blame}
                waiting = [lane for lane in lanes if lane not in blamed] * bool(failed.any()) + waiting
                saved, filled = np.ascontiguousarray(saved[:, :, order]), [filled[column] for column in order]
            if done:
                yield done, saved, values[:, filled]

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
    ) -> tuple[Float[np.ndarray, "time variable lane"], Bool[np.ndarray, "lane"]]:
        """Integrate a batch; also return which lanes failed. Times that a lane did not reach are NaN."""
        if len(times) == 1:
            return start[None], np.zeros(LANES, dtype=bool)
        limit = max(MOST_STEPS, round(MOST_STEPS_PER_TIME_STEP * abs(times[-1] - times[0]) / self.system.time_step))
        if self._equations.levels:
            return self._one_by_one(start, values, times, limit)
        taylor = self._taylor
        taylor.state[:] = start
        taylor.pars[:] = values[: len(taylor.pars)]
        taylor.set_time(np.full(LANES, times[0]))
        _, saved = taylor.propagate_grid(np.repeat(times[:, None], LANES, axis=1), max_steps=limit)
        return saved, np.array([outcome in _FAILURES for outcome, *_ in taylor.propagate_res])

    def _one_by_one(
        self,
        start: Float[np.ndarray, "variable lane"],
        values: Float[np.ndarray, "parameter lane"],
        times: Float[np.ndarray, "time"],
        limit: int,
    ) -> tuple[Float[np.ndarray, "time variable lane"], Bool[np.ndarray, "lane"]]:
        """Integrate a piecewise system's simulations of a batch, whose events come at times of their own."""
        saved, failed = np.empty((len(times), *start.shape)), np.zeros(LANES, dtype=bool)
        for lane in range(LANES):
            if lane and np.array_equal(start[:, lane], start[:, lane - 1], equal_nan=True):
                saved[:, :, lane], failed[lane] = saved[:, :, lane - 1], failed[lane - 1]
                continue
            saved[:, :, lane], reached = self._events.propagate(start[:, lane], values[:, lane], times, limit)
            failed[lane] = not reached
        return saved, failed

    def _acceleration(
        self, state: Float[np.ndarray, "time variable lane"], values: Float[np.ndarray, "parameter lane"]
    ) -> Float[np.ndarray, "time half lane"]:
        formula, (times, _, lanes) = self._formula, state.shape
        # Moving all lanes of a variable as one item is four times faster than moving numbers.
        items = np.ascontiguousarray(state).view(f"V{lanes * state.itemsize}")[:, : len(formula.vars), 0]
        points = np.ascontiguousarray(items.T).view(state.dtype).reshape(-1, times * lanes)
        given = np.ascontiguousarray(np.tile(values[: formula.nparams], times))
        return np.moveaxis(formula(points, pars=given).reshape(-1, times, lanes), 0, 1)


def _columns(vectors: Float[np.ndarray, "simulation particle space"]) -> Float[np.ndarray, "half simulation"]:
    return vectors.reshape(len(vectors), -1).T
