"""Cells of a sweep as a report takes them: their names, their values, and the data from which pictures are drawn."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.laws.law import Law
from distillery.networks.functions import Function
from distillery.report.front import Point
from distillery.report.messages import MessageFit

Fronts = Mapping[Function, Sequence[Sequence[Point]]]
# By condition, predictor and column.
Beyond = Mapping[str, Mapping[str, Mapping[str, float | str]]]


@dataclasses.dataclass(frozen=True, order=True)
class Experiment:
    """A data set.

    Attributes:
        system: Name of the system.
        dim: Dimensions of space.
        bodies: Number of bodies; 0 for halos.
        seed: Seed of the initial conditions.
    """

    system: str
    dim: int
    bodies: int
    seed: int

    def __str__(self) -> str:
        return f"{self.system}-{self.dim}d{f'-{self.bodies}b' if self.bodies else ''}-s{self.seed}"


@dataclasses.dataclass(frozen=True, order=True)
class CellName:
    """A trained model.

    Attributes:
        experiment: The data set.
        model: Name of the model.
        seed: Training seed.
    """

    experiment: Experiment
    model: str
    seed: int

    def __str__(self) -> str:
        return f"{self.experiment}/{self.model}-s{self.seed}"


@dataclasses.dataclass(frozen=True, order=True)
class RowName:
    """A row of the tables: cells of all data seeds of a system, dimension and number of bodies.

    Attributes:
        system: Name of the system.
        dim: Dimensions of space.
        bodies: Number of bodies.
    """

    system: str
    dim: int
    bodies: int

    def __str__(self) -> str:
        # The paper's tables have four bodies.
        return f"{self.system}-{self.dim}" + ("" if self.bodies == 4 else f", {self.bodies} bodies")


@dataclasses.dataclass(frozen=True)
class Found:
    """The values of a cell in a result store.

    Attributes:
        cell: The cell.
        values: By column: text; a number, NaN if absent; or a list with one of these per component.
        source: The results folder.
        engines: By engine, 1 if every component that it chose is the law, 0 if not, NaN if not judged.
        beyond: Errors under other conditions; absent numbers are left out.
        fronts: By function, the Pareto front of each component, found by the cell's own engine; only read for cells
            that are shown in full.
    """

    cell: CellName
    values: Mapping[str, Any]
    source: Path
    engines: Mapping[str, float] = dataclasses.field(default_factory=dict)
    beyond: Beyond = dataclasses.field(default_factory=dict)
    fronts: Fronts = dataclasses.field(default_factory=dict)

    @property
    def status(self) -> str:
        """The status of the cell."""
        return str(self.values["status"])

    @property
    def row(self) -> RowName:
        """The row of the tables that holds the cell."""
        experiment = self.cell.experiment
        return RowName(experiment.system, experiment.dim, experiment.bodies)

    def number(self, name: str, component: int | None = None) -> float:
        """Return a number or flag, of a component if one is given; NaN if it is absent."""
        value = self.values.get(name, math.nan)
        if component is not None:
            value = value[component] if isinstance(value, list) and component < len(value) else math.nan
        return float(value) if isinstance(value, (int, float)) else math.nan

    def text(self, name: str) -> str:
        """Return a text; empty if it is absent."""
        return str(self.values.get(name) or "")

    def values_of(self, name: str) -> list[Any]:
        """Return the values of all components; none if they are absent."""
        values = self.values.get(name, [])
        return values if isinstance(values, list) else []

    def mean(self, name: str) -> float:
        """Return the mean over the components; NaN if it is absent for any, for a dead component has no R²."""
        values = self.values_of(name) or [math.nan]
        return float(sum(values) / len(values))

    def texts(self, name: str) -> list[str]:
        """Return the text of each component that has one."""
        return [text for text in self.values.get(name, []) if text]


@dataclasses.dataclass(frozen=True)
class HaloData:
    """Data of a cell of halos.

    Attributes:
        true: True overdensities of held-out halos (dimensionless).
        predicted: Predicted overdensities of the same halos (dimensionless).
        kernel: Distances ``r`` in Mpc/h and ``value``, the message there over its largest value.
        kept: Errors when few message components are kept, by their number; see ``halo_kept.kept_errors``.
    """

    true: Float[np.ndarray, " halo"]
    predicted: Float[np.ndarray, " halo"]
    kernel: Mapping[str, Any]
    kept: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Details:
    """Data of a cell that are not in the result store, as far as their files are there.

    Attributes:
        fits: Fits of its messages by the true force or acceleration.
        note: Why there are no messages or no halos; empty if they are there, or if there can be none.
        raw: The law as distilled.
        refitted: The law with refitted constants.
        constants: The constants of the refitted law, as stored.
        paths: Trajectories of one simulation, true and predicted, by predictor: arrays of shape (time, body, space).
        duration: Time that they cover (dimensionless).
        pictures: By name, the address of each picture of the cell relative to the report.
        halos: Data of a cell of halos.
    """

    fits: Sequence[MessageFit] = ()
    note: str = ""
    raw: Law | None = None
    refitted: Law | None = None
    constants: Any = ()
    paths: Mapping[str, Float[np.ndarray, "time body space"]] = dataclasses.field(default_factory=dict)
    duration: float = 0.0
    pictures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    halos: HaloData | None = None


@dataclasses.dataclass(frozen=True)
class Shown:
    """A cell that a report shows in full.

    Attributes:
        found: Its values.
        kind: Kind of its model: ``graph``, ``hamiltonian``, ``control``, or for halos ``network`` or ``formula``.
        symbols: By function that is distilled, the names of its features.
        read: Reads its further data, when they are needed: those of all cells would not fit into memory.
    """

    found: Found
    kind: str
    symbols: Mapping[Function, Sequence[str]] = dataclasses.field(default_factory=dict)
    read: Callable[[], Details] = Details


@dataclasses.dataclass(frozen=True)
class Simulations:
    """A few simulations of an experiment.

    Attributes:
        position: Positions (dimensionless).
        mass: Masses (dimensionless).
        duration: Time that they cover (dimensionless).
    """

    position: Float[np.ndarray, "simulation time body space"]
    mass: Float[np.ndarray, "simulation body"]
    duration: float


def first_seeds(cells: Sequence[Found], limit: int) -> list[Found]:
    """Return the finished cells that are shown in full: the first seeds of every system and model.

    Args:
        cells: All cells.
        limit: Largest number of cells that are shown.

    Returns:
        Some of the cells, in their order.
    """
    before: Counter[tuple[str, str]] = Counter()
    ranked = []
    for place, found in enumerate(cells):
        if found.status != "ok":
            continue
        group = str(found.row), found.cell.model
        ranked.append((before[group], place))
        before[group] += 1
    return [cells[place] for place in sorted(place for _, place in sorted(ranked)[:limit])]
