"""Results of fits, stored under a key of their content: a rerun fits only what is missing.

The key is a hash of the data, the engine, its settings, the operators and the seed. Limits on time and memory are not
part of it; a fit that a limit ended is reused only under the same limits. A fit without a front is not stored.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sympy

from distillery import files
from distillery.errors import DistilleryError
from distillery.physics import formula
from distillery.symbolic.engine import Problem
from distillery.symbolic.front import Point, choose, pareto_front
from distillery.symbolic.settings import DistillationSettings
from distillery.symbolic.tidying import tidied
from distillery.workflow.sweep import FORMATS

FitStatus = Literal["ok", "timed_out", "failed", "lost"]


class FitLost(Exception):
    """A fit that ended for a reason of the machine, such as a process that was killed; another try may succeed."""


@dataclasses.dataclass(frozen=True)
class FitResult:
    """Result of a fit.

    Attributes:
        status: ``ok``; ``timed_out`` when a limit of time or memory ended it and the front is the best one so far;
            ``failed`` when the engine found nothing, which it would do again; ``lost`` when the machine or a limit
            left no front, so that the fit is open and another run tries it again.
        reason: Why, where the status is not ``ok``.
        front: The Pareto front, simplest first.
        chosen: Index of the paper's choice.
        seconds: Wall time, without that for starting the process.
        found: Where a limit ended it: its expressions as the engine wrote them, from which a longer fit goes on.
        guesses: How many such expressions of an earlier fit it went on from itself.
    """

    status: FitStatus
    reason: str
    front: tuple[Point, ...]
    chosen: int | None
    seconds: float
    found: tuple[str, ...] = ()
    guesses: int = 0

    @classmethod
    def of(cls, front: list[Point], seconds: float, status: FitStatus = "ok", reason: str = "") -> FitResult:
        """Return the result for a front; one without points is a failure."""
        if not front:
            return cls("failed", reason or "no expression is finite on the held-out samples", (), None, seconds)
        return cls(status, reason, tuple(front), choose(front), seconds)

    @classmethod
    def failed(cls, reason: str, seconds: float = 0.0) -> FitResult:
        """Return the result of a fit in which the engine found nothing."""
        return cls("failed", reason, (), None, seconds)

    @classmethod
    def lost(cls, reason: str, seconds: float = 0.0) -> FitResult:
        """Return the result of a fit that the machine or a limit ended without a front."""
        return cls("lost", reason, (), None, seconds)


def fit_key(problem: Problem) -> str:
    """Return the key of a fit."""
    settings = problem.settings
    sha = hashlib.sha256()
    for array in (problem.features, problem.target, problem.held_out_features, problem.held_out_target):
        sha.update(repr(array.shape).encode())
        sha.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return files.digest(
        {
            "format": FORMATS["distill"],
            "data": sha.hexdigest(),
            "names": problem.names,
            "engine": settings.engine,
            "budget": getattr(settings, settings.engine).model_dump(mode="json"),
            "operators": settings.operators,
            "seed": settings.seed,
        }
    )


def finish(problem: Problem, texts: list[str]) -> list[Point]:
    """Return the front of an engine's expressions: tidied, refitted on all training samples, judged on held-out ones.

    Args:
        problem: What was fitted.
        texts: Expressions as the engine gave them.
    """
    return pareto_front(
        tidied(parsed(texts, problem.names), problem.columns, problem.target),
        problem.held_out_columns,
        problem.held_out_target,
    )


def unfinished(problem: Problem, texts: list[str]) -> list[Point]:
    """Return the front of an engine's expressions as they are, for a fit that may spend no more time."""
    return pareto_front(parsed(texts, problem.names), problem.held_out_columns, problem.held_out_target)


def parsed(texts: list[str], names: tuple[str, ...]) -> list[sympy.Expr]:
    """Read an engine's expressions; those that are not finite real formulas are left out."""
    expressions = []
    for text in texts:
        try:
            expressions.append(formula.parse(text, names))
        except DistilleryError:
            continue
    return expressions


def fit_file(results: Path, key: str) -> Path:
    """Return where a finished fit is kept."""
    return results / "fits" / f"{key}.json"


def load_fit(path: Path, key: str, settings: DistillationSettings) -> FitResult | None:
    """Return a kept fit, or nothing where there is none, it is damaged, or it timed out under other limits.

    Args:
        path: As ``fit_file`` gives it.
        key: As ``fit_key`` gives it.
        settings: The limits of now.
    """
    try:
        content = files.read_json(path, "")
        result = FitResult(
            content["status"],
            content["reason"],
            tuple(Point(**point) for point in content["front"]),
            content["chosen"],
            content["seconds"],
            tuple(content.get("found", ())),
            content.get("guesses", 0),
        )
        limits = content["limits"]
    except (DistilleryError, KeyError, TypeError):
        return None
    if content.get("key") != key or result.status not in ("ok", "timed_out"):
        return None
    if not isinstance(result.chosen, int) or result.chosen not in range(len(result.front)):
        return None
    return None if result.status == "timed_out" and limits != _limits(settings) else result


def earlier_front(path: Path, key: str) -> tuple[str, ...]:
    """Return what a kept fit that a limit had ended found, as its engine wrote it, for a fit with more time.

    Args:
        path: As ``fit_file`` gives it.
        key: As ``fit_key`` gives it.
    """
    try:
        content = files.read_json(path, "")
        found = content["found"] if content["key"] == key and content["status"] == "timed_out" else ()
        return tuple(text for text in found if isinstance(text, str))
    except (DistilleryError, KeyError, TypeError):
        return ()


def keep_fit(path: Path, key: str, settings: DistillationSettings, result: FitResult) -> None:
    """Write a fit that has a front, whole or not at all."""
    if result.front:
        content = {"key": key, "engine": settings.engine, "limits": _limits(settings), **dataclasses.asdict(result)}
        files.write_json(path, content)


def _limits(settings: DistillationSettings) -> dict[str, Any]:
    return {"seconds": settings.seconds, "memory_mb": settings.memory_mb}
