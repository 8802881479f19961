"""What experiments with halos will take: bytes and, roughly, time of one core; see ``distillery.workflow.plan``."""

from __future__ import annotations

import math

from distillery.halos.settings import MOST_HALOS
from distillery.workflow.cell import Cell, Experiment, Split
from distillery.workflow.sweep import Sweep

# Rough rates of one core of a small machine; they promise an order of magnitude, no more.
HALOS = 3e-4  # halos of 20 particles or more per (Mpc/h)³, at the presets' resolution
GROWN = 3e4  # particles per second, from the initial conditions to halos
FOUND = 2e6  # directed edges per second when neighbours are looked for
TRAINED = 30e9  # floating-point operations per second in training
TRAINING_STEP = 4e-3  # seconds of any training step beside them
ASKED = 60e9  # floating-point operations per second without derivatives
FITTED = 4e-8  # seconds per edge and evaluation of a formula
EVALUATIONS = 70  # of a formula while its constants are fitted
TRIED = 1700  # of all formulas together that are tried in a network's place
BYTES = 100  # of a halo in its catalogue
COPIED = 20.0  # seconds in which a catalogue is read and its overdensities are taken


def realisations(sweep: Sweep, experiment: Experiment, split: Split) -> int:
    """Return how many universes a split has."""
    settings = sweep.halos[experiment]
    if split == "train":
        return settings.realisations
    return settings.test_realisations + (settings.other_cosmology is not None)


def halos(sweep: Sweep, experiment: Experiment) -> float:
    """Return how many halos a universe will have."""
    settings = sweep.halos[experiment]
    return HALOS * settings.box**3


def neighbours(sweep: Sweep, experiment: Experiment) -> float:
    """Return how many neighbours a halo will have."""
    return HALOS * 4 / 3 * math.pi * sweep.halos[experiment].radius ** 3


def data_bytes(sweep: Sweep, experiment: Experiment, split: Split) -> float:
    """Return the bytes of a split's catalogues."""
    return BYTES * halos(sweep, experiment) * realisations(sweep, experiment, split)


def growing(sweep: Sweep, experiment: Experiment, split: Split) -> float:
    """Return the seconds of one core that a split's universes take."""
    settings = sweep.halos[experiment]
    each = COPIED if settings.catalogue is not None else settings.universe.particles**3 / GROWN
    return each * realisations(sweep, experiment, split)


def longest(sweep: Sweep, experiment: Experiment, split: Split, ranks: int) -> float:
    """Return the seconds until a split's universes are grown: a rank grows one at a time, another cosmology last."""
    count = realisations(sweep, experiment, split)
    if not count:
        return 0.0
    other = split == "test" and sweep.halos[experiment].other_cosmology is not None
    rounds = math.ceil((count - other) / ranks) + other
    return growing(sweep, experiment, split) / count * rounds


def weights(sweep: Sweep, cell: Cell) -> tuple[int, int]:
    """Return the weights of the edge and of the node function; a formula has none."""
    if sweep.halo_model(cell).kind == "formula":
        return 0, 0
    own = sweep.halos[cell.experiment].training
    inner = (own.layers - 1) * own.hidden**2
    return (11 + own.messages) * own.hidden + inner, (own.messages + 5) * own.hidden + inner


def _edges(sweep: Sweep, cell: Cell, universes: int) -> float:
    return universes * halos(sweep, cell.experiment) * neighbours(sweep, cell.experiment)


def _fitted_edges(sweep: Sweep, cell: Cell) -> float:
    count = sweep.halos[cell.experiment].realisations * halos(sweep, cell.experiment)
    return min(count, MOST_HALOS) * neighbours(sweep, cell.experiment)


def training(sweep: Sweep, cell: Cell) -> float:
    """Return the seconds of one core that training a network, or fitting a formula, takes."""
    settings = sweep.halos[cell.experiment]
    looking = _edges(sweep, cell, settings.realisations) / FOUND
    if sweep.halo_model(cell).kind == "formula":
        return looking + EVALUATIONS * FITTED * _fitted_edges(sweep, cell)
    edge, node = weights(sweep, cell)
    own = settings.training
    step = 6 * own.batch * (neighbours(sweep, cell.experiment) * edge + node) / TRAINED + TRAINING_STEP
    return looking + own.steps * step


def asking(sweep: Sweep, cell: Cell, universes: int) -> float:
    """Return the seconds of one core that asking a network, or a formula, about whole universes takes."""
    edge, _ = weights(sweep, cell)
    edges = _edges(sweep, cell, universes)
    return edges / FOUND + edges * (2 * edge / ASKED + FITTED)


def refitting(sweep: Sweep, cell: Cell) -> float:
    """Return the seconds of one core that trying formulas in a network's place takes."""
    if sweep.halo_model(cell).kind == "formula":
        return 0.0
    return TRIED * FITTED * _fitted_edges(sweep, cell)


def edges_mb(sweep: Sweep, experiment: Experiment) -> float:
    """Return the memory in MB of the neighbours of all universes that are trained on."""
    settings = sweep.halos[experiment]
    return 24e-6 * settings.realisations * halos(sweep, experiment) * neighbours(sweep, experiment)


def growing_mb(sweep: Sweep, experiment: Experiment) -> float:
    """Return the memory in MB of a rank that grows universes, or reads a catalogue."""
    settings = sweep.halos[experiment]
    # A cube of Quijote's density, or of its transform, beside its halos.
    return settings.universe.memory_mb + 400 if settings.catalogue is None else 8000.0
