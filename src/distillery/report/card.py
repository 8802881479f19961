"""A cell on the page: its equations, its messages, its law and its Pareto fronts."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from markupsafe import Markup

from distillery.report.cells import Found, Shown
from distillery.report.drawings import front_grid, front_picture, label_of, message_picture, path_pictures, sent_name
from distillery.report.film import film
from distillery.report.html import render
from distillery.report.law import conditions_picture, law_grids, law_values, typeset_line
from distillery.report.laws import why_not
from distillery.report.messages import TARGET_NAMES, Target, r2_shown
from distillery.report.spread import spread_picture
from distillery.util.text import show

_NUMBERS = (
    ("test error", "test_mae"),
    ("its median", "test_medae"),
    ("composed error", "composed_mae"),
    ("its median", "composed_medae"),
    ("accelerations, std", "label_std"),
    ("training loss", "final_loss"),
    ("weights", "parameters"),
    ("training, s", "train_seconds"),
    ("distilling, s", "distill_seconds"),
)
_TEXTS = (("read as", "reading"), ("engine", "engine"), ("device", "device"))


def card(shown: Shown) -> Markup:
    """Return a cell as HTML that unfolds.

    Args:
        shown: The cell, finished.
    """
    found, details = shown.found, shown.read()
    reason = why_not(found.values) if found.number("recovered") != 1.0 else ""
    replacement = found.text("replacement") and found.text("replacement_reason")
    notes = [f"why not: {reason}" if reason else "", found.text("extent"), "" if found.text("law") else replacement]
    fits = [fit for fit in details.fits if np.isfinite(fit.message).all()]
    sent = sent_name(shown.kind)
    pictures: list[tuple[Markup, str] | None] = [message_picture(sent, fit) for fit in fits]
    if shown.kind == "graph":
        pictures.append(spread_picture(found.values_of("message_std"), found.cell.experiment.dim))
    fronts = [
        (label_of(shown.kind, function, component)[0], front)
        for function, own in found.fronts.items()
        for component, front in enumerate(own)
    ]
    pictures += [front_picture(words, front) for words, front in fronts]
    pictures += [*path_pictures(details), conditions_picture(found.beyond) if found.text("law") else None]
    return render(
        "card.html",
        cell=found.cell,
        verdict=verdict(found.number("recovered"), found.values_of("on_front"), found.text("form")),
        brief=_brief(found),
        notes=notes,
        equations=_equations(shown),
        law=law_values(found, details),
        grids=law_grids(found) if found.text("law") else [],
        note=details.note,
        figures=[picture for picture in pictures if picture],
        film=film(fits, sent),
        fronts=[(words, front_grid(front)) for words, front in fronts],
        numbers=[
            *numbers(found, _NUMBERS),
            *((words, found.text(name)) for words, name in _TEXTS if found.text(name)),
        ],
        wide=[("commit", found.text("commit"))],
    )


def verdict(recovered: float, on_front: Collection[float], form: str = "") -> tuple[str, str]:
    """Return the verdict on a cell: the class of its colour, and a word.

    Args:
        recovered: 1 if its law was recovered.
        on_front: Of each component, 1 if any expression on its front is the law.
        form: The form in which the law was recovered.
    """
    if recovered == 1.0:
        return "yes", form or "recovered"
    if on_front and all(flag == 1.0 for flag in on_front):
        return "near", "on front"
    return "no", "not recovered"


def target_of(found: Found) -> Target:
    """Return whether messages are shown against force or acceleration: the recovered form, else the better fit.

    Args:
        found: Values of the cell.
    """
    if found.text("form") in ("force", "acceleration"):
        return "acceleration" if found.text("form") == "acceleration" else "force"
    force, acceleration = (
        np.mean(found.values_of(f"{name}_r2_robust") or [math.nan]) for name in ("force", "acceleration")
    )
    return "acceleration" if acceleration > force else "force"


def numbers(found: Found, columns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the known numbers of a cell with their names.

    Args:
        found: Values of the cell.
        columns: Names in words, and columns.
    """
    known = [(words, found.number(name)) for words, name in columns]
    return [(words, show(value)) for words, value in known if not math.isnan(value)]


def _brief(found: Found) -> str:
    target = target_of(found)
    robust = found.values_of(f"{target}_r2_robust")
    error = found.number("test_mae")
    parts = [] if math.isnan(error) else [f"test error {show(error)} (median {show(found.number('test_medae'))})"]
    if robust and not math.isnan(float(np.mean(robust))):
        parts.append(f"{TARGET_NAMES[target]} R² {r2_shown(float(np.mean(robust)))}")
    return ", ".join(parts)


def _equations(shown: Shown) -> list[tuple[str, str, Markup]]:
    """Return label, mark and typeset equation of each chosen expression."""
    found, lines = shown.found, []
    for function, symbols in shown.symbols.items():
        node = function == "node"
        prefix = "node_" if node else ""
        for component, text in enumerate(found.values_of(f"{prefix}equation")):
            words, left = label_of(shown.kind, function, component)
            judged = found.number("node_recovered") if node else found.number("component_recovered", component)
            parts = [words]
            parts += [f"complexity {show(found.number(f'{prefix}complexity', component))}"] if text else []
            parts += [f"residual {show(found.number('median_residual', component))}"] if text and not node else []
            line = typeset_line(f"{left} = {text}", symbols) if text else Markup("<em>no expression</em>")
            lines.append((", ".join(parts), {1.0: "yes", 0.0: "no"}.get(judged, ""), line))
    return lines
