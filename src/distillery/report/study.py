"""A study: the cells of one or several result stores, and the tables of the paper that they are compared with."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from distillery.networks.models import MODELS
from distillery.report import paper
from distillery.report.cells import CellName, Found, RowName

_T = TypeVar("_T")
# Number of bodies in the paper's tables.
PAPER_BODIES = 4


@dataclasses.dataclass(frozen=True)
class Store:
    """A result store.

    Attributes:
        results: The results folder.
        config: The configuration of its sweep, as in JSON.
        config_hash: Its hash.
        commit: Git commit of the program that collected it.
        counts: The number of cells by status.
        notes: Parts that could not be read, one line each.
        systems: The definition of each system, as in JSON.
        configuration: The file of its configuration, if one was found.
    """

    results: Path
    config: Mapping[str, Any]
    config_hash: str
    commit: str
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    systems: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    configuration: Path | None = None


@dataclasses.dataclass(frozen=True)
class Study:
    """The cells of all stores.

    Attributes:
        stores: The stores.
        cells: The cells, each once.
        repeated: Cells that are in several stores; the first that is finished counts, else the first.
    """

    stores: tuple[Store, ...]
    cells: tuple[Found, ...]
    repeated: tuple[CellName, ...] = ()

    @functools.cached_property
    def rows(self) -> list[RowName]:
        """The rows: those of the paper in its order, then others in the order of the cells."""
        names = list(dict.fromkeys(found.row for found in self.cells))
        order = {row: place for place, row in enumerate(paper.ROWS)}

        def place(name: RowName) -> tuple[int, int]:
            known = order.get((name.system, name.dim))
            return (len(order), 0) if known is None else (known, name.bodies)

        return sorted(names, key=place)

    @functools.cached_property
    def models(self) -> list[str]:
        """The models: built-in ones in the order of their table, then others in the order of the cells."""
        names = dict.fromkeys(found.cell.model for found in self.cells)
        return [*(name for name in MODELS if name in names), *(name for name in names if name not in MODELS)]

    @functools.cached_property
    def controls(self) -> frozenset[str]:
        """The models that are control experiments, which have no network."""
        known = {name: model.kind for name, model in MODELS.items()}
        for store in self.stores:
            known |= {name: model.get("kind", "graph") for name, model in store.config.get("variants", {}).items()}
        return frozenset(name for name in self.models if known.get(name) == "control")

    @functools.cached_property
    def bodies(self) -> Study:
        """The study without cells of halos."""
        return dataclasses.replace(self, cells=tuple(found for found in self.cells if found.cell.experiment.bodies))

    @functools.cached_property
    def halos(self) -> Study:
        """The study with cells of halos only."""
        return dataclasses.replace(self, cells=tuple(found for found in self.cells if not found.cell.experiment.bodies))

    def paper_row(self, row: RowName) -> paper.Row | None:
        """Return the row of the paper's tables for a system, or None if the paper has none.

        A system that a configuration defines is never the paper's, even if it has the same name.
        """
        own = any(row.system in store.config.get("systems", {}) for store in self.stores)
        known = (row.system, row.dim) in paper.ROWS and row.bodies == PAPER_BODIES
        return (row.system, row.dim) if known and not own else None

    def of_paper(self, table: paper.Entries[_T], row: RowName, model: str) -> _T | None:
        """Return the paper's entry for a row and a model; None if it has none or the model is redefined."""
        known = self.paper_row(row)
        return None if known is None or self._redefined(model) else paper.value(table, known, model)

    def least_loss_of_paper(self, row: RowName, models: Sequence[str]) -> tuple[str, float] | None:
        """Return the model with the paper's smallest loss in a row, and that loss; None if the paper has none."""
        known = self.paper_row(row)
        same = [model for model in models if not self._redefined(model)]
        return None if known is None else paper.least_loss(known, same)

    def _redefined(self, model: str) -> bool:
        """Return whether a configuration gives the name of a built-in model to another one."""
        return model in MODELS and any(model in store.config.get("variants", {}) for store in self.stores)

    @functools.cached_property
    def in_paper(self) -> bool:
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
