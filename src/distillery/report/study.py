"""A study: the cells of one or several result stores, as the tables beside the paper's take them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from distillery.errors import DistilleryError
from distillery.networks.models import MODELS
from distillery.report import paper
from distillery.results.columns import CONDITIONS
from distillery.results.reading import Frame, read_attributes, read_cells, read_conditions, read_equations
from distillery.results.swap import followed
from distillery.workflow.cell import STORE, Cell

_T = TypeVar("_T")
# The paper's tables are of so many bodies.
PAPER_BODIES = 4
Beyond = Mapping[str, Mapping[str, Mapping[str, float | str]]]
READINGS = ("std", "principal")
FITS = ("force_r2", "force_r2_robust", "acceleration_r2", "acceleration_r2_robust", "r2_gauge_free")
# A store that lacks one of these is of no version that can be read; what else is lacking leaves a part out.
_ALWAYS = ("status", "reason", "test_mae", "recovered", "form", "equation", "fit")
_WHERE_THERE = (
    *(
        "redraws_train",
        "redraws_test",
        "test_medae",
        "reading",
        "on_front",
        "recovered_together",
        "device",
        "engine",
        "commit",
        "versions",
    ),
    *("force_r2", "force_r2_robust", "acceleration_r2", "acceleration_r2_robust", "force_r2_gauge_free"),
    *(f"{reading}_{fit}" for reading in READINGS for fit in FITS),
    *("node_equation", "node_recovered", "composed_mae", "composed_medae"),
    *("verdict_reason", "label_std", "replacement_reason", "law_form"),
    *("law", "law_source", "error_network_medae", "error_raw_medae", "error_refitted_medae", "error_clean_medae"),
)


# Read where a store has it; without, nothing is left out.
_OPTIONAL = ("extent",)


@dataclasses.dataclass(frozen=True, order=True)
class RowName:
    """A row of the tables: a system in some dimension with some bodies; cells of all its data seeds count alike.

    Attributes:
        system: Name of the system.
        dim: Dimensions of space.
        bodies: Number of bodies.
    """

    system: str
    dim: int
    bodies: int

    def __str__(self) -> str:
        name = f"{self.system}-{self.dim}"
        return name if self.bodies == PAPER_BODIES else f"{name}, {self.bodies} bodies"


@dataclasses.dataclass(frozen=True)
class Found:
    """A cell and what its store holds of it.

    Attributes:
        cell: The cell.
        values: By column: text; a number, NaN where absent; or a list with one of these per component.
        source: The results folder.
        engines: By engine that fitted it, whether every component it chose is the law: 1, 0 or NaN.
        beyond: By condition and predictor what was found under other conditions, by column.
    """

    cell: Cell
    values: Mapping[str, Any]
    source: Path
    engines: Mapping[str, float] = dataclasses.field(default_factory=dict)
    beyond: Beyond = dataclasses.field(default_factory=dict)

    @property
    def status(self) -> str:
        """The status of the cell."""
        return str(self.values["status"])

    @property
    def row(self) -> RowName:
        """The row it belongs to."""
        experiment = self.cell.experiment
        return RowName(experiment.system, experiment.dim, experiment.bodies)

    def number(self, name: str) -> float:
        """Return a number or flag; NaN where it is absent."""
        return float(self.values.get(name, math.nan))

    def mean(self, name: str) -> float:
        """Return the mean over the components; NaN where it is absent for any: a dead component has no R²."""
        values = self.values.get(name) or [math.nan]
        return float(sum(values) / len(values))

    def texts(self, name: str) -> list[str]:
        """Return the text of each component that has one."""
        return [text for text in self.values.get(name, []) if text]


@dataclasses.dataclass(frozen=True)
class Store:
    """Where results come from.

    Attributes:
        results: The results folder.
        config: The configuration of its sweep, as JSON has it.
        config_hash: Its hash.
        commit: Git commit of the program that collected it.
        counts: The number of cells by status.
        lacking: Columns that it does not have.
        notes: What could not be read, one line each.
        systems: The definition of each system, as JSON has it.
    """

    results: Path
    config: Mapping[str, Any]
    config_hash: str
    commit: str
    counts: Mapping[str, int]
    lacking: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    systems: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Study:
    """The cells of all stores.

    Attributes:
        stores: The stores.
        cells: The cells, each once.
        repeated: Cells that stand in several stores; the first that went well counts, else the first.
    """

    stores: tuple[Store, ...]
    cells: tuple[Found, ...]
    repeated: tuple[Cell, ...] = ()

    @functools.cached_property
    def rows(self) -> list[RowName]:
        """The rows: the paper's in its order, then others as they come."""
        names = list(dict.fromkeys(found.row for found in self.cells))
        order = {row: place for place, row in enumerate(paper.ROWS)}

        def place(name: RowName) -> tuple[int, int]:
            known = order.get((name.system, name.dim))
            return (len(order), 0) if known is None else (known, name.bodies)

        return sorted(names, key=place)

    @functools.cached_property
    def models(self) -> list[str]:
        """The models: built-in ones in the order of their table, then others as they come."""
        names = dict.fromkeys(found.cell.model for found in self.cells)
        return [*(name for name in MODELS if name in names), *(name for name in names if name not in MODELS)]

    @functools.cached_property
    def controls(self) -> frozenset[str]:
        """The models that are control experiments without a network."""
        known = {name: model.kind for name, model in MODELS.items()}
        for store in self.stores:
            known |= {name: model.get("kind", "graph") for name, model in store.config.get("variants", {}).items()}
        return frozenset(name for name in self.models if known.get(name) == "control")

    @functools.cached_property
    def bodies(self) -> Study:
        """The same with the cells of interacting bodies only."""
        return dataclasses.replace(self, cells=tuple(found for found in self.cells if found.cell.experiment.bodies))

    @functools.cached_property
    def halos(self) -> Study:
        """The same with the cells of halos only; how many there are is not theirs to say."""
        return dataclasses.replace(self, cells=tuple(found for found in self.cells if not found.cell.experiment.bodies))

    def paper_row(self, row: RowName) -> paper.Row | None:
        """Return the row of the paper's tables that has this system; None where they lack it.

        A system that the configuration defines is not the paper's, whatever its name.
        """
        own = any(row.system in store.config.get("systems", {}) for store in self.stores)
        known = (row.system, row.dim) in paper.ROWS and row.bodies == PAPER_BODIES
        return (row.system, row.dim) if known and not own else None

    def of_paper(self, table: paper.Entries[_T], row: RowName, model: str) -> _T | None:
        """Return the paper's entry for a row and a model; None where it has none, or the model is another one."""
        known = self.paper_row(row)
        return None if known is None or self._redefined(model) else paper.value(table, known, model)

    def least_loss_of_paper(self, row: RowName, models: Sequence[str]) -> tuple[str, float] | None:
        """Return which of some models has the paper's smallest loss of a row, and that loss; None where none has."""
        known = self.paper_row(row)
        same = [model for model in models if not self._redefined(model)]
        return None if known is None else paper.least_loss(known, same)

    def _redefined(self, model: str) -> bool:
        """Tell whether a configuration gives the name of a built-in model to another one."""
        return model in MODELS and any(model in store.config.get("variants", {}) for store in self.stores)

    @functools.cached_property
    def beside_paper(self) -> bool:
        """Whether the paper has any of the rows."""
        return any(self.paper_row(row) is not None for row in self.rows)

    def at(self, row: RowName, model: str) -> list[Found]:
        """Return the cells of a row and a model."""
        return self._places.get((row, model), [])

    @functools.cached_property
    def _places(self) -> dict[tuple[RowName, str], list[Found]]:
        places: dict[tuple[RowName, str], list[Found]] = {}
        for found in self.cells:
            places.setdefault((found.row, found.cell.model), []).append(found)
        return places

    def has(self, *columns: str) -> bool:
        """Tell whether any store has one of these columns."""
        return any(name not in store.lacking for store in self.stores for name in columns)


