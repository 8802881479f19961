"""The protocol of a kind of experiment: everything in which the workflow's stages, keys and estimates differ by kind.

Another kind is another subclass of ``Source``, listed in ``sweep.SOURCES``; no other module branches on the kind.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from distillery import files
from distillery.networks.functions import Function
from distillery.symbolic.settings import DistillationSettings
from distillery.workflow.cell import Cell, Experiment, Split, Stage
from distillery.workflow.config import Config
from distillery.workflow.sources.size import Size


@dataclasses.dataclass(frozen=True)
class DistilledFunctions:
    """The functions of a cell that are distilled.

    Attributes:
        names: Names of the features of each function.
        counts: Number of components of each function.
        layout: Arrays in which the samples of the message are stored: those of the model kind, or ``halos``.
    """

    names: dict[Function, tuple[str, ...]]
    counts: dict[Function, int]
    layout: str


class Source(abc.ABC):
    """The experiments of one kind in a configuration.

    Attributes:
        kind: Name of the kind.
        heading: Heading of its pictures in Snakemake's report.
        formats: Version of the results of each stage, a part of every key.
        config: The configuration.
        results: The results folder.
    """

    kind: ClassVar[str]
    heading: ClassVar[str]
    formats: ClassVar[Mapping[str, int]]

    def __init__(self, config: Config, results: Path) -> None:
        self.config = config
        self.results = results

    # ---- Experiments and cells

    @property
    @abc.abstractmethod
    def experiments(self) -> tuple[Experiment, ...]:
        """The experiments in the configured order."""

    @property
    @abc.abstractmethod
    def cells(self) -> tuple[Cell, ...]:
        """The cells of the experiments in their order."""

    @abc.abstractmethod
    def stage_module(self, stage: str) -> str:
        """Return the module that carries out a stage, with a function of the stage's name."""

    @abc.abstractmethod
    def message_size(self, cell: Cell) -> int:
        """Return the number of components of a cell's messages; 1 if it sends none."""

    @abc.abstractmethod
    def distillation(self, experiment: Experiment) -> DistillationSettings:
        """Return the settings of symbolic regression with the experiment's own values."""

    @abc.abstractmethod
    def functions(self, cell: Cell) -> DistilledFunctions:
        """Return the functions of a cell that are distilled."""

    @abc.abstractmethod
    def stacking_shape(self, cell: Cell) -> Hashable:
        """Return a value that is equal for the cells that can train stacked in one network."""

    # ---- Keys

    @abc.abstractmethod
    def data_content(self, experiment: Experiment, split: Split) -> dict[str, Any]:
        """Return the settings on which the data of a split depend."""

    @abc.abstractmethod
    def key_content(self, stage: Stage, cell: Cell) -> dict[str, Any]:
        """Return the settings and the keys of the inputs on which a stage's result depends."""

    @functools.cache
    def data_key(self, experiment: Experiment, split: Split) -> str:
        """Return the key of a split of an experiment's data."""
        return files.digest({"format": self.formats["simulate"], **self.data_content(experiment, split)})

    @functools.cache
    def key(self, stage: Stage, cell: Cell) -> str:
        """Return the key of a stage's outcome for a cell."""
        return files.digest({"format": self.formats[stage], **self.key_content(stage, cell)})

    def section(self, name: str) -> dict[str, Any]:
        """Return a section of the configuration as content of a key."""
        return {name: getattr(self.config, name).model_dump(mode="json")}

    def distill_content(self, cell: Cell) -> dict[str, Any]:
        """Return the key content of the distill stage, which is the same for all kinds."""
        settings = self.distillation(cell.experiment)
        return {
            "interpret": self.key("interpret", cell),
            **settings.model_dump(mode="json", exclude={"operon", "pysr", "compare"}),
            **({"compare": settings.compare} if settings.compare else {}),
            **{name: getattr(settings, name).model_dump(mode="json") for name in settings.engines},
        }

    # ---- Estimates: seconds are those of one core

    @abc.abstractmethod
    def data_bytes(self, experiment: Experiment, split: Split) -> int:
        """Return the most bytes that the data of a split take on disk."""

    @abc.abstractmethod
    def missing_bytes(self, experiment: Experiment) -> int:
        """Return the most bytes of an experiment's data that are not on disk yet."""

    @abc.abstractmethod
    def cell_bytes(self, cell: Cell) -> int:
        """Return the bytes of a cell's samples, weights and checkpoint."""

    @abc.abstractmethod
    def data_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB of an experiment's data, read whole."""

    @abc.abstractmethod
    def rank_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB of an MPI rank that simulates."""

    @abc.abstractmethod
    def refitting_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB that refitting a law takes in addition to the data."""

    @abc.abstractmethod
    def judging_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB that judging expressions takes in addition to the libraries."""

    @abc.abstractmethod
    def generalising_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB that tests under other conditions take in addition to the libraries."""

    @abc.abstractmethod
    def weights(self, cell: Cell) -> tuple[int, int]:
        """Return the number of weights of the edge and of the node function."""

    @abc.abstractmethod
    def fitted_components(self, cell: Cell) -> int:
        """Return the number of function components that an engine fits for a cell."""

    @abc.abstractmethod
    def simulating_seconds(self, experiment: Experiment, split: Split) -> float:
        """Return the seconds that simulating a split takes, without the start of the ranks."""

    @abc.abstractmethod
    def starting_seconds(self, experiment: Experiment) -> float:
        """Return the seconds that a rank takes until it simulates."""

    @abc.abstractmethod
    def simulating_wall_seconds(self, experiment: Experiment, split: Split) -> float:
        """Return the wall time in seconds in which all ranks simulate a split."""

    @abc.abstractmethod
    def training_seconds(self, cell: Cell) -> float:
        """Return the seconds that training a cell takes."""

    @abc.abstractmethod
    def reading_seconds(self, cell: Cell) -> float:
        """Return the seconds that evaluating the messages of a cell takes."""

    @abc.abstractmethod
    def verifying_seconds(self, cell: Cell) -> float:
        """Return the seconds that judging the expressions of a cell takes."""

    @abc.abstractmethod
    def refitting_seconds(self, cell: Cell) -> float:
        """Return the seconds that refitting the law of a cell takes."""

    @abc.abstractmethod
    def generalising_seconds(self, cell: Cell) -> float:
        """Return the seconds that testing a cell under all conditions takes."""

    @abc.abstractmethod
    def sizes(self) -> Iterator[Size]:
        """Yield memory and time of the largest jobs, once for each experiment and model."""

    # ---- Text of the plan

    @property
    @abc.abstractmethod
    def training_steps(self) -> frozenset[int]:
        """The numbers of training steps of all experiments."""

    @abc.abstractmethod
    def summary(self) -> str:
        """Return the numbers of experiments and cells as text."""

    @abc.abstractmethod
    def data_summary(self) -> str:
        """Return the number of simulations as text."""

    @abc.abstractmethod
    def amounts(self, experiment: Experiment) -> tuple[str, str, str]:
        """Return the numbers of training simulations, of test simulations and of snapshots as text."""

    @abc.abstractmethod
    def refusal(self) -> str | None:
        """Return the reason why a stage cannot do its work, with its remedy; None if all stages can."""

    @abc.abstractmethod
    def warnings(self) -> list[str]:
        """Return one line for each part of the configuration that may be a mistake."""

    # ---- Laws

    @abc.abstractmethod
    def law_text(self, path: Path) -> str:
        """Return a law of a cell, read from the file ``law.json``, as one line."""

    @abc.abstractmethod
    def law_as_system(self, path: Path, cell: Cell) -> str:
        """Return a law of a cell as an entry of the section ``systems``, as YAML; raise if it has no such form."""
