"""Identity of an experiment, a cell and a job: wildcard values ↔ paths ↔ coordinates, defined here only.

A sweep writes all files under its results folder::

    <experiment>/train.zarr, train.json     trajectories or halos and their completion marker (also test.*)
    <experiment>/<model>-s<seed>/           one cell: train.json, interpret.json, distill.json, verify.json,
                                            replace.json, the law it found: law.json, law.txt, law.tex,
                                            and generalise.json
    <experiment>/<job>/<stage>.json         completion marker of a job of several cells, <model>-s<seed>+<others>
    fits/                                   finished fits by content
    sweep.zarr, sweep.json                  the result store with its tables, and its completion marker
    report.html, report.md                  the report of the whole sweep
    resolved.yaml                           the checked configuration of the latest run, for its jobs
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Literal

from distillery.errors import DistilleryError
from distillery.results import swap

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
Picture = Literal["messages", "front"]
PICTURES: tuple[Picture, ...] = ("messages", "front")
Stage = Literal["train", "interpret", "distill", "verify", "replace", "generalise"]
STAGES: tuple[Stage, ...] = ("train", "interpret", "distill", "verify", "replace", "generalise")

# The paths of everything that the workflow names, under the results folder. ``member`` is the name of a cell, or of a
# job of several cells, within its experiment; the regular expressions are the wildcard constraints.
EXPERIMENT_WILDCARD = r"[^/]+-[23]d(?:-\d+b)?-s\d+"
MEMBER_WILDCARD = r"[^/]+-s\d+(?:\+\d+)?"
MARKER = "{experiment}/{split}.json"
OUTCOME = "{experiment}/{member}/{stage}.json"
STORE = swap.STORE
STORE_MARKER = "sweep.json"
REPORT_HTML = "report.html"
REPORT_MARKDOWN = "report.md"
EXPERIMENT_PICTURE = "{experiment}/trajectories.svg"
CELL_PICTURE = "{experiment}/{member}/{picture}.svg"
LOG = "logs/{experiment}/{name}.log"
SWEEP_LOG = "logs/collect.log"
REPORT_LOG = "logs/report.log"
BENCHMARK = "benchmarks/{experiment}/{name}.tsv"

_EXPERIMENT = re.compile(r"(?P<system>[^/]+)-(?P<dim>[23])d(?:-(?P<bodies>\d+)b)?-s(?P<seed>\d+)")
_CELL = re.compile(r"(?P<experiment>[^/]+)/(?P<model>[^/]+)-s(?P<seed>\d+)")


@dataclasses.dataclass(frozen=True, order=True)
class Experiment:
    """One data set: ``spring-2d-4b-s0``, or of halos ``halos-3d-s0``.

    Attributes:
        system: Name of the system.
        dim: Dimensions of space, 2 or 3.
        bodies: Number of bodies; 0 if the data determine it.
        seed: Seed of the initial conditions.
    """

    system: str
    dim: int
    bodies: int
    seed: int

    def __str__(self) -> str:
        bodies = f"-{self.bodies}b" if self.bodies else ""
        return f"{self.system}-{self.dim}d{bodies}-s{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Experiment:
        """Read the text form back; raise DistilleryError if it is invalid."""
        match = _EXPERIMENT.fullmatch(text)
        if match is None:
            raise DistilleryError(f"{text}: names no experiment; write it like spring-2d-4b-s0")
        return cls(match["system"], int(match["dim"]), int(match["bodies"] or 0), int(match["seed"]))

    def folder(self, results: Path) -> Path:
        """Return the folder of this experiment."""
        return results / str(self)

    def store(self, results: Path, split: Split) -> Path:
        """Return the Zarr store of its trajectories."""
        return self.folder(results) / f"{split}.zarr"

    def marker(self, results: Path, split: Split) -> Path:
        """Return the marker, which is written last when the store is complete."""
        return results / MARKER.format(experiment=self, split=split)

    def picture(self, results: Path) -> Path:
        """Return the picture of its trajectories."""
        return results / EXPERIMENT_PICTURE.format(experiment=self)


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """One trained model: ``spring-2d-4b-s0/bottleneck-s1``.

    Attributes:
        experiment: The data set.
        model: Name of the model.
        seed: Training seed.
    """

    experiment: Experiment
    model: str
    seed: int

    def __str__(self) -> str:
        return f"{self.experiment}/{self.member}"

    @property
    def member(self) -> str:
        """Its name within its experiment: ``bottleneck-s1``."""
        return f"{self.model}-s{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Cell:
        """Read the text form back; raise DistilleryError if it is invalid."""
        match = _CELL.fullmatch(text)
        if match is None:
            raise DistilleryError(f"{text}: names no cell; write it like spring-2d-4b-s0/bottleneck-s0")
        return cls(Experiment.parse(match["experiment"]), match["model"], int(match["seed"]))

    @property
    def coordinates(self) -> dict[str, str | int]:
        """Coordinates of this cell in the result store, dimension by dimension."""
        e = self.experiment
        return {
            "system": e.system,
            "dim": e.dim,
            "bodies": e.bodies,
            "data_seed": e.seed,
            "model": self.model,
            "seed": self.seed,
        }

    def folder(self, results: Path) -> Path:
        """Return the folder of this cell."""
        return results / str(self)

    def outcome(self, results: Path, stage: Stage) -> Path:
        """Return the outcome file of a stage; it is written last, when the stage is done."""
        return results / OUTCOME.format(experiment=self.experiment, member=self.member, stage=stage)

    def picture(self, results: Path, picture: Picture) -> Path:
        """Return a picture of this cell."""
        return results / CELL_PICTURE.format(experiment=self.experiment, member=self.member, picture=picture)

    def weights(self, results: Path) -> Path:
        """Return the trained weights."""
        return self.folder(results) / "model.safetensors"

    def frames(self, results: Path) -> Path:
        """Return the file of its edge functions during training, if they are kept."""
        return self.folder(results) / "frames.safetensors"

    def history(self, results: Path) -> Path:
        """Return the table of the training history."""
        return self.folder(results) / "history.csv"

    def checkpoint(self, results: Path) -> Path:
        """Return the folder of the training checkpoint."""
        return self.folder(results) / "checkpoint"

    def messages(self, results: Path) -> Path:
        """Return the sampled messages (NumPy's .npz)."""
        return self.folder(results) / "messages.npz"

    def law(self, results: Path, suffix: Literal["json", "txt", "tex"]) -> Path:
        """Return a file of the law that replaces the network: complete (json), for SymPy (txt), for LaTeX (tex)."""
        return self.folder(results) / f"law.{suffix}"


@dataclasses.dataclass(frozen=True)
class Job:
    """The cells of one experiment in a job of the workflow: ``spring-2d-4b-s0/bottleneck-s0+9``.

    A job of one cell has the cell's name, and its completion marker is the cell's outcome.

    Attributes:
        cells: Its cells; at least one.
    """

    cells: tuple[Cell, ...]

    def __str__(self) -> str:
        return f"{self.experiment}/{self.member}"

    @property
    def experiment(self) -> Experiment:
        """The experiment of its cells."""
        return self.cells[0].experiment

    @property
    def member(self) -> str:
        """Its name within its experiment."""
        others = len(self.cells) - 1
        return f"{self.cells[0].member}+{others}" if others else self.cells[0].member

    def outcome(self, results: Path, stage: Stage) -> Path:
        """Return the file that is written last, when a stage is done for all of its cells."""
        return results / OUTCOME.format(experiment=self.experiment, member=self.member, stage=stage)

    def picture(self, results: Path, picture: Picture) -> Path:
        """Return the picture that stands for its cells."""
        return results / CELL_PICTURE.format(experiment=self.experiment, member=self.member, picture=picture)

    def log(self, results: Path, stage: str) -> Path:
        """Return the log of a stage."""
        return results / LOG.format(experiment=self.experiment, name=f"{self.member}/{stage}")
