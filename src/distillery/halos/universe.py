"""Simulated universes: matter from its initial conditions to today, its halos, and the overdensity around each.

A stand-in for simulations such as Quijote's where those are not at hand. A realisation is a seed; realisations are
shared among MPI ranks and each is written to a catalogue of its own, so that what is finished stays when a run is
stopped.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import distillery
from distillery import files
from distillery.errors import DistilleryError
from distillery.halos import friends, initial, mesh, motion, overdensity
from distillery.halos.catalogue import Catalogue, path_of, read_catalogue, write_catalogue
from distillery.halos.settings import FINER, UNIVERSE_VERSION, Universe
from distillery.progress import progress
from distillery.simulate.ranks import Ranks

# Linking length in units of the mean distance between particles.
LINKING = 0.2

SMALL = Universe()
MEDIUM = Universe(particles=128, box=250.0)
LARGE = Universe(particles=256, box=500.0)
PRESETS = {"small": SMALL, "medium": MEDIUM, "large": LARGE}


def grow(universe: Universe, seed: int, workers: int = 1, label: str | None = None) -> Catalogue:
    """Simulate a realisation from its seed and find its halos today.

    Args:
        universe: The box and how it is made.
        seed: Seed of the initial conditions.
        workers: Threads of the Fourier transforms.
        label: What its progress is called; None for none at all.

    Returns:
        Its halos, by falling mass.

    Raises:
        DistilleryError: There is no halo.
    """
    box, cosmology, side = universe.box, universe.cosmology, universe.particles
    show = progress(label, universe.steps, "steps") if label is not None else None
    start = 1.0 / (1.0 + universe.start_redshift)
    matter = initial.particles(cosmology, side, box, start, seed, workers)
    times = np.linspace(start, 1.0, universe.steps + 1)
    motion.evolve(matter, cosmology, box, FINER * side, times, workers, show)
    halos = friends.groups(
        matter.position, matter.velocity(1.0), box, LINKING * universe.spacing, universe.minimum_particles
    )
    if not len(halos.particles):
        raise DistilleryError(
            f"universe with seed {seed}: no halo of {universe.minimum_particles} particles or more among {side}³ "
            f"in {box:g} Mpc/h; raise box and particles, or particles alone"
        )
    field = mesh.contrast(matter.position, box, side)
    return Catalogue(
        position=halos.position,
        velocity=halos.velocity,
        mass=halos.particles * cosmology.particle_mass(side**3, box),
        particles=halos.particles,
        overdensity=overdensity.smoothed(field, box, universe.filters, halos.position, workers),
        filters=universe.filters,
        box=box,
        attributes={
            "source": f"particle mesh, {side}³ particles, {universe.steps} steps from z = {universe.start_redshift:g}",
            "redshift": 0.0,
            **cosmology.model_dump(),
            "finder": f"friends of friends, b = {LINKING:g}, at least {universe.minimum_particles} particles",
            "seed": seed,
            "version": distillery.__version__,
            "key": key(universe, seed),
        },
    )


def key(universe: Universe, seed: int) -> str:
    """Return a hash of everything on which a realisation's halos depend."""
    return files.digest({"universe": universe.model_dump(mode="json"), "seed": seed, "version": UNIVERSE_VERSION})


def grow_all(universe: Universe, seeds: Sequence[int], folder: Path, crew: Ranks, workers: int = 1) -> list[Path]:
    """Simulate realisations on all ranks, one at a time on each; existing ones are kept.

    A complete catalogue of these settings is kept; any other is made again. The catalogues do
    not depend on the number of ranks nor on interruptions.

    Args:
        universe: The box and how it is made.
        seeds: A seed for each realisation.
        folder: Where catalogues are kept.
        crew: The ranks.
        workers: Threads of each rank's transforms.

    Returns:
        The path of each catalogue, in the order of seeds.

    Raises:
        DistilleryError: A seed stands twice, a realisation has no halo, or a catalogue cannot be written.
    """
    crew.first(lambda: _refuse_twins(seeds))
    crew.first(lambda: _sweep(folder))

    def do(seed: int) -> None:
        if _is_done(universe, seed, folder):
            return
        label = f"universe {min(crew.taken(), len(seeds))} of {len(seeds)} (seed {seed})" if crew.rank == 0 else None
        write_catalogue(path_of(folder, seed), grow(universe, seed, workers, label))

    crew.share(seeds, do)
    return [path_of(folder, seed) for seed in seeds]


def _is_done(universe: Universe, seed: int, folder: Path) -> bool:
    with contextlib.suppress(DistilleryError):
        found: Any = read_catalogue(path_of(folder, seed)).attributes.get("key")
        return bool(found == key(universe, seed))
    return False


def _refuse_twins(seeds: Sequence[int]) -> None:
    for index, seed in enumerate(seeds):
        if seed in seeds[:index]:
            raise DistilleryError(f"seeds: {seed} stands twice; remove one")


def _sweep(folder: Path) -> None:
    """Remove the remains of a killed run."""
    for leftover in (*folder.glob(".halos-s*.part"), *folder.glob(".halos-s*.old")):
        shutil.rmtree(leftover, ignore_errors=True)
