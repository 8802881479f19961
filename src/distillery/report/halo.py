"""Halos in the report: the table of errors beside the paper's, and a card for each cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float

from distillery.errors import DistilleryError
from distillery.halos.conditions import CONDITIONS, HELD_OUT, THICK, THIN
from distillery.halos.models import HALO_MODELS
from distillery.halos.names import message_names, node_names
from distillery.networks.functions import Function
from distillery.report import paper
from distillery.report.cells import Shown
from distillery.report.document import Block, Grid, Heading, Paragraph, code, plain
from distillery.report.halo_kept import kept_sketch
from distillery.report.halo_kernel import kernel_sketch
from distillery.report.html import escape, figure, folded, identifier
from distillery.report.mathml import equation
from distillery.report.plot import Axis, dots, drawing, line
from distillery.report.pooled import beside, loss_text, pool
from distillery.report.sketches import front_sketch, spread_sketch
from distillery.report.study import Found, Study
from distillery.util.text import counted, show
from distillery.workflow.cell import Cell, Experiment
from distillery.workflow.state import cell_states
from distillery.workflow.sweep import Sweep

_POINTS = 600
FUNCTIONS: dict[Function, str] = {"message": "message", "node": "what a halo makes of them"}
_NUMBERS = (
    ("constants or weights", "parameters"),
    ("training loss", "final_loss"),
    ("spread of δ", "label_std"),
    ("training, s", "train_seconds"),
    ("distilling, s", "distill_seconds"),
)


def halo_tables(study: Study) -> list[Block]:
    """Return how well networks and formulas predict the overdensity of halos, beside the paper's numbers.

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
    for name in dict.fromkeys(found.cell.experiment.system for found in study.cells):
        cells = [found for found in study.cells if found.cell.experiment.system == name]
        blocks += [Heading(3, plain(name)), Grid(("", *CONDITIONS), _rows(cells))]
    lines = [
        [plain(str(found.cell)), code(str(found.values["law"]).replace("**", "^"))]
        for found in study.cells
        if found.values.get("law")
    ]
    if lines:
        blocks += [Heading(3, "Formulas of the overdensity"), Grid(("", "δ̂"), lines)]
    return blocks


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
        entries.append(beside(loss_text(pooled), _of_paper(model, condition) if own else None))
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


def halo_experiment(sweep: Sweep, experiment: Experiment, cells: Sequence[Shown]) -> str:
    """Return a data set of halos as HTML that unfolds, with a card for each of its cells.

    Args:
        sweep: The sweep.
        experiment: The data set.
        cells: Its cells, finished.
    """
    summary = f"{escape(experiment)} <small>{counted(len(cells), 'cell')}</small>"
    return folded(summary, "".join(_card(sweep, shown) for shown in cells), kind="experiment")


def _card(sweep: Sweep, shown: Shown) -> str:
    cell = shown.cell
    predictor = "network" if HALO_MODELS[cell.model].kind == "network" else "refitted"
    error = shown.beyond.get(HELD_OUT, {}).get(predictor, {}).get("mae", math.nan)
    content = [
        _equations(shown),
        f'<div class="plots">{_pictures(sweep, shown)}</div>',
        _conditions(shown),
        _told(shown),
    ]
    inside = f'<div id="{identifier(str(cell))}">{"".join(content)}</div>'
    brief = f"<small>error {escape(show(error))} in held-out space</small>"
    return folded(f"<b>{escape(cell.model)}, seed {cell.seed}</b> {brief}", inside, kind="cell")


def _equations(shown: Shown) -> str:
    lines = [
        (f"{words}, complexity {show(shown.number(f'{prefix}complexity', 0))}", left, text)
        for words, left, prefix in (("message", "e", ""), ("what a halo makes of them", "δ", "node_"))
        for text in shown.list(f"{prefix}equation")[:1]
        if text
    ]
    parts = [
        f'<div class="equation"><div class="label">{escape(words)}</div>'
        f'<div class="scroll" tabindex="0">{_typeset(left, text)}</div></div>'
        for words, left, text in lines
    ]
    if shown.text("law"):
        parts.append(
            '<div class="equation"><div class="label">the formula with its constants fitted</div>'
            f'<div class="scroll" tabindex="0"><code>{escape(shown.text("law").replace("**", "^"))}</code></div></div>'
        )
    if shown.text("replacement_reason"):
        parts.append(f'<p class="note">{escape(shown.text("replacement_reason"))}</p>')
    return "".join(parts)


