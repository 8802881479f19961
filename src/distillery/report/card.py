"""A cell on the page: its equations, what its messages carry, its Pareto fronts; folded until it is asked for."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from distillery.errors import DistilleryError
from distillery.networks.functions import FUNCTIONS, Function, components, message_names, node_names
from distillery.report.cells import Shown
from distillery.report.film import film
from distillery.report.front import Point
from distillery.report.html import escape, figure, folded, identifier
from distillery.report.law import law_part
from distillery.report.laws import why_not
from distillery.report.mathml import equation
from distillery.report.messages import TARGET_NAMES, MessageFit, Target, message_fits, r2_shown, share_outside, window
from distillery.report.plot import Axis, dots, drawing, line
from distillery.report.predicted import predicted_paths
from distillery.report.sketches import front_sketch, spread_sketch
from distillery.report.style import typeset
from distillery.results.table import readable
from distillery.util.text import show
from distillery.workflow.cell import Cell
from distillery.workflow.sweep import Sweep

_POINTS = 300
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


def card(sweep: Sweep, shown: Shown) -> str:
    """Return a cell as HTML that unfolds.

    Args:
        sweep: The sweep; messages are read from its results folder, and left out with a note where they are not there.
        shown: The cell, finished.
    """
    cell = shown.cell
    fits, note = _fits(sweep, shown)
    reason = why_not(shown.values) if shown.number("recovered") != 1.0 else ""
    told = [f"why not: {reason}" if reason else "", shown.text("extent")]
    content = [
        *(f'<p class="note">{escape(words)}</p>' for words in told if words),
        _equations(sweep, shown),
        law_part(sweep, shown),
        f'<div class="plots">{note}{_pictures(sweep, shown, fits)}{"".join(predicted_paths(sweep, shown))}</div>',
        film(fits, _sent(sweep, cell)),
        _expressions(sweep, shown),
        _numbers(shown),
    ]
    name = f"{escape(cell.model)}, seed {cell.seed}"
    kind, word = verdict(shown.number("recovered"), shown.list("on_front"), shown.text("form"))
    badge = f'<span class="badge {kind}">{escape(word)}</span>'
    # What a link leads to stands inside, so that browsers unfold what is around it.
    inside = f'<div id="{identifier(str(cell))}">{"".join(content)}</div>'
    return folded(f"{badge} <b>{name}</b> {_brief(shown)}", inside, kind="cell")


def verdict(recovered: float, on_front: Collection[float], form: str = "") -> tuple[str, str]:
    """Return the verdict on a cell: the class of its colour, and a word.

    Args:
        recovered: 1 if its law was recovered.
        on_front: Of each component 1 if any expression on its front is the law.
        form: As what it was recovered.
    """
    if recovered == 1.0:
        return "yes", form or "recovered"
    if on_front and all(flag == 1.0 for flag in on_front):
        return "near", "on front"
    return "no", "not recovered"


def _brief(shown: Shown) -> str:
    target = _target(shown)
    robust = shown.list(f"{target}_r2_robust")
    error = shown.number("test_mae")
    told = [] if math.isnan(error) else [f"test error {show(error)} (median {show(shown.number('test_medae'))})"]
    if robust and not math.isnan(float(np.mean(robust))):
        told.append(f"{TARGET_NAMES[target]} R² {r2_shown(float(np.mean(robust)))}")
    return f"<small>{', '.join(told)}</small>"


def _target(shown: Shown) -> Target:
    """Return whether messages are shown against the force or the acceleration: the form, else what fits better."""
    if shown.text("form") in ("force", "acceleration"):
        return "acceleration" if shown.text("form") == "acceleration" else "force"
    force, acceleration = (np.mean(shown.list(f"{name}_r2_robust") or [math.nan]) for name in ("force", "acceleration"))
    return "acceleration" if acceleration > force else "force"


def _symbols(sweep: Sweep, cell: Cell, function: Function) -> tuple[str, ...]:
    system, model, dim = sweep.system(cell.experiment), sweep.model(cell), cell.experiment.dim
    if function == "node":
        return node_names(model, dim, place=system.acts_on_bodies)
    return message_names(model, dim, cell.experiment.bodies, place=system.acts_on_bodies)


def _label(sweep: Sweep, cell: Cell, function: Function, component: int) -> tuple[str, str]:
    """Return what a component is called in words and in an equation."""
    kind = sweep.model(cell).kind
    if kind == "hamiltonian":
        return ("energy of a pair", "H12") if function == "message" else ("energy of a body", "H1")
    axis_name = "xyz"[component : component + 1]
    if kind == "control":
        return f"acceleration, {axis_name}", f"a{axis_name}"
    if function == "node":
        return f"node, {axis_name}", f"a{axis_name}"
    return f"message {component + 1}", f"s{component + 1}"


def _equations(sweep: Sweep, shown: Shown) -> str:
    cell, lines = shown.cell, []
    for function in components(sweep.model(cell), cell.experiment.dim):
        prefix = "node_" if function == "node" else ""
        symbols = _symbols(sweep, cell, function)
        for component, text in enumerate(shown.list(f"{prefix}equation")):
            words, left = _label(sweep, cell, function, component)
            whole = function == "node"
            judged = shown.number("node_recovered") if whole else shown.number("component_recovered", component)
            mark = {1.0: '<span class="yes">✓</span>', 0.0: '<span class="no">✗</span>'}.get(judged, "")
            told = [words, f"complexity {show(shown.number(f'{prefix}complexity', component))}"] if text else [words]
            if text and not whole:
                told.append(f"residual {show(shown.number('median_residual', component))}")
            lines.append(
                f'<div class="equation"><div class="label">{mark} {escape(", ".join(told))}</div>'
                f'<div class="scroll" tabindex="0">{_equation(left, text, symbols)}</div></div>'
            )
    return "".join(lines)


def _equation(left: str, text: str, symbols: Collection[str]) -> str:
    if not text:
        return "<em>no expression</em>"
    try:
        return equation(left, text, symbols)
    except DistilleryError:
        # What cannot be read is shown as it stands in the store.
        return f"<code>{escape(readable(text))}</code>"


def _fits(sweep: Sweep, shown: Shown) -> tuple[list[MessageFit], str]:
    """Return the fits of messages that can be drawn, and a note where there should be some and are none."""
    if sweep.model(shown.cell).kind == "control":
        return [], ""
    try:
        fits = message_fits(sweep, shown.cell, [_target(shown)])
    except DistilleryError as error:
        return [], f'<p class="note">{escape(error)}</p>'
    return [fit for fit in fits if np.isfinite(fit.message).all()], ""


def _sent(sweep: Sweep, cell: Cell) -> str:
    return "force of the energy" if sweep.model(cell).kind == "hamiltonian" else "message"


def _pictures(sweep: Sweep, shown: Shown, fits: Collection[MessageFit]) -> str:
    parts = [_messages(_sent(sweep, shown.cell), fit) for fit in fits]
    if sweep.model(shown.cell).kind == "graph":
        parts.append(spread_sketch(shown.list("message_std"), shown.cell.experiment.dim))
    for function in FUNCTIONS:
        for component, front in enumerate(shown.fronts.get(function, ())):
            parts.append(front_sketch(_label(sweep, shown.cell, function, component)[0], front))
    return "".join(parts)


def _messages(sent: str, fit: MessageFit) -> str:
    low, high = window(fit)
    across = Axis(f"linear combination of {TARGET_NAMES[fit.target]} (dimensionless)", low, high)
    up = Axis(f"{sent} (dimensionless)", low, high)
    some = np.linspace(0, len(fit.message) - 1, min(_POINTS, len(fit.message))).astype(int)
    kind = "dots" if fit.target == "force" else "dots other"
    marks = [
        line(across, up, np.array([low, high]), np.array([low, high]), "equal"),
        dots(across, up, fit.fitted[some], fit.message[some], kind),
    ]
    title = f"{sent} {fit.component + 1} against {TARGET_NAMES[fit.target]}"
    outside = share_outside(fit)
    told = f", {outside:.1%} outside" if outside else ""
    caption = f"{title}: R² {r2_shown(fit.r2)}, robust {r2_shown(fit.r2_robust)}{told}"
    return figure(drawing(title, across, up, marks), caption)


def _expressions(sweep: Sweep, shown: Shown) -> str:
    """Return all expressions of the fronts, folded."""
    parts = []
    for function in FUNCTIONS:
        for component, front in enumerate(shown.fronts.get(function, ())):
            rows = "".join(
                f"<tr><td>{_mark(point)}</td><td>{show(point.complexity)}</td><td>{show(point.mae)}</td>"
                f"<td><code>{escape(typeset(point.expression))}</code></td></tr>"
                for point in front
            )
            head = "<tr><th></th><th>complexity</th><th>error</th><th>expression</th></tr>"
            words = _label(sweep, shown.cell, function, component)[0]
            parts.append(f'<h5>{escape(words)}</h5><div class="scroll" tabindex="0"><table>{head}{rows}</table></div>')
    return folded("all expressions on the fronts", "".join(parts), kind="more") if parts else ""


def _mark(point: Point) -> str:
    return ("○" if point.chosen else "") + ('<span class="yes">✓</span>' if point.passes else "")


def _numbers(shown: Shown) -> str:
    known = [(words, shown.number(name)) for words, name in _NUMBERS]
    told = [f"<div><dt>{words}</dt><dd>{show(value)}</dd></div>" for words, value in known if not math.isnan(value)]
    told += [
        f"<div><dt>{words}</dt><dd>{escape(shown.text(name))}</dd></div>"
        for words, name in (("read as", "reading"), ("engine", "engine"), ("device", "device"))
        if shown.text(name)
    ]
    told.append(f'<div class="wide"><dt>commit</dt><dd>{escape(shown.text("commit"))}</dd></div>')
    return f"<dl>{''.join(told)}</dl>"
