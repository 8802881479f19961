"""The stage generalise: test a network and its law outside of the training data."""

from __future__ import annotations

import functools

import torch

from distillery import files
from distillery.errors import DistilleryError
from distillery.laws.law import from_content
from distillery.util import budget
from distillery.validation.elsewhere import Elsewhere
from distillery.validation.generalisation import PREDICTORS
from distillery.validation.predictors import Predictor, of_law, of_network
from distillery.workflow.cell import Cell, Experiment
from distillery.workflow.networks import load_network
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.sweep import Sweep


def generalise(sweep: Sweep, cell: Cell) -> None:
    """Test a cell's network and law under other conditions and over long times, and write their errors.

    Args:
        sweep: The sweep.
        cell: A cell whose network was replaced.

    Raises:
        DistilleryError: The law or the weights are missing or damaged.
    """
    with stage_lock(sweep, "generalise", cell) as now:
        if now is None:
            return
        settings = sweep.config.generalisation
        limit = budget.within(f"generalise {cell}", settings.evaluations, settings.seconds, "generalisation")
        with torch.no_grad(), limit:
            predictors = _predictors(sweep, cell, has_law=now.before.result.get("law") is not None)
            result = _elsewhere(sweep, cell.experiment).test(predictors)
        now.write(result)


# The cells of an experiment follow each other and share its simulations.
@functools.lru_cache(maxsize=2)
def _elsewhere(sweep: Sweep, experiment: Experiment) -> Elsewhere:
    system = sweep.system(experiment)
    return Elsewhere(
        system,
        dim=experiment.dim,
        bodies=experiment.bodies,
        seed=experiment.seed,
        length=sweep.settings[experiment].steps * system.time_step,
        tolerance=sweep.config.simulation.tolerance,
        settings=sweep.config.generalisation,
        limits=sweep.config.verification,
    )


def _predictors(sweep: Sweep, cell: Cell, *, has_law: bool) -> dict[str, Predictor]:
    found: dict[str, Predictor] = {}
    if sweep.model(cell).kind != "control":
        found["network"] = of_network(load_network(sweep, cell))
    if has_law:
        source = cell.law(sweep.results, "json")
        content = files.read_json(source, "delete the cell's replace.json and run the sweep again")
        if not isinstance(content, dict):
            raise DistilleryError(f"{source}: lacks what it should hold; replace the cell again")
        found |= {name: of_law(from_content(content.get(name), str(source))) for name in PREDICTORS[1:]}
    return found
