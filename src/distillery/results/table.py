"""The table at the end of a run: the results of every cell, one line per message component."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distillery.laws.limits import DIFFERS
from distillery.results.halo_table import halo_table, read_errors
from distillery.results.query import query
from distillery.util.text import Table, align, counted, terminal_width
from distillery.validation.generalisation import PREDICTORS

_COLUMNS = (
    "experiment",
    "bodies",
    "model",
    "seed",
    "status",
    "reason",
    "test_mae",
    "test_medae",
    "force_r2",
    "force_r2_robust",
    "acceleration_r2",
    "acceleration_r2_robust",
    "recovered",
    "form",
    "recovered_together",
    "on_front",
    "verdict_reason",
    "extent",
    "equation",
    "law",
    "law_form",
    *(f"error_{part}_{kind}" for part in PREDICTORS for kind in ("mae", "medae")),
)
_HEADINGS = (
    "experiment",
    "model",
    "seed",
    "test error (median)",
    "F R²",
    "robust",
    "F/m R²",
    "robust",
    "recovered",
    "equation per component",
)
# The law is the last column, which is wrapped.
_LAW_HEADINGS = ("experiment", "network", "test error (median)", "of its law", "best law in a network's place")
_LAW_RIGHT = (False, False, True, True, False)
_REASON_HEADINGS = ("experiment", "model", "seed", "why not, or how far")
_REASON_RIGHT = (False, False, True, False)
_RIGHT = (False, False, True, True, True, True, True, True, False, False)
_DECIMAL = re.compile(r"(?<![\w.])(?:\d+\.\d*|\.\d+|\d+(?=[eE][+-]?\d))(?:[eE][+-]?\d+)?")


def results_table(results: Path, width: int | None = None) -> str:
    """Return the results of a sweep as aligned text with a summary in the last line.

    Args:
        results: The results folder.
        width: Characters per line; by default those of the terminal, and no limit if standard output is none.

    Raises:
        DistilleryError: There is no result store, or it is damaged.
    """
    cells = query(results, columns=_COLUMNS)
    width = width if width is not None else terminal_width()
    # Data sets of halos have no number of bodies.
    of_halos = [dict(zip(cells.names, row, strict=True)) for row in cells.rows if not row[cells.names.index("bodies")]]
    if not of_halos:
        return format_results(cells, width)
    halos = halo_table(of_halos, read_errors(results), width)
    bodies = tuple(row for row in cells.rows if row[cells.names.index("bodies")])
    return f"{format_results(Table(cells.names, bodies), width)}\n\n{halos}" if bodies else halos


def format_results(cells: Table, width: int | None = None) -> str:
    """Return cells of bodies as aligned text.

    Args:
        cells: A table with at least the columns that ``results_table`` selects.
        width: Characters per line; None for no limit.
    """
    lines: list[Sequence[str]] = []
    statuses: Counter[str] = Counter()
    recovered = 0
    for row in cells.rows:
        cell = dict(zip(cells.names, row, strict=True))
        statuses[cell["status"]] += 1
        recovered += cell["recovered"] is True
        identity = [cell["experiment"], cell["model"], str(cell["seed"]), _errors(cell, "test", 3)]
        if cell["status"] != "ok":
            lines.append([*identity, *_squares(cell, 0), cell["status"], cell["reason"] or "–"])
            continue
        verdict = f"yes, as {cell['form']}" if cell["recovered"] else "no"
        # The paper's choice is judged; another expression that passes is reported but does not count.
        if not cell["recovered"] and cell["recovered_together"]:
            verdict = "no, but together"
        elif not cell["recovered"] and cell["on_front"] and all(cell["on_front"]):
            verdict = "no, but on front"
        for index, equation in enumerate(cell["equation"]):
            first = [*identity, *_squares(cell, index), verdict]
            later = ["", "", "", "", *_squares(cell, index), ""]
            lines.append([*(later if index else first), readable(equation) or "no expression"])
    summary = f"{recovered:,} of {counted(len(cells.rows), 'cell')} recovered"
    others = [f"{count:,} {status}" for status, count in sorted(statuses.items()) if status != "ok"]
    parts = [align(_HEADINGS, lines, right=_RIGHT, width=width)]
    every = [dict(zip(cells.names, row, strict=True)) for row in cells.rows]
    if laws := _best_laws(every):
        parts.append(align(_LAW_HEADINGS, laws, right=_LAW_RIGHT, width=width))
    if reasons := _reasons(every):
        parts.append(align(_REASON_HEADINGS, reasons, right=_REASON_RIGHT, width=width))
    return "\n\n".join([*parts, "; ".join([summary, *others])])


def _reasons(cells: Sequence[dict[str, Any]]) -> list[Sequence[str]]:
    """Return one line per law that is not recovered, or that differs from the true law beyond the data."""
    found: list[Sequence[str]] = []
    for cell in cells:
        extent = cell["extent"] if cell["extent"] and DIFFERS in cell["extent"] else ""
        reason = cell["verdict_reason"] if cell["recovered"] is False else extent
        if cell["status"] == "ok" and reason:
            found.append([cell["experiment"], cell["model"], str(cell["seed"]), reason])
    return found


def _best_laws(cells: Sequence[dict[str, Any]]) -> list[Sequence[str]]:
    """Return one line per experiment: the law with the smallest median error on held-out simulations."""
    best: dict[str, tuple[float, dict[str, Any]]] = {}
    for cell in cells:
        error = cell[f"error_{cell['law_form']}_medae"] if cell["law"] else None
        if error is not None and error < best.get(cell["experiment"], (math.inf, {}))[0]:
            best[cell["experiment"]] = error, cell
    return [
        [
            experiment,
            f"{cell['model']}, seed {cell['seed']}",
            _errors(cell, "error_network", 2),
            _errors(cell, f"error_{cell['law_form']}", 2),
            cell["law"].replace("**", "^"),
        ]
        for experiment, (_, cell) in best.items()
    ]


def readable(expression: str, digits: int = 3) -> str:
    """Return an expression with its decimal numbers rounded and ``**`` written as ``^``.

    Args:
        expression: Text of an expression.
        digits: Significant digits to keep.
    """
    return _DECIMAL.sub(lambda match: _rounded(float(match[0]), digits), expression).replace("**", "^")


def _rounded(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    mantissa, exponential, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if exponential else mantissa


def _squares(cell: dict[str, Any], index: int) -> list[str]:
    names = ("force_r2", "force_r2_robust", "acceleration_r2", "acceleration_r2_robust")
    return [_square(cell[name][index]) for name in names]


def _square(value: float | None) -> str:
    # Outliers make R² arbitrarily negative; its value then has no meaning.
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.3f}" if value > -1 else "< -1"


def _errors(cell: dict[str, Any], prefix: str, digits: int) -> str:
    """Return a mean error and, in brackets, the median, which close encounters do not affect."""
    mean, median = cell[f"{prefix}_mae"], cell[f"{prefix}_medae"]
    return "–" if mean is median is None else f"{_number(mean, digits)} ({_number(median, 2)})"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}g}"
