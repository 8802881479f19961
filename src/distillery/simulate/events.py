"""Integration of piecewise systems: Taylor's method between switching surfaces, which are found as events (heyoka).

Between two surfaces a formula is smooth, and its switches (``Equations.levels``) stand still. Each level is an event:
heyoka finds its root within the Taylor polynomial of the step to rounding, ends the step there, and the switch is
turned. So forces are exact on both sides; a step never averages over an edge. A potential that jumps at an edge does
no work there, for the force is minus the gradient wherever there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import heyoka
import numpy as np
from jaxtyping import Float

from distillery.simulate.equations import Equations

# Levels this near to 0 count as on the surface: the way that they are going decides.
_NEAR = 1e-9
# A switch that is found wrong at a level beyond this was wrong for a part of a step that counts. Levels are those of
# the formula, distances as a rule. It happens to bodies that slide along a surface which both sides push them to.
_LOST = 1e-6


class EventIntegrator:
    """The compiled equations of a piecewise system; integrates one simulation after the other."""

    def __init__(self, equations: Equations, tolerance: float, compact: bool) -> None:
        self._first = equations.first_switch
        self._forward = True
        self._lost = False
        self._fresh = 0
        positions, velocities = equations.position, equations.velocity
        rates = [
            heyoka.sum([heyoka.diff(level, x) * v for x, v in zip(positions, velocities, strict=True)])
            for level in equations.levels
        ]
        self._levels = heyoka.cfunc([*equations.levels, *rates], [*positions, *velocities], compact_mode=compact)
        # Whether levels depend on switches.
        self._nested = self._levels.nparams > self._first
        state = np.zeros(2 * len(positions))
        parameters = [0.0] * (self._first + len(equations.levels))
        events = [heyoka.t_event(level, callback=self._turning(index)) for index, level in enumerate(equations.levels)]
        self._taylor = heyoka.taylor_adaptive(
            equations.system, state, pars=parameters, t_events=events, tol=tolerance, compact_mode=compact
        )

    def propagate(
        self,
        start: Float[np.ndarray, "variable"],
        values: Float[np.ndarray, "parameter"],
        times: Float[np.ndarray, "time"],
        limit: int,
    ) -> tuple[Float[np.ndarray, "time variable"], bool]:
        """Integrate one simulation; what it did not come to is NaN.

        Args:
            start: Positions and velocities at ``times[0]``.
            values: The parameters before the switches.
            times: The times to save, strictly monotonic (dimensionless).
            limit: Largest number of steps.

        Returns:
            The states at these times, and whether the last one was reached.
        """
        taylor = self._taylor
        taylor.reset_cooldowns()
        taylor.time = times[0]
        taylor.state[:] = start
        taylor.pars[: self._first] = values
        taylor.pars[self._first :] = 0.0
        self._forward, self._lost, self._fresh = bool(times[-1] > times[0]), False, 0
        # Once for each level that depends on other switches, and once for all.
        for _ in range(len(taylor.pars) - self._first):
            if not self._settle(taylor, *self._look(taylor)):
                break
        outcome, *_, saved = taylor.propagate_grid(times, max_steps=limit, callback=self._checking())
        whole = outcome == heyoka.taylor_outcome.time_limit and not self._lost and len(saved) == len(times)
        return (saved, True) if whole else (np.full((len(times), len(start)), np.nan), False)

    def _turning(self, index: int) -> Callable[[Any, int], bool]:
        def turn(taylor: Any, sign: int) -> bool:
            levels, rates = self._look(taylor)
            self._check(taylor, levels, index)
            if sign != 0:
                taylor.pars[self._first + index] = float((sign > 0) == self._forward)
            if self._nested:
                levels, rates = self._look(taylor)
            self._settle(taylor, levels, rates, index)
            self._fresh = 2
            return True

        return turn

    def _checking(self) -> Callable[[Any], bool]:
        def check(taylor: Any) -> bool:
            # Roots are missed only right after an event, where heyoka takes them for the same one: what counts is
            # the end of the step that follows the one which the event ended.
            if self._fresh:
                self._fresh -= 1
                if not self._fresh:
                    levels, rates = self._look(taylor)
                    if self._check(taylor, levels):
                        self._settle(taylor, levels, rates)
                        self._fresh = 2
            return not self._lost

        return check

    def _look(self, taylor: Any) -> tuple[Float[np.ndarray, "switch"], Float[np.ndarray, "switch"]]:
        """Return the levels, and how fast they grow in the direction of the integration."""
        found = self._levels(taylor.state, pars=taylor.pars[: self._levels.nparams])
        half = len(found) // 2
        return found[:half], found[half:] if self._forward else -found[half:]

    def _check(self, taylor: Any, levels: Float[np.ndarray, "switch"], but: int | None = None) -> bool:
        """Return whether a crossing was missed, by another switch than one; give up where that was long ago."""
        missed = ((levels > 0) != (taylor.pars[self._first :] > 0)) & (np.abs(levels) > _NEAR)
        if but is not None:
            missed[but] = False
        if not missed.any():
            return False
        self._lost = self._lost or bool(np.abs(levels[missed]).max() > _LOST)
        return True

    def _settle(
        self,
        taylor: Any,
        levels: Float[np.ndarray, "switch"],
        rates: Float[np.ndarray, "switch"],
        but: int | None = None,
    ) -> bool:
        """Turn all switches, but one, as their levels say; return whether any was turned.

        Surfaces may be crossed at the same time, and a level jump where another surface is crossed.
        """
        switches = taylor.pars[self._first :]
        side = np.where(np.abs(levels) > _NEAR, levels, rates)
        wanted = np.where(side == 0, switches, side > 0).astype(float)
        if but is not None:
            wanted[but] = switches[but]
        if np.array_equal(wanted, switches):
            return False
        taylor.pars[self._first :] = wanted
        return True
