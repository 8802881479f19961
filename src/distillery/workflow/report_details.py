"""Data of cells that are not in the result store, read into plain values: messages, laws, trajectories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zipfile import BadZipFile

import numpy as np

from distillery.errors import DistilleryError
from distillery.laws.law import Law, read_law
from distillery.messages.fits import DISTILLED, FRAMES
from distillery.networks.functions import Function
from distillery.report.card import target_of
from distillery.report.cells import Details, Found, HaloData, Simulations
from distillery.report.front import Point
from distillery.report.messages import TARGETS, MessageFit, Target, fit_messages
from distillery.results.columns import EQUATIONS
from distillery.workflow.cell import PICTURES, Cell, Experiment, Stage
from distillery.workflow.outcome import read_outcome
from distillery.workflow.record import read_record
from distillery.workflow.state import cell_states
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import read_trajectories

_SIMULATIONS, _SNAPSHOTS = 3, 120
_PREDICTORS = ("true", "network", "refitted")


def read_simulations(sweep: Sweep, experiment: Experiment, every: int | None = None) -> Simulations:
    """Read the first held-out simulations of an experiment.

    Args:
        sweep: The sweep.
        experiment: One of its experiments.
        every: Interval between the snapshots that are kept; by default some hundred are.

    Raises:
        DistilleryError: They are missing or damaged.
    """
    found = read_trajectories(sweep, experiment, "test")
    every = every or max(1, len(found.time) // _SNAPSHOTS)
    shown = slice(0, _SIMULATIONS)
    duration = float(found.time[-1] - found.time[0])
    return Simulations(found.position[shown, ::every], found.mass[shown], duration)


def read_fits(sweep: Sweep, cell: Cell, targets: Sequence[Target] = TARGETS) -> list[MessageFit]:
    """Read the messages of a cell on held-out edges, and fit them.

    Args:
        sweep: The sweep.
        cell: One of its cells, interpreted.
        targets: The quantities that messages are fitted by.

    Raises:
        DistilleryError: The cell is not interpreted yet, or its messages are damaged.
    """
    if sweep.model(cell).kind == "control":
        raise DistilleryError(f"{cell}: has no messages, for it has no network; choose a cell of another model")

    def read(stored: Any, result: Mapping[str, Any]) -> tuple[Any, ...]:
        held_out = stored["held_out"]
        message, displacement, mass, charge = (
            stored[name][held_out] for name in ("message", "displacement", "mass", "charge")
        )
        frames = stored.get(FRAMES, np.empty((0, 0, message.shape[1])))
        known = result.get(FRAMES, {"steps": [], "fits": []})
        if frames.shape != (len(known["steps"]), frames.shape[1], message.shape[1]):
            raise ValueError(f"frames of shape {frames.shape} for {len(known['steps'])} steps")
        return message, displacement, mass, charge, result["fits"][DISTILLED], (frames, known)

    message, displacement, mass, charge, found, frames = _read_messages(sweep, cell, read)
    masses, charges = (mass[:, 0], mass[:, 1]), (charge[:, 0], charge[:, 1])
    force = sweep.system(cell.experiment).pair_force(displacement, masses, charges)
    return fit_messages(message, force, mass[:, 0], found, sweep.config.interpretation.trim, targets, frames)


def read_halo_data(sweep: Sweep, cell: Cell) -> HaloData:
    """Read overdensities and messages by distance of a cell of halos.

    Args:
        sweep: The sweep.
        cell: One of its cells of halos.

    Raises:
        DistilleryError: It is not interpreted yet, or its files are damaged.
    """

    def read(stored: Any, result: Mapping[str, Any]) -> HaloData:
        _ = result["kernel"]["r"], result["kept"]
        true, predicted = (stored[name].astype(np.float64) for name in ("true", "predicted"))
        return HaloData(true, predicted, result["kernel"], result)

    return _read_messages(sweep, cell, read)


def pareto_fronts(sweep: Sweep, cell: Cell) -> dict[Function, list[list[Point]]]:
    """Return the Pareto front of each component of every function of a cell.

    Args:
        sweep: The sweep.
        cell: One of its cells, distilled.

    Raises:
        DistilleryError: The cell is not distilled yet, or its outcome is damaged.
    """
    record = read_record(sweep, cell, {})
    fronts = record.fronts.get(sweep.config.distillation.engine)
    if not fronts:
        reason = record.values["reason"] or "no expression"
        raise DistilleryError(f"{cell}: has no Pareto front ({reason}); run the sweep first")
    names = {column.name for column in EQUATIONS}

    def point(entry: Mapping[str, Any]) -> Point:
        flags = (bool(entry.get(name, 0.0)) for name in ("chosen", "passes"))
        return Point(entry["expression"], entry["complexity"], entry["mae"], *flags)

    return {
        function: [[point(entry) for entry in front if entry.keys() <= names] for front in own]
        for function, own in fronts.items()
    }


def _read_messages(sweep: Sweep, cell: Cell, read: Callable[[Any, Mapping[str, Any]], Any]) -> Any:
    """Return what ``read`` makes of the messages of a cell and of the result of the stage ``interpret``."""
    path = cell.messages(sweep.results)
    outcome = cell_states(sweep, cell)["interpret"].outcome
    if outcome is None or outcome.status != "ok":
        raise DistilleryError(f"{cell}: is not interpreted with these settings; run the sweep first")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return read(stored, outcome.result)
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, BadZipFile) as error:
        remedy = f"delete {cell.outcome(sweep.results, 'interpret')} and run the sweep again"
        raise DistilleryError(f"{path}: damaged or missing ({error}); {remedy}") from None


def read_details(sweep: Sweep, cell: Cell, found: Found) -> Details:
    """Read the data of a cell that a report shows in full; files that are missing or damaged are left out.

    Args:
        sweep: The sweep.
        cell: One of its cells.
        found: Its values in the result store.
    """
    halos = sweep.kind(cell.experiment) == "halos"
    data: HaloData | None = None
    fits: list[MessageFit] = []
    note = ""
    try:
        if halos:
            data = read_halo_data(sweep, cell)
        elif sweep.model(cell).kind != "control":
            fits = read_fits(sweep, cell, [target_of(found)])
    except DistilleryError as error:
        note = str(error)
    paths, duration = ({}, 0.0) if halos else _paths(sweep, cell)
    pictures = {name: cell.picture(sweep.results, name) for name in PICTURES}
    return Details(
        fits=fits,
        note=note,
        raw=None if halos else _law(sweep, cell, "raw"),
        refitted=None if halos else _law(sweep, cell, "refitted"),
        constants=_result(sweep, cell, "replace").get("refitted_constants", []),
        paths=paths,
        duration=duration,
        pictures={name: str(path.relative_to(sweep.results)) for name, path in pictures.items() if path.is_file()},
        halos=data,
    )


def _result(sweep: Sweep, cell: Cell, stage: Stage) -> Mapping[str, Any]:
    try:
        return read_outcome(cell.outcome(sweep.results, stage)).result
    except DistilleryError:
        return {}


def _law(sweep: Sweep, cell: Cell, form: str) -> Law | None:
    try:
        return read_law(cell.law(sweep.results, "json"), form)
    except DistilleryError:
        return None


def _paths(sweep: Sweep, cell: Cell) -> tuple[dict[str, np.ndarray], float]:
    try:
        rollouts = _result(sweep, cell, "generalise")["rollouts"]
        stored = rollouts["paths"]
        paths = {name: np.array(stored[name], dtype=float) for name in _PREDICTORS if name in stored}
        if not all(path.ndim == 3 and len(path) for path in paths.values()):
            return {}, 0.0
        return paths, float(rollouts["times"][-1]) if paths else 0.0
    except (KeyError, TypeError, ValueError, IndexError):
        return {}, 0.0
