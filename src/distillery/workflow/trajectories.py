"""Stores of trajectories of an experiment: their layout, their size, and reading them with all checks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from distillery import files
from distillery.data.store import first_change, read_arrays
from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError
from distillery.laws.composed import HeldOut, draw_snapshots
from distillery.randomness import stream
from distillery.workflow.cell import Experiment, Split
from distillery.workflow.sweep import FORMATS, Sweep
from distillery.workflow.trajectory_layout import layout

# Held-out snapshots that a verdict needs.
_MOST_SNAPSHOTS = 2000


def estimate_bytes(sweep: Sweep, experiment: Experiment, split: Split) -> int:
    """Return how many bytes a split's store takes at most (without compression)."""
    return layout(sweep, experiment, split).bytes


def read_trajectories(sweep: Sweep, experiment: Experiment, split: Split) -> Trajectories:
    """Read a split's trajectories and check that they are whole and those that the configuration asks for.

    Raises:
        DistilleryError: They are missing, damaged, or made with other settings or by another version.
    """
    path = experiment.store(sweep.results, split)
    marker = experiment.marker(sweep.results, split)
    remedy = f"delete {marker} and run again; only what is damaged or missing is computed"
    content = files.read_json(marker, remedy)
    key = sweep.data_key(experiment, split)
    if not isinstance(content, dict) or content.get("format") != FORMATS["simulate"]:
        raise DistilleryError(f"{path}: written by another version of distillery; {remedy}")
    if content.get("key") != key:
        raise DistilleryError(f"{path}: made with other settings ({content.get('key')} is not {key}); {remedy}")
    changed = first_change(path, content.get("files"))
    if changed is not None:
        raise DistilleryError(f"{path / changed}: missing or damaged; {remedy}")
    return read_arrays(path, remedy)


def held_out(sweep: Sweep, experiment: Experiment) -> HeldOut:
    """Return held-out snapshots of an experiment, as many as a verdict needs.

    Raises:
        DistilleryError: The trajectories are missing or damaged.
    """
    draws = stream(sweep.config.verification.seed, "verify", "graphs")
    return drawn_snapshots(sweep, experiment, "test", _MOST_SNAPSHOTS, draws)[0]


def drawn_snapshots(
    sweep: Sweep, experiment: Experiment, split: Split, most: int, draws: np.random.Generator
) -> tuple[HeldOut, Int[np.ndarray, " graph"]]:
    """Draw snapshots of an experiment and the number of each one's simulation; see ``draw_snapshots``.

    Raises:
        DistilleryError: The trajectories are missing or damaged.
    """
    return draw_snapshots(read_trajectories(sweep, experiment, split), most, draws)
