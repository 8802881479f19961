"""A sweep: its experiments and cells, and a key for every stage of each.

A key is a hash of exactly the settings on which a result depends, including the keys of its inputs. An outcome stores
its key; a changed setting changes the keys of the results that depend on it and no others.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distillery import files
from distillery.errors import DistilleryError
from distillery.halos.models import HaloModel
from distillery.halos.settings import HaloSettings
from distillery.networks.models import Model
from distillery.networks.settings import TrainingSettings
from distillery.physics.systems import System
from distillery.symbolic.settings import DistillationSettings
from distillery.util.places import results_folder
from distillery.util.yaml_file import write_yaml
from distillery.workflow.cell import Cell, Experiment, Job, Split, Stage
from distillery.workflow.config import Config, load_config, parse_config
from distillery.workflow.settings import ExperimentSettings
from distillery.workflow.sources.bodies import Bodies
from distillery.workflow.sources.body_experiments import FORMATS as BODY_FORMATS
from distillery.workflow.sources.halos import Halos
from distillery.workflow.sources.source import Source

# The kinds of experiments, in the order of their cells in a sweep.
SOURCES: tuple[type[Source], ...] = (Bodies, Halos)
# Version of the result store.
STORE_FORMAT = 10
# Versions of the results of each stage for experiments with bodies.
FORMATS = {**BODY_FORMATS, "collect": STORE_FORMAT}
# File in the results folder with the checked configuration of the latest run for its jobs, and its first line.
RESOLVED = "resolved.yaml"
_OURS = "# The checked configuration of the latest run, written by distillery for its jobs.\n"


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """A checked configuration with its experiments, cells, jobs and keys.

    Attributes:
        config: The configuration.
        results: Folder of all files of the sweep.
    """

    config: Config
    results: Path

    @functools.cached_property
    def sources(self) -> tuple[Source, ...]:
        """The kinds of experiments that the configuration has, each with its experiments."""
        all_kinds = (self._bodies, self._halos)
        return tuple(source for source in all_kinds if source.experiments)

    @functools.cached_property
    def _source_of(self) -> dict[Experiment, Source]:
        return {experiment: source for source in self.sources for experiment in source.experiments}

    def source(self, experiment: Experiment) -> Source:
        """Return the kind of an experiment, which provides its keys, stages and estimates."""
        return self._source_of[experiment]

    @functools.cached_property
    def experiments(self) -> tuple[Experiment, ...]:
        """The experiments, kind by kind in the configured order."""
        return tuple(self._source_of)

    @functools.cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of all experiments in their order."""
        return tuple(cell for source in self.sources for cell in source.cells)

    @functools.cached_property
    def jobs(self) -> dict[str, Job]:
        """The jobs that take the cells, by name: ``execution.cells_per_job`` cells of one experiment each."""
        size = self.config.execution.cells_per_job
        grouped: dict[Experiment, list[Cell]] = {}
        for cell in self.cells:
            grouped.setdefault(cell.experiment, []).append(cell)
        jobs = (
            Job(tuple(cells[start : start + size]))
            for cells in grouped.values()
            for start in range(0, len(cells), size)
        )
        return {str(job): job for job in jobs}

    @functools.cached_property
    def _job_of(self) -> dict[Cell, Job]:
        return {cell: job for job in self.jobs.values() for cell in job.cells}

    def job_of(self, cell: Cell) -> Job:
        """Return the job that takes a cell."""
        return self._job_of[cell]

    def kind(self, experiment: Experiment) -> str:
        """Return the name of an experiment's kind."""
        return self.source(experiment).kind

    def message_size(self, cell: Cell) -> int:
        """Return the number of components of a cell's messages; 1 if it sends none."""
        return self.source(cell.experiment).message_size(cell)

    def distillation(self, experiment: Experiment) -> DistillationSettings:
        """Return the settings of symbolic regression with the experiment's own values."""
        return self.source(experiment).distillation(experiment)

    # ---- Experiments with bodies, for the stages of bodies

    @functools.cached_property
    def _bodies(self) -> Bodies:
        return Bodies(self.config, self.results)

    @property
    def settings(self) -> dict[Experiment, ExperimentSettings]:
        """The experiments with bodies, each with its settings."""
        return self._bodies.settings

    def system(self, experiment: Experiment) -> System:
        """Return the system of an experiment with bodies."""
        return self._bodies.system(experiment)

    def model(self, cell: Cell) -> Model:
        """Return the model of a cell of bodies."""
        return self._bodies.model(cell)

    def simulations(self, experiment: Experiment, split: Split) -> int:
        """Return the number of trajectories of a split."""
        return self._bodies.simulations(experiment, split)

    def training(self, experiment: Experiment) -> TrainingSettings:
        """Return the training settings of an experiment with bodies, with its own loss."""
        return self._bodies.training(experiment)

    def frames(self, cell: Cell) -> int:
        """Return the largest number of snapshots of a cell's training; 0 if none is requested."""
        return self._bodies.frames(cell)

    # ---- Experiments with halos, for the stages of halos

    @functools.cached_property
    def _halos(self) -> Halos:
        return Halos(self.config, self.results)

    @property
    def halos(self) -> dict[Experiment, HaloSettings]:
        """The experiments with halos, each with its settings."""
        return self._halos.settings

    def halo_model(self, cell: Cell) -> HaloModel:
        """Return the model of a cell of halos."""
        return self._halos.model(cell)

    # ---- Names

    def find_experiment(self, text: str) -> Experiment:
        """Return the experiment of that name; raises DistilleryError if the sweep has none."""
        experiment = Experiment.parse(text)
        if experiment not in self.experiments:
            known = ", ".join(str(e) for e in self.experiments[:5])
            raise DistilleryError(f"{text}: is not in this configuration; its experiments are {known} …")
        return experiment

    def find_cell(self, text: str) -> Cell:
        """Return the cell of that name; raises DistilleryError if the sweep has none."""
        cell = Cell.parse(text)
        if cell not in self._job_of:
            known = ", ".join(str(c) for c in self.cells[:5])
            raise DistilleryError(f"{text}: is not in this configuration; its cells are {known} …")
        return cell

    def find_job(self, text: str) -> Job:
        """Return the job of that name, or one that takes the cell of that name alone.

        Raises:
            DistilleryError: The sweep has neither.
        """
        return self.jobs.get(text) or Job((self.find_cell(text),))

    @functools.cached_property
    def config_hash(self) -> str:
        """Hash of the whole configuration."""
        return files.digest(self.config.model_dump(mode="json"))

    @functools.cached_property
    def collect_key(self) -> str:
        """Key of the result store: the configuration and the store's format."""
        return files.digest({"format": STORE_FORMAT, "config": self.config_hash})

    def data_key(self, experiment: Experiment, split: Split) -> str:
        """Return the key of a split of an experiment's data."""
        return self.source(experiment).data_key(experiment, split)

    def key(self, stage: Stage, cell: Cell) -> str:
        """Return the key of a stage's outcome for one cell."""
        return self.source(cell.experiment).key(stage, cell)

    def job_key(self, stage: Stage, job: Job) -> str:
        """Return the key of a stage of a job: its cell's, or the hash of its cells' keys."""
        if len(job.cells) == 1:
            return self.key(stage, job.cells[0])
        return files.digest({str(cell): self.key(stage, cell) for cell in job.cells})


