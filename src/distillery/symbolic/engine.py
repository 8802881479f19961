"""What a symbolic regression engine is, and which ones there are.

An engine is a module with the functions of ``Engine``. Engines search; everything that makes results
comparable — tidying, complexity, held-out errors, the choice — is done outside of them, the same for all.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float

from distillery.errors import DistilleryError
from distillery.symbolic.settings import DistillationSettings, EngineName

ENGINES = {"operon": "distillery.symbolic.operon", "pysr": "distillery.symbolic.pysr"}


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """One fit: find expressions of the features that give the target.

    Attributes:
        names: Names of the features.
        features: Training inputs (dimensionless).
        target: One component of a function (dimensionless).
        held_out_features: Inputs on which errors are measured.
        held_out_target: Target on which errors are measured.
        settings: Engine, operators, budgets, limits and seed.
        guesses: Expressions of an earlier fit that ran into a limit, as its engine wrote them.
        environment: What the environment of the fitting process holds beside that of its worker.
    """

    names: tuple[str, ...]
    features: Float[np.ndarray, "sample feature"]
    target: Float[np.ndarray, " sample"]
    held_out_features: Float[np.ndarray, "held_out feature"]
    held_out_target: Float[np.ndarray, " held_out"]
    settings: DistillationSettings
    guesses: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def columns(self) -> dict[str, Float[np.ndarray, " sample"]]:
        """Training inputs by name."""
        return dict(zip(self.names, self.features.T, strict=True))

    @property
    def held_out_columns(self) -> dict[str, Float[np.ndarray, " held_out"]]:
        """Held-out inputs by name."""
        return dict(zip(self.names, self.held_out_features.T, strict=True))


class Stopped(Exception):
    """An engine that kept to its time limit by itself, before it was done.

    Attributes:
        found: What it had found.
    """

    def __init__(self, found: list[str], reason: str) -> None:
        super().__init__(reason)
        self.found = found


@runtime_checkable
class Engine(Protocol):
    """The functions of an engine's module."""

    def missing(self) -> str | None:
        """Return what this machine lacks for the engine, if anything; found without importing it."""

    def unprepared(self, depot: Path) -> str | None:
        """Return what has to be done once before the first fit, if it was not: what is wrong, and the command."""

    def environment(self, settings: DistillationSettings, depot: Path) -> dict[str, str]:
        """Return what the environment of the fitting process must hold; asked where nothing is unprepared."""

    def threads(self, settings: DistillationSettings, cores: int) -> int:
        """Return how many threads a fit uses on a worker with so many cores."""

    def unknown_operators(self, settings: DistillationSettings) -> tuple[str, ...]:
        """Return the configured operators that the engine does not have."""

    def warm_up(self, problem: Problem, folder: Path) -> None:
        """Load and compile what the search will need, which does not count as its time.

        Args:
            problem: What is to be fitted next.
            folder: An empty folder for the engine's own files.
        """

    def search(self, problem: Problem, folder: Path, report: Callable[[list[str]], None]) -> list[str]:
        """Return expressions in the features' names, as text that ``formula.parse`` reads.

        Args:
            problem: What to fit. The target is standardised by the engine if it wants it so.
            folder: An empty folder for the engine's own files.
            report: To be called now and then with the best expressions so far.

        Raises:
            Stopped: The engine kept to the time limit by itself.
        """

    def overtime(self, settings: DistillationSettings) -> float:
        """Return the seconds beyond its limit within which a search ends by itself; 0 if it never does."""

    def partial(self, folder: Path, problem: Problem) -> list[str]:
        """Return expressions that a killed search left in its folder and had not reported."""

    def guesses(self, folder: Path) -> list[str]:
        """Return expressions in the engine's own notation from which another search can go on; may be empty."""


def engine(name: str) -> Engine:
    """Return the engine of that name; nothing heavy is imported."""
    return cast(Engine, importlib.import_module(ENGINES[name]))


def require(
    settings: DistillationSettings,
    depot: Path | None = None,
    operators: str = "distillation.operators",
) -> None:
    """Check that the configured engines can work here, before any work is started.

    Args:
        settings: The engines and their operators.
        depot: Folder of Julia that fits are about to use; None where it may still be prepared.
        operators: The key of the configuration that names the operators.

    Raises:
        DistilleryError: A library is missing or not prepared, or the engine lacks an operator; the other engine is
            named.
    """
    for name in settings.engines:
        key = "engine" if name == settings.engine else "compare"
        _require(name, key, operators, settings, depot)


def _require(
    name: EngineName,
    key: str,
    operators: str,
    settings: DistillationSettings,
    depot: Path | None,
) -> None:
    others = " or ".join(other for other in ENGINES if other != name)
    instead = f"choose engine: {others}" if key == "engine" else f"take {name} out of compare"
    missing = engine(name).missing()
    if missing:
        raise DistilleryError(f"distillation.{key}: {name} cannot run here, {missing}; install that, or {instead}")
    unknown = engine(name).unknown_operators(settings)
    if unknown:
        raise DistilleryError(f"{operators}: {name} has no {', '.join(unknown)}; leave it out, or {instead}")
    unprepared = engine(name).unprepared(depot) if depot else None
    if unprepared:
        raise DistilleryError(f"distillation.{key}: {name} cannot run yet, {unprepared}, or {instead}")
