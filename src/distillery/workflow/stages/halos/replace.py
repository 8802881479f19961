"""The replace stage of halos: the formula that message and node make, its constants refitted on overdensities."""

from __future__ import annotations

from typing import Any

import numpy as np

from distillery import files
from distillery.errors import DistilleryError
from distillery.halos.data import read_graphs, regions_of
from distillery.halos.features import HaloGraph
from distillery.halos.forms import form
from distillery.halos.found import laws
from distillery.halos.law import HaloLaw, write_law
from distillery.halos.refit import refit
from distillery.halos.regions import Regions
from distillery.halos.text import latex, line, listing
from distillery.halos.trained import outcome_of, read_formula, read_network
from distillery.workflow.cell import Cell
from distillery.workflow.law_files import empty_result
from distillery.workflow.outcome import read_outcome
from distillery.workflow.sweep import Sweep
from distillery.workflow.turn import turn

# Most complex formula that is tried; the paper's best has 22.
_MOST = 36


def replace(sweep: Sweep, cell: Cell) -> None:
    """Compose the fronts of a network's functions, refit what they make, choose a formula and write it.

    Args:
        sweep: The sweep.
        cell: A cell of halos that was distilled.

    Raises:
        DistilleryError: Expressions, weights or halos are missing or damaged.
    """
    with turn(sweep, "replace", cell) as now:
        if now is None:
            return
        written = tuple(cell.law(sweep.results, suffix) for suffix in ("json", "txt", "tex"))
        graph = read_graphs(sweep, cell.experiment, "train")[""]
        result, law = _replaced(sweep, cell, graph, regions_of(sweep, cell, graph))
        if law is not None:
            _write(sweep, cell, law)
        now.write(result, written if law is not None else ())
        # The law of an earlier outcome stays until that outcome is replaced.
        for file in written if law is None else ():
            file.unlink(missing_ok=True)


def _replaced(sweep: Sweep, cell: Cell, graph: HaloGraph, regions: Regions) -> tuple[dict[str, Any], HaloLaw | None]:
    trained = outcome_of(sweep, cell)
    result = {**empty_result(), "front": []}
    if sweep.halo_model(cell).kind == "formula":
        law = read_formula(cell, trained)
        return result | _told(law, {}, graph, regions), law
    network = read_network(sweep, cell, trained)
    errors = {"network": _errors(network.predict(graph, regions.test), graph, regions)}
    distilled = read_outcome(cell.outcome(sweep.results, "distill"), key=sweep.key("distill", cell)).result
    messages, nodes = (
        [str(point["expression"]) for entry in distilled.get(function, ()) for point in entry["front"]]
        for function in ("components", "node")
    )
    try:
        found = laws(
            messages,
            nodes,
            graph,
            regions.train,
            regions.validation,
            seed=sweep.config.replacement.seed,
            most=_MOST,
        )
    except DistilleryError as error:
        return result | {"reason": str(error), "errors": errors}, None
    paper = _paper_form(sweep, graph, regions)
    # The paper's rule stops at the first steep drop, far from the error of the network (docs/halos.md).
    short = found.at(paper.complexity)
    chosen = short or found.candidates[found.chosen]
    told = _told(chosen.law, errors, graph, regions)
    front = [
        {
            "complexity": candidate.law.complexity,
            "mae": candidate.point.mae,
            "test": _test(candidate.law, graph, regions),
            "text": line(candidate.law),
        }
        for candidate in found.candidates
    ]
    by_rule = found.candidates[found.chosen].law
    what = "the best with no more than" if short else "as the paper's rule chooses, for none is as short as"
    reason = (
        f"of complexity {chosen.law.complexity}, {what} the paper's form with mass, which has {paper.complexity} and "
        f"an error in held-out space of {_shown(_test(paper, graph, regions))}; the paper's rule chooses complexity "
        f"{by_rule.complexity}, error {_shown(_test(by_rule, graph, regions))}"
    )
    if not nodes:
        why = "; ".join(str(entry["reason"]) for entry in distilled.get("node", ()))
        reason += f"; nothing was found for nodes ({why or 'none was fitted'}), so all are linear in s"
    return result | told | {"front": front, "reason": reason}, chosen.law


def _shown(error: float | None) -> str:
    return "not finite" if error is None else f"{error:.4f}"


def _paper_form(sweep: Sweep, graph: HaloGraph, regions: Regions) -> HaloLaw:
    """Return the paper's best formula with its constants fitted to the same halos."""
    return refit(form("with mass", graph.smoothing), graph, regions.train, seed=sweep.config.replacement.seed).law


def _told(law: HaloLaw, errors: dict[str, Any], graph: HaloGraph, regions: Regions) -> dict[str, Any]:
    return {
        "replacement": "whole",
        "text": line(law),
        "refitted_text": line(law),
        "form": "refitted",
        "constants": [{"name": n, "value": v, "error": None, "state": "ok"} for n, v in law.constants.items()],
        "errors": errors | {"refitted": _errors(law.predict(graph, regions.test), graph, regions)},
        "complexity": law.complexity,
    }


def _errors(predicted: np.ndarray, graph: HaloGraph, regions: Regions) -> dict[str, float | None]:
    apart = np.abs(predicted - graph.overdensity[regions.test])
    if not np.isfinite(apart).all():
        return {"mae": None, "medae": None}
    return {"mae": float(apart.mean()), "medae": float(np.median(apart))}


def _test(law: HaloLaw, graph: HaloGraph, regions: Regions) -> float | None:
    return _errors(law.predict(graph, regions.test), graph, regions)["mae"]


def _write(sweep: Sweep, cell: Cell, law: HaloLaw) -> None:
    write_law(cell.law(sweep.results, "json"), law)
    files.write_text(cell.law(sweep.results, "txt"), listing(law, f"{cell}: overdensity of halos"))
    files.write_text(cell.law(sweep.results, "tex"), latex(law))
