"""The table of halos at the end of a run: errors of the predicted overdensity by condition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distillery.halos.conditions import CONDITIONS
from distillery.halos.models import HALO_MODELS
from distillery.results.query import query
from distillery.util.text import align

Errors = Mapping[tuple[str, str, str], float]
_NUMBERS = len(CONDITIONS)


def read_errors(results: Path) -> Errors:
    """Return the mean error of the overdensity by cell, condition and predictor.

    Args:
        results: The results folder.

    Raises:
        DistilleryError: There is no result store, or it is damaged.
    """
    found = query(results, rows="conditions", columns=("cell", "condition", "predictor", "mae"))
    return {(cell, condition, predictor): mae for cell, condition, predictor, mae in found.rows if mae is not None}


def halo_lines(cells: Sequence[Mapping[str, Any]], errors: Errors) -> list[list[str]]:
    """Return one line per cell of halos, and another for the formula of a network.

    Args:
        cells: Values of cells by column.
        errors: The errors by cell, condition and predictor.
    """
    lines: list[list[str]] = []
    for cell in cells:
        name = f"{cell['experiment']}/{cell['model']}-s{cell['seed']}"
        identity = [cell["experiment"], cell["model"], str(cell["seed"])]
        if cell["status"] != "ok":
            lines.append([*identity, *["–"] * _NUMBERS, f"{cell['status']}: {cell['reason']}"])
            continue
        law = cell["law"].replace("**", "^")
        network = HALO_MODELS[cell["model"]].kind == "network"
        if network:
            lines.append([*identity, *_errors(errors, name, "network"), ""])
            identity = [*identity[:1], f"{cell['model']}, its formula", identity[2]]
        if law or network:
            lines.append([*identity, *_errors(errors, name, "refitted"), law or "no expression"])
    return lines


def _errors(errors: Errors, cell: str, predictor: str) -> list[str]:
    found = [errors.get((cell, condition, predictor), math.nan) for condition in CONDITIONS]
    return ["–" if math.isnan(value) else f"{value:.4f}" for value in found]


def halo_table(cells: Sequence[Mapping[str, Any]], errors: Errors, width: int | None) -> str:
    """Return cells of halos as aligned text.

    Args:
        cells: Values of cells by column.
        errors: The errors by cell, condition and predictor.
        width: Characters per line; None for no limit.
    """
    headings = ("halos", "predicted by", "seed", *CONDITIONS, "formula of δ")
    right = (False, False, True, *[True] * _NUMBERS, False)
    return align(headings, halo_lines(cells, errors), right=right, width=width)
