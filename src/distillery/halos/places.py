"""Where the sweep keeps the halos of an experiment: catalogues under a split's store, and the seeds in their names."""

from __future__ import annotations

from pathlib import Path

from distillery.halos.catalogue import path_of
from distillery.halos.conditions import COSMOLOGY, REALISATION
from distillery.randomness import integer_seed
from distillery.workflow.cell import Experiment, Split
from distillery.workflow.sweep import Sweep

# Folder of a universe with another cosmology, and name of a catalogue that was read, within a split's store.
OTHER, READ = "cosmology", "quijote.zarr"


def seeds(sweep: Sweep, experiment: Experiment, purpose: str, count: int) -> list[int]:
    """Return the seeds of the universes of an experiment.

    Args:
        sweep: The sweep.
        experiment: The data set.
        purpose: What they are for: ``train``, ``test`` or ``cosmology``.
        count: How many.
    """
    return [integer_seed(sweep.halos[experiment].seed, "universe", purpose, number) for number in range(count)]


def catalogues(sweep: Sweep, experiment: Experiment, of: Split) -> dict[str, list[Path]]:
    """Return the catalogues of a split by the condition that they stand for; training has none of its own.

    Args:
        sweep: The sweep.
        experiment: The data set.
        of: The split.
    """
    settings, store = sweep.halos[experiment], experiment.store(sweep.results, of)
    if of == "train":
        if settings.catalogue is not None:
            return {"": [store / READ]}
        return {"": [path_of(store, seed) for seed in seeds(sweep, experiment, "train", settings.realisations)]}
    found = {REALISATION: [path_of(store, s) for s in seeds(sweep, experiment, "test", settings.test_realisations)]}
    if settings.other_cosmology is not None:
        found[COSMOLOGY] = [path_of(store / OTHER, seed) for seed in seeds(sweep, experiment, OTHER, 1)]
    return {condition: paths for condition, paths in found.items() if paths}
