"""Fit expressions to samples: run an engine, tidy its expressions, and choose from their Pareto front."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import sympy

from distillery.errors import DistilleryError
from distillery.physics import formula
from distillery.symbolic.engine import Problem, Stopped, engine
from distillery.symbolic.front import Point, choose, pareto_front
from distillery.symbolic.tidying import tidied

FitStatus = Literal["ok", "timed_out", "failed", "lost"]


class FitLost(Exception):
    """A fit ended for a reason of the machine, such as a killed process; another try may succeed."""


@dataclasses.dataclass(frozen=True)
class FitResult:
    """Result of a fit.

    Attributes:
        status: ``ok``; ``timed_out`` if a limit of time or memory ended the fit and the front is the best one so far;
            ``failed`` if the engine found nothing and would find nothing again; ``lost`` if the machine or a limit
            left no front, so that another run tries the fit again.
        reason: Reason of a status other than ``ok``.
        front: The Pareto front, simplest expression first.
        chosen: Index of the paper's choice.
        seconds: Wall time in s, without the start of the process.
        found: If a limit ended the fit: its expressions in the engine's notation, from which a longer fit continues.
        guesses: Number of such expressions of an earlier fit that this fit started from.
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
        """Return the result for a front; an empty front is a failure."""
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


Mapper = Callable[[Callable[[Problem], FitResult], Iterable[Problem]], Iterable[FitResult]]


def fit_expressions(
    problems: Iterable[Problem], *, fit: Callable[[Problem], FitResult] | None = None, mapper: Mapper = map
) -> list[FitResult]:
    """Fit expressions to several problems and return their fronts in the same order.

    Args:
        problems: The problems.
        fit: Function that fits one problem. The default, ``fit_expression``, runs the engine in this process, without
            limits of time and memory; ``child.fit_here`` keeps these limits in a process of its own, which the engine
            pysr needs where this process has loaded torch.
        mapper: Applies ``fit`` to all problems, such as ``map`` or the ``map`` of an executor.

    Raises:
        DistilleryError: An engine found nothing.
    """
    return list(mapper(fit or fit_expression, problems))


def fit_expression(problem: Problem) -> FitResult:
    """Fit expressions to one problem in this process, without limits of time and memory.

    Args:
        problem: Samples and settings.

    Raises:
        DistilleryError: The engine found nothing.
    """
    with tempfile.TemporaryDirectory(prefix="distillery-fit-") as name:
        own, first = (Path(name) / part for part in ("engine", "warm-up"))
        own.mkdir()
        first.mkdir()
        engine(problem.settings.engine).warm_up(problem, first)
        started = time.monotonic()
        texts, stopped = search(problem, own, lambda _: None)
        front = finish(problem, texts)
        status: FitStatus = "timed_out" if stopped else "ok"
        return FitResult.of(front, round(time.monotonic() - started, 3), status, stopped)


def search(problem: Problem, folder: Path, report: Callable[[list[str]], None]) -> tuple[list[str], str]:
    """Return the expressions that an engine finds and, if it stopped at its own time limit, the reason; else ``""``.

    Args:
        problem: Samples and settings.
        folder: Empty folder for the engine's own files.
        report: Receives the expressions so far, from time to time.
    """
    try:
        return engine(problem.settings.engine).search(problem, folder, report), ""
    except Stopped as stopped:
        return stopped.found, str(stopped)


def finish(problem: Problem, texts: list[str]) -> list[Point]:
    """Return the front of an engine's expressions after tidying, with constants refitted on all training samples.

    Args:
        problem: The problem; its held-out samples give the errors.
        texts: Expressions as the engine returned them.
    """
    return pareto_front(
        tidied(parsed(texts, problem.names), problem.columns, problem.target),
        problem.held_out_columns,
        problem.held_out_target,
    )


def unfinished(problem: Problem, texts: list[str]) -> list[Point]:
    """Return the front of an engine's expressions without tidying, for a fit that has no time left."""
    return pareto_front(parsed(texts, problem.names), problem.held_out_columns, problem.held_out_target)


def parsed(texts: list[str], names: tuple[str, ...]) -> list[sympy.Expr]:
    """Parse an engine's expressions; skip those that are not finite real formulas."""
    expressions = []
    for text in texts:
        try:
            expressions.append(formula.parse(text, names))
        except DistilleryError:
            continue
    return expressions
