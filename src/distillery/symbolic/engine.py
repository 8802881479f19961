"""The interface of symbolic regression engines, and the list of engines.

An engine is a module with the functions of ``Engine``. Engines only search; tidying, complexity, held-out errors and
the choice from the front are the same for all engines, so that results are comparable.
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
    """A problem of symbolic regression: express a target by features.

    Attributes:
        names: Names of the features.
        features: Training inputs (dimensionless).
        target: One component of a function (dimensionless).
        held_out_features: Inputs on which errors are measured (dimensionless).
        held_out_target: Target on which errors are measured (dimensionless).
        settings: Engine, operators, budgets, limits and seed.
        guesses: Expressions of an earlier fit that reached a limit, in the notation of its engine.
        environment: Additional environment variables of the fitting process.
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
    """An engine ended at its own time limit.

    Attributes:
        found: The expressions so far.
    """

    def __init__(self, found: list[str], reason: str) -> None:
        super().__init__(reason)
        self.found = found


@runtime_checkable
class Engine(Protocol):
    """The functions of an engine's module."""

    def missing(self) -> str | None:
        """Return what this machine lacks for the engine, or None; the engine is not imported."""

    def unprepared(self, depot: Path) -> str | None:
        """Return which preparation is missing before the first fit, with its command; None if none is."""

    def environment(self, settings: DistillationSettings, depot: Path) -> dict[str, str]:
        """Return the environment variables of the fitting process of a prepared engine."""

    def threads(self, settings: DistillationSettings, cores: int) -> int:
        """Return the threads of a fit on a worker with so many cores."""

    def unknown_operators(self, settings: DistillationSettings) -> tuple[str, ...]:
        """Return the configured operators that the engine does not support."""

    def warm_up(self, problem: Problem, folder: Path) -> None:
        """Load and compile what the search needs; this time does not count for the limit.

        Args:
            problem: The next problem.
            folder: An empty folder for the engine's own files.
        """

    def search(self, problem: Problem, folder: Path, report: Callable[[list[str]], None]) -> list[str]:
        """Return expressions in the names of the features, as text that ``formula.parse`` reads.

        Args:
            problem: The problem. The engine standardises the target if necessary.
            folder: An empty folder for the engine's own files.
            report: Receives the best expressions so far, from time to time.

        Raises:
            Stopped: The engine ended at its own time limit.
        """

    def overtime(self, settings: DistillationSettings) -> float:
        """Return the seconds beyond its limit within which a search ends by itself; 0 if it does not."""

    def partial(self, folder: Path, problem: Problem) -> list[str]:
        """Return expressions that a killed search left in its folder without a report."""

    def guesses(self, folder: Path) -> list[str]:
        """Return expressions in the engine's own notation from which another search can continue; may be empty."""


def engine(name: str) -> Engine:
    """Return the engine of that name; no heavy library is imported."""
    return cast(Engine, importlib.import_module(ENGINES[name]))


def require(
    settings: DistillationSettings,
    depot: Path | None = None,
    operators: str = "distillation.operators",
) -> None:
    """Check that the configured engines can run here, before any work starts.

    Args:
        settings: The engines and their operators.
        depot: Folder of Julia that fits are about to use; None if it may still be prepared.
        operators: Key of the configuration that names the operators.

    Raises:
        DistilleryError: A library is missing or not prepared, or the engine lacks an operator; the message names the
            other engine.
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
