"""The verify stage of halos: there is no true law, so nothing is judged and the fronts go on as they are."""

from __future__ import annotations

from typing import Any

from distillery.cell import Cell
from distillery.outcome import finished, read_outcome, running, write_outcome
from distillery.sweep import Sweep


def verify(sweep: Sweep, cell: Cell) -> None:
    """Write an outcome without a verdict: how good a formula is, errors in held-out space say.

    Args:
        sweep: The sweep.
        cell: A cell of halos.

    Raises:
        DistilleryError: The distilled expressions are missing or damaged.
    """
    path, key = cell.outcome(sweep.results, "verify"), sweep.key("verify", cell)
    with running(path) as started:
        if finished(path, key):
            return
        found = read_outcome(cell.outcome(sweep.results, "distill"), key=sweep.key("distill", cell))
        unknown: dict[str, Any] = {
            "recovered": None,
            "others": [],
            "median_residual": None,
            "p90_residual": None,
            "constants": {},
        }
        components = [{"component": entry["component"], **unknown} for entry in found.result.get("components", ())]
        result = {"recovered": None, "form": None, "components": components} if found.status == "ok" else {}
        write_outcome(path, key=key, started=started, result=result, status=found.status, reason=found.reason)
