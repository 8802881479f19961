"""Small halo catalogues for tests: clusters in a periodic box, and an overdensity from a known law."""

from __future__ import annotations

import numpy as np

from distillery.halos.catalogue import Catalogue
from distillery.halos.features import HaloGraph, halo_graph
from distillery.halos.law import HaloLaw
from distillery.randomness import stream

BOX, RADIUS, SMOOTHING = 100.0, 25.0, 10.0


def catalogue(halos: int = 400, seed: int = 0, box: float = BOX) -> Catalogue:
    """Return halos, half in clusters and half uniform; random masses and velocities, δ = 0."""
    draws = stream(seed, "toy halos")
    centres = draws.uniform(0, box, (max(halos // 20, 1), 3))
    near = centres[draws.integers(len(centres), size=halos // 2)] + draws.normal(0, 4.0, (halos // 2, 3))
    far = draws.uniform(0, box, (halos - halos // 2, 3))
    position = np.mod(np.concatenate([near, far]), box)
    position[position >= box] = 0.0
    return Catalogue(
        position=position,
        velocity=draws.normal(0, 300.0, (halos, 3)),
        mass=1e13 * np.exp(draws.normal(0, 0.8, halos)),
        particles=np.full(halos, 20),
        overdensity=np.zeros((1, halos)),
        filters=(SMOOTHING,),
        box=box,
        attributes={"seed": seed},
    )


def graph(halos: int = 400, seed: int = 0, law: HaloLaw | None = None, noise: float = 0.0) -> HaloGraph:
    """Return a graph of halos whose overdensity is that of a law plus noise."""
    bare = halo_graph(catalogue(halos, seed), RADIUS, SMOOTHING)
    if law is None:
        return bare
    delta = law.predict(bare, np.arange(len(bare))) + noise * stream(seed, "toy noise").normal(size=len(bare))
    return HaloGraph(bare.neighbours, bare.velocity, bare.mass, delta, SMOOTHING)
