"""The replace stage of halos: the formula composed of message and node function, refitted on overdensities."""

from __future__ import annotations

from typing import Any

from distillery import files
from distillery.halos.features import HaloGraph
from distillery.halos.law import HaloLaw, write_law
from distillery.halos.regions import Regions
from distillery.halos.replacement import Fronts, replace_formula, replace_network
from distillery.halos.text import latex, listing
from distillery.workflow.cell import Cell
from distillery.workflow.law_files import empty_result
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.stages.halos.inputs import outcome_of, read_formula, read_graphs, read_network, regions_of
from distillery.workflow.sweep import Sweep


def replace(sweep: Sweep, cell: Cell) -> None:
    """Compose and refit the distilled functions of a network, choose a formula and write it.

    Args:
        sweep: The sweep.
        cell: A cell of halos that was distilled.

    Raises:
        DistilleryError: Expressions, weights or halos are missing or damaged.
    """
    with stage_lock(sweep, "replace", cell) as now:
        if now is None:
            return
        written = tuple(cell.law(sweep.results, suffix) for suffix in ("json", "txt", "tex"))
        graph = read_graphs(sweep, cell.experiment, "train")[""]
        result, law = _replaced(sweep, cell, graph, regions_of(sweep, cell, graph))
        if law is not None:
            _write(sweep, cell, law)
        now.write({**empty_result(), "front": [], **result}, written if law is not None else ())
        # The law of an earlier outcome stays until that outcome is replaced.
        for file in written if law is None else ():
            file.unlink(missing_ok=True)


def _replaced(sweep: Sweep, cell: Cell, graph: HaloGraph, regions: Regions) -> tuple[dict[str, Any], HaloLaw | None]:
    trained = outcome_of(sweep, cell)
    if sweep.halo_model(cell).kind == "formula":
        law = read_formula(cell, trained)
        return replace_formula(law, graph, regions), law
    network = read_network(sweep, cell, trained)
    return replace_network(network, _fronts(sweep, cell), graph, regions, sweep.config.replacement.seed)


def _fronts(sweep: Sweep, cell: Cell) -> Fronts:
    distilled = read_outcome(cell.outcome(sweep.results, "distill"), key=sweep.key("distill", cell)).result
    messages, nodes = (
        [str(point["expression"]) for entry in distilled.get(function, ()) for point in entry["front"]]
        for function in ("components", "node")
    )
    return Fronts(messages, nodes, "; ".join(str(entry["reason"]) for entry in distilled.get("node", ())))


def _write(sweep: Sweep, cell: Cell, law: HaloLaw) -> None:
    write_law(cell.law(sweep.results, "json"), law)
    files.write_text(cell.law(sweep.results, "txt"), listing(law, f"{cell}: overdensity of halos"))
    files.write_text(cell.law(sweep.results, "tex"), latex(law))
