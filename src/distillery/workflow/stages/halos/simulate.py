"""The simulate stage of halos: simulate universes on all ranks, or read a catalogue, and write catalogues."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

from distillery import files
from distillery.data.store import first_change, manifest
from distillery.errors import DistilleryError
from distillery.halos.file_stamps import FileStamps, file_stamps
from distillery.halos.simulate import make_catalogues
from distillery.simulate.ranks import joined
from distillery.util.provenance import provenance
from distillery.workflow.cell import Experiment, Split
from distillery.workflow.outcome import running
from distillery.workflow.sweep import Sweep


def simulate(sweep: Sweep, experiment: Experiment, split: Split, ranks: int) -> None:
    """Write the catalogues of a split and, last, their marker; return at once if all are complete.

    Args:
        sweep: The sweep.
        experiment: The data set.
        split: Training universes, or test universes.
        ranks: Number of MPI ranks that were started.

    Raises:
        DistilleryError: The number of ranks differs, a universe has no halo, or a catalogue cannot be read.
    """
    with joined(ranks) as crew, contextlib.ExitStack() as stack:
        marker, store = experiment.marker(sweep.results, split), experiment.store(sweep.results, split)
        started, key = time.monotonic(), sweep.data_key(experiment, split)
        catalogue = sweep.halos[experiment].catalogue
        made_from = file_stamps(catalogue) if catalogue is not None and split == "train" else None
        if crew.rank == 0:
            started = stack.enter_context(running(marker))
        if crew.first(lambda: _is_done(marker, store, key)):
            return
        crew.first(lambda: marker.unlink(missing_ok=True))
        crew.first(lambda: _prepare(store))
        make_catalogues(sweep.halos[experiment], store, split, crew)
        crew.first(lambda: _finish(marker, store, key, started, crew.size, made_from))


def _is_done(marker: Path, store: Path, key: str) -> bool:
    try:
        content = files.read_json(marker, "")
    except DistilleryError:
        return False
    if not isinstance(content, dict) or content.get("key") != key:
        return False
    return not content.get("files") or first_change(store, content["files"]) is None


def _prepare(store: Path) -> None:
    """Make the folder, and remove the incomplete files of a killed run."""
    store.mkdir(parents=True, exist_ok=True)
    for leftover in (*store.rglob(".*.part"), *store.rglob(".*.old")):
        shutil.rmtree(leftover, ignore_errors=True)


def _finish(marker: Path, store: Path, key: str, started: float, ranks: int, made_from: FileStamps | None) -> None:
    files.sync_tree(store)
    files.write_json(
        marker,
        {
            "key": key,
            "seconds": round(time.monotonic() - started, 3),
            "ranks": ranks,
            "provenance": provenance(),
            "files": manifest(store),
            **({} if made_from is None else {"sources": made_from}),
        },
    )
