"""The configuration of a sweep, read from YAML and checked; each package has a module ``settings`` with its sections.

The JSON schema with which editors complete ``config.yaml`` is generated from these models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, field_validator, model_serializer, model_validator

from distillery.cluster.dask.options import DASK_WORKER_MB
from distillery.errors import DistilleryError
from distillery.halos.settings import HaloSettings
from distillery.laws.settings import ReplacementSettings, VerificationSettings
from distillery.messages.settings import InterpretationSettings
from distillery.networks.models import MODELS, Model
from distillery.networks.settings import TrainingSettings
from distillery.physics.systems import SYSTEMS, System
from distillery.simulate.settings import SimulationSettings
from distillery.symbolic.settings import JULIA_MB, DistillationSettings
from distillery.util.places import PathText
from distillery.util.settings import LARGEST_SEED, LONGEST_NAME, Settings, distinct
from distillery.util.yaml_file import ENDLESS, read_yaml
from distillery.validation.settings import GeneralisationSettings
from distillery.workflow.cell import Cell, Experiment
from distillery.workflow.settings import ExecutionSettings, ExperimentSettings

# Bytes of a file's name on the file systems of Linux.
_LONGEST_FILE = 255
# Characters of a value that an error shows.
_SHOWN = 80
Place = tuple[int | str, ...]


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
        """Omit lists that were not given, because given lists must not be empty."""
        content: dict[str, Any] = handler(self)
        return {k: v for k, v in content.items() if v or k not in ("experiments", "halos", "models")}

    @field_validator("results")
    @classmethod
    def _results_writable(cls, results: str) -> str:
        if found := re.search(r"[{}]", results):
            raise ValueError(f"{found[0]!r} marks a wildcard of Snakemake in a path; choose another name")
        if any(len(part.encode()) > _LONGEST_FILE for part in results.split("/")):
            raise ValueError(f"a name in the path is longer than {_LONGEST_FILE} bytes; choose a shorter one")
        return results

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
        named = [Experiment(e.system, e.dim, e.bodies, e.seed) for e in self.experiments]
        for index, name in enumerate(named):
            if name in named[:index]:
                raise ValueError(
                    f"experiments.{index}: {name} is experiments.{named.index(name)} already; "
                    "change system, dim, bodies or seed of one, or remove it"
                )
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
        if len(name.encode()) > LONGEST_NAME:
            raise ValueError(f"{name[:20] + '…'!r} is too long to name a {what}; use at most {LONGEST_NAME} bytes")
        if name in taken:
            raise ValueError(f"{name!r} is a built-in {what}; choose another name")


def unused(config: Config) -> list[str]:
    """Return a line for each part of a configuration that nothing uses: it may be meant so, or be misspelt."""
    systems = {experiment.system for experiment in config.experiments}
    lines = []
    for name, system in config.systems.items():
        if name not in systems:
            lines.append(f"systems.{name}: no experiment uses it; name it in experiments, or remove it")
        symbols = {
            str(each)
            for formula in (system.softened_potential, system.external_potential)
            for each in formula.free_symbols
        }
        lines += [
            f"systems.{name}.constants.{constant}: the formulas do not depend on it; remove it, or use it in them"
            for constant in system.constants
            if constant not in symbols
        ]
    return lines + [
        f"variants.{name}: no experiment trains it; add it to models, or remove it"
        for name in config.variants
        if name not in config.models
    ]


def parse_config(content: Mapping[str, Any], source: str | Callable[[str], str] = "config") -> Config:
    """Check a configuration.

    Args:
        content: The configuration as YAML gives it.
        source: Its name in errors, or a function that returns the name of the part that gave a key such as
            ``experiments.0.dim``.

    Raises:
        DistilleryError: Something in it is unknown or wrong; one line per finding, each with its key.
    """
    named = source if callable(source) else lambda _key: source
    try:
        return Config.model_validate(_given(_tuples(content), Config))
    except ValidationError as error:
        findings = error.errors()
        places = [finding["loc"] for finding in findings]
        # An error within a list makes the list appear empty: only the innermost error is valid.
        told = [f for f in findings if not any(p != f["loc"] and p[: len(f["loc"])] == f["loc"] for p in places)]
        lines = [_explain(finding) for finding in told]
    except _CharacterError as error:
        lines = [str(error)]
    except RecursionError:
        raise DistilleryError(f"{named('')}: {ENDLESS}") from None
    raise DistilleryError("\n".join(f"{named(line.partition(': ')[0])}: {line}" for line in lines))


def load_config(path: Path) -> Config:
    """Read and check a configuration file (YAML).

    Raises:
        DistilleryError: It is missing, not YAML, or wrong.
    """
    return parse_config(read_yaml(path), str(path))


def _given(content: Any, model: type[BaseModel]) -> Any:
    """Leave out sections without a value: those whose keys are all commented out have their defaults."""
    if not isinstance(content, Mapping):
        return content
    kept: dict[str, Any] = {}
    for key, value in content.items():
        annotation = model.model_fields[key].annotation if key in model.model_fields else None
        inner = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type)]
        models = [part for part in inner if issubclass(part, BaseModel)]
        if value is None and (annotation in models or get_origin(annotation) is dict):
            continue
        if models and get_origin(annotation) is dict and isinstance(value, Mapping):
            kept[key] = {name: _given(entry, models[0]) for name, entry in value.items()}
        elif models and isinstance(value, tuple):
            kept[key] = tuple(_given(entry, models[0]) for entry in value)
        else:
            kept[key] = _given(value, models[0]) if models else value
    return kept


class _CharacterError(Exception):
    """A text holds a character that no name and no file may hold."""


def _tuples(content: Any, place: Place = ()) -> Any:
    """Turn lists into tuples (strict validation knows no coercion) and mappings into plain dicts."""
    if isinstance(content, Mapping):
        return {_plain(key, (*place, key)): _tuples(value, (*place, key)) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return tuple(_tuples(value, (*place, index)) for index, value in enumerate(content))
    return _plain(content, place)


def _plain(value: Any, place: Place) -> Any:
    """Return a value; raises _CharacterError if it is text that cannot be written to a file, or name one."""
    if isinstance(value, str) and (found := re.search(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", value)):
        raise _CharacterError(f"{repr(_dotted(place))[1:-1]}: holds the character {found[0]!a}; remove it")
    return value


def _dotted(place: Sequence[int | str]) -> str:
    return ".".join(map(str, place))


def _explain(finding: Any) -> str:
    place = _dotted(finding["loc"])
    message, given = finding["msg"], finding["input"]
    shown = repr(given) if len(repr(given)) <= _SHOWN else f"{repr(given)[:_SHOWN]}…"
    match finding["type"]:
        case "extra_forbidden":
            return f"{place}: unknown key; see the schema or the README for the known ones"
        case "missing":
            return f"{place}: missing; it is required"
        case "value_error":
            reason = message.removeprefix("Value error, ")
            return f"{place}: {reason}" if place else reason
        case _ if given is None:
            return f"{place}: is empty; give it a value, or leave the key out"
        case "too_short":
            return f"{place}: is empty; list at least one"
        case "tuple_type" if isinstance(given, Mapping):
            return f"{place}: must be a list; begin each of its entries with a dash"
        case "tuple_type":
            return f"{place}: {shown} is no list; write [{given}]"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{place}: must hold keys with values (got {shown})"
    reason = _misread(finding["type"], place, given)
    return f"{place}: {reason or f'{message[0].lower()}{message[1:]} (got {shown})'}"


def _misread(kind: str, place: str, given: Any) -> str | None:
    """Return why YAML read another type than was meant, and how to write that, or None."""
    match kind:
        case "float_type" if isinstance(given, str) and _is_number(given):
            return f"{given!r} is read as text; write {float(given)!r} without quotes"
        case "int_type" if isinstance(given, str) and _is_number(given):
            return f"{given!r} is text; write a whole number without quotes"
        case "int_type" | "float_type" if isinstance(given, str) and re.fullmatch(r"\d+(:\d\d){1,2}", given):
            unit = next((unit for unit in ("minutes", "seconds") if unit in place), "units")
            return f"{given!r} is a time; write one number of {unit}"
        case "int_type" | "float_type" if isinstance(given, bool):
            return f"is read as {_TRUTH[given]}; write a number"
        case "bool_type" if isinstance(given, str) and given.lower() in ("true", "false", "yes", "no", "on", "off"):
            return f"{given!r} is text; write true or false without quotes"
        case "bool_type" if given in (0, 1):
            return f"{given!r} is a number; write true or false"
        case "string_type" if isinstance(given, bool):
            return f"is read as {_TRUTH[given]}; put it in quotes if it is text"
        case "string_type" if isinstance(given, (int, float)):
            return f"{given!r} is read as a number; put it in quotes if it is text"
    return None


_TRUTH = {True: "true (as yes and on are)", False: "false (as no and off are)"}


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
