"""The verify stage: is the law recovered in every component of every function?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillery.errors import DistilleryError
from distillery.util import budget
from distillery.validation.verdict import Court, expected
from distillery.workflow.cell import Cell
from distillery.workflow.outcome import Outcome
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.sweep import Sweep


def verify(sweep: Sweep, cell: Cell) -> None:
    """Judge the chosen expression of every component, and the others on its front, and write the outcome.

    Args:
        sweep: The sweep.
        cell: The cell.

    Raises:
        DistilleryError: The distilled expressions, or held-out trajectories that they are tried on, are missing or
            damaged.
    """
    with stage_lock(sweep, "verify", cell) as now:
        if now is None:
            return
        compared = _compared(sweep, cell, cell.outcome(sweep.results, "distill"), now.before)
        court, settings = Court(sweep, cell), sweep.config.verification
        with budget.within(f"verify {cell}", settings.evaluations, settings.seconds, "verification") as limit:
            result = court.verdict(now.before.result)
            if compared:
                result["compared"] = [{"engine": name, **court.verdict(found)} for name, found in compared.items()]
        result["cut"] = limit.note
        if limit.note and not result["recovered"]:
            # A longer search might have found constants with which the law fits.
            result["reason"] = f"{result['reason']}; {limit.note}"
        now.write(result)


def _compared(sweep: Sweep, cell: Cell, source: Path, distilled: Outcome) -> dict[str, Mapping[str, Any]]:
    """Return what engines that were compared have distilled, by engine.

    Raises:
        DistilleryError: What was distilled is not what it should be.
    """
    try:
        compared = {str(entry["engine"]): entry for entry in distilled.result.get("compared", ())}
        for found in (distilled.result, *compared.values()):
            if not expected(sweep, cell, found):
                raise ValueError
            for component in (*found["components"], *found.get("node", ())):
                front, chosen = component["front"], component["chosen"]
                _ = component["component"], component["reason"]
                whole = all(isinstance(point["expression"], str) and "complexity" in point for point in front)
                known = chosen is None or (isinstance(chosen, int) and chosen in range(len(front)))
                if not (whole and known):
                    raise ValueError
    except (KeyError, TypeError, ValueError):
        raise DistilleryError(
            f"{source}: lacks what it should hold; delete it and run the sweep again; "
            "only this stage and what follows it is repeated"
        ) from None
    return compared