def read_study(folders: Sequence[Path]) -> Study:
    """Read one or several result stores.

    Args:
        folders: The results folders, each with a store.

    Raises:
        DistilleryError: A folder has no store, or one that is damaged or of another version.
    """
    stores: list[Store] = []
    known: dict[Cell, Found] = {}
    repeated: dict[Cell, None] = {}
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


def _read_store(folder: Path) -> tuple[Store, list[Found]]:
    cells = followed(folder / STORE) / "cells"
    there = [name for name in (*_WHERE_THERE, *_OPTIONAL) if (cells / name).is_dir()]
    frame = read_cells(folder, [*_ALWAYS, *there])
    attributes = read_attributes(folder)
    config, notes = attributes["config"], []
    engines: dict[str, dict[str, float]] = {}
    if config.get("distillation", {}).get("compare"):
        try:
            engines = _by_engine(read_equations(folder), frame)
        except DistilleryError as error:
            notes.append(f"the fronts of engines that were compared cannot be read: {error}")
    beyond = read_beyond(folder) if (followed(folder / STORE) / "conditions").is_dir() else {}
    found = [_found(folder, frame, row, engines, beyond) for row in range(frame.rows)]
    lacking = tuple(name for name in _WHERE_THERE if name not in frame.columns)
    counts = Counter(entry.status for entry in found)
    return Store(
        folder,
        config,
        attributes["config_hash"],
        attributes["git_commit"],
        counts,
        lacking,
        tuple(notes),
        attributes["systems"],
    ), found


def read_beyond(folder: Path) -> dict[str, dict[str, dict[str, dict[str, float | str]]]]:
    """Read what was found under other conditions, by cell, condition and predictor; absent numbers are left out.

    Args:
        folder: The results folder.

    Raises:
        DistilleryError: There is no store, or it is damaged or of another version.
    """
    conditions, names = read_conditions(folder), [column.name for column in CONDITIONS]
    found: dict[str, dict[str, dict[str, dict[str, float | str]]]] = {}
    rows = (conditions.columns[name].tolist() for name in ("cell", "condition", "predictor", *names))
    for cell, condition, predictor, *values in zip(*rows, strict=True):
        # NaN is what differs from itself.
        known = {name: v for name, v in zip(names, values, strict=True) if v == v and v != ""}  # noqa: PLR0124
        found.setdefault(cell, {}).setdefault(condition, {})[predictor] = known
    return found


def _found(
    folder: Path, frame: Frame, row: int, engines: Mapping[str, dict[str, float]], beyond: Mapping[str, Beyond]
) -> Found:
    values: dict[str, Any] = {}
    for name, column in frame.columns.items():
        entry = column[row]
        values[name] = entry[: frame.lengths[name][row]].tolist() if name in frame.lengths else entry
    own = {values["engine"]: float(values["recovered"])} if values.get("engine") else {}
    name = values["cell"]
    return Found(Cell.parse(name), values, folder, {**engines.get(name, {}), **own}, beyond.get(name, {}))


def _by_engine(equations: Frame, cells: Frame) -> dict[str, dict[str, float]]:
    """Return by cell and engine whether all components' chosen expressions pass; NaN where none was judged."""
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
