"""Networks against laws: errors on held-out data and beyond the training data."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from distillery.report.cells import Found
from distillery.report.document import Block, Grid, Heading, Paragraph, code, plain
from distillery.report.pooled import DASH
from distillery.report.study import Study
from distillery.report.style import typeset
from distillery.util.text import show
from distillery.validation.generalisation import LONG, PREDICTORS


def beyond_tables(study: Study) -> list[Block]:
    """Return the laws of every row and model, with their errors and those of their networks under every condition.

    Args:
        study: The study.

    Returns:
        The blocks.
    """
    models = [name for name in study.models if name not in study.controls]
    parts: list[Block] = [
        Heading(2, "Laws in the networks' place"),
        Paragraph(
            "Median over bodies of held-out simulations of Σ|a - â|, the median over seeds and, in brackets, the least "
            "and the most of them: of the network, of the expressions as distilled, of the law with refitted constants "
            "and of its clean form. `2 of 3`: so many seeds have one. The law is that of the first seed with "
            "the least error. The form of a law is that of the messages' expressions, or the data chose another one on "
            "their fronts, or beside these (docs/replace.md). Means are the columns `error_network_mae`, "
            "`error_raw_mae`, `error_refitted_mae` and `error_clean_mae` of `distillery query`."
        ),
    ]
    for model in models:
        if not any(found.values.get("law") for row in study.rows for found in study.at(row, model)):
            continue
        rows = [[plain(str(row)), *_law(study.at(row, model))] for row in study.rows if study.at(row, model)]
        headings = ("", "network", "as distilled", "refitted", "clean", "network / refitted", "form from", "law")
        parts += [Heading(3, f"Laws, {plain(model)}"), Grid(headings, rows)]
    names = list(dict.fromkeys(name for found in study.cells for name in found.beyond if name != LONG))
    if not names:
        return parts
    parts += [
        Heading(2, "Beyond the training data"),
        Paragraph(
            "Median errors as above, network → refitted law, and for how many seeds the law holds: it is right within "
            "the limits of verification. Means are the column `mae` of `distillery query --conditions`. The last "
            "column is the time until half of the simulations that network and law follow are a tenth of the system's "
            "size from "
            "where they should be."
        ),
    ]
    for model in models:
        rows = [
            [plain(str(row)), *(_under(study.at(row, model), name) for name in names), _useful(study.at(row, model))]
            for row in study.rows
            if any(found.beyond for found in study.at(row, model))
        ]
        if rows:
            parts += [Heading(3, f"Beyond, {plain(model)}"), Grid(("", *map(plain, names), "useful until"), rows)]
    return parts


def _law(cells: Sequence[Found]) -> list[str]:
    with_law = [found for found in cells if found.values.get("law")]
    errors = {name: [found.number(f"error_{name}_medae") for found in cells] for name in PREDICTORS}
    network, refitted = (_middle(errors[name]) for name in ("network", "refitted"))
    ratio = network / refitted if refitted and not math.isnan(network) else math.nan
    texts = [*(_with_spread(values) for values in errors.values()), DASH if math.isnan(ratio) else show(ratio)]
    if not with_law:
        return [*texts, DASH, DASH]
    best = min(with_law, key=lambda found: (_or_infinite(found.number("error_refitted_medae")), found.cell.seed))
    sources = Counter(str(found.values.get("law_source", "")) for found in with_law)
    origins = ", ".join(f"{sources[name]} {name}" for name in ("messages", "fronts", "neighbours") if sources[name])
    return [*texts, origins or DASH, code(typeset(str(best.values["law"])))]


def _with_spread(values: Sequence[float]) -> str:
    """Return median, least and most of several seeds, and how many have a value if not all have."""
    known = sorted(value for value in values if not math.isnan(value))
    if not known:
        return DASH
    middle, least, most = (f"{value:.3g}" for value in (statistics.median(known), known[0], known[-1]))
    spread = f" ({least} to {most})" if least != most else ""
    return f"{middle}{spread}" + (f", {len(known)} of {len(values)}" if len(known) < len(values) else "")


def _under(cells: Sequence[Found], condition: str) -> str:
    found = [cell.beyond.get(condition, {}) for cell in cells]
    network, law = (
        _middle([float(own.get(name, {}).get("medae", math.nan)) for own in found]) for name in ("network", "refitted")
    )
    judged = [own["refitted"].get("holds") == 1.0 for own in found if "refitted" in own]
    if math.isnan(network) and not judged:
        return DASH
    right = f", holds {sum(judged)}/{len(judged)}" if judged else ""
    return f"{_shown(network)} → {_shown(law)}{right}"


def _useful(cells: Sequence[Found]) -> str:
    found = [cell.beyond.get(LONG, {}) for cell in cells]
    network, law = (
        _middle([float(own.get(name, {}).get("horizon", math.nan)) for own in found])
        for name in ("network", "refitted")
    )
    return DASH if math.isnan(network) else f"{_shown(network)} → {_shown(law)}"


def _shown(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.2g}"


def _middle(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def _or_infinite(value: float) -> float:
    return math.inf if math.isnan(value) else value
