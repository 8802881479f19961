"""The replace stage: an analytic model in place of a cell's network."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import Any

import numpy as np
import sympy

from distillery import files
from distillery.errors import DistilleryError
from distillery.laws import text
from distillery.laws.choose import chosen_by_data
from distillery.laws.clean import cleaned, fitted
from distillery.laws.compose import composed, composed_energies
from distillery.laws.composed import HeldOut, drawn_graphs, errors, held_out
from distillery.laws.energies import energies_by_data
from distillery.laws.findings import nothing
from distillery.laws.law import Law, as_content
from distillery.laws.motion import flaw_of_velocities
from distillery.laws.problem import Data
from distillery.laws.refit import Fit
from distillery.laws.residual_region import region_lacking, with_region, without_region
from distillery.laws.settings import ReplacementSettings
from distillery.laws.shown import accelerations, shown_form
from distillery.laws.softening import softened
from distillery.networks.functions import components, message_names, node_names
from distillery.physics import formula
from distillery.randomness import stream
from distillery.symbolic.shared_form import Candidate, common_choice
from distillery.util import budget
from distillery.util.budget import OutOfBudget
from distillery.workflow.cell import Cell
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.sweep import Sweep

Errors = dict[str, float | None]
# Share of the budget for the search among forms; the rest is left for the constants of the form that was chosen.
_SEARCHED = 0.6
_NO_ERROR: Errors = {"mae": None, "medae": None}


def replace(sweep: Sweep, cell: Cell) -> None:
    """Put the chosen expressions of a cell together, refit their constants, and write the law that they are.

    Args:
        sweep: The sweep.
        cell: A cell that was verified.

    Raises:
        DistilleryError: Expressions, weights or trajectories are missing or damaged.
    """
    with stage_lock(sweep, "replace", cell) as now:
        if now is None:
            return
        source = cell.outcome(sweep.results, "distill")
        distilled = read_outcome(source, key=sweep.key("distill", cell))
        try:
            chosen = {of: _distilled(sweep, cell, distilled.result, of) for of in ("message", "node")}
        except (KeyError, IndexError, TypeError):
            raise DistilleryError(
                f"{source}: lacks what it should hold; delete it and run the sweep again; "
                "only this stage and what follows it is repeated"
            ) from None
        written = [cell.law(sweep.results, suffix) for suffix in ("json", "txt", "tex")]
        result = _replaced(sweep, cell, chosen)
        now.write(result, tuple(written) if result["law"] is not None else ())
        # The law of an earlier outcome stays until that outcome is replaced.
        for file in written if result["law"] is None else ():
            file.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class _Function:
    """What was distilled of a function, of every component in their order.

    Attributes:
        fronts: The fronts.
        places: Of each the place on it of the expression that stands for the component.
        axes: Whether there is a component for each axis.
    """

    fronts: list[list[Candidate]]
    places: tuple[int, ...]
    axes: bool

    @property
    def expressions(self) -> list[sympy.Expr]:
        return [front[place].expression for front, place in zip(self.fronts, self.places, strict=True)]


def _distilled(sweep: Sweep, cell: Cell, distilled: dict[str, Any], of: str) -> _Function | str:
    """Return what was distilled of a function, or why there is nothing to put in its place."""
    model, system, experiment = sweep.model(cell), sweep.system(cell.experiment), cell.experiment
    found = distilled["components" if of == "message" else "node"] if of == "message" or "node" in distilled else None
    if found is None:
        return "nodes were not distilled; add node to distillation.functions"
    expected = components(model, experiment.dim).get("message" if of == "message" else "node", 0)
    missing = [str(entry["component"]) for entry in found if entry["chosen"] is None]
    if missing or len(found) != expected:
        return f"component {', '.join(missing) or '?'} of the function {of} has no expression"
    names = {
        "message": message_names(model, system, experiment.dim, experiment.bodies),
        "node": node_names(model, system, experiment.dim),
    }
    ordered = sorted(found, key=lambda entry: entry["component"])
    own = tuple(int(entry["chosen"]) for entry in ordered)
    axes = expected == experiment.dim and model.kind != "hamiltonian"
    fronts = [
        [
            Candidate(formula.parse(p["expression"], names[of]), int(p["complexity"]), float(p["mae"]))
            for p in entry["front"]
        ]
        for entry in ordered
    ]
    if not axes:
        return _Function(fronts, own, axes)
    places = common_choice(fronts, own, unit_charges=all(abs(charge) == 1 for charge in system.charges))
    return _Function(fronts, places or own, axes)


def _replaced(sweep: Sweep, cell: Cell, chosen: dict[str, _Function | str]) -> dict[str, Any]:
    """Return the stage's findings; the law's files are written on the way."""
    result = nothing()
    if sweep.model(cell).kind == "control":
        return result | {"reason": "a control has no network whose place a law could take"}
    from distillery.laws.mixed import network_errors

    graphs = held_out(sweep, cell.experiment)
    messages, nodes = (None if isinstance(own, str) else own for own in chosen.values())
    expressions = (None if own is None else own.expressions for own in (messages, nodes))
    by_part = network_errors(sweep, cell, graphs, *expressions)
    names = {"network": "network", "messages": "expressions_then_network", "nodes": "network_then_expressions"}
    result["errors"] = {names[part]: found for part, found in by_part.items()}
    if messages is None or nodes is None:
        reason = "; ".join(own for own in chosen.values() if isinstance(own, str))
        return result | {"replacement": "partial" if messages or nodes else "none", "reason": reason}
    return result | _with_law(sweep, cell, graphs, messages, nodes, result["errors"])


def _with_law(
    sweep: Sweep,
    cell: Cell,
    graphs: HeldOut,
    messages: _Function,
    nodes: _Function,
    known: dict[str, Errors],
) -> dict[str, Any]:
    settings = sweep.config.replacement
    with budget.within(f"replace {cell}", settings.evaluations, settings.seconds, "replacement") as limit:
        found = _search(sweep, cell, graphs, messages, nodes, known, limit)
    return found | {"cut": limit.note, "evaluations": limit.spent}


def _search(
    sweep: Sweep,
    cell: Cell,
    graphs: HeldOut,
    messages: _Function,
    nodes: _Function,
    known: dict[str, Errors],
    limit: budget.Budget,
) -> dict[str, Any]:
    settings, experiment = sweep.config.replacement, cell.experiment
    draws = stream(settings.seed, "replace", str(experiment), "snapshots")
    seen, simulation = drawn_graphs(sweep, experiment, "train", settings.samples, draws)
    trained = sweep.training(experiment).loss
    data = Data(seen, simulation, trained == "relative" if settings.relative is None else settings.relative)
    energies = (messages.expressions[0], nodes.expressions[0]) if sweep.model(cell).kind == "hamiltonian" else None
    if energies:
        law = composed_energies(*energies, experiment.dim, data.unit_charges)
    else:
        law = composed(messages.expressions, nodes.expressions, data.arriving, data.unit_charges)
    found = known | {"raw": _errors(law, graphs), "refitted": dict(_NO_ERROR), "clean": dict(_NO_ERROR)}
    starts = stream(settings.seed, "replace", str(cell), "starts")
    try:
        with limit.part(_SEARCHED):
            if energies:
                fronts = (messages.fronts[0], nodes.fronts[0])
                chosen = energies_by_data(energies, fronts, data, settings, starts)
            else:
                both = (messages.fronts, nodes.fronts) if messages.axes and nodes.axes else None
                chosen = chosen_by_data(law, both, data, settings, starts)
        refitted, clean = _fits(chosen.law, data, settings, starts)
    except DistilleryError as error:
        raw = text.line(law)
        return {"replacement": "singular", "reason": f"{raw}: {error}", "text": raw, "errors": found}
    region = region_lacking(clean.law, data)
    if region is not None and not budget.is_spent():
        # Constants that are fitted without what acts there may be worse known, and not finite in the worst case.
        with contextlib.suppress(DistilleryError):
            fits = _fits(chosen.law, without_region(data, region), settings, starts)
            refitted, clean = (dataclasses.replace(fit, law=with_region(fit.law, region)) for fit in fits)
            chosen = dataclasses.replace(chosen, source="neighbours")
    found |= {"refitted": _errors(refitted.law, graphs), "clean": _errors(clean.law, graphs)}
    form, worse = shown_form({"raw": law, "refitted": refitted.law, "clean": clean.law}, seen)
    shown = {"raw": Fit(law, {}, {}, (), (), math.nan), "refitted": refitted, "clean": clean}[form]
    _write(sweep, cell, shown.law, {"raw": law, "refitted": refitted.law, "clean": clean.law}, limit.note)
    away = sorted({*refitted.running_away, *clean.running_away})
    flaw = flaw_of_velocities(shown.law, seen, sweep.config.verification)
    reasons = [worse, f"{', '.join(away)} grew without bound" if away else "", flaw, limit.note]
    return {
        "replacement": "whole",
        "reason": "; ".join(reason for reason in reasons if reason),
        "law": as_content(shown.law),
        "form": form,
        "source": "messages" if form == "raw" else chosen.source,
        "text": text.line(shown.law),
        "refitted_text": text.line(refitted.law),
        "clean_text": text.line(clean.law),
        "constants": [_described(name, shown) for name in shown.law.constants],
        "refitted_constants": [_described(name, refitted) for name in refitted.law.constants],
        "errors": found,
    }


def _fits(law: Law, data: Data, settings: ReplacementSettings, starts: np.random.Generator) -> tuple[Fit, Fit]:
    """Return a law with its constants fitted, and its clean form.

    Raises:
        SingularError: The law is not finite on the data.
    """
    try:
        refitted = softened(fitted(law, data, settings, starts), data, settings, starts)
    except OutOfBudget:
        as_distilled = Fit(law, {}, {}, (), (), math.nan)
        return as_distilled, as_distilled
    try:
        return refitted, cleaned(refitted, data, settings, starts)
    except DistilleryError:
        # What agrees with zero may stand below a fraction bar: then there is no cleaner form.
        return refitted, refitted


def _errors(law: Law, graphs: HeldOut) -> Errors:
    return errors(graphs, accelerations(law, graphs))


def _described(name: str, fit: Fit) -> dict[str, Any]:
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


def _write(sweep: Sweep, cell: Cell, shown: Law, laws: dict[str, Law], cut: str) -> None:
    results, graph = sweep.results, sweep.system(cell.experiment).graph
    forms = {"law": shown, **laws}
    content = {"cell": str(cell), "graph": graph, "cut": cut, **{name: as_content(law) for name, law in forms.items()}}
    files.write_json(cell.law(results, "json"), content)
    titles = {"raw": "as distilled", "refitted": "constants refitted", "clean": "clean form"}
    parts = [text.listing(laws[name], f"{cell}: {title}") for name, title in titles.items()]
    note = [f"# {cut}\n"] if cut else []
    files.write_text(cell.law(results, "txt"), "\n".join([*note, *parts]))
    files.write_text(cell.law(results, "tex"), text.latex(shown))
