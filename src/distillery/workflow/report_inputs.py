"""Result stores, read into the plain values that reports take."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distillery.errors import DistilleryError
from distillery.halos.models import HALO_MODELS
from distillery.halos.names import message_names as halo_message_names
from distillery.halos.names import node_names as halo_node_names
from distillery.networks.functions import Function, components, message_names, node_names
from distillery.report.cells import (
    Beyond,
    CellName,
    Experiment,
    Found,
    Shown,
    Simulations,
)
from distillery.report.front import Point
from distillery.report.study import Store, Study
from distillery.results.columns import CELLS, CONDITIONS
from distillery.results.reading import Frame, read_attributes, read_cells, read_conditions, read_equations
from distillery.workflow import cell as identity
from distillery.workflow.cell import Cell
from distillery.workflow.report_details import read_details, read_simulations
from distillery.workflow.sweep import RESOLVED, Sweep, load_sweep

_CONFIGURATIONS = ("config.yaml", "workflow/presets/*.yaml")


def read_study(folders: Sequence[Path]) -> Study:
    """Read one or several result stores.

    Args:
        folders: The results folders, each with a store.

    Raises:
        DistilleryError: A folder has no store, or one that is damaged or of another version.
    """
    stores: list[Store] = []
    known: dict[CellName, Found] = {}
    repeated: dict[CellName, None] = {}
    for folder in dict.fromkeys(folders):
        store, cells = _read_store(folder)
        stores.append(store)
        for found in cells:
            before = known.get(found.cell)
            if before is not None:
                repeated[found.cell] = None
            if before is None or (before.status != "ok" and found.status == "ok"):
                known[found.cell] = found
    return Study(tuple(stores), tuple(known.values()), tuple(repeated))


def read_shown(sweep: Sweep, cells: Sequence[Found]) -> list[Shown]:
    """Read the Pareto fronts of some cells, and prepare to read their further data.

    Args:
        sweep: The sweep.
        cells: The cells.

    Raises:
        DistilleryError: There is no store, or it is damaged or of another version.
    """
    wanted = {str(found.cell) for found in cells}
    equations = read_equations(sweep.results)
    fronts = _fronts(equations.take(np.array([name in wanted for name in equations.columns["cell"]], dtype=bool)))
    shown = []
    for found in cells:
        cell = Cell.parse(str(found.cell))
        full = dataclasses.replace(found, fronts=fronts.get((str(cell), found.text("engine")), {}))
        kind, symbols = _functions(sweep, cell)
        shown.append(Shown(full, kind, symbols, functools.partial(read_details, sweep, cell, full)))
    return shown


def simulations_of(sweep: Sweep, shown: Sequence[Shown]) -> dict[Experiment, Simulations]:
    """Read simulations of every experiment with bodies that a report shows, as far as they are there."""
    found = {}
    for name in dict.fromkeys(one.found.cell.experiment for one in shown):
        try:
            if name.bodies:
                found[name] = read_simulations(sweep, identity.Experiment.parse(str(name)))
        except DistilleryError:
            continue
    return found


def _functions(sweep: Sweep, cell: Cell) -> tuple[str, dict[Function, Sequence[str]]]:
    """Return the kind of a cell's model, and the names of the features of its functions."""
    if sweep.kind(cell.experiment) == "halos":
        names = (*halo_message_names(), *halo_node_names())
        return HALO_MODELS[cell.model].kind, {"message": names, "node": names}
    model, system, experiment = sweep.model(cell), sweep.system(cell.experiment), cell.experiment
    symbols: dict[Function, Sequence[str]] = {}
    for function in components(model, experiment.dim):
        symbols[function] = (
            node_names(model, experiment.dim, place=system.acts_on_bodies)
            if function == "node"
            else message_names(model, experiment.dim, experiment.bodies, place=system.acts_on_bodies)
        )
    return model.kind, symbols


def _read_store(folder: Path) -> tuple[Store, list[Found]]:
    frame = read_cells(folder, [column.name for column in CELLS])
    attributes = read_attributes(folder)
    config, notes = attributes["config"], []
    engines: dict[str, dict[str, float]] = {}
    if config.get("distillation", {}).get("compare"):
        try:
            engines = _by_engine(read_equations(folder), frame)
        except DistilleryError as error:
            notes.append(f"the fronts of engines that were compared cannot be read: {error}")
    beyond = _read_beyond(folder)
    cells = [_found(folder, _values(frame, row), engines, beyond) for row in range(frame.rows)]
    store = Store(
        folder,
        config,
        attributes["config_hash"],
        attributes["git_commit"],
        Counter(found.status for found in cells),
        tuple(notes),
        attributes["systems"],
        _configuration(folder, attributes["config_hash"]),
    )
    return store, cells


