"""Collect: every finished result of a sweep in one store, at any time."""

from __future__ import annotations

from collections import Counter

from distillery import files
from distillery.errors import DistilleryError
from distillery.progress import progress
from distillery.results.swap import swapping
from distillery.workflow.cell import STAGES, STORE, STORE_MARKER, Cell
from distillery.workflow.outcome import read_outcome
from distillery.workflow.record import read_record
from distillery.workflow.state import experiment_states
from distillery.workflow.sweep import Sweep


def collect(sweep: Sweep) -> dict[str, int]:
    """Gather every finished result in ``sweep.zarr``; the marker ``sweep.json`` is written last, when no cell lacks.

    The store is swapped in whole: whoever reads at the same time sees the old one or the new one.
    Cells that are not finished stand in it as ``missing``, ``failed`` or ``diverged``, with the reason.
    Equal outcomes give equal stores.

    Args:
        sweep: The sweep.

    Returns:
        The number of cells by status.

    Raises:
        DistilleryError: The store cannot be written; the old one is untouched.
    """
    # xarray is slow to import, and only this stage needs it.
    from distillery.results.store import build, write

    show = progress("collect", len(sweep.cells), "cells")
    trajectories = {experiment: experiment_states(sweep, experiment) for experiment in sweep.experiments}
    records = []
    for cell in sweep.cells:
        records.append(read_record(sweep, cell, trajectories[cell.experiment]))
        show(len(records), "")
    tree = build(sweep, records)
    store = sweep.results / STORE
    try:
        with swapping(store) as folder:
            write(tree, folder)
    except OSError as error:
        raise DistilleryError(
            f"{store}: cannot be written ({error.strerror or error}); the store before it, if any, is untouched; "
            "make room and collect again"
        ) from None
    counts = dict(sorted(Counter(record.values["status"] for record in records).items()))
    recovered = sum(record.values.get("recovered") == 1.0 for record in records)
    marker = sweep.results / STORE_MARKER
    if not all(_has_ended(sweep, cell) for cell in sweep.cells):
        # With a marker the sweep would pass for finished.
        marker.unlink(missing_ok=True)
        return counts
    files.write_json(
        marker,
        {"key": sweep.collect_key, "cells": len(records), "counts": counts, "recovered": recovered},
    )
    return counts


def _has_ended(sweep: Sweep, cell: Cell) -> bool:
    """Tell whether the last outcome of a cell is there, of these settings."""
    try:
        return read_outcome(cell.outcome(sweep.results, STAGES[-1])).key == sweep.key(STAGES[-1], cell)
    except DistilleryError:
        return False
