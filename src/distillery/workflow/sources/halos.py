"""The source of experiments with halos: simulated universes, or a catalogue, without a known law."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from distillery.errors import DistilleryError
from distillery.halos.settings import MOST_HALOS
from distillery.util.text import counted
from distillery.workflow.cell import SPLITS, Cell, Experiment, Split
from distillery.workflow.estimates import COMPILING, INTERPRETING, REPLACING
from distillery.workflow.sources.halo_experiments import HaloExperiments
from distillery.workflow.sources.size import TORCH_MB, Size, default, size_of

# Rates of one core of a small machine, to an order of magnitude.
HALOS = 3e-4  # halos of 20 particles or more per (Mpc/h)³, at the presets' resolution
GROWN = 3e4  # particles per second, from the initial conditions to halos
FOUND = 2e6  # directed edges per second in the search for neighbours
TRAINED = 30e9  # floating-point operations per second in training
TRAINING_STEP = 4e-3  # seconds of a training step besides its operations
EVALUATED = 60e9  # floating-point operations per second without derivatives
FITTED = 4e-8  # seconds per edge and evaluation of a formula
EVALUATIONS = 70  # evaluations of a formula in a fit of its constants
TRIED = 1700  # evaluations of all formulas together that are tried for a network
BYTES = 100  # bytes of a halo in its catalogue
COPIED = 20.0  # seconds in which a catalogue is read and its overdensities are computed
READING_MB = 8000.0  # a density cube of Quijote, or its transform, and its halos
# Arrays of the size of a hidden layer in training, per layer.
_ARRAYS = 3.0


class Halos(HaloExperiments):
    """The experiments with halos of a configuration."""

    # ---- Sizes of the data

    def realisations(self, experiment: Experiment, split: Split) -> int:
        """Return the number of universes of a split."""
        own = self.settings[experiment]
        return own.realisations if split == "train" else own.test_realisations + (own.other_cosmology is not None)

    def _halos(self, experiment: Experiment) -> float:
        """Return the expected number of halos of a universe."""
        return HALOS * self.settings[experiment].box ** 3

    def _neighbours(self, experiment: Experiment) -> float:
        """Return the expected number of neighbours of a halo."""
        return HALOS * 4 / 3 * math.pi * self.settings[experiment].radius ** 3

    def _edges(self, experiment: Experiment, universes: int) -> float:
        return universes * self._halos(experiment) * self._neighbours(experiment)

    def _fitted_edges(self, experiment: Experiment) -> float:
        """Return the number of edges of the halos to which constants are fitted."""
        halos = self.settings[experiment].realisations * self._halos(experiment)
        return min(halos, MOST_HALOS) * self._neighbours(experiment)

    # ---- Bytes and memory

    def data_bytes(self, experiment: Experiment, split: Split) -> int:
        """Return the expected bytes of a split's catalogues."""
        return round(BYTES * self._halos(experiment) * self.realisations(experiment, split))

    def missing_bytes(self, experiment: Experiment) -> int:
        """Return the expected bytes of the catalogues; 0 if the training split is complete."""
        made = experiment.marker(self.results, "train").exists()
        return 0 if made else sum(self.data_bytes(experiment, split) for split in SPLITS)

    def cell_bytes(self, cell: Cell) -> int:
        """Return the bytes of a cell's samples, weights, and checkpoint with two moments."""
        settings = self.config.distillation
        return 100 * (settings.samples + settings.held_out) + 16 * sum(self.weights(cell))

    def data_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB of the edges of all training universes."""
        return 24e-6 * self._edges(experiment, self.settings[experiment].realisations)

    def rank_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB of a rank that simulates universes or reads a catalogue."""
        own = self.settings[experiment]
        return own.universe.memory_mb + 400 if own.catalogue is None else READING_MB

    def refitting_mb(self, experiment: Experiment) -> float:
        """Return 0: the edges of the data are the larger part."""
        return 0.0

    def judging_mb(self, experiment: Experiment) -> float:
        """Return 0: no expression is judged without a known law."""
        return 0.0

    def generalising_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB of all edges."""
        return 700.0 + 4 * self.data_mb(experiment)

    # ---- Time

    def weights(self, cell: Cell) -> tuple[int, int]:
        """Return the number of weights of the edge and of the node function; 0 for a formula."""
        if self.model(cell).kind == "formula":
            return 0, 0
        own = self.settings[cell.experiment].training
        inner = (own.layers - 1) * own.hidden**2
        return (11 + own.messages) * own.hidden + inner, (own.messages + 5) * own.hidden + inner

    def fitted_components(self, cell: Cell) -> int:
        """Return the number of function components that an engine fits for a cell."""
        return len(self.config.distillation.functions) if self.model(cell).kind == "network" else 0

    def simulating_seconds(self, experiment: Experiment, split: Split) -> float:
        """Return the seconds that simulating the universes of a split takes."""
        own = self.settings[experiment]
        each = COPIED if own.catalogue is not None else own.universe.particles**3 / GROWN
        return each * self.realisations(experiment, split)

    def starting_seconds(self, experiment: Experiment) -> float:
        """Return the seconds that a rank takes until it simulates."""
        return COMPILING

    def simulating_wall_seconds(self, experiment: Experiment, split: Split) -> float:
        """Return the wall time in seconds of a split: a rank simulates one universe at a time, other cosmology last."""
        count = self.realisations(experiment, split)
        if not count:
            return 0.0
        other = split == "test" and self.settings[experiment].other_cosmology is not None
        rounds = math.ceil((count - other) / self.config.execution.ranks) + other
        return self.simulating_seconds(experiment, split) / count * rounds

    def training_seconds(self, cell: Cell) -> float:
        """Return the seconds that training a network, or fitting a formula, takes."""
        own = self.settings[cell.experiment]
        looking = self._edges(cell.experiment, own.realisations) / FOUND
        if self.model(cell).kind == "formula":
            return looking + EVALUATIONS * FITTED * self._fitted_edges(cell.experiment)
        edge, node = self.weights(cell)
        operations = 6 * own.training.batch * (self._neighbours(cell.experiment) * edge + node)
        return looking + own.training.steps * (operations / TRAINED + TRAINING_STEP)

    def _predicting_seconds(self, cell: Cell, universes: int) -> float:
        """Return the seconds that predicting the overdensities of whole universes takes."""
        edge, _ = self.weights(cell)
        edges = self._edges(cell.experiment, universes)
        return edges / FOUND + edges * (2 * edge / EVALUATED + FITTED)

    def reading_seconds(self, cell: Cell) -> float:
        """Return the seconds that evaluating the messages of a cell takes."""
        return INTERPRETING + self._predicting_seconds(cell, self.settings[cell.experiment].realisations)

    def verifying_seconds(self, cell: Cell) -> float:
        """Return 0: no expression is judged without a known law."""
        return 0.0

    def refitting_seconds(self, cell: Cell) -> float:
        """Return the seconds that fitting the formulas tried for a network takes."""
        network = self.model(cell).kind == "network"
        return REPLACING + (TRIED * FITTED * self._fitted_edges(cell.experiment) if network else 0.0)

    def generalising_seconds(self, cell: Cell) -> float:
        """Return the seconds that testing a cell in all universes takes."""
        universes = sum(self.realisations(cell.experiment, split) for split in SPLITS)
        return 2 * self._predicting_seconds(cell, universes)

    def sizes(self) -> Iterator[Size]:
        """Yield memory and time of the largest jobs."""
        for experiment, own in self.settings.items():
            universes = {
                "halos.universe.particles": (own.universe.particles, 128.0),
                "halos.realisations": (own.realisations, 4.0),
                "halos.universe.box": (own.box, 250.0),
            }
            seconds = sum(self.simulating_seconds(experiment, split) for split in SPLITS)
            yield size_of(f"growing {experiment}", universes, self.rank_mb(experiment), seconds)
            neighbours = {**universes, "halos.radius": (own.radius, 50.0)}
            yield size_of(f"reading {experiment}", neighbours, TORCH_MB + self.data_mb(experiment))
        for cell in self.cells:
            training = self.settings[cell.experiment].training
            drivers = {
                f"halos.training.{name}": (getattr(training, name), default(type(training), name))
                for name in ("batch", "hidden", "layers", "messages", "steps")
            }
            edges = training.batch * self._neighbours(cell.experiment)
            numbers = _ARRAYS * edges * (training.layers * training.hidden + 2 * training.messages)
            memory = TORCH_MB + 4e-6 * numbers + 20e-6 * sum(self.weights(cell))
            yield size_of(f"training {cell}", drivers, memory, self.training_seconds(cell))

    # ---- Text of the plan

    @property
    def training_steps(self) -> frozenset[int]:
        """The numbers of training steps of all experiments."""
        return frozenset(own.training.steps for own in self.settings.values())

    def summary(self) -> str:
        """Return the numbers of data sets and cells as text."""
        return f"{counted(len(self.settings), 'data set')} of halos: {counted(len(self.cells), 'cell')}"

    def data_summary(self) -> str:
        """Return the number of universes as text."""
        return counted(sum(self.realisations(e, split) for e in self.settings for split in SPLITS), "universe")

    def amounts(self, experiment: Experiment) -> tuple[str, str, str]:
        """Return the numbers of training and test universes as text; universes have no snapshots."""
        train, test = (f"{self.realisations(experiment, split):,}" for split in SPLITS)
        return train, test, "–"

    def refusal(self) -> str | None:
        """Return None: the configuration is checked when it is read."""
        return None

    def warnings(self) -> list[str]:
        """Return no warnings."""
        return []

    def law_text(self, path: Path) -> str:
        """Return a formula of a cell, read from the file ``law.json``, as one line."""
        from distillery.halos.law import read_law
        from distillery.halos.text import line

        return line(read_law(path))

    def law_as_system(self, path: Path, cell: Cell) -> str:
        """Raise DistilleryError: a formula of halos has no potential."""
        raise DistilleryError(f"{cell}: a formula of halos is no potential; leave out --system")
