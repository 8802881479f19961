"""Experiments with bodies: their identity, settings and keys."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from fnmatch import fnmatchcase
from typing import Any

from distillery.networks import functions
from distillery.networks.models import Model
from distillery.networks.settings import TrainingSettings
from distillery.physics.systems import System
from distillery.symbolic.settings import DistillationSettings
from distillery.workflow.cell import Cell, Experiment, Split, Stage
from distillery.workflow.settings import ExperimentSettings
from distillery.workflow.sources.source import DistilledFunctions, Source

# Versions of the results of each stage: raised by hand when their meaning changes, so that older results are redone.
FORMATS = {
    "simulate": 1,
    "train": 3,
    "interpret": 5,
    "distill": 5,
    "verify": 5,
    "replace": 5,
    "generalise": 3,
}


class BodyExperiments(Source):
    """The experiments with bodies of a configuration."""

    kind = "bodies"
    heading = "Trajectories"
    formats = FORMATS

    @functools.cached_property
    def settings(self) -> dict[Experiment, ExperimentSettings]:
        """The experiments in the configured order, each with its settings."""
        return {Experiment(e.system, e.dim, e.bodies, e.seed): e for e in self.config.experiments}

    @property
    def experiments(self) -> tuple[Experiment, ...]:
        """The experiments in the configured order."""
        return tuple(self.settings)

    @functools.cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells: experiments × models × seeds."""
        return tuple(
            Cell(experiment, model, seed)
            for experiment in self.settings
            for model in self.config.models
            for seed in self.config.seeds
        )

    def stage_module(self, stage: str) -> str:
        """Return the module that carries out a stage."""
        return f"distillery.workflow.stages.{stage}"

    def system(self, experiment: Experiment) -> System:
        """Return the system of an experiment."""
        return self.config.known_systems[experiment.system]

    def model(self, cell: Cell) -> Model:
        """Return the model of a cell."""
        return self.config.known_models[cell.model]

    def message_size(self, cell: Cell) -> int:
        """Return the number of components of a cell's messages; 1 if it sends none."""
        return self.model(cell).message_size(cell.experiment.dim)

    def simulations(self, experiment: Experiment, split: Split) -> int:
        """Return the number of trajectories of a split."""
        settings = self.settings[experiment]
        return settings.simulations if split == "train" else settings.test_simulations

    def training(self, experiment: Experiment) -> TrainingSettings:
        """Return the training settings with the experiment's own loss, if it has one."""
        own = self._own(experiment, "loss")
        if self.system(experiment).depends_on_place:
            # Translated bodies would be trained with the forces of their original place.
            own["translation"] = 0.0
        return self.config.training.model_copy(update=own)

    def frames(self, cell: Cell) -> int:
        """Return the largest number of snapshots of a cell's training; 0 if none is requested."""
        settings = self.config.training
        filmed = any(fnmatchcase(str(cell), pattern) for pattern in settings.filmed)
        return settings.frames if filmed and self.model(cell).kind != "control" else 0

    def distillation(self, experiment: Experiment) -> DistillationSettings:
        """Return the settings of symbolic regression with the experiment's own operators and share."""
        return self.config.distillation.model_copy(update=self._own(experiment, "operators", "share"))

    def _own(self, experiment: Experiment, *names: str) -> dict[str, Any]:
        settings = self.settings[experiment]
        return {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}

    def functions(self, cell: Cell) -> DistilledFunctions:
        """Return the functions of a cell that are distilled."""
        system, model, experiment = self.system(cell.experiment), self.model(cell), cell.experiment
        names: dict[functions.Function, tuple[str, ...]] = {
            "message": functions.message_names(model, experiment.dim, experiment.bodies, place=system.acts_on_bodies),
            "node": functions.node_names(model, experiment.dim, place=system.acts_on_bodies),
        }
        return DistilledFunctions(names, functions.components(model, experiment.dim), model.kind)

    def stacking_shape(self, cell: Cell) -> Hashable:
        """Return dimensions, bodies, graph and model without its weight, which each stacked cell has of its own."""
        experiment = cell.experiment
        return experiment.dim, experiment.bodies, self.system(experiment).graph, self.model(cell).unweighted

    def data_content(self, experiment: Experiment, split: Split) -> dict[str, Any]:
        """Return the settings on which the trajectories of a split depend."""
        settings = self.settings[experiment]
        return {
            "split": split,
            "system": self.system(experiment).model_dump(mode="json"),
            "dim": experiment.dim,
            "bodies": experiment.bodies,
            "seed": experiment.seed,
            "simulations": self.simulations(experiment, split),
            "snapshots": settings.snapshots,
            "steps": settings.steps,
            **self.section("simulation"),
        }

    def key_content(self, stage: Stage, cell: Cell) -> dict[str, Any]:
        """Return the settings and the keys of the inputs on which a stage's result depends."""
        match stage:
            case "train":
                return {
                    "data": self.data_key(cell.experiment, "train"),
                    "model": self.model(cell).model_dump(mode="json"),
                    "seed": cell.seed,
                    "training": self.training(cell.experiment).model_dump(mode="json", exclude={"frames", "filmed"}),
                    # Absent without frames: asking for frames of some cells leaves the keys of the others.
                    **({"frames": self.frames(cell)} if self.frames(cell) else {}),
                }
            case "interpret":
                return {
                    "train": self.key("train", cell),
                    "test": self.data_key(cell.experiment, "test"),
                    "samples": [self.config.distillation.samples, self.config.distillation.held_out],
                    **self.section("interpretation"),
                }
            case "distill":
                return self.distill_content(cell)
            case "verify":
                return {"distill": self.key("distill", cell), **self.section("verification")}
            case "replace":
                return {"verify": self.key("verify", cell), **self.section("replacement")}
            case "generalise":
                # The limits of verification, in the key of replace, decide whether a law holds under a condition.
                return {
                    "replace": self.key("replace", cell),
                    **self.section("generalisation"),
                    **self.section("simulation"),
                }