def _configuration(results: Path, config_hash: str) -> Path | None:
    """Return the configuration file that has the hash of a store, or else the checked one of its latest run."""
    for pattern in _CONFIGURATIONS:
        for path in sorted(Path().glob(pattern)):
            try:
                if load_sweep(path).config_hash == config_hash:
                    return path
            except DistilleryError:
                continue
    resolved = results / RESOLVED
    return resolved if resolved.is_file() else None


def _read_beyond(folder: Path) -> dict[str, Beyond]:
    """Read errors under other conditions by cell, condition and predictor; absent numbers are left out."""
    conditions, names = read_conditions(folder), [column.name for column in CONDITIONS]
    found: dict[str, dict[str, dict[str, dict[str, float | str]]]] = {}
    rows = (conditions.columns[name].tolist() for name in ("cell", "condition", "predictor", *names))
    for cell, condition, predictor, *values in zip(*rows, strict=True):
        # NaN is not equal to itself.
        known = {name: v for name, v in zip(names, values, strict=True) if v == v and v != ""}  # noqa: PLR0124
        found.setdefault(cell, {}).setdefault(condition, {})[predictor] = known
    return {**found}


def _found(
    folder: Path, values: Mapping[str, Any], engines: Mapping[str, dict[str, float]], beyond: Mapping[str, Beyond]
) -> Found:
    own = {values["engine"]: float(values["recovered"])} if values.get("engine") else {}
    name = values["cell"]
    return Found(cell_name(Cell.parse(name)), values, folder, {**engines.get(name, {}), **own}, beyond.get(name, {}))


def cell_name(cell: Cell) -> CellName:
    """Return the name of a cell as reports take it."""
    own = cell.experiment
    return CellName(Experiment(own.system, own.dim, own.bodies, own.seed), cell.model, cell.seed)


def _values(frame: Frame, row: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, column in frame.columns.items():
        entry = column[row]
        values[name] = entry[: frame.lengths[name][row]].tolist() if name in frame.lengths else entry
    return values


def _by_engine(equations: Frame, cells: Frame) -> dict[str, dict[str, float]]:
    """Return by cell and engine whether the chosen expressions of all components pass; NaN if not judged."""
    columns = equations.columns
    chosen = columns["chosen"] == 1.0
    if "function" in columns:
        chosen &= columns["function"] == "message"
    passes: dict[tuple[str, str], list[float]] = {}
    for index in np.flatnonzero(chosen):
        passes.setdefault((columns["cell"][index], columns["engine"][index]), []).append(columns["passes"][index])
    # A component whose fit failed has no equation, and is not recovered.
    sizes = {
        cell: sum(bool(status) for status in fits)
        for cell, fits in zip(cells.columns["cell"], cells.columns["fit"].tolist(), strict=True)
    }
    found: dict[str, dict[str, float]] = {}
    for (cell, engine), flags in passes.items():
        whole = math.nan if any(math.isnan(flag) for flag in flags) else float(all(flags) and len(flags) == sizes[cell])
        found.setdefault(cell, {})[engine] = whole
    return found


def _fronts(equations: Frame) -> dict[tuple[str, str], dict[Function, list[list[Point]]]]:
    """Return the fronts by cell and engine; the rows of each component are in the order of their ranks."""
    names = ("cell", "engine", "function", "component", "expression", "complexity", "mae", "chosen", "passes")
    found: dict[tuple[str, str], dict[Function, list[list[Point]]]] = {}
    for row in zip(*(equations.columns[name].tolist() for name in names), strict=True):
        cell, engine, function, component, expression, complexity, mae, chosen, passes = row
        fronts = found.setdefault((cell, engine), {}).setdefault(function, [])
        fronts += [[] for _ in range(component + 1 - len(fronts))]
        fronts[component].append(Point(expression, complexity, mae, chosen == 1.0, passes == 1.0))
    return found
