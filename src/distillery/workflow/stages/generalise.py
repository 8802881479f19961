"""The generalise stage: a network and the law in its place, under conditions that it never saw and over long times."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from distillery import files
from distillery.data.graph import edges_of
from distillery.data.store import Trajectories
from distillery.errors import DistilleryError
from distillery.laws.composed import HeldOut, errors
from distillery.laws.law import from_content
from distillery.simulate.initial import Bodies
from distillery.simulate.integrator import Integrator, Motion
from distillery.util import budget
from distillery.util.budget import OutOfBudget
from distillery.validation.conditions import trajectories
from distillery.validation.energy import drift, total_energy
from distillery.validation.generalisation import FOLLOWED, PREDICTORS
from distillery.validation.predictors import Predictor, of_law, of_network
from distillery.validation.rollout import distance, doubling_time, horizon, rolled_out
from distillery.workflow.cell import Cell, Experiment
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.stages.interpret import load_network
from distillery.workflow.stages.simulate import integrated
from distillery.workflow.sweep import Sweep

# Predictors whose paths are stored to be drawn: those of the clean law would cover those of the refitted one.
_DRAWN = ("network", "refitted")
# Saved times of a rollout, and how many of the system's time steps a step of it is long.
_TIMES, _STEP = 101, 2
# Digits of the positions of the first simulation, which are kept to be drawn.
_DIGITS = 4


def generalise(sweep: Sweep, cell: Cell) -> None:
    """Test a cell's network and law beyond the data that the network was trained on.

    Args:
        sweep: The sweep.
        cell: A cell whose network was replaced.

    Raises:
        DistilleryError: The law or the weights are missing or damaged.
    """
    with stage_lock(sweep, "generalise", cell) as now:
        if now is None:
            return
        settings = sweep.config.generalisation
        limit = budget.within(f"generalise {cell}", settings.evaluations, settings.seconds, "generalisation")
        with torch.no_grad(), limit:
            predictors = _predictors(sweep, cell, has_law=now.before.result.get("law") is not None)
            result = {
                "conditions": {
                    name: _under(sweep, cell.experiment, name, predictors)
                    for name in sweep.config.generalisation.conditions
                },
                "rollouts": _followed(sweep, cell.experiment, predictors),
            }
        now.write(result)


def _predictors(sweep: Sweep, cell: Cell, *, has_law: bool) -> dict[str, Predictor]:
    found: dict[str, Predictor] = {}
    if sweep.model(cell).kind != "control":
        found["network"] = of_network(load_network(sweep, cell))
    if has_law:
        source = cell.law(sweep.results, "json")
        content = files.read_json(source, "delete the cell's replace.json and run the sweep again")
        if not isinstance(content, dict):
            raise DistilleryError(f"{source}: lacks what it should hold; replace the cell again")
        found |= {name: of_law(from_content(content.get(name), str(source))) for name in PREDICTORS[1:]}
    return found


@functools.lru_cache(maxsize=16)
def _states(sweep: Sweep, experiment: Experiment, name: str) -> HeldOut | str:
    """Return states under a condition, which all cells of an experiment have in common; or why there are none."""
    found = trajectories(sweep, experiment, name)
    return found if isinstance(found, str) else _flat(found, sweep.system(experiment).graph)


def _flat(found: Trajectories, graph: Any) -> HeldOut:
    simulations, times, bodies, dim = found.position.shape
    position, velocity, acceleration = (
        values.reshape(simulations * times, bodies, dim).astype(np.float64)
        for values in (found.position, found.velocity, found.acceleration)
    )
    senders, receivers = edges_of(graph, bodies)
    mass, charge = (np.repeat(values, times, axis=0) for values in (found.mass, found.charge))
    return HeldOut(position, velocity, mass, charge, acceleration, receivers, senders)


def _under(sweep: Sweep, experiment: Experiment, name: str, predictors: dict[str, Predictor]) -> dict[str, Any]:
    """Return the errors of every predictor under a condition, and whether it holds there as a law must."""
    graphs = budget.reason() or _states(sweep, experiment, name)
    if isinstance(graphs, str):
        return {"reason": graphs, "predictors": {}}
    found = {}
    for kind, predictor in predictors.items():
        given = predictor.acceleration(graphs)
        holds = predictor.holds(graphs, given, sweep.config.verification)
        found[kind] = {**errors(graphs, given), "holds": holds}
    return {"reason": "", "predictors": found}


def _followed(sweep: Sweep, experiment: Experiment, predictors: dict[str, Predictor]) -> dict[str, Any]:
    """Return how a network and its law follow bodies over long times."""
    settings = sweep.config.generalisation
    followed = {name: predictors[name] for name in FOLLOWED if name in predictors}
    if not settings.rollouts or not followed:
        return {"times": [], "reason": "", "predictors": {}, "paths": {}}
    if reason := budget.reason():
        return {"times": [], "reason": reason, "predictors": {}, "paths": {}}
    system = sweep.system(experiment)
    try:
        times, bodies, motion = _long(sweep, experiment)
    except DistilleryError as error:
        return {"times": [], "reason": str(error), "predictors": {}, "paths": {}}
    true = np.swapaxes(motion.position, 0, 1)
    senders, receivers = edges_of(system.graph, experiment.bodies)

    def energies(position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        still = np.zeros_like(position[0])
        return np.stack(
            [
                total_energy(system, HeldOut(at, moving, bodies.mass, bodies.charge, still, receivers, senders))
                for at, moving in zip(position, velocity, strict=True)
            ]
        )

    # A drift of what the true motion does not keep would say nothing of a prediction.
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


@functools.lru_cache(maxsize=4)
def _long(sweep: Sweep, experiment: Experiment) -> tuple[np.ndarray, Bodies, Motion]:
    settings, system = sweep.config.generalisation, sweep.system(experiment)
    length = settings.length * sweep.settings[experiment].steps * system.time_step
    times = np.linspace(0.0, length, _TIMES)
    integrator = Integrator(system, experiment.dim, experiment.bodies, sweep.config.simulation.tolerance)
    bodies, motion, _ = integrated(integrator, experiment, "generalise rollouts", range(settings.rollouts), times)
    return times, bodies, motion


def _drawn(position: Float[np.ndarray, "time body dim"]) -> list[Any]:
    """Return positions up to where one is lost, in the plane that is drawn."""
    lost = ~np.isfinite(position).all(axis=(1, 2))
    until = int(lost.argmax()) if lost.any() else len(position)
    return [[[float(f"{x:.{_DIGITS}g}") for x in body] for body in time] for time in position[:until, :, :2]]


def _finite(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
