"""The folder through which a process receives a fit and returns its result."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distillery import files
from distillery.errors import DistilleryError
from distillery.symbolic.engine import Problem, engine
from distillery.symbolic.fits import FitLost, FitResult, unfinished
from distillery.symbolic.front import Point
from distillery.symbolic.settings import DistillationSettings

# Exists once loading and compiling are done.
READY = "ready"
# The expressions so far.
PARTIAL = "partial.json"
# Written last.
RESULT = "result.json"


def engine_folder(folder: Path) -> Path:
    """Return the folder of the engine's own files."""
    return folder / "engine"


def write(folder: Path, problem: Problem) -> None:
    """Write a problem."""
    np.savez(
        folder / "problem.npz",
        features=problem.features,
        target=problem.target,
        held_out_features=problem.held_out_features,
        held_out_target=problem.held_out_target,
    )
    content = {"names": problem.names, "settings": problem.settings.model_dump(), "guesses": problem.guesses}
    files.write_json(folder / "job.json", content)


def read(folder: Path) -> Problem:
    """Read a problem; its environment is that of this process."""
    content = files.read_json(folder / "job.json", "")
    settings = DistillationSettings.model_validate_json(json.dumps(content["settings"]))
    with np.load(folder / "problem.npz", allow_pickle=False) as arrays:
        return Problem(
            names=tuple(content["names"]),
            settings=settings,
            guesses=tuple(content["guesses"]),
            **{name: arrays[name] for name in arrays.files},
        )


def result(folder: Path, problem: Problem, seconds: float) -> FitResult:
    """Read the result of a fit that ended by itself.

    Raises:
        FitLost: The machine lacked a resource of the fit.
    """
    content = files.read_json(folder / RESULT, "")
    if "error" in content:
        if content["lost"]:
            raise FitLost(content["error"])
        return FitResult.failed(content["error"], seconds)
    front = [Point(**point) for point in content["front"]]
    if "stopped" not in content:
        return _with_origin(FitResult.of(front, seconds), problem)
    stopped = FitResult.of(front, seconds, "timed_out", content["stopped"])
    return _with_origin(stopped, problem, _guesses(folder, problem))


def interrupted(folder: Path, problem: Problem, seconds: float, reason: str) -> FitResult:
    """Return the result of a fit that was killed at a limit: the best front that it reported or wrote."""
    found: list[str] = []
    with contextlib.suppress(DistilleryError):
        found = list(files.read_json(folder / PARTIAL, ""))
    found += engine(problem.settings.engine).partial(engine_folder(folder), problem)
    front = unfinished(problem, found)
    if not front:
        return FitResult.lost(f"{reason}, before it had a front", seconds)
    killed = FitResult.of(front, seconds, "timed_out", reason)
    return _with_origin(killed, problem, _guesses(folder, problem))


def _guesses(folder: Path, problem: Problem) -> list[str]:
    return engine(problem.settings.engine).guesses(engine_folder(folder))


def _with_origin(fitted: FitResult, problem: Problem, found: Sequence[str] = ()) -> FitResult:
    """Add the expressions from which a longer fit can continue, and the number of those that this fit started from."""
    return dataclasses.replace(fitted, found=tuple(found), guesses=len(problem.guesses))
