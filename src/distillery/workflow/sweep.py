"""The plan of a sweep: its experiments and cells, and a key for every stage of each.

A key is a hash of exactly the settings a result depends on, its inputs' keys included. An outcome
carries its key; a changed setting changes the keys of what depends on it and of nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from distillery import files
from distillery.errors import DistilleryError
from distillery.halos.models import HALO_MODELS, HaloModel
from distillery.halos.settings import HaloSettings
from distillery.halos.sources import sources
from distillery.networks.models import Model
from distillery.networks.settings import TrainingSettings
from distillery.physics.systems import System
from distillery.symbolic.settings import DistillationSettings
from distillery.util.places import results_folder
from distillery.util.yaml_file import write_yaml
from distillery.workflow.cell import Cell, Experiment, Job, Split, Stage
from distillery.workflow.config import Config, load_config, parse_config
from distillery.workflow.settings import ExperimentSettings

# Raised by hand when the meaning of a stage's results changes, so that old ones are not taken for new.
FORMATS = {
    "simulate": 1,
    "train": 3,
    "interpret": 5,
    "distill": 5,
    "verify": 5,
    "replace": 5,
    "generalise": 3,
    "collect": 10,
}
HALO_FORMATS = {**dict.fromkeys(FORMATS, 1), "distill": 2, "replace": 4}
Kind = Literal["bodies", "halos"]
# Where, under the results folder, the checked configuration of a run is kept for its jobs, and how that file begins.
RESOLVED = "resolved.yaml"
_OURS = "# The checked configuration of the latest run, written by distillery for its jobs.\n"


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """A checked configuration and what follows from it.

    Attributes:
        config: The configuration.
        results: Folder of everything the sweep writes.
    """

    config: Config
    results: Path

    @functools.cached_property
    def settings(self) -> dict[Experiment, ExperimentSettings]:
        """The experiments with bodies in the configured order, each with its settings."""
        return {Experiment(e.system, e.dim, e.bodies, e.seed): e for e in self.config.experiments}

    @functools.cached_property
    def halos(self) -> dict[Experiment, HaloSettings]:
        """The experiments with halos in the configured order, each with its settings."""
        return {Experiment(e.name, 3, 0, e.seed): e for e in self.config.halos}

    @functools.cached_property
    def experiments(self) -> tuple[Experiment, ...]:
        """The experiments in the configured order, those with halos last."""
        return (*self.settings, *self.halos)

    def kind(self, experiment: Experiment) -> Kind:
        """Return what an experiment's data are of."""
        return "halos" if experiment in self.halos else "bodies"

    @functools.cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells: experiments × models × seeds; a formula is fitted with the first seed only."""
        seeds = self.config.seeds
        bodies = (
            Cell(experiment, model, seed)
            for experiment in self.settings
            for model in self.config.models
            for seed in seeds
        )
        halos = (
            Cell(experiment, model, seed)
            for experiment, settings in self.halos.items()
            for model in settings.models
            for seed in (seeds if HALO_MODELS[model].kind == "network" else seeds[:1])
        )
        return (*bodies, *halos)

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

    def system(self, experiment: Experiment) -> System:
        """Return the table entry of an experiment's system."""
        return self.config.known_systems[experiment.system]

    def model(self, cell: Cell) -> Model:
        """Return the table entry of a cell's model; the cell is one of bodies."""
        return self.config.known_models[cell.model]

    def halo_model(self, cell: Cell) -> HaloModel:
        """Return the table entry of a cell's model; the cell is one of halos."""
        return HALO_MODELS[cell.model]

    def message_size(self, cell: Cell) -> int:
        """Return how many components a cell's messages have; 1 where it sends none."""
        if cell.experiment in self.halos:
            return self.halos[cell.experiment].training.messages if self.halo_model(cell).kind == "network" else 1
        return self.model(cell).message_size(cell.experiment.dim)

    def training(self, experiment: Experiment) -> TrainingSettings:
        """Return how an experiment's networks are trained: with its own loss, where it has one, and where it is."""
        own = self._own(experiment, "loss")
        if self.system(experiment).depends_on_place:
            # Moved elsewhere, bodies would be taught the forces of where they were.
            own["translation"] = 0.0
        return self.config.training.model_copy(update=own)

    def frames(self, cell: Cell) -> int:
        """Return how many frames of a cell's training are wanted at most; 0 where it is not to be filmed."""
        settings = self.config.training
        filmed = any(fnmatchcase(str(cell), pattern) for pattern in settings.filmed)
        return settings.frames if filmed and self.model(cell).kind != "control" else 0

    def distillation(self, experiment: Experiment) -> DistillationSettings:
        """Return how an experiment's expressions are fitted: with its own operators and share, where it has such."""
        if experiment in self.halos:
            own = self.halos[experiment].operators
            return self.config.distillation.model_copy(update={} if own is None else {"operators": own})
        return self.config.distillation.model_copy(update=self._own(experiment, "operators", "share"))

    def _own(self, experiment: Experiment, *names: str) -> dict[str, Any]:
        settings = self.settings[experiment]
        return {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}

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

    def simulations(self, experiment: Experiment, split: Split) -> int:
        """Return how many trajectories a split has."""
        settings = self.settings[experiment]
        return settings.simulations if split == "train" else settings.test_simulations

    @functools.cached_property
    def collect_key(self) -> str:
        """Key of the result store: the configuration and the store's format."""
        return files.digest({"format": FORMATS["collect"], "config": self.config_hash})

    @functools.cache
    def data_key(self, experiment: Experiment, split: Split) -> str:
        """Return the key of an experiment's trajectories or halos."""
        if experiment in self.halos:
            content = {"format": HALO_FORMATS["simulate"], **self.halos[experiment].data_content(split)}
            return files.digest(content | self._sources(experiment, split))
        settings = self.settings[experiment]
        return files.digest(
            {
                "format": FORMATS["simulate"],
                "split": split,
                "system": self.system(experiment).model_dump(mode="json"),
                "dim": experiment.dim,
                "bodies": experiment.bodies,
                "seed": experiment.seed,
                "simulations": self.simulations(experiment, split),
                "snapshots": settings.snapshots,
                "steps": settings.steps,
                **self._dumped("simulation"),
            }
        )

    def _sources(self, experiment: Experiment, split: Split) -> dict[str, Any]:
        """Return what the files of a catalogue are told by; paths alone do not tell that they were replaced."""
        catalogue = self.halos[experiment].catalogue
        if split != "train" or catalogue is None:
            return {}
        return {"sources": sources(catalogue, experiment.marker(self.results, split))}

    @functools.cache
    def key(self, stage: Stage, cell: Cell) -> str:
        """Return the key of a stage's outcome for one cell."""
        halos = self.kind(cell.experiment) == "halos"
        content: dict[str, Any] = {"format": (HALO_FORMATS if halos else FORMATS)[stage]}
        match stage:
            case "train" if halos:
                content |= {
                    "data": self.data_key(cell.experiment, "train"),
                    "model": self.halo_model(cell).model_dump(mode="json"),
                    "seed": cell.seed,
                    **self.halos[cell.experiment].learning_content(),
                }
            case "interpret" if halos:
                wanted = self.config.distillation
                content |= {"train": self.key("train", cell), "samples": [wanted.samples, wanted.held_out, wanted.seed]}
            case "generalise" if halos:
                content |= {
                    "replace": self.key("replace", cell),
                    "test": self.data_key(cell.experiment, "test"),
                }
            case "train":
                content |= {
                    "data": self.data_key(cell.experiment, "train"),
                    "model": self.model(cell).model_dump(mode="json"),
                    "seed": cell.seed,
                    "training": self.training(cell.experiment).model_dump(mode="json", exclude={"frames", "filmed"}),
                    # Only cells that are filmed are trained for it.
                    **({"frames": self.frames(cell)} if self.frames(cell) else {}),
                }
            case "interpret":
                content |= {
                    "train": self.key("train", cell),
                    "test": self.data_key(cell.experiment, "test"),
                    "samples": [self.config.distillation.samples, self.config.distillation.held_out],
                    **self._dumped("interpretation"),
                }
            case "distill":
                settings = self.distillation(cell.experiment)
                content |= {
                    "interpret": self.key("interpret", cell),
                    **settings.model_dump(mode="json", exclude={"operon", "pysr", "compare"}),
                    **({"compare": settings.compare} if settings.compare else {}),
                }
                content |= {name: getattr(settings, name).model_dump(mode="json") for name in settings.engines}
            case "verify":
                content |= {"distill": self.key("distill", cell), **self._dumped("verification")}
            case "replace":
                content |= {"verify": self.key("verify", cell), **self._dumped("replacement")}
            case "generalise":
                # Whether a law holds under a condition is decided by the limits of verification.
                content |= {
                    "replace": self.key("replace", cell),
                    **self._dumped("generalisation"),
                    **self._dumped("simulation"),
                }
        return files.digest(content)

    def job_key(self, stage: Stage, job: Job) -> str:
        """Return the key of a stage of a job: its cell's, or the hash of its cells' keys."""
        if len(job.cells) == 1:
            return self.key(stage, job.cells[0])
        return files.digest({str(cell): self.key(stage, cell) for cell in job.cells})

    @functools.cache
    def _dumped(self, section: str) -> dict[str, Any]:
        return {section: getattr(self.config, section).model_dump(mode="json")}


