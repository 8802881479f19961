"""The law in place of a network, typeset, with the tables and the picture that belong to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from distillery.errors import DistilleryError
from distillery.laws.law import momentum_names, own_names
from distillery.networks.functions import feature_names
from distillery.report.cells import Beyond, Details, Found
from distillery.report.document import Grid
from distillery.report.evidence import (
    WORDS,
    constants_grid,
    errors_grid,
    long_grid,
    mixed_grid,
    origin_of,
)
from distillery.report.mathml import equation
from distillery.report.style import BLUE, FLOOR, GREEN, add_dots, typeset
from distillery.report.svg import HEIGHT, drawing
from distillery.validation.generalisation import LONG

_SOURCES = {
    "fronts": "of a form on the fronts that the data chose",
    "neighbours": "of a form near the fronts that the data chose",
}
_SUM = "Σ "
_NOTES = (
    "Errors of the acceleration; under other conditions medians and, in brackets, means, ✓ where it is right within "
    "the limits of verification.",
    "Errors of the acceleration of mixtures: messages by the first, nodes by the second.",
    "Bodies moved over long times, medians over simulations. Useful: within a tenth of the system's size of the true "
    "places; distances are in such sizes, changes of the energy in kinetic energies of the start.",
)
# Length of a condition's name under a picture in characters, and height of a character in units of the drawing.
_LONGEST, _LETTER = 18, 5.4


def law_values(found: Found, details: Details) -> dict[str, Any] | None:
    """Return the law of a cell for its template; None if it has none.

    Args:
        found: Values of the cell.
        details: Its further data.
    """
    if not found.text("replacement") or not found.text("law"):
        return None
    origin, dim = origin_of(found, details), found.cell.experiment.dim
    words = (WORDS.get(found.text("law_form")), _SOURCES.get(found.text("law_source")))
    forms = (("raw", origin.raw), ("refitted", origin.refitted))
    return {
        "label": f"the law in the network's place, {', '.join(filter(None, words))}",
        "lines": law_lines(found.text("law").split("; "), dim),
        "note": found.text("replacement_reason"),
        "forms": [(WORDS[form], law_lines(text.split("; "), dim)) for form, text in forms if text],
        "constants": constants_grid(origin) if origin.constants else None,
        "named": [typeset(line) for line in origin.named],
        "away": ", ".join(constant.name for constant in origin.constants if constant.state == "runs away"),
    }


def law_grids(found: Found) -> list[tuple[Grid, str]]:
    """Return tables of errors of the law of a cell, each with a note.

    Args:
        found: Values of the cell.
    """
    grids = (errors_grid(found), mixed_grid(found), long_grid(found))
    return [(grid, note) for grid, note in zip(grids, _NOTES, strict=True) if grid is not None]


def law_lines(lines: Sequence[str], dim: int) -> list[Markup]:
    """Return the equations of a law, typeset; those that cannot be parsed are shown as text.

    Args:
        lines: The equations, as written by ``laws.text.line``.
        dim: Dimensions of space.
    """
    symbols = ("Δ", *feature_names(dim), *own_names(dim), *momentum_names(dim), *(f"s{k + 1}" for k in range(dim)))
    return [typeset_line(line, symbols) for line in lines]


def typeset_line(text: str, symbols: Sequence[str]) -> Markup:
    """Return an equation, typeset; if it cannot be parsed, it is shown as text.

    Args:
        text: The equation, ``left = right``.
        symbols: The names that may occur in it.
    """
    left, _, right = text.partition(" = ")
    try:
        return equation(left, right.removeprefix(_SUM), symbols, summed=right.startswith(_SUM))
    except DistilleryError:
        return Markup("<code>{}</code>").format(text)


def conditions_picture(beyond: Beyond) -> tuple[Markup, str] | None:
    """Return a drawing of median errors by condition, of network and refitted law; None if there are none.

    Args:
        beyond: Errors under other conditions.
    """
    names = [name for name, found in beyond.items() if name != LONG and found]
    network, law = (_medians(beyond, names, predictor) for predictor in ("network", "refitted"))
    if not names or not np.isfinite([*network, *law]).any():
        return None

    def draw(axes: Any) -> None:
        places = np.arange(1.0, len(names) + 1.0)
        axes.set_yscale("log")
        for values, colour in ((network, BLUE), (law, GREEN)):
            add_dots(axes, places, values, colour, 7.0)
        axes.margins(y=0.1)
        axes.set(xlim=(0.5, len(names) + 0.5), ylabel="median error (dimensionless)")
        labels = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
        axes.set_xticks(places, labels, rotation=60, ha="right", rotation_mode="anchor")
        axes.grid()

    below = max(40, 16 + round(_LETTER * min(max(map(len, names)), _LONGEST)))
    drawn = drawing(
        "errors of network and law by condition", draw, height=HEIGHT - 40 + below, margins=(58, 10, 10, below)
    )
    return drawn, "median error by condition: the network, and (green) the law with refitted constants"


def _medians(beyond: Beyond, names: Sequence[str], predictor: str) -> Float[np.ndarray, " condition"]:
    values = [_medae(beyond[name].get(predictor, {})) for name in names]
    return np.array([max(value, FLOOR) if math.isfinite(value) else math.nan for value in values])


def _medae(own: Mapping[str, float | str]) -> float:
    value = own.get("medae", math.nan)
    return value if isinstance(value, float) else math.nan
