"""Collect: write every finished result of a sweep into one store, at any time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from distillery import files
from distillery.errors import DistilleryError
from distillery.progress import progress
from distillery.results.record import Collection, Record
from distillery.results.swap import STORE, swapping
from distillery.validation.generalisation import LONG
from distillery.workflow.cell import STAGES, STORE_MARKER, Cell
from distillery.workflow.outcome import read_outcome
from distillery.workflow.record import read_record
from distillery.workflow.state import experiment_states
from distillery.workflow.sweep import Sweep


def collect(sweep: Sweep) -> dict[str, int]:
    """Write every finished result to ``sweep.zarr``; write the marker ``sweep.json`` last, if every cell has ended.

    The store is replaced in one step: a reader sees the old one or the new one. Cells that are not finished have the
    status ``missing``, ``failed`` or ``diverged``, with the reason. Equal outcomes give equal stores.

    Args:
        sweep: The sweep.

    Returns:
        The number of cells by status.

    Raises:
        DistilleryError: The store cannot be written; the old one is unchanged.
    """
    # xarray is slow to import, and only this stage needs it.
    from distillery.results import dataset, rows

    show = progress("collect", len(sweep.cells), "cells")
    trajectories = {experiment: experiment_states(sweep, experiment) for experiment in sweep.experiments}
    records = []
    for cell in sweep.cells:
        records.append(read_record(sweep, cell, trajectories[cell.experiment]))
        show(len(records), "")
    collection = collection_of(sweep, records)
    tree = dataset.build(collection)
    store = sweep.results / STORE
    try:
        with swapping(store) as folder:
            dataset.write(tree, folder)
            rows.write_tables(collection, folder)
    except OSError as error:
        raise DistilleryError(
            f"{store}: cannot be written ({error.strerror or error}); the store before it, if any, is untouched; "
            "make room and collect again"
        ) from None
    counts = dict(sorted(Counter(record.values["status"] for record in records).items()))
    recovered = sum(record.values.get("recovered") == 1.0 for record in records)
    marker = sweep.results / STORE_MARKER
    if not all(_has_ended(sweep, cell) for cell in sweep.cells):
        # A marker would make Snakemake take the sweep for finished.
        marker.unlink(missing_ok=True)
        return counts
    files.write_json(
        marker,
        {"key": sweep.collect_key, "cells": len(records), "counts": counts, "recovered": recovered},
    )
    return counts


def collection_of(sweep: Sweep, records: Sequence[Record]) -> Collection:
    """Return everything that the result store of a sweep holds.

    Args:
        sweep: The sweep.
        records: One record per cell, in the order of the sweep.
    """
    # Halos have conditions of their own, which the settings of the sweep do not list.
    own = dict.fromkeys(name for record in records for name in record.conditions)
    of_bodies = [*sweep.config.generalisation.conditions, LONG] if sweep.settings else []
    return Collection(
        records,
        {
            "config": json.dumps(sweep.config.model_dump(mode="json"), sort_keys=True),
            "config_hash": sweep.config_hash,
            "systems": json.dumps(_systems(sweep), sort_keys=True),
        },
        list(sweep.config.distillation.engines),
        list(dict.fromkeys([*of_bodies, *own])) or [LONG],
        max(sweep.message_size(cell) for cell in sweep.cells),
    )


def _systems(sweep: Sweep) -> dict[str, Any]:
    """Return the definition of every system of a sweep, also of built-in ones, which another version may change."""
    return {e.system: sweep.system(e).model_dump(mode="json") for e in sweep.experiments if sweep.kind(e) == "bodies"}


def _has_ended(sweep: Sweep, cell: Cell) -> bool:
    """Return whether the last outcome of a cell exists and has the current key."""
    try:
        return read_outcome(cell.outcome(sweep.results, STAGES[-1])).key == sweep.key(STAGES[-1], cell)
    except DistilleryError:
        return False
