"""The generalise stage of halos: a network and its formula in denser places and in other universes."""

from __future__ import annotations

from distillery.halos.generalisation import Model, errors_under, halos_under
from distillery.halos.law import read_law
from distillery.workflow.cell import Cell
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.stages.halos.inputs import outcome_of, read_graphs, read_network, regions_of
from distillery.workflow.sweep import Sweep


def generalise(sweep: Sweep, cell: Cell) -> None:
    """Measure the errors of a cell's network and formula under all test conditions.

    Args:
        sweep: The sweep.
        cell: A cell of halos whose network was replaced.

    Raises:
        DistilleryError: The formula, the weights or halos are missing or damaged.
    """
    with stage_lock(sweep, "generalise", cell) as now:
        if now is None:
            return
        predictors = _predictors(sweep, cell, has_law=now.before.result["replacement"] == "whole")
        graph = read_graphs(sweep, cell.experiment, "train")[""]
        test, others = regions_of(sweep, cell, graph).test, read_graphs(sweep, cell.experiment, "test")
        conditions = {
            name: errors_under(predictors, *halos) for name, halos in halos_under(graph, test, others).items()
        }
        now.write({"conditions": conditions})


def _predictors(sweep: Sweep, cell: Cell, *, has_law: bool) -> dict[str, Model]:
    found: dict[str, Model] = {}
    if sweep.halo_model(cell).kind == "network":
        found["network"] = read_network(sweep, cell, outcome_of(sweep, cell))
    if has_law:
        found["refitted"] = read_law(cell.law(sweep.results, "json"))
    return found
