"""Tests of networks and laws under conditions outside of their training data, and over long times."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.data.graph import edges_of
from distillery.errors import DistilleryError
from distillery.laws.composed import HeldOut, all_snapshots, errors
from distillery.laws.rollout import rolled_out
from distillery.laws.settings import VerificationSettings
from distillery.physics.systems import System
from distillery.simulate.initial import Bodies
from distillery.simulate.integrator import Integrator, Motion
from distillery.simulate.simulations import integrated
from distillery.util import budget
from distillery.util.budget import OutOfBudget
from distillery.validation.conditions import trajectories
from distillery.validation.energy import drift, total_energy
from distillery.validation.generalisation import FOLLOWED
from distillery.validation.predictors import Predictor
from distillery.validation.rollout import distance, doubling_time, horizon
from distillery.validation.settings import GeneralisationSettings

# Predictors whose paths are kept for pictures: those of the clean law would cover those of the refitted one.
_DRAWN = ("network", "refitted")
# Saved times of a rollout, and the length of its steps in the system's time steps.
_TIMES, _STEP = 101, 2
# Digits of the positions of the first simulation, which are kept for pictures.
_DIGITS = 4


class Elsewhere:
    """New simulations of a system under other conditions and over long times, shared by the tests of several laws."""

    def __init__(
        self,
        system: System,
        *,
        dim: int,
        bodies: int,
        seed: int,
        length: float,
        tolerance: float,
        settings: GeneralisationSettings,
        limits: VerificationSettings,
    ) -> None:
        """Take what is simulated; nothing is integrated yet.

        Args:
            system: The system.
            dim: Dimensions of space.
            bodies: Number of bodies of the training data.
            seed: Seed of the data.
            length: Duration of the training trajectories (dimensionless).
            tolerance: Relative tolerance of an integration step.
            settings: Conditions, numbers and limits.
            limits: Residuals within which a law holds.
        """
        self._system, self._dim, self._bodies, self._seed = system, dim, bodies, seed
        self._length, self._tolerance = length, tolerance
        self._settings, self._limits = settings, limits
        self._known: dict[str, HeldOut | str] = {}

    def test(self, predictors: Mapping[str, Predictor]) -> dict[str, Any]:
        """Return the errors of predictors under all conditions and over long times.

        Args:
            predictors: Networks and laws by name.
        """
        conditions = {name: self._under(name, predictors) for name in self._settings.conditions}
        return {"conditions": conditions, "rollouts": self._followed(predictors)}

    def _states(self, name: str) -> HeldOut | str:
        """Return snapshots under a condition, or the reason why there are none."""
        if name not in self._known:
            settings = self._settings
            found = trajectories(
                self._system,
                settings.conditions[name],
                name,
                dim=self._dim,
                bodies=self._bodies,
                seed=self._seed,
                simulations=settings.simulations,
                times=np.arange(settings.snapshots) * (self._length / settings.snapshots),
                tolerance=self._tolerance,
            )
            self._known[name] = found if isinstance(found, str) else all_snapshots(found)
        return self._known[name]

    def _under(self, name: str, predictors: Mapping[str, Predictor]) -> dict[str, Any]:
        """Return the errors of every predictor under a condition, and whether it holds there."""
        graphs = budget.reason() or self._states(name)
        if isinstance(graphs, str):
            return {"reason": graphs, "predictors": {}}
        found = {}
        for kind, predictor in predictors.items():
            given = predictor.acceleration(graphs)
            found[kind] = {**errors(graphs, given), "holds": predictor.holds(graphs, given, self._limits)}
        return {"reason": "", "predictors": found}

    def _followed(self, predictors: Mapping[str, Predictor]) -> dict[str, Any]:
        """Return how far rollouts of predictors are from the true motion over long times."""
        settings, system = self._settings, self._system
        followed = {name: predictors[name] for name in FOLLOWED if name in predictors}
        if not settings.rollouts or not followed:
            return _no_rollouts("")
        if reason := budget.reason():
            return _no_rollouts(reason)
        try:
            times, bodies, motion = self._long
        except DistilleryError as error:
            return _no_rollouts(str(error))
        true = np.swapaxes(motion.position, 0, 1)
        senders, receivers = edges_of(system.graph, self._bodies)

        def energies(position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
            still = np.zeros_like(position[0])
            states = (
                HeldOut(at, moving, bodies.mass, bodies.charge, still, receivers, senders)
                for at, moving in zip(position, velocity, strict=True)
            )
            return np.stack([total_energy(system, state) for state in states])

        # A drift of an energy that the true motion does not conserve is no error of a prediction.
        keeps = system.conserves_energy
        kinetic = 0.5 * (bodies.mass[..., None] * bodies.velocity**2).sum(axis=(1, 2))
        steps = max(round((times[1] - times[0]) / (_STEP * system.time_step)), 1)
        found, paths, reason = {}, {"true": _drawn(true[:, 0])}, ""
        for name, predictor in followed.items():
            try:
                position, velocity = rolled_out(
                    predictor.acceleration, bodies, np.stack([senders, receivers]), times, steps
                )
            except OutOfBudget as error:
                reason = f"{name}: {error}"
                break
            if name in _DRAWN:
                paths[name] = _drawn(position[:, 0])
            off = distance(position, true)
            found[name] = {
                "horizon": horizon(off, times, settings.horizon),
                "doubling_time": doubling_time(off, times, settings.horizon),
                "distance": _finite(np.median(off, axis=1)),
                "energy_drift": _finite(drift(energies(position, velocity), kinetic)) if keeps else None,
            }
        return {"times": times.tolist(), "reason": reason, "predictors": found, "paths": paths}

    @functools.cached_property
    def _long(self) -> tuple[np.ndarray, Bodies, Motion]:
        settings = self._settings
        times = np.linspace(0.0, settings.length * self._length, _TIMES)
        integrator = Integrator(self._system, self._dim, self._bodies, self._tolerance)
        bodies, motion, _ = integrated(integrator, self._seed, "generalise rollouts", range(settings.rollouts), times)
        return times, bodies, motion


def _no_rollouts(reason: str) -> dict[str, Any]:
    return {"times": [], "reason": reason, "predictors": {}, "paths": {}}


def _drawn(position: Float[np.ndarray, "time body dim"]) -> list[Any]:
    """Return positions for pictures, in the plane of the first two axes, up to the time at which one is not finite."""
    lost = ~np.isfinite(position).all(axis=(1, 2))
    until = int(lost.argmax()) if lost.any() else len(position)
    return [[[float(f"{x:.{_DIGITS}g}") for x in body] for body in time] for time in position[:until, :, :2]]


def _finite(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
