"""The stage: integrate a split's simulations on all ranks, block by block, resuming what is there."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from distillery import files
from distillery.data import store as stores
from distillery.errors import DistilleryError
from distillery.physics.reachable_singularities import warnings_about
from distillery.progress import progress
from distillery.simulate.equations import equations
from distillery.simulate.integrator import Integrator, Motion
from distillery.simulate.ranks import Ranks, joined
from distillery.simulate.simulations import integrated
from distillery.util.provenance import provenance
from distillery.workflow import earlier
from distillery.workflow.cell import Experiment, Split
from distillery.workflow.outcome import running
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectory_layout import layout


def simulate(sweep: Sweep, experiment: Experiment, split: Split, ranks: int) -> None:
    """Write the trajectories of a split and, last, their marker; returns at once if both are whole.

    The result does not depend on the number of ranks nor on interruptions.

    Args:
        sweep: The sweep.
        experiment: The data set.
        split: Training or held-out trajectories.
        ranks: How many MPI ranks this was started with.

    Raises:
        DistilleryError: Fewer or more ranks are here, the disk is too small, or the system cannot be integrated.
    """
    with joined(ranks) as crew, contextlib.ExitStack() as stack:
        marker = experiment.marker(sweep.results, split)
        place = stores.Store(experiment.store(sweep.results, split), layout(sweep, experiment, split))
        started = time.monotonic()
        crew.first(lambda: _refuse(sweep, experiment, place.successor()))
        if crew.rank == 0:
            started = stack.enter_context(running(marker))
        # Looked for inside of the lock: another process may just have finished it.
        if crew.first(lambda: _is_done(marker, place)):
            return
        store = stores.Store(crew.first(lambda: place.successor().path), place.layout)
        if store.path == place.path:
            crew.first(lambda: marker.unlink(missing_ok=True))
        crew.first(lambda: _warn(sweep, experiment))
        crew.first(store.prepare)
        seconds = _integrate(sweep, experiment, split, store, crew)
        crew.first(lambda: _finish(marker, store, place.path, started, crew.size, seconds))


def _is_done(marker: Path, store: stores.Store) -> bool:
    expected = {name: store.layout.attributes[name] for name in ("key", "format")}

    def done(file: Path) -> bool:
        try:
            content = files.read_json(file, "")
        except DistilleryError:
            return False
        return (
            isinstance(content, dict)
            and all(content.get(name) == value for name, value in expected.items())
            and stores.first_change(store.path, content.get("files")) is None
        )

    return done(marker) if marker.exists() else earlier.take_back(marker, done)


def _refuse(sweep: Sweep, experiment: Experiment, store: stores.Store) -> None:
    """Refuse what cannot end well, before anything is written."""
    equations(sweep.system(experiment), experiment.dim, bodies=2)
    needed = store.bytes_missing()
    folder = next(folder for folder in store.path.absolute().parents if folder.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DistilleryError(
            f"{store.path}: needs up to {needed / 1e9:,.2f} GB, but only {free / 1e9:,.2f} GB are free; "
            "free some space, or lower simulations or snapshots"
        )


def _warn(sweep: Sweep, experiment: Experiment) -> None:
    """Say what may cost simulations; where a whole sweep runs, this stands in the log of the job."""
    for line in warnings_about(experiment.system, sweep.system(experiment), experiment.dim):
        sys.stderr.write(f"warning: {line}\n")


def _integrate(
    sweep: Sweep, experiment: Experiment, split: Split, store: stores.Store, crew: Ranks
) -> dict[str, float]:
    """Do the blocks that are missing, on all ranks; return the time spent, summed over ranks."""
    system, plan = sweep.system(experiment), store.layout
    integrator = Integrator(system, experiment.dim, experiment.bodies, sweep.config.simulation.tolerance)
    show = progress(f"simulate {experiment} ({split})", len(plan.blocks), "blocks")
    integrating = writing = 0.0

    def do(block: int) -> None:
        nonlocal integrating, writing
        if not (store.present(block) and store.whole(block)):
            begun = time.monotonic()
            bodies, motion, redraws = integrated(
                integrator, experiment.seed, split, plan.simulations(block), plan.times, np.float32, str(experiment)
            )
            done = time.monotonic()
            store.write(block, redraws=redraws, mass=bodies.mass, charge=bodies.charge, **_paths(motion))
            integrating += done - begun
            writing += time.monotonic() - done
        if crew.rank == 0:
            show(min(crew.taken(), len(plan.blocks) - 1), "")

    crew.share(plan.blocks, do)
    if crew.rank == 0:
        show(len(plan.blocks), "")
    return {"integrating": crew.total(integrating), "writing": crew.total(writing)}


def _paths(motion: Motion) -> dict[str, np.ndarray]:
    return {"position": motion.position, "velocity": motion.velocity, "acceleration": motion.acceleration}


def _finish(
    marker: Path, store: stores.Store, place: Path, started: float, ranks: int, seconds: dict[str, float]
) -> None:
    plan = store.layout
    files.sync_tree(store.path)
    content = {
        "key": plan.attributes["key"],
        "format": plan.attributes["format"],
        "simulations": plan.sizes["simulation"],
        "redraws": store.redraws(),
        "seconds": round(time.monotonic() - started, 3),
        "ranks": ranks,
        "rank_seconds": {name: round(value, 3) for name, value in seconds.items()},
        "provenance": provenance(),
        "files": store.manifest(),
    }
    if store.path != place:
        store.take_place(place)
    files.write_json(marker, content)
