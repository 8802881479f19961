"""Simulate a law from the initial conditions of an experiment and compare its trajectories with the true ones.

They are integrated like the true ones (see ``simulate.integrator``), so only laws of central forces with drag and
external forces are supported (see ``laws.potential``).
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Float
from pydantic import ValidationError

from distillery import files
from distillery.data import store as stores
from distillery.errors import DistilleryError
from distillery.laws.law import read_law
from distillery.laws.potential import as_system, fields_of, why
from distillery.physics.systems import System
from distillery.simulate.initial import draw
from distillery.simulate.integrator import Integrator
from distillery.util.provenance import provenance
from distillery.workflow.cell import Cell, Experiment, Split
from distillery.workflow.stored_law import file_of_law
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import read_trajectories
from distillery.workflow.trajectory_layout import layout

# Characters of a formula that a folder name must not contain.
_NO_PATH = re.compile(r"[^A-Za-z0-9+.-]+")


@dataclasses.dataclass(frozen=True)
class Departure:
    """Distance between trajectories by a law and the true ones; all dimensionless.

    Attributes:
        folder: Folder of the trajectories.
        time: Saved times.
        distance: Median over bodies of the distance between both positions at each time.
        lost: Number of simulations that did not reach their end; their entries are NaN.
    """

    folder: Path
    time: Float[np.ndarray, " time"]
    distance: Float[np.ndarray, " time"]
    lost: int


def system_of(sweep: Sweep, experiment: Experiment, law: str) -> tuple[str, System]:
    """Return a folder name and the system that obeys a law.

    Args:
        sweep: The sweep.
        experiment: Experiment that gives the time step, graph, bodies and initial states.
        law: A cell, or a potential U in r, m1, m2, q1, q2, parsed by ``formula.parse``; no softening is added to it.

    Raises:
        DistilleryError: The cell has no law of central forces of pairs, or the formula does not parse.
    """
    if sweep.kind(experiment) == "halos":
        raise DistilleryError(f"{experiment}: halos do not move by a law of pairs; leave out --law")
    like = sweep.system(experiment)
    if re.match(r"[^/\s]+-\dd-\d+b-s\d+/", law):
        cell: Cell = sweep.find_cell(law)
        found = read_law(file_of_law(sweep, cell))
        return str(cell).replace("/", "-"), as_system(found, like, experiment.bodies)
    entry = {**like.model_dump(), "potential": law, "constants": {}, "softening": 0.0, "damping": 0.0}
    try:
        system = System.model_validate({**entry, "body_potential": None})
    except ValidationError as error:
        raise DistilleryError(
            f"--law {law!r}: is neither a cell nor the potential of a pair ({why(error)}); write it like '-m1*m2/r'"
        ) from None
    return f"{_NO_PATH.sub('_', law)[:40]}-{files.digest({'law': law})[:8]}", system


def simulate_law(sweep: Sweep, experiment: Experiment, split: Split, law: str) -> Departure:
    """Integrate a law from the initial conditions of an experiment's simulations and write the trajectories.

    Args:
        sweep: The sweep.
        experiment: The experiment; its trajectories exist.
        split: Training or held-out trajectories.
        law: As for ``system_of``.

    Raises:
        DistilleryError: As for ``system_of``, or the true trajectories are missing or damaged.
    """
    name, system = system_of(sweep, experiment, law)
    true = read_trajectories(sweep, experiment, split)
    drawn = zarr.open_array(str(experiment.store(sweep.results, split) / "redraws"), mode="r", zarr_format=3)
    attempts = np.asarray(drawn[...]).tolist()
    folder, plan = experiment.folder(sweep.results) / "by-law" / name, layout(sweep, experiment, split)
    store = stores.Store(folder / f"{split}.zarr", dataclasses.replace(plan, attributes=_attributes(plan, law, system)))
    marker = folder / f"{split}.json"
    marker.unlink(missing_ok=True)
    store.prepare()
    integrator = Integrator(system, experiment.dim, experiment.bodies, sweep.config.simulation.tolerance)
    found, lost = np.empty(true.position.shape), 0
    for block in plan.blocks:
        simulations = plan.simulations(block)
        these = slice(simulations.start, simulations.stop)
        # The true system's draws: one that it could not integrate was drawn again.
        bodies = draw(
            *(sweep.system(experiment), experiment.dim, experiment.bodies, experiment.seed),
            *(split, simulations, attempts[these]),
        )
        motion = integrator.propagate(bodies, plan.times, np.float32)
        paths = {"position": motion.position, "velocity": motion.velocity, "acceleration": motion.acceleration}
        for values in paths.values():
            values[~motion.reached] = np.nan
        redraws = np.array(attempts[these])
        store.write(block, redraws=redraws, mass=bodies.mass, charge=bodies.charge, **paths)
        found[these], lost = motion.position, lost + int((~motion.reached).sum())
    apart = np.linalg.norm(found - true.position, axis=-1)
    reached = np.isfinite(apart).all(axis=(1, 2))
    departed = np.median(apart[reached], axis=(0, 2)) if reached.any() else np.full(len(true.time), np.nan)
    content: dict[str, Any] = {"law": law, "system": fields_of(system), "lost": lost, "time": true.time.tolist()}
    content["median_distance"] = [float(value) if np.isfinite(value) else None for value in departed]
    files.write_json(marker, content | {"provenance": provenance()})
    return Departure(folder, true.time, departed, lost)


def _attributes(plan: stores.Layout, law: str, system: System) -> dict[str, Any]:
    given = {"title": f"{plan.attributes['title']} by the law {law}", "formula": system.pair_text}
    given |= {"key": files.digest({"true": plan.attributes["key"], "system": system.model_dump(mode="json")})}
    return {**plan.attributes, **given, "constants": "{}", "softening": 0.0, "damping": 0.0}
