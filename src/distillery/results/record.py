"""Plain values from which the result store is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from distillery.networks.functions import Function
from distillery.results.columns import DIMS, TEXT_DIMS

Values = Mapping[str, Any]
Fronts = Mapping[Function, Sequence[Sequence[Values]]]


@dataclasses.dataclass(frozen=True)
class Record:
    """Everything that is known of one cell.

    Attributes:
        cell: Name of the cell, unique in its store.
        experiment: Name of its experiment.
        coordinates: A value for each dimension of ``columns.DIMS``.
        values: By column of ``columns.CELLS`` a value, or a list along the column's own dimension; absent values are
            left out.
        fronts: By engine and function, for each component its Pareto front; each entry by column of
            ``columns.EQUATIONS``.
        conditions: By condition and predictor, values by column of ``columns.CONDITIONS``.
    """

    cell: str
    experiment: str
    coordinates: Mapping[str, str | int]
    values: Values
    fronts: Mapping[str, Fronts] = dataclasses.field(default_factory=dict)
    conditions: Mapping[str, Mapping[str, Values]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Collection:
    """Everything that a result store holds.

    Attributes:
        records: One record per cell, in order; at least one.
        attributes: Attributes of the store: ``config`` and ``systems`` (JSON), ``config_hash``.
        engines: Names of the engines, in order.
        conditions: Names of the conditions, in order; at least one.
        messages: Least size of the dimension ``message``.
    """

    records: Sequence[Record]
    attributes: Mapping[str, str]
    engines: Sequence[str]
    conditions: Sequence[str]
    messages: int = 1

    @property
    def coordinates(self) -> dict[str, list[str | int]]:
        """The values of each dimension: names in the order of the records, numbers sorted."""
        values = {name: list(dict.fromkeys(record.coordinates[name] for record in self.records)) for name in DIMS}
        return {name: found if name in TEXT_DIMS else sorted(found) for name, found in values.items()}

    @property
    def in_order(self) -> list[Record]:
        """The records in the order of their coordinates."""
        places = {
            name: {value: place for place, value in enumerate(values)} for name, values in self.coordinates.items()
        }
        return sorted(self.records, key=lambda record: [places[name][record.coordinates[name]] for name in DIMS])
