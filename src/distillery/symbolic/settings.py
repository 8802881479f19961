"""Settings of symbolic regression and its engines."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from distillery.networks.functions import Function
from distillery.util.settings import LARGEST_SEED, Settings, distinct

Operator = Literal["+", "-", "*", "/", "^", "exp", "log", ">", "<", "if"]


def _computing(operators: tuple[Operator, ...]) -> tuple[Operator, ...]:
    """Return the operators; raise ValueError if their expressions compute no number."""
    if set(operators) <= {">", "<", "if"}:
        raise ValueError(f"no number comes of {', '.join(operators)} alone; add one of + - * / ^ exp log")
    return operators


Operators = Annotated[tuple[Operator, ...], AfterValidator(_computing)]


class OperonSettings(Settings):
    """Budget of the operon engine (pyoperon)."""

    population: int = Field(300, ge=2, description="Individuals per generation.")
    generations: int = Field(40, ge=1, description="Generations.")
    samples: int = Field(1000, ge=20, description="Training samples the search sees; constants are refitted on all.")
    max_length: int = Field(30, ge=3, description="Largest expression, in nodes.")
    local_iterations: int = Field(5, ge=0, description="Optimiser iterations on the constants of each individual.")


# A process that has loaded Julia, PySR and its backend takes 630 to 790 MB before it fits.
JULIA_MB = 1000


class PysrSettings(Settings):
    """Budget of the PySR engine (Julia); populations and their size are the defaults of PySR 2."""

    iterations: int = Field(100, ge=1, description="PySR's niterations.")
    populations: int = Field(31, ge=1, description="PySR's populations.")
    population_size: int = Field(27, ge=15, description="PySR's population_size; its tournaments take 15.")
    cycles: int = Field(380, ge=1, description="PySR's ncycles_per_iteration.")
    max_size: int = Field(30, ge=7, description="PySR's maxsize.")
    batch: int | None = Field(
        None,
        ge=2,
        description="Samples on which expressions are compared during the search (PySR's batch_size); null compares "
        "them on all samples. Small batches are quicker, and too noisy for forces with heavy tails.",
    )
    parallelism: Literal["serial", "multithreading"] = Field(
        "serial",
        description="One thread, and the same front whenever it is repeated (serial), or as many threads as a worker "
        "has cores, and a front that differs each time (multithreading).",
    )


EngineName = Literal["operon", "pysr"]


class DistillationSettings(Settings):
    """How expressions are fitted to the functions of a model."""

    engine: EngineName = Field("operon", description="The symbolic regression engine; never switched.")
    compare: tuple[EngineName, ...] = Field(
        (),
        description="Other engines that fit the same targets, to be compared with it. Their fronts are judged and kept "
        "too; the cell's equations and verdict are those of `engine`.",
    )
    functions: tuple[Function, ...] = Field(
        ("message", "node"),
        min_length=1,
        description="What is distilled: messages (or pair energies) always, and what nodes make of them.",
    )
    samples: int = Field(5000, ge=50, description="Training samples of each component of a function.")
    held_out: int = Field(5000, ge=50, description="Held-out samples on which a front's errors are measured.")
    share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the samples that are fitted: those whose values are smallest. Where close encounters "
        "have forces a thousand times the usual, no network is right there, and they would decide over every "
        "expression.",
    )
    operators: Operators = Field(("+", "-", "*", "/"), min_length=1, description="Operators an expression may use.")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of samples and engine.")
    seconds: float = Field(300.0, gt=0, description="Limit of one fit; the best front so far is kept.")
    memory_mb: int = Field(
        4000, ge=256, description=f"Memory limit of one fit in MB; at least {JULIA_MB} for pysr, which runs Julia."
    )
    operon: OperonSettings = Field(OperonSettings(), description="Budget of the operon engine.")
    pysr: PysrSettings = Field(PysrSettings(), description="Budget of the PySR engine.")

    @property
    def engines(self) -> tuple[EngineName, ...]:
        """The engine, and those that are compared with it."""
        return (self.engine, *self.compare)

    @field_validator("functions")
    @classmethod
    def _functions_have_messages(cls, functions: tuple[Function, ...]) -> tuple[Function, ...]:
        if "message" not in functions:
            raise ValueError("message is missing; nodes are distilled together with messages only")
        return distinct(functions)

    @model_validator(mode="after")
    def _julia_has_memory(self) -> DistillationSettings:
        if "pysr" in self.engines and self.memory_mb < JULIA_MB:
            raise ValueError(f"memory_mb: {self.memory_mb} is too little for pysr, set {JULIA_MB} or more")
        return self

    @model_validator(mode="after")
    def _engines_differ(self) -> DistillationSettings:
        if len(set(self.engines)) < len(self.engines):
            raise ValueError(
                f"compare: {self.engine} stands twice among {', '.join(self.engines)}; name the other ones"
            )
        return self
