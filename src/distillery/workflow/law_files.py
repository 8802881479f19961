"""Outcome and files of the replace stage: the columns of its result, the law as JSON, text and LaTeX."""

from __future__ import annotations

import math
from typing import Any

from distillery import files
from distillery.laws import text
from distillery.laws.law import as_content
from distillery.laws.refit import Fit
from distillery.laws.replace import Replacement
from distillery.workflow.cell import Cell
from distillery.workflow.sweep import Sweep

_TITLES = {"raw": "as distilled", "refitted": "constants refitted", "clean": "clean form"}


def empty_result() -> dict[str, Any]:
    """Return the result of a cell without a law, of any kind of experiment."""
    return {
        "replacement": "none",
        "reason": "",
        "law": None,
        "text": "",
        "refitted_text": "",
        "clean_text": "",
        "constants": [],
        "refitted_constants": [],
        "errors": {},
        "form": "",
        "source": "",
        "cut": "",
        "evaluations": 0,
    }


def described(name: str, fit: Fit) -> dict[str, Any]:
    """Return a constant of a fit as an entry of the result: name, value, standard error and state."""
    error = fit.errors.get(name)
    if not fit.errors:
        return {"name": name, "value": fit.law.constants[name], "error": None, "state": "as distilled"}
    state = "runs away" if name in fit.running_away else "not determined" if name in fit.undetermined else "ok"
    return {
        "name": name,
        "value": fit.law.constants[name],
        "error": error if error is not None and math.isfinite(error) else None,
        "state": state,
    }


def write_law(sweep: Sweep, cell: Cell, found: Replacement) -> None:
    """Write the files ``law.json``, ``law.txt`` and ``law.tex`` of a cell that has a law."""
    fits = {"law": found.shown, "raw": found.raw, "refitted": found.refitted, "clean": found.clean}
    laws = {name: fit.law for name, fit in fits.items() if fit is not None}
    graph = sweep.system(cell.experiment).graph
    content = {"cell": str(cell), "graph": graph, "cut": found.cut}
    files.write_json(cell.law(sweep.results, "json"), content | {name: as_content(law) for name, law in laws.items()})
    parts = [text.listing(laws[name], f"{cell}: {title}") for name, title in _TITLES.items()]
    note = [f"# {found.cut}\n"] if found.cut else []
    files.write_text(cell.law(sweep.results, "txt"), "\n".join([*note, *parts]))
    files.write_text(cell.law(sweep.results, "tex"), text.latex(laws["law"]))
