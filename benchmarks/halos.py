"""Cost of simulating a universe, relative to references in the same run: ``python benchmarks/halos.py --rounds 3``.

- One evaluation of the force, which is the cost of a time step without moving the particles, against its two
  transforms: SciPy's rfftn and irfftn of the same mesh in single precision.
- Friends of friends among two million particles (a universe of 64³, repeated eight times) against building one k-d
  tree of them, the minimum of a search with a tree.
- The peak memory of a simulation against the estimate of `memory_mb`.

Times are CPU seconds of one core, the best of several rounds, so that other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import fft
from scipy.spatial import cKDTree

from distillery.halos import initial, mesh, motion
from distillery.halos.friends import groups
from distillery.halos.universe import LINKING, PRESETS, SMALL

PEAK = """
import re, sys, time
from pathlib import Path
from distillery.halos.universe import PRESETS, grow
begun = time.process_time()
catalogue = grow(PRESETS[sys.argv[1]], 0)
seconds = time.process_time() - begun
# Unlike getrusage, it restarts with a program and does not include the parent.
kilobytes = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(int(kilobytes) * 1.024 / 1000, seconds, len(catalogue.mass))
"""


def best_of(rounds: int, *runs: Callable[[], object]) -> list[float]:
    """Return the best CPU time of several alternating rounds, in seconds, for each run."""

    def timed(run: Callable[[], object]) -> float:
        begun = time.process_time()
        run()
        return time.process_time() - begun

    return [min(times) for times in zip(*[[timed(run) for run in runs] for _ in range(rounds)], strict=True)]


def matter(side: int, box: float) -> initial.Particles:
    """Return particles displaced by Zel'dovich's solution, so that memory access is as irregular as in a simulation."""
    return initial.particles(SMALL.cosmology, side, box, 1.0, seed=0)


def force(rounds: int) -> None:
    for side in (64, 128):
        box, cells = SMALL.spacing * side, 2 * side
        position = matter(side, box).position
        field = np.random.default_rng(0).normal(size=(cells, cells, cells)).astype(np.float32)

        def transforms(field: np.ndarray = field) -> None:
            fft.irfftn(fft.rfftn(field), field.shape, overwrite_x=True)

        ours, theirs = best_of(rounds, partial(motion.force, position, box, cells), transforms)
        painting, reading = best_of(
            rounds, partial(mesh.contrast, position, box, cells), partial(mesh.read, [field], position, box)
        )
        print(
            f"force, {side}³ particles on {cells}³: {ours:.2f} s, {ours / theirs:.1f} times its two transforms "
            f"({theirs:.2f} s); painting {painting:.2f} s, reading one field {reading:.2f} s",
            flush=True,
        )


def friends(rounds: int) -> None:
    universe = SMALL
    start = 1 / (1 + universe.start_redshift)
    small = initial.particles(universe.cosmology, universe.particles, universe.box, start, seed=0)
    times = np.linspace(start, 1.0, universe.steps + 1)
    motion.evolve(small, universe.cosmology, universe.box, 2 * universe.particles, times)
    corners = np.array(list(itertools.product((0.0, universe.box), repeat=3)), dtype=np.float32)
    position = np.concatenate([small.position + corner for corner in corners])
    velocity = np.tile(small.velocity(1.0), (8, 1))
    box = 2 * universe.box
    position = mesh.wrapped(position, box)
    found: list[int] = []

    def ours() -> None:
        found.append(len(groups(position, velocity, box, LINKING * universe.spacing, 20).particles))

    seconds, tree = best_of(rounds, ours, lambda: cKDTree(position.astype(np.float64), boxsize=box))
    print(
        f"friends of friends, {len(position):,} particles: {seconds:.1f} s for {found[0]:,} halos, "
        f"{seconds / tree:.1f} times one k-d tree ({tree:.1f} s)",
        flush=True,
    )


def peak(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEAK, name],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    most, seconds, halos = (float(word) for word in done.stdout.split())
    estimate = PRESETS[name].memory_mb
    print(f"{name}: {halos:,.0f} halos, {seconds:.0f} s, {most:,.0f} MB at most, {estimate:,.0f} MB by memory_mb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="Rounds, of which the best counts.")
    parser.add_argument("--grow", nargs="*", choices=sorted(PRESETS), default=["small"], help="Presets to grow.")
    options = parser.parse_args()
    force(options.rounds)
    friends(options.rounds)
    for name in options.grow:
        peak(name)


if __name__ == "__main__":
    main()
