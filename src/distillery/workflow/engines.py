"""Check that the symbolic regression engines of a sweep can run on this machine."""

from __future__ import annotations

from pathlib import Path

from distillery.symbolic.engine import require
from distillery.workflow.settings import ExecutionSettings
from distillery.workflow.sweep import Sweep


def depot_of(execution: ExecutionSettings) -> Path:
    """Return the absolute path of the configured Julia depot; a relative one starts at the working directory."""
    return Path(execution.julia_depot).absolute()


def require_all(sweep: Sweep, execution: ExecutionSettings | None = None) -> None:
    """Check the engines of every experiment of a sweep, each with its own operators.

    Args:
        sweep: The sweep.
        execution: Settings of fits that start next; None where their Julia depot may still be prepared.

    Raises:
        DistilleryError: As ``symbolic.engine.require``.
    """
    depot = depot_of(execution) if execution else None
    require(sweep.config.distillation, depot)
    own = [(f"experiments.{k}", e, s.operators) for k, (e, s) in enumerate(sweep.settings.items())]
    own += [(f"halos.{k}", e, s.operators) for k, (e, s) in enumerate(sweep.halos.items())]
    for place, experiment, operators in own:
        if operators is not None:
            require(sweep.distillation(experiment), depot, f"{place}.operators")
