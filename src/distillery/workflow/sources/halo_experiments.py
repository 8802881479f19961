"""Experiments with halos: their identity, settings and keys."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

from distillery import files
from distillery.errors import DistilleryError
from distillery.halos import names as halo_names
from distillery.halos.file_stamps import FileStamps, file_stamps
from distillery.halos.models import HALO_MODELS, HaloModel
from distillery.halos.settings import HaloSettings
from distillery.networks.functions import Function
from distillery.symbolic.settings import DistillationSettings
from distillery.workflow.cell import STAGES, Cell, Experiment, Split, Stage
from distillery.workflow.sources.source import DistilledFunctions, Source

# Versions of the results of each stage, as in ``body_experiments``.
FORMATS = {**dict.fromkeys(("simulate", *STAGES), 1), "distill": 2, "replace": 4}
# Stages that are carried out as for bodies.
_COMMON = ("distill",)


class HaloExperiments(Source):
    """The experiments with halos of a configuration."""

    kind = "halos"
    heading = "Halos"
    formats = FORMATS

    @functools.cached_property
    def settings(self) -> dict[Experiment, HaloSettings]:
        """The experiments in the configured order, each with its settings."""
        return {Experiment(e.name, 3, 0, e.seed): e for e in self.config.halos}

    @property
    def experiments(self) -> tuple[Experiment, ...]:
        """The experiments in the configured order."""
        return tuple(self.settings)

    @functools.cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells: experiments × models × seeds; a formula is fitted with the first seed only."""
        seeds = self.config.seeds
        return tuple(
            Cell(experiment, model, seed)
            for experiment, settings in self.settings.items()
            for model in settings.models
            for seed in (seeds if HALO_MODELS[model].kind == "network" else seeds[:1])
        )

    def stage_module(self, stage: str) -> str:
        """Return the module that carries out a stage."""
        package = "distillery.workflow.stages" if stage in _COMMON else "distillery.workflow.stages.halos"
        return f"{package}.{stage}"

    def model(self, cell: Cell) -> HaloModel:
        """Return the model of a cell."""
        return HALO_MODELS[cell.model]

    def message_size(self, cell: Cell) -> int:
        """Return the number of components of a cell's messages; 1 for a formula."""
        return self.settings[cell.experiment].training.messages if self.model(cell).kind == "network" else 1

    def distillation(self, experiment: Experiment) -> DistillationSettings:
        """Return the settings of symbolic regression with the experiment's own operators."""
        own = self.settings[experiment].operators
        return self.config.distillation.model_copy(update={} if own is None else {"operators": own})

    def functions(self, cell: Cell) -> DistilledFunctions:
        """Return the functions of a cell that are distilled: one message component and the node, or none."""
        model = self.model(cell)
        names: dict[Function, tuple[str, ...]] = {
            "message": halo_names.message_names(model.masses),
            "node": halo_names.node_names(model.masses),
        }
        return DistilledFunctions(names, {} if model.kind == "formula" else {"message": 1, "node": 1}, self.kind)

    def stacking_shape(self, cell: Cell) -> Hashable:
        """Return the cell itself: one halo network fills a step, so that none are stacked."""
        return cell

    def data_content(self, experiment: Experiment, split: Split) -> dict[str, Any]:
        """Return the settings on which the halos of a split depend, and the stamps of a catalogue's files."""
        settings = self.settings[experiment]
        content = settings.data_content(split)
        if split == "train" and settings.catalogue is not None:
            content["sources"] = self._file_stamps(experiment)
        return content

    def _file_stamps(self, experiment: Experiment) -> FileStamps:
        """Return the stamps of a catalogue's files; those recorded in the marker if the files are gone.

        So results that were moved, or whose raw files were archived, keep their keys.
        """
        catalogue = self.settings[experiment].catalogue
        found = file_stamps(catalogue) if catalogue is not None else None
        if found is not None:
            return found
        try:
            content = files.read_json(experiment.marker(self.results, "train"), "")
        except DistilleryError:
            return {}
        recorded = content.get("sources") if isinstance(content, dict) else None
        return recorded if isinstance(recorded, dict) else {}

    def key_content(self, stage: Stage, cell: Cell) -> dict[str, Any]:
        """Return the settings and the keys of the inputs on which a stage's result depends."""
        match stage:
            case "train":
                return {
                    "data": self.data_key(cell.experiment, "train"),
                    "model": self.model(cell).model_dump(mode="json"),
                    "seed": cell.seed,
                    **self.settings[cell.experiment].learning_content(),
                }
            case "interpret":
                settings = self.config.distillation
                samples = [settings.samples, settings.held_out, settings.seed]
                return {"train": self.key("train", cell), "samples": samples}
            case "distill":
                return self.distill_content(cell)
            case "verify":
                return {"distill": self.key("distill", cell), **self.section("verification")}
            case "replace":
                return {"verify": self.key("verify", cell), **self.section("replacement")}
            case "generalise":
                return {"replace": self.key("replace", cell), "test": self.data_key(cell.experiment, "test")}