def _typeset(left: str, text: str) -> str:
    try:
        return equation(left, text, (*message_names(), *node_names()))
    except DistilleryError:
        return f"<code>{escape(text)}</code>"


def _conditions(shown: Shown) -> str:
    predictors = [name for name in ("network", "refitted") if any(name in own for own in shown.beyond.values())]
    words = {"network": "network", "refitted": "formula"}
    head = "<tr><th></th>" + "".join(f"<th>{words[name]}</th>" for name in predictors) + "</tr>"
    rows = "".join(
        f'<tr><th scope="row">{escape(condition)}</th>'
        + "".join(f"<td>{show(shown.beyond[condition].get(name, {}).get('mae', math.nan))}</td>" for name in predictors)
        + "</tr>"
        for condition in CONDITIONS
        if condition in shown.beyond
    )
    return f'<div class="scroll" tabindex="0"><table>{head}{rows}</table></div>' if rows else ""


def _told(shown: Shown) -> str:
    known = [(words, shown.number(name)) for words, name in _NUMBERS]
    told = "".join(f"<div><dt>{w}</dt><dd>{show(value)}</dd></div>" for w, value in known if not math.isnan(value))
    return f"<dl>{told}</dl>"


def _pictures(sweep: Sweep, shown: Shown) -> str:
    try:
        findings, arrays = read_findings(sweep, shown.cell)
    except DistilleryError as error:
        return f'<p class="note">{escape(error)}</p>'
    parts = [_predicted(arrays["true"], arrays["predicted"])]
    if findings["kernel"]["r"]:
        parts.append(kernel_sketch(findings["kernel"]))
    if HALO_MODELS[shown.cell.model].kind == "network":
        parts += [spread_sketch(shown.list("message_std"), 1), kept_sketch(findings)]
    for function, words in FUNCTIONS.items():
        parts += [front_sketch(words, front, judged=False) for front in shown.fronts.get(function, ())]
    return "".join(parts)


def read_findings(sweep: Sweep, cell: Cell) -> tuple[Mapping[str, Any], Mapping[str, Float[np.ndarray, " halo"]]]:
    """Return what interpreting a cell of halos found, and true and predicted overdensities of held-out halos.

    Args:
        sweep: The sweep.
        cell: One of its cells of halos.

    Raises:
        DistilleryError: It is not interpreted yet, or what was found is damaged.
    """
    path, outcome = cell.messages(sweep.results), cell_states(sweep, cell)["interpret"].outcome
    if outcome is None or outcome.status != "ok":
        raise DistilleryError(f"{cell}: is not interpreted with these settings; run the sweep first")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name].astype(np.float64) for name in ("true", "predicted")}
        _ = outcome.result["kernel"]["r"], outcome.result["kept"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        remedy = f"delete {cell.outcome(sweep.results, 'interpret')} and run the sweep again"
        raise DistilleryError(f"{path}: damaged or missing ({error}); {remedy}") from None
    return outcome.result, arrays


def _predicted(true: Float[np.ndarray, " halo"], predicted: Float[np.ndarray, " halo"]) -> str:
    low, high = (float(edge) for edge in np.quantile(true, [0.0, 0.995]))
    room = 0.05 * (high - low) or 1.0
    across, up = (Axis(label, low - room, high + room) for label in ("true δ", "predicted δ"))
    ends = np.array([low, high])
    marks = [line(across, up, ends, ends, "equal"), dots(across, up, true[:_POINTS], predicted[:_POINTS])]
    error = float(np.abs(true - predicted).mean())
    return figure(
        drawing("true against predicted overdensity", across, up, marks),
        f"{min(len(true), _POINTS)} halos in held-out space; mean error {show(error)} of {len(true)}",
    )
