"""Messages of a spring for tests of fits."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from distillery.networks.functions import feature_names
from distillery.symbolic.engine import Problem
from distillery.symbolic.settings import DistillationSettings
from distillery.workflow.cell import Cell
from distillery.workflow.outcome import write_outcome
from distillery.workflow.sweep import Sweep

QUICK = {
    "operon": {"population": 40, "generations": 3, "max_length": 10},
    "samples": 100,
    "held_out": 100,
    "functions": ["message"],
}


def messages(sweep: Sweep, cell: Cell, seed: int = 0, status: Any = "ok") -> None:
    """Write the outcome of interpret for a cell: rotated spring forces with noise."""
    path = cell.messages(sweep.results)
    settings = sweep.config.distillation
    count, dim = settings.samples + settings.held_out, cell.experiment.dim
    rng = np.random.default_rng(seed)
    displacement = rng.normal(0, 1.4, (count, dim))
    force = displacement * (1 - 1 / np.linalg.norm(displacement, axis=1, keepdims=True))
    turn, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        message=force @ turn + 0.01 * rng.normal(size=force.shape),
        displacement=displacement,
        mass=np.exp(rng.normal(size=(count, 2))),
        charge=rng.choice([-1.0, 1.0], (count, 2)),
        held_out=np.arange(count) >= settings.samples,
    )
    write_outcome(
        cell.outcome(sweep.results, "interpret"),
        key=sweep.key("interpret", cell),
        started=time.monotonic(),
        result={"reading": "std"} if status == "ok" else {},
        status=status,
        reason="" if status == "ok" else "loss is not finite",
        belongings=(path,),
    )


def spring(**settings: Any) -> Problem:
    rng = np.random.default_rng(0)
    displacement = rng.normal(0, 1.4, (600, 2))
    distance = np.linalg.norm(displacement, axis=1)
    mass, charge = np.exp(rng.normal(size=(600, 2))), rng.choice([-1.0, 1.0], (600, 2))
    features = np.column_stack([displacement, distance, mass, charge])
    target = displacement @ [0.6, 0.8] * (1 - 1 / distance) + 0.01 * rng.normal(size=600)
    return Problem(
        names=feature_names(2),
        features=features[:300],
        target=target[:300],
        held_out_features=features[300:],
        held_out_target=target[300:],
        settings=DistillationSettings(**settings),
    )
