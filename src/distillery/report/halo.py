"""Halos in the report: the table of errors with the paper's, and the cells on the page."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from distillery.halos.conditions import CONDITIONS, HELD_OUT, THICK, THIN
from distillery.halos.models import HALO_MODELS
from distillery.networks.functions import Function
from distillery.report import paper
from distillery.report.card import numbers
from distillery.report.cells import CellName, Details, Found, HaloData, Shown
from distillery.report.document import Block, Grid, Heading, Paragraph, code, plain
from distillery.report.drawings import front_grid, front_picture
from distillery.report.halo_kept import draw_kept, kept_caption
from distillery.report.halo_kernel import caption, draw_kernel
from distillery.report.halo_pictures import draw_predicted
from distillery.report.html import identifier, render
from distillery.report.law import typeset_line
from distillery.report.pooled import DASH, loss_text, pool, with_paper
from distillery.report.spread import spread_picture
from distillery.report.study import Study
from distillery.report.svg import drawing
from distillery.util.text import show

_POINTS = 600
FUNCTIONS: dict[Function, str] = {"message": "message", "node": "overdensity from the messages"}
_PREFIXES: dict[Function, str] = {"message": "", "node": "node_"}
_LEFT: dict[Function, str] = {"message": "e", "node": "δ"}
_NUMBERS = (
    ("constants or weights", "parameters"),
    ("training loss", "final_loss"),
    ("spread of δ", "label_std"),
    ("training, s", "train_seconds"),
    ("distilling, s", "distill_seconds"),
)
_PREDICTORS = {"network": "network", "refitted": "formula"}


def halo_tables(study: Study) -> list[Block]:
    """Return how well networks and formulas predict the overdensity of halos, with the paper's numbers.

    Args:
        study: Cells of halos.
    """
    blocks: list[Block] = [
        Heading(2, "Halos: overdensity around dark matter halos"),
        Paragraph(
            "Mean of |δ - δ̂| over halos, over seeds and data sets; in brackets what the paper reports, for halos of "
            "the Quijote simulations. Held-out space lies apart from what was trained on by the radius of smoothing."
        ),
    ]
    for name, cells in _by_system(study).items():
        blocks += [Heading(3, plain(name)), Grid(("", *CONDITIONS), _rows(cells))]
    lines = [[plain(str(found.cell)), code(_formula(found))] for found in study.cells if found.values.get("law")]
    if lines:
        blocks += [Heading(3, "Formulas of the overdensity"), Grid(("", "δ̂"), lines)]
    return blocks


def halo_laws(study: Study, shown: Mapping[CellName, Shown]) -> list[Markup]:
    """Return the best formula of every data set of halos, with its error and a picture.

    Args:
        study: Cells of halos.
        shown: The cells that the page shows in full, by name.
    """
    laws = []
    for name, cells in _by_system(study).items():
        known = [found for found in cells if found.text("law") and not math.isnan(_error(found, HELD_OUT, "refitted"))]
        best = min(known, key=lambda found: _error(found, HELD_OUT, "refitted"), default=None)
        link = best is not None and best.cell in shown
        verdict = "" if best is None else f"mean |δ - δ̂| in held-out space: {_error(best, HELD_OUT, 'refitted'):.3g}"
        halos = shown[best.cell].read().halos if best is not None and link else None
        laws.append(
            render(
                "law.html",
                name=name,
                found=[] if best is None else [Markup("<code>{}</code>").format(_formula(best))],
                source="" if best is None else f"{best.cell.model}, seed {best.cell.seed}",
                mark="",
                link=identifier(best.cell) if best is not None and link else "",
                truth=[],
                truth_note="",
                verdict=verdict,
                pictures=[] if halos is None else [_predicted_picture(halos, "predictions of the best formula")],
                reasons=[],
            )
        )
    return laws


def halo_card(shown: Shown) -> Markup:
    """Return a cell of halos as HTML that unfolds.

    Args:
        shown: The cell, finished.
    """
    found, details = shown.found, shown.read()
    predictor = "network" if shown.kind == "network" else "refitted"
    equations = [
        (
            f"{FUNCTIONS[function]}, complexity {show(found.number(f'{prefix}complexity', 0))}",
            "",
            typeset_line(f"{_LEFT[function]} = {text}", shown.symbols.get(function, ())),
        )
        for function, prefix in _PREFIXES.items()
        for text in found.values_of(f"{prefix}equation")[:1]
        if text
    ]
    if found.text("law"):
        formula = Markup("<code>{}</code>").format(_formula(found))
        equations.append(("the formula with its constants fitted", "", formula))
    fronts = [(FUNCTIONS[function], front) for function, own in found.fronts.items() for front in own]
    grid = _conditions(found)
    pictures = [*_pictures(shown, details), *(front_picture(words, front, judged=False) for words, front in fronts)]
    return render(
        "card.html",
        cell=found.cell,
        verdict=None,
        brief=f"error {show(_error(found, HELD_OUT, predictor))} in held-out space",
        notes=[found.text("replacement_reason")],
        equations=equations,
        law=None,
        grids=[(grid, "")] if grid.rows else [],
        note=details.note,
        figures=[picture for picture in pictures if picture],
        film=None,
        fronts=[(words, front_grid(front)) for words, front in fronts],
        numbers=numbers(found, _NUMBERS),
        wide=[],
    )


def _formula(found: Found) -> str:
    return found.text("law").replace("**", "^")


def _by_system(study: Study) -> dict[str, list[Found]]:
    systems: dict[str, list[Found]] = {}
    for found in study.cells:
        systems.setdefault(found.cell.experiment.system, []).append(found)
    return systems


def _rows(cells: Sequence[Found]) -> list[list[str]]:
    rows = []
    for model in [name for name in HALO_MODELS if any(found.cell.model == name for found in cells)]:
        own = [found for found in cells if found.cell.model == model]
        network = HALO_MODELS[model].kind == "network"
        if network:
            rows.append([plain(model), *_entries(own, model, "network")])
        rows.append([f"{plain(model)}, its formula" if network else plain(model), *_entries(own, model, "refitted")])
    return rows


def _entries(cells: Sequence[Found], model: str, predictor: str) -> list[str]:
    entries = []
    for condition in CONDITIONS:
        pooled = pool((_error(found, condition, predictor), found.status) for found in cells)
        own = predictor == ("network" if HALO_MODELS[model].kind == "network" else "refitted")
        entries.append(with_paper(loss_text(pooled), _of_paper(model, condition) if own else None))
    return entries


def _error(found: Found, condition: str, predictor: str) -> float:
    value = found.beyond.get(condition, {}).get(predictor, {}).get("mae", math.nan)
    return float(value) if not isinstance(value, str) else math.nan


def _of_paper(model: str, condition: str) -> str | None:
    known = {HELD_OUT: paper.HALOS.get(model)}
    if model in paper.HALOS_BELOW:
        known[THIN], known[THICK] = paper.HALOS_BELOW[model]
    value = known.get(condition)
    return None if value is None else f"{value:.3g}"


def _conditions(found: Found) -> Grid:
    predictors = [name for name in _PREDICTORS if any(name in own for own in found.beyond.values())]
    rows = []
    for condition in CONDITIONS:
        if condition in found.beyond:
            errors = [_error(found, condition, name) for name in predictors]
            rows.append([condition, *(DASH if math.isnan(error) else show(error) for error in errors)])
    return Grid(("", *(_PREDICTORS[name] for name in predictors)), rows)


def _pictures(shown: Shown, details: Details) -> list[tuple[Markup, str] | None]:
    halos = details.halos
    if halos is None:
        return []
    parts: list[tuple[Markup, str] | None] = [_predicted_picture(halos)]
    if halos.kernel["r"]:
        parts.append((drawing("message by distance", functools.partial(draw_kernel, kernel=halos.kernel)), caption()))
    if shown.kind == "network":
        parts.append(spread_picture(shown.found.values_of("message_std"), 1))
        if halos.kept["kept"]:
            draw = functools.partial(draw_kept, findings=halos.kept)
            parts.append((drawing("error when few components are kept", draw), kept_caption(halos.kept)))
    return parts


def _predicted_picture(halos: HaloData, title: str = "true against predicted overdensity") -> tuple[Markup, str]:
    count = len(halos.true)
    error = float(abs(halos.true - halos.predicted).mean())
    draw = functools.partial(draw_predicted, true=halos.true, predicted=halos.predicted, points=_POINTS)
    return (
        drawing(title, draw),
        f"{min(count, _POINTS)} halos in held-out space; mean error {show(error)} of {count}",
    )
