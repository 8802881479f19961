"""Store the results of fits under a key of their content, so that a rerun fits only what is missing.

The key is a hash of the data, the engine, its settings, the operators and the seed. Limits on time and memory are not
part of it; a fit that a limit ended is reused only under the same limits. A fit without a front is not stored.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from distillery import files
from distillery.errors import DistilleryError
from distillery.symbolic.engine import Problem
from distillery.symbolic.fits import FitResult
from distillery.symbolic.front import Point
from distillery.symbolic.settings import DistillationSettings
from distillery.workflow.sweep import FORMATS


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


def fit_file(results: Path, key: str) -> Path:
    """Return the file of a stored fit."""
    return results / "fits" / f"{key}.json"


def load_fit(path: Path, key: str, settings: DistillationSettings) -> FitResult | None:
    """Return a stored fit, or None if there is none, it is damaged, or it timed out under other limits.

    Args:
        path: As ``fit_file`` returns it.
        key: As ``fit_key`` returns it.
        settings: The present limits.
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
    """Return the expressions of a stored fit that a limit ended, in the engine's notation, for a longer fit.

    Args:
        path: As ``fit_file`` returns it.
        key: As ``fit_key`` returns it.
    """
    try:
        content = files.read_json(path, "")
        found = content["found"] if content["key"] == key and content["status"] == "timed_out" else ()
        return tuple(text for text in found if isinstance(text, str))
    except (DistilleryError, KeyError, TypeError):
        return ()


def keep_fit(path: Path, key: str, settings: DistillationSettings, result: FitResult) -> None:
    """Store a fit that has a front, completely or not at all."""
    if result.front:
        content = {"key": key, "engine": settings.engine, "limits": _limits(settings), **dataclasses.asdict(result)}
        files.write_json(path, content)


def _limits(settings: DistillationSettings) -> dict[str, Any]:
    return {"seconds": settings.seconds, "memory_mb": settings.memory_mb}
