"""A result store in a notebook: arrays, queries, laws, a summary and a figure."""

from __future__ import annotations

import functools
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillery.results.columns import Rows
from distillery.results.query import query
from distillery.results.swap import STORE, pinned, store_of
from distillery.util.text import Table, align, show

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from distillery.laws.law import Law

_SUMMARY = (
    "SELECT experiment, model, count(*) AS cells, count(*) FILTER (status = 'ok') AS ok, "
    "count(*) FILTER (recovered) AS recovered, median(test_medae) AS test_medae, "
    "median(list_avg(force_r2_robust)) AS force_r2_robust FROM cells GROUP BY ALL ORDER BY experiment, model"
)


def open_results(path: str | Path) -> Results:
    """Open a results folder, or the result store ``sweep.zarr`` in it.

    Args:
        path: The folder or the store.

    Raises:
        DistilleryError: There is no result store.
    """
    link = store_of(Path(path))
    return Results(link.parent, pinned(link, lambda store: store))


class Results:
    """The results of a sweep, as they were collected last before they were opened.

    Args:
        folder: The results folder.
        store: The result store, without symbolic links.
    """

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder = folder
        self.store = store

    @functools.cached_property
    def tree(self) -> xr.DataTree:
        """The whole store; values are read when they are needed."""
        import xarray as xr

        return xr.open_datatree(self.store, engine="zarr")

    @property
    def cells(self) -> xr.Dataset:
        """Values of the cells on (system, dim, bodies, data_seed, model, seed); ``units`` gives their units."""
        return self.tree["cells"].to_dataset()

    @property
    def equations(self) -> xr.Dataset:
        """All Pareto fronts on (cell, engine, function, component, rank)."""
        return self.tree["equations"].to_dataset()

    @property
    def conditions(self) -> xr.Dataset:
        """Errors of networks and laws outside the training conditions on (cell, condition, predictor)."""
        return self.tree["conditions"].to_dataset()

    def query(
        self, *where: str, sql: str | None = None, rows: Rows = "cells", columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return the rows that satisfy filters, or the answer of a query in SQL.

        Args:
            where: Filters such as ``recovered=yes`` or ``test_mae<0.1``; see ``query.query``.
            sql: A query on the tables ``cells``, ``equations`` and ``conditions``.
            rows: The table, unless ``sql`` is given.
            columns: Columns to return; by default all except lists over all message components.

        Raises:
            DistilleryError: A filter, a column or the SQL is wrong.
        """
        import pandas as pd

        found = query(self.store, where, sql, rows, columns)
        return pd.DataFrame.from_records(list(found.rows), columns=list(found.names))

    def law(self, cell: str) -> Law:
        """Return the law that replaces the network of a cell of bodies.

        Args:
            cell: Name of the cell, such as ``spring-2d-4b-s0/bottleneck-s0``.

        Raises:
            DistilleryError: The results folder has no such law.
        """
        from distillery.laws.law import read_law

        return read_law(self.folder / cell / "law.json")

    def plot(self) -> Figure:
        """Return a figure of the robust R² of messages against the true force, one point per cell."""
        from matplotlib.figure import Figure

        found = query(self.store, columns=["experiment", "model", "force_r2_robust"]).rows
        experiments = list(dict.fromkeys(experiment for experiment, _, _ in found))
        figure = Figure(figsize=(7, 1.5 + 0.4 * len(experiments)), layout="constrained")
        axes = figure.subplots()
        models = list(dict.fromkeys(model for _, model, _ in found))
        for number, model in enumerate(models):
            points = [
                (sum(values) / len(values), experiments.index(experiment))
                for experiment, own, values in found
                if own == model and values and None not in values
            ]
            # Models are offset vertically so that equal values stay visible.
            offset = 0.6 * ((number + 0.5) / len(models) - 0.5)
            axes.scatter([r2 for r2, _ in points], [place + offset for _, place in points], s=18, label=model)
        axes.set_yticks(range(len(experiments)), experiments)
        axes.invert_yaxis()
        axes.set_xlim(-0.05, 1.05)
        axes.set_xlabel("robust R² of messages against the true force (mean over components)")
        axes.legend()
        return figure

    def _summary(self) -> Table:
        return query(self.store, sql=_SUMMARY)

    def __repr__(self) -> str:
        summary = self._summary()
        rows = [[show(value) for value in row] for row in summary.rows]
        right = [False, False, *[True] * (len(summary.names) - 2)]
        return f"{self.folder / STORE}\n{align(summary.names, rows, right=right)}"

    def _repr_html_(self) -> str:
        summary = self._summary()

        def line(tag: str, values: Sequence[Any]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(show(value))}</{tag}>" for value in values) + "</tr>"

        body = "".join(line("td", row) for row in summary.rows)
        return f"<table><thead>{line('th', summary.names)}</thead><tbody>{body}</tbody></table>"
