"""Catalogues of a halo data set: simulated universes, or a catalogue read from files of Quijote."""

from __future__ import annotations

from pathlib import Path

from distillery.halos.catalogue import write_catalogue
from distillery.halos.layout import OTHER, READ, universe_seeds
from distillery.halos.quijote import read_quijote
from distillery.halos.settings import HaloSettings, Split
from distillery.halos.universe import grow_all
from distillery.simulate.ranks import Ranks


def make_catalogues(settings: HaloSettings, store: Path, split: Split, ranks: Ranks) -> None:
    """Simulate the universes of a split, or read the catalogue, and write them; complete files are kept.

    Args:
        settings: The data set.
        store: Folder of the split.
        split: ``train`` or ``test``.
        ranks: The MPI ranks, each of which simulates one universe at a time.

    Raises:
        DistilleryError: A universe has no halo, or the catalogue cannot be read.
    """
    if split == "train" and settings.catalogue is not None:
        catalogue = settings.catalogue
        ranks.first(lambda: write_catalogue(store / READ, read_quijote(catalogue)))
        return
    count = settings.realisations if split == "train" else settings.test_realisations
    if count:
        grow_all(settings.universe, universe_seeds(settings.seed, split, count), store, ranks)
    if split == "test" and settings.other_cosmology is not None:
        other = settings.universe.model_copy(update={"cosmology": settings.other_cosmology})
        grow_all(other, universe_seeds(settings.seed, OTHER, 1), store / OTHER, ranks)
