"""The verify stage of halos: without a true law nothing is judged, and the fronts pass unchanged."""

from __future__ import annotations

from typing import Any

from distillery.workflow.cell import Cell
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.sweep import Sweep


def verify(sweep: Sweep, cell: Cell) -> None:
    """Write an outcome without a verdict: errors in held-out space measure the quality of a formula.

    Args:
        sweep: The sweep.
        cell: A cell of halos.

    Raises:
        DistilleryError: The distilled expressions are missing or damaged.
    """
    with stage_lock(sweep, "verify", cell) as now:
        if now is None:
            return
        unknown: dict[str, Any] = {
            "recovered": None,
            "others": [],
            "median_residual": None,
            "p90_residual": None,
            "constants": {},
        }
        components = [{"component": entry["component"], **unknown} for entry in now.before.result["components"]]
        now.write({"recovered": None, "form": None, "components": components})