def load_sweep(path: Path) -> Sweep:
    """Return the sweep of a configuration file; its results folder is taken from the working directory."""
    config = load_config(path)
    return Sweep(config, results_folder(Path(config.results)))


def sweep_from(content: Mapping[str, Any], source: str | Callable[[str], str]) -> Sweep:
    """Return the sweep of a configuration that was read already; ``source`` names it in errors (`parse_config`)."""
    config = parse_config(content, source)
    return Sweep(config, results_folder(Path(config.results)))


def write_resolved(sweep: Sweep) -> Path:
    """Keep the checked configuration of a run for its jobs, and return where.

    Raises:
        DistilleryError: A file of another origin has that name.
    """
    path = sweep.results / RESOLVED
    if path.is_symlink() or (path.exists() and not path.read_bytes().startswith(_OURS.encode())):
        raise DistilleryError(f"{path}: was not written by distillery, which needs that name; rename or move your file")
    files.write_text(path, _OURS + write_yaml(sweep.config.model_dump(mode="json")))
    return path


def as_run(sweep: Sweep) -> Sweep:
    """Return a sweep with the section ``execution`` of its latest run, which a profile may have changed.

    That section decides how cells are put together in jobs; no result depends on it.
    """
    try:
        execution = load_config(sweep.results / RESOLVED).execution
    except DistilleryError:
        return sweep
    return Sweep(sweep.config.model_copy(update={"execution": execution}), sweep.results)
