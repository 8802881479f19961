"""The generalise stage of halos: a network and its formula in denser places and in universes that they never saw."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int

from distillery.halos.conditions import CONDITIONS, DENSE, HELD_OUT, THICK, THIN
from distillery.halos.data import read_graphs, regions_of
from distillery.halos.features import HaloGraph
from distillery.halos.generalisation import Model, above, below
from distillery.halos.law import read_law
from distillery.halos.trained import outcome_of, read_network
from distillery.workflow.cell import Cell
from distillery.workflow.sweep import Sweep
from distillery.workflow.turn import turn


def generalise(sweep: Sweep, cell: Cell) -> None:
    """Test what a cell predicts with beyond the halos that it was trained on.

    Args:
        sweep: The sweep.
        cell: A cell of halos whose network was replaced.

    Raises:
        DistilleryError: The formula, the weights or halos are missing or damaged.
    """
    with turn(sweep, "generalise", cell) as now:
        if now is None:
            return
        predictors = _predictors(sweep, cell, has_law=now.before.result["replacement"] == "whole")
        conditions = {
            name: _under(predictors, graph, receivers) for name, (graph, receivers) in _halos(sweep, cell).items()
        }
        now.write({"conditions": conditions})


def _predictors(sweep: Sweep, cell: Cell, *, has_law: bool) -> dict[str, Model]:
    found: dict[str, Model] = {}
    if sweep.halo_model(cell).kind == "network":
        found["network"] = read_network(sweep, cell, outcome_of(sweep, cell))
    if has_law:
        found["refitted"] = read_law(cell.law(sweep.results, "json"))
    return found


def _halos(sweep: Sweep, cell: Cell) -> dict[str, tuple[HaloGraph, Int[np.ndarray, " receiver"]]]:
    """Return the halos of every condition, in their order."""
    graph = read_graphs(sweep, cell.experiment, "train")[""]
    test = regions_of(sweep, cell, graph).test
    found = {
        HELD_OUT: (graph, test),
        THIN: (graph, below(graph, test, DENSE)),
        THICK: (graph, above(graph, test, DENSE)),
    }
    for name, other in read_graphs(sweep, cell.experiment, "test").items():
        found[name] = other, np.arange(len(other))
    return {name: found[name] for name in CONDITIONS if name in found}


def _under(predictors: dict[str, Model], graph: HaloGraph, receivers: Int[np.ndarray, " receiver"]) -> dict[str, Any]:
    if not len(receivers):
        return {"reason": "there is no halo of this kind", "predictors": {}}
    found = {}
    for name, predictor in predictors.items():
        apart = np.abs(predictor.predict(graph, receivers) - graph.overdensity[receivers])
        finite = bool(np.isfinite(apart).all())
        found[name] = {
            "mae": float(apart.mean()) if finite else None,
            "medae": float(np.median(apart)) if finite else None,
            "holds": None,
            "halos": len(receivers),
        }
    return {"reason": "", "predictors": found}
