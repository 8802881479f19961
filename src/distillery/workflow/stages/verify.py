"""The verify stage: is the law recovered in every component of every function?"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillery.errors import DistilleryError
from distillery.networks.functions import components
from distillery.util import budget
from distillery.validation.verdict import Judge, KnownData
from distillery.workflow.cell import Cell, Experiment
from distillery.workflow.outcome import Outcome
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import held_out, read_trajectories


def verify(sweep: Sweep, cell: Cell) -> None:
    """Judge the chosen expression of every component, and the others on its front, and write the outcome.

    Args:
        sweep: The sweep.
        cell: The cell.

    Raises:
        DistilleryError: The distilled expressions, or held-out trajectories that they are tried on, are missing or
            damaged.
    """
    with stage_lock(sweep, "verify", cell) as now:
        if now is None:
            return
        compared = _compared(sweep, cell, cell.outcome(sweep.results, "distill"), now.before)
        judge, settings = _judge(sweep, cell), sweep.config.verification
        with budget.within(f"verify {cell}", settings.evaluations, settings.seconds, "verification") as limit:
            result = judge.verdict(now.before.result)
            if compared:
                result["compared"] = [{"engine": name, **judge.verdict(found)} for name, found in compared.items()]
        result["cut"] = limit.note
        if limit.note and not result["recovered"]:
            # A longer search might have found constants with which the law fits.
            result["reason"] = f"{result['reason']}; {limit.note}"
        now.write(result)


def _judge(sweep: Sweep, cell: Cell) -> Judge:
    experiment = cell.experiment
    return Judge(
        sweep.model(cell),
        sweep.system(experiment),
        sweep.config.verification,
        dim=experiment.dim,
        bodies=experiment.bodies,
        held_out=lambda: held_out(sweep, experiment),
        data=lambda: _data(sweep, experiment),
    )


# The cells of an experiment follow each other and share their data.
@functools.lru_cache(maxsize=2)
def _data(sweep: Sweep, experiment: Experiment) -> KnownData:
    read = functools.partial(read_trajectories, sweep, experiment, "train")
    return KnownData(sweep.system(experiment), read, sweep.config.verification)


def _complete(sweep: Sweep, cell: Cell, distilled: Mapping[str, Any]) -> bool:
    """Return whether the outcome of ``distill`` has all components of the node function."""
    nodes = distilled.get("node")
    return nodes is None or len(nodes) == components(sweep.model(cell), cell.experiment.dim).get("node", 0)


def _compared(sweep: Sweep, cell: Cell, source: Path, distilled: Outcome) -> dict[str, Mapping[str, Any]]:
    """Return what engines that were compared have distilled, by engine.

    Raises:
        DistilleryError: What was distilled is not what it should be.
    """
    try:
        compared = {str(entry["engine"]): entry for entry in distilled.result.get("compared", ())}
        for found in (distilled.result, *compared.values()):
            if not _complete(sweep, cell, found):
                raise ValueError
            for component in (*found["components"], *found.get("node", ())):
                front, chosen = component["front"], component["chosen"]
                _ = component["component"], component["reason"]
                whole = all(isinstance(point["expression"], str) and "complexity" in point for point in front)
                known = chosen is None or (isinstance(chosen, int) and chosen in range(len(front)))
                if not (whole and known):
                    raise ValueError
    except (KeyError, TypeError, ValueError):
        raise DistilleryError(
            f"{source}: lacks what it should hold; delete it and run the sweep again; "
            "only this stage and what follows it is repeated"
        ) from None
    return compared
