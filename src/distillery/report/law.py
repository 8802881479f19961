"""The law that took a network's place, on the page: as it came out, its errors, and where it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from distillery.errors import DistilleryError
from distillery.laws.law import momentum_names, own_names
from distillery.networks.functions import feature_names
from distillery.report.cells import Shown
from distillery.report.evidence import WORDS, constants_grid, judged, long_grid, mixed_grid, origin_of
from distillery.report.html import blocks_html, escape, folded
from distillery.report.mathml import equation
from distillery.report.plot import Axis, axis, dots, drawing
from distillery.report.style import typeset
from distillery.util.text import show
from distillery.validation.generalisation import LONG, PREDICTORS
from distillery.workflow.sweep import Sweep

_SOURCES = {
    "fronts": "of a form on the fronts that the data chose",
    "neighbours": "of a form beside the fronts that the data chose",
}
_SUM = "Σ "
_OF_MIXED = "Errors of the acceleration where messages are by the one and nodes by the other."
_OF_LONG = (
    "Bodies moved over long times, medians over simulations. Useful: within a tenth of the system's size of the true "
    "places; distances are in such sizes, changes of the energy in kinetic energies of the start."
)
# Below this an error is rounding; it would stretch the axis over decades of nothing.
_FLOOR = 1e-9


def law_part(sweep: Sweep, shown: Shown) -> str:
    """Return what became of a cell's expressions once they replaced its network; nothing where no stage said so.

    Args:
        sweep: The sweep; how a law came to be is read from its results folder, and left out where it is not there.
        shown: The cell.
    """
    if not shown.text("replacement"):
        return ""
    reason = shown.text("replacement_reason")
    note = f'<p class="note">{escape(reason)}</p>' if reason else ""
    if not shown.text("law"):
        return note
    form = ", ".join(
        word for word in (WORDS.get(shown.text("law_form"), ""), _SOURCES.get(shown.text("law_source"), "")) if word
    )
    parts = [
        f'<div class="equation"><div class="label">the law in the network\'s place, {escape(form)}</div>',
        *(
            f'<div class="scroll" tabindex="0">{law_line(text, shown.cell.experiment.dim)}</div>'
            for text in _lines(shown)
        ),
        "</div>",
        note,
        _before(sweep, shown),
        _errors(shown),
        *(
            blocks_html([grid]) + f'<p class="note">{note}</p>'
            for grid, note in ((mixed_grid(shown), _OF_MIXED), (long_grid(shown), _OF_LONG))
            if grid is not None
        ),
        _curve(shown.beyond),
    ]
    return "".join(parts)


def _before(sweep: Sweep, shown: Shown) -> str:
    """Return the law as distilled, then with refitted constants and their standard errors, folded."""
    origin, dim = origin_of(sweep, shown), shown.cell.experiment.dim
    parts = [
        f'<div class="equation"><div class="label">{WORDS[form]}</div>' + law_lines(text.split("; "), dim) + "</div>"
        for form, text in (("raw", origin.raw), ("refitted", origin.refitted))
        if text
    ]
    if origin.constants:
        named = "".join(f"<div><code>{escape(typeset(line))}</code></div>" for line in origin.named)
        parts.append(blocks_html([constants_grid(origin)]))
        parts.append(f'<div class="scroll" tabindex="0">{named}</div>' if named else "")
    away = [constant.name for constant in origin.constants if constant.state == "runs away"]
    warning = f", <span class='no'>{escape(', '.join(away))} runs away</span>" if away else ""
    summary = f"how it came to this form{', and its constants' if origin.constants else ''}{warning}"
    return folded(summary, "".join(parts), kind="more") if parts else ""


def _lines(shown: Shown) -> list[str]:
    return shown.text("law").split("; ")


def law_lines(lines: Sequence[str], dim: int) -> str:
    """Return the equations of a law, typeset, each in a box of its own.

    Args:
        lines: The equations, as ``replace.text.line`` gives them.
        dim: Dimensions of space.
    """
    return "".join(f'<div class="scroll" tabindex="0">{law_line(line, dim)}</div>' for line in lines)


def law_line(text: str, dim: int) -> str:
    """Return one equation of a law, typeset; what cannot be read is shown as it stands.

    Args:
        text: The equation, as ``replace.text.line`` gives it.
        dim: Dimensions of space.
    """
    left, _, right = text.partition(" = ")
    symbols = ("Δ", *feature_names(dim), *own_names(dim), *momentum_names(dim), *(f"s{k + 1}" for k in range(dim)))
    try:
        return equation(left, right.removeprefix(_SUM), symbols, summed=right.startswith(_SUM))
    except DistilleryError:
        return f"<code>{escape(text)}</code>"


def _errors(shown: Shown) -> str:
    """Return a table of errors on held-out data and of what holds under other conditions."""
    head = "".join(f'<th scope="col">{WORDS[name]}</th>' for name in PREDICTORS)
    rows = [
        f'<tr><th scope="row">held out, {middle}</th>'
        + "".join(f"<td>{_number(shown.number(f'error_{name}_{kind}'))}</td>" for name in PREDICTORS)
        + "</tr>"
        for middle, kind in (("mean", "mae"), ("median", "medae"))
    ]
    for condition, found in shown.beyond.items():
        if condition == LONG:
            continue
        entries = "".join(f"<td>{_judged(found.get(name, {}))}</td>" for name in PREDICTORS)
        rows.append(f'<tr><th scope="row">{escape(condition)}</th>{entries}</tr>')
    note = (
        '<p class="note">Errors of the acceleration; under other conditions medians and, in brackets, means, ✓ where '
        "it is right within the limits of verification.</p>"
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        f"</table></div>{note}"
    )


def _number(value: float) -> str:
    return "–" if math.isnan(value) else show(value)


def _judged(own: Mapping[str, float | str]) -> str:
    mark, _, rest = judged(own).partition(" ")
    return f'<span class="{"yes" if mark == "✓" else "no"}">{mark}</span> {rest}' if rest else mark


def _curve(beyond: Mapping[str, Mapping[str, Mapping[str, float | str]]]) -> str:
    """Return a drawing of median errors by condition, network and refitted law; nothing where nothing was tested."""
    names = [name for name, found in beyond.items() if name != LONG and found]
    network, law = (_medians(beyond, names, predictor) for predictor in ("network", "refitted"))
    known = np.concatenate([network, law])
    known = known[np.isfinite(known)]
    if not names or not len(known):
        return ""
    across = Axis("", 0.5, len(names) + 0.5)
    up = axis("median error (dimensionless)", known, log=True)
    places = np.arange(1.0, len(names) + 1.0)
    marks = [
        dots(across, up, places[np.isfinite(values)], values[np.isfinite(values)], kind)
        for values, kind in ((network, "point"), (law, "point law"))
    ]
    title = "errors of network and law by condition"
    drawn = drawing(title, across, up, marks, names_x=names)
    return (
        f'<div class="plots"><figure>{drawn}<figcaption>median error by condition: the network, and (green) the law '
        "with refitted constants</figcaption></figure></div>"
    )


def _medians(
    beyond: Mapping[str, Mapping[str, Mapping[str, float | str]]], names: Sequence[str], predictor: str
) -> np.ndarray:
    values = [beyond[name].get(predictor, {}).get("medae", math.nan) for name in names]
    return np.array([max(v, _FLOOR) if isinstance(v, float) and math.isfinite(v) else math.nan for v in values])
