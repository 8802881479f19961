"""What the user asks for: a sweep as a whole, read from YAML and checked; its sections are in ``distillery.settings``.

The JSON schema that editors complete ``config.yaml`` with is generated from these models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_serializer, model_validator

from distillery.cell import Cell, Experiment
from distillery.errors import DistilleryError
from distillery.halos.settings import HaloSettings
from distillery.models import MODELS, Model
from distillery.places import PathText
from distillery.settings import (
    DASK_WORKER_MB,
    JULIA_MB,
    LARGEST_SEED,
    DistillationSettings,
    ExecutionSettings,
    ExperimentSettings,
    GeneralisationSettings,
    InterpretationSettings,
    ReplacementSettings,
    Settings,
    SimulationSettings,
    TrainingSettings,
    VerificationSettings,
    distinct,
)
from distillery.systems import SYSTEMS, System
from distillery.yaml_file import ENDLESS, read_yaml


class Config(Settings):
    """A sweep: experiments × models × seeds, and the budget of each stage."""

    results: PathText = Field("results", min_length=1, description="Folder of everything the sweep writes.")
    systems: dict[str, System] = Field({}, description="Systems of your own, by name.")
    variants: dict[str, Model] = Field({}, description="Models of your own, by name: regularisers and their weights.")
    experiments: tuple[ExperimentSettings, ...] = Field(
        (), min_length=1, description="The data sets of interacting bodies."
    )
    halos: tuple[HaloSettings, ...] = Field(
        (), min_length=1, description="The data sets of dark matter halos, with their models."
    )
    models: tuple[str, ...] = Field((), min_length=1, description="Models trained on every experiment with bodies.")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="Training seeds.")
    simulation: SimulationSettings = Field(SimulationSettings(), description="Integration.")
    training: TrainingSettings = Field(TrainingSettings(), description="Network and training.")
    interpretation: InterpretationSettings = Field(InterpretationSettings(), description="Reading messages.")
    distillation: DistillationSettings = Field(DistillationSettings(), description="Symbolic regression.")
    verification: VerificationSettings = Field(VerificationSettings(), description="The verdict.")
    replacement: ReplacementSettings = Field(ReplacementSettings(), description="The laws that replace networks.")
    generalisation: GeneralisationSettings = Field(
        GeneralisationSettings(), description="Tests beyond what networks were trained on."
    )
    execution: ExecutionSettings = Field(ExecutionSettings(), description="Ranks, device, Dask.")

    @property
    def known_systems(self) -> dict[str, System]:
        """The built-in systems and those of this configuration."""
        return {**SYSTEMS, **self.systems}

    @property
    def known_models(self) -> dict[str, Model]:
        """The built-in models and those of this configuration."""
        return {**MODELS, **self.variants}

    @model_serializer(mode="wrap")
    def _without_empty_lists(self, handler: Callable[[Any], Any]) -> dict[str, Any]:
        """Leave out lists that were not given: what is given must not be empty."""
        content: dict[str, Any] = handler(self)
        return {k: v for k, v in content.items() if v or k not in ("experiments", "halos", "models")}

    @field_validator("systems")
    @classmethod
    def _system_names(cls, systems: dict[str, System]) -> dict[str, System]:
        _require_names(systems, "system", SYSTEMS)
        return systems

    @field_validator("variants")
    @classmethod
    def _variant_names(cls, variants: dict[str, Model]) -> dict[str, Model]:
        _require_names(variants, "model", MODELS)
        return variants

    @field_validator("models")
    @classmethod
    def _modelsdistinct(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(models)

    @model_validator(mode="after")
    def _something_to_do(self) -> Config:
        if not self.experiments and not self.halos:
            raise ValueError("experiments: missing; list at least one, or one of halos")
        if self.models and not self.experiments:
            raise ValueError("models: are for experiments, and there are none; halos list their own, as halos.0.models")
        if self.training.frames and not self.experiments:
            raise ValueError("training.frames: films networks of experiments, and there are none; leave it out")
        if self.experiments and not self.models:
            raise ValueError("models: missing; it is required")
        return self

    @model_validator(mode="after")
    def _models_known(self) -> Config:
        for index, name in enumerate(self.models):
            if name not in self.known_models:
                raise ValueError(f"models.{index}: unknown model {name!r}; known are {', '.join(self.known_models)}")
        return self

    @field_validator("seeds")
    @classmethod
    def _seeds_valid(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 <= seed <= LARGEST_SEED for seed in seeds):
            raise ValueError(f"seeds are at least 0 and at most {LARGEST_SEED}")
        return distinct(seeds)

    @model_validator(mode="after")
    def _experiments_valid(self) -> Config:
        for index, experiment in enumerate(self.experiments):
            if experiment.system not in self.known_systems:
                raise ValueError(
                    f"experiments.{index}.system: unknown system {experiment.system!r}; "
                    f"known are {', '.join(self.known_systems)}"
                )
        distinct(tuple((e.system, e.dim, e.bodies, e.seed) for e in self.experiments))
        known = [(e.name, e.seed) for e in self.halos]
        for index, entry in enumerate(known):
            if entry in known[:index]:
                raise ValueError(f"halos.{index}.name: {entry[0]!r} with seed {entry[1]} stands twice; change one")
        for index, halos in enumerate(self.halos):
            if halos.name in self.known_systems:
                raise ValueError(f"halos.{index}.name: {halos.name!r} is a system; choose another name")
        return self

    @model_validator(mode="after")
    def _workers_have_memory(self) -> Config:
        memory = self.execution.dask.memory_mb
        needed = JULIA_MB + DASK_WORKER_MB
        if "pysr" in self.distillation.engines and memory is not None and memory < needed:
            raise ValueError(
                f"execution.dask.memory_mb: {memory} is too little for a worker that fits with pysr; "
                f"set {needed} or more, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _something_is_pruned(self) -> Config:
        dims = dict.fromkeys(experiment.dim for experiment in self.experiments)
        for index, name in enumerate(self.models):
            model = self.known_models[name]
            for dim in dims if model.pruned else ():
                kept, size = model.kept_size(dim), model.message_size(dim)
                if kept > size:
                    raise ValueError(
                        f"models.{index}: {name} is pruned to {kept} components in {dim}D, more than the {size} of its "
                        f"messages; set kept to {size} or less, or messages to more"
                    )
        return self

    @model_validator(mode="after")
    def _filmed_cells_known(self) -> Config:
        if not self.training.frames or not self.experiments:
            return self
        names = [
            str(Cell(Experiment(e.system, e.dim, e.bodies, e.seed), model, seed))
            for e in self.experiments
            for model in self.models
            for seed in self.seeds
        ]
        for index, pattern in enumerate(self.training.filmed):
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(f"training.filmed.{index}: {pattern!r} fits no cell; cells are called like {names[0]}")
        return self

    @model_validator(mode="after")
    def _workers_outlive_fits(self) -> Config:
        dask, seconds = self.execution.dask, self.distillation.seconds
        if dask.cluster == "slurm" and dask.walltime_minutes * 60 < 2 * seconds:
            raise ValueError(
                f"execution.dask.walltime_minutes: {dask.walltime_minutes} leaves workers no time for fits of "
                f"{seconds:g} seconds (distillation.seconds); set it to {math.ceil(seconds / 30)} or more"
            )
        return self


def _require_names(entries: Mapping[str, Any], what: str, taken: Mapping[str, Any]) -> None:
    for name in entries:
        if not name or not name[0].isalpha() or not all(c.isalnum() or c in "^_.+-" for c in name):
            raise ValueError(f"{name!r} cannot name a {what}; use letters, digits and ^ _ . + -, a letter first")
        if name in taken:
            raise ValueError(f"{name!r} is a built-in {what}; choose another name")


def parse_config(content: Mapping[str, Any], source: str = "config") -> Config:
    """Check a configuration.

    Args:
        content: The configuration as YAML gives it.
        source: What to call it in errors.

    Raises:
        DistilleryError: Something in it is unknown or wrong; one line per finding, each with its key.
    """
    try:
        return Config.model_validate(_tuples(content))
    except ValidationError as error:
        findings = error.errors()
        places = [finding["loc"] for finding in findings]
        # What is wrong within a list makes the list look empty: only the innermost finding is true.
        told = [f for f in findings if not any(p != f["loc"] and p[: len(f["loc"])] == f["loc"] for p in places)]
        raise DistilleryError("\n".join(f"{source}: {_explain(finding)}" for finding in told)) from None
    except RecursionError:
        raise DistilleryError(f"{source}: {ENDLESS}") from None


def load_config(path: Path) -> Config:
    """Read and check a configuration file (YAML).

    Raises:
        DistilleryError: It is missing, not YAML, or wrong.
    """
    return parse_config(read_yaml(path), str(path))


def _tuples(content: Any) -> Any:
    """Turn lists into tuples (strict validation knows no coercion) and mappings into plain dicts."""
    if isinstance(content, Mapping):
        return {key: _tuples(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return tuple(_tuples(value) for value in content)
    return content


def _explain(finding: Any) -> str:
    place = ".".join(str(part) for part in finding["loc"])
    message, given = finding["msg"], finding["input"]
    match finding["type"]:
        case "extra_forbidden":
            return f"{place}: unknown key; see the schema or the README for the known ones"
        case "missing":
            return f"{place}: missing; it is required"
        case "value_error":
            reason = message.removeprefix("Value error, ")
            return f"{place}: {reason}" if place else reason
        case "float_type" if isinstance(given, str) and _is_number(given):
            return f"{place}: {given!r} is read as text; write {float(given)!r} (YAML wants a point in a number)"
        case "int_type" if isinstance(given, str) and _is_number(given):
            return f"{place}: {given!r} is text; write a whole number without quotes"
        case "too_short":
            return f"{place}: is empty; list at least one"
    return f"{place}: {message[0].lower()}{message[1:]} (got {given!r})"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration, with the built-in names listed."""
    result = Config.model_json_schema()
    result["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    result["properties"]["models"]["items"]["enum"] = list(MODELS)
    result["$defs"]["ExperimentSettings"]["properties"]["system"]["examples"] = list(SYSTEMS)
    return result
