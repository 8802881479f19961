"""Find the file of a cell's law, and check that it belongs to the present configuration."""

from __future__ import annotations

from pathlib import Path

from distillery.errors import DistilleryError
from distillery.workflow.cell import Cell
from distillery.workflow.outcome import read_outcome
from distillery.workflow.sweep import Sweep


def file_of_law(sweep: Sweep, cell: Cell) -> Path:
    """Return the file of a cell's law.

    Args:
        sweep: The sweep.
        cell: The cell.

    Raises:
        DistilleryError: The cell has no law, with the reason; or its outcome is missing, damaged, or of other settings.
    """
    path = cell.outcome(sweep.results, "replace")
    if not path.exists():
        raise DistilleryError(f"{cell}: has no law yet; run the sweep (there is no {path})")
    outcome = read_outcome(path, key=sweep.key("replace", cell))
    if outcome.status != "ok":
        raise DistilleryError(f"{cell}: has no law; it {outcome.status}: {outcome.reason or 'no reason is known'}")
    file = cell.law(sweep.results, "json")
    if file.name not in outcome.files:
        reason = outcome.result.get("reason") or "no reason is known"
        raise DistilleryError(f"{cell}: has no law ({outcome.result.get('replacement', 'none')}): {reason}")
    return file
