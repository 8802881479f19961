"""The simulate stage of halos: universes are grown on all ranks, or a catalogue is read, and kept as catalogues."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

from distillery import files
from distillery.data.store import first_change, manifest
from distillery.errors import DistilleryError
from distillery.halos.catalogue import write_catalogue
from distillery.halos.places import OTHER, READ, seeds
from distillery.halos.quijote import read_quijote
from distillery.halos.sources import Sources, present
from distillery.halos.universe import grow_all
from distillery.simulate.ranks import Ranks, joined
from distillery.util.provenance import provenance
from distillery.workflow.cell import Experiment, Split
from distillery.workflow.outcome import running
from distillery.workflow.sweep import Sweep


def simulate(sweep: Sweep, experiment: Experiment, split: Split, ranks: int) -> None:
    """Write the catalogues of a split and, last, their marker; returns at once if all are whole.

    Args:
        sweep: The sweep.
        experiment: The data set.
        split: Universes to train on, or the others.
        ranks: How many MPI ranks this was started with.

    Raises:
        DistilleryError: Fewer or more ranks are here, a universe has no halo, or a catalogue cannot be read.
    """
    with joined(ranks) as crew, contextlib.ExitStack() as stack:
        marker, store = experiment.marker(sweep.results, split), experiment.store(sweep.results, split)
        started, key = time.monotonic(), sweep.data_key(experiment, split)
        catalogue = sweep.halos[experiment].catalogue
        made_from = present(catalogue) if catalogue is not None and split == "train" else None
        if crew.rank == 0:
            started = stack.enter_context(running(marker))
        if crew.first(lambda: _is_done(marker, store, key)):
            return
        crew.first(lambda: marker.unlink(missing_ok=True))
        crew.first(lambda: _prepare(store))
        _make(sweep, experiment, split, store, crew)
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
    """Make the folder, and remove what a killed run left half-written in it."""
    store.mkdir(parents=True, exist_ok=True)
    for leftover in (*store.rglob(".*.part"), *store.rglob(".*.old")):
        shutil.rmtree(leftover, ignore_errors=True)


def _make(sweep: Sweep, experiment: Experiment, split: Split, store: Path, crew: Ranks) -> None:
    settings, universe = sweep.halos[experiment], sweep.halos[experiment].universe
    if split == "train" and settings.catalogue is not None:
        catalogue = settings.catalogue
        crew.first(lambda: write_catalogue(store / READ, read_quijote(catalogue)))
        return
    count = settings.realisations if split == "train" else settings.test_realisations
    if count:
        grow_all(universe, seeds(sweep, experiment, split, count), store, crew)
    if split == "test" and settings.other_cosmology is not None:
        other = universe.model_copy(update={"cosmology": settings.other_cosmology})
        grow_all(other, seeds(sweep, experiment, OTHER, 1), store / OTHER, crew)


def _finish(marker: Path, store: Path, key: str, started: float, ranks: int, made_from: Sources | None) -> None:
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
