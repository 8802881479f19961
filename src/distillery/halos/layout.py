"""Seeds of the universes of a halo data set, and paths of their catalogues on disk."""

from __future__ import annotations

from pathlib import Path

from distillery.halos.catalogue import path_of
from distillery.halos.conditions import COSMOLOGY, REALISATION
from distillery.halos.settings import HaloSettings, Split
from distillery.randomness import integer_seed

# Subfolder of a universe with another cosmology, and name of a catalogue that was read, within a split's store.
OTHER, READ = "cosmology", "quijote.zarr"


def universe_seeds(seed: int, purpose: str, count: int) -> list[int]:
    """Return the seeds of the universes of a data set.

    Args:
        seed: Seed of the data set.
        purpose: Use of the universes: ``train``, ``test`` or ``cosmology``.
        count: Number of universes.
    """
    return [integer_seed(seed, "universe", purpose, number) for number in range(count)]


def catalogue_paths(settings: HaloSettings, store: Path, split: Split) -> dict[str, list[Path]]:
    """Return the catalogues of a split by test condition; the key of the training split is empty.

    Args:
        settings: The data set.
        store: Folder of the split.
        split: ``train`` or ``test``.
    """
    if split == "train":
        if settings.catalogue is not None:
            return {"": [store / READ]}
        return {"": [path_of(store, s) for s in universe_seeds(settings.seed, "train", settings.realisations)]}
    tests = universe_seeds(settings.seed, "test", settings.test_realisations)
    found = {REALISATION: [path_of(store, seed) for seed in tests]}
    if settings.other_cosmology is not None:
        found[COSMOLOGY] = [path_of(store / OTHER, seed) for seed in universe_seeds(settings.seed, OTHER, 1)]
    return {condition: paths for condition, paths in found.items() if paths}