def load_sweep(path: Path) -> Sweep:
    """Return the sweep of a configuration file; its results folder is taken from the working directory."""
    config = load_config(path)
    return Sweep(config, results_folder(Path(config.results)))


def sweep_from(content: Mapping[str, Any], source: str | Callable[[str], str]) -> Sweep:
    """Return the sweep of a configuration that was read; ``source`` is its name in errors as in `parse_config`."""
    config = parse_config(content, source)
    return Sweep(config, results_folder(Path(config.results)))


def resolved_path(sweep: Sweep) -> Path:
    """Return the file of the checked configuration of a sweep's latest run."""
    return sweep.results / RESOLVED


def write_resolved(sweep: Sweep) -> Path:
    """Write the checked configuration of a run for its jobs, and return its path.

    Raises:
        DistilleryError: A file that was not written by distillery has that name.
    """
    path = resolved_path(sweep)
    if path.is_symlink() or (path.exists() and not path.read_bytes().startswith(_OURS.encode())):
        raise DistilleryError(f"{path}: was not written by distillery, which needs that name; rename or move the file")
    files.write_text(path, _OURS + write_yaml(sweep.config.model_dump(mode="json")))
    return path


def as_run(sweep: Sweep) -> Sweep:
    """Return a sweep with the section ``execution`` of its latest run, which a profile may have changed.

    That section assigns cells to jobs; no result depends on it.
    """
    try:
        execution = load_config(sweep.results / RESOLVED).execution
    except DistilleryError:
        return sweep
    return Sweep(sweep.config.model_copy(update={"execution": execution}), sweep.results)
