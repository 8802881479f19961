"""Fabricated outcomes of stages, for tests of collecting, querying and drawing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from distillery.networks import functions
from distillery.randomness import stream
from distillery.workflow.cell import STAGES, Cell, Stage
from distillery.workflow.law_files import empty_result
from distillery.workflow.outcome import write_outcome
from distillery.workflow.sweep import Sweep

# Steps of the snapshots, and the progress of the messages at each.
STEPS = [0, 3, 10, 32, 100]
GROWN = (0.0, 0.1, 0.4, 0.9, 1.0)
EXTENT = "recovered within the data (r = 0.1 … 6), agrees from r = 0.001 to 6e+02, as far as compared"
REACH = {"data_from": 0.1, "data_to": 6.0}
LAWS = ("2.1*dx*(1.0 - 1.0/r)", "2.1*dy*(1.0 - 1.0/r) + 0.013", "2.1*dz*(1.0 - 1.0/r)")


def front(component: int) -> list[dict[str, Any]]:
    """Return a Pareto front whose third entry is the law."""
    axis = "xyz"[component]
    return [
        {"expression": "0.1", "complexity": 1, "mae": 1.0, "score": 0.0},
        {"expression": f"1.4*d{axis}", "complexity": 3, "mae": 0.5, "score": 0.35},
        {"expression": LAWS[component], "complexity": 9, "mae": 0.01, "score": 0.65},
        {"expression": f"{LAWS[component]} + 0.0001*m1", "complexity": 13, "mae": 0.0099, "score": 0.0025},
    ]


def node_front(component: int) -> list[dict[str, Any]]:
    """Return a Pareto front of a node function whose second entry is right."""
    return [
        {"expression": "0.2", "complexity": 1, "mae": 1.0, "score": 0.0},
        {"expression": f"2.0*s{component + 1}/m", "complexity": 5, "mae": 0.02, "score": 0.98},
    ]


def distilled(number: int, front: list[dict[str, Any]], chosen: int) -> dict[str, Any]:
    """Return a component as the stage distill writes it."""
    return {
        "component": number,
        "status": "ok",
        "reason": "",
        "fit": f"fit{number}",
        "seconds": 1.0,
        "chosen": chosen,
        "front": front,
    }


def judged(number: int, expression: str, complexity: int, form: str | None, others: list[int]) -> dict[str, Any]:
    """Return a component as the stage verify writes it; without a form it is not recovered."""
    return {
        "component": number,
        "recovered": form is not None,
        "form": form,
        "expression": expression,
        "complexity": complexity,
        "median_residual": 0.003 if form else None,
        "p90_residual": 0.01 if form else None,
        "constants": {"rest_length": 1.0, "softening": 0.01},
        "others": others if form else [],
    }


def results_of(sweep: Sweep, cell: Cell) -> dict[Stage, dict[str, Any]]:
    """Return the results of every stage of a successful cell; they differ between cells."""
    dim = cell.experiment.dim
    size = sweep.model(cell).message_size(dim)
    recovered = cell.model != "standard"
    r2 = 0.99 if recovered else 0.03
    error = 0.05 + 0.001 * sweep.cells.index(cell)
    model = sweep.model(cell)
    counts = functions.components(model, dim)
    network = model.kind != "control"
    reading = "std" if network else ""
    recovered_as = {"graph": "force", "hamiltonian": "energy", "control": "acceleration"}[model.kind]
    form = recovered_as if recovered else None
    node_form = ("energy" if model.kind == "hamiltonian" else "acceleration") if recovered else None
    node = {
        "recovered": recovered,
        "form": node_form,
        "reason": "",
        "median_residual": 0.004,
        "p90_residual": 0.02,
        "components": [judged(k, f"2.0*s{k + 1}/m", 5, node_form, []) for k in range(counts.get("node", 0))],
    }

    def fits(base: float) -> dict[str, Any]:
        return {
            against: {
                "r2": [base * factor + 0.001 * k for k in range(dim)],
                "r2_robust": [base * factor + 0.002 for _ in range(dim)],
                "r2_gauge_free": [None] * dim if base < 0.1 else [0.999] * dim,
            }
            for against, factor in (("force", 1.0), ("acceleration", 0.3))
        }

    return {
        "train": {"steps": 100, "final_loss": 0.04, "parameters": 4242, "graphs_per_second": 1000.0},
        "interpret": {
            "test_mae": error if network else None,
            "test_medae": error / 2 if network else None,
            "label_std": 1.5,
            "message_std": [1.0 / (k + 1) for k in range(size if network else 0)],
            "significance": [1.0 / (k + 1) for k in range(size)],
            "reading": reading,
            "explained": {"std": 0.99, "principal": 0.995},
            "fits": {"std": fits(r2), "principal": fits(r2 / 2), "distilled": fits(r2)} if network else {},
            **({"frames": {"steps": STEPS, "fits": [fits(r2 * t) for t in GROWN]}} if sweep.frames(cell) else {}),
        },
        "distill": {
            "engine": "operon",
            "reading": reading,
            "components": [distilled(k, front(k), 2) for k in range(counts["message"])],
            **({"node": [distilled(k, node_front(k), 1) for k in range(counts["node"])]} if "node" in counts else {}),
        },
        "verify": {
            "recovered": recovered,
            "form": form,
            "reason": "" if recovered else "component 0: median residual 0.5 is over 0.02",
            "extent": EXTENT if recovered and network else "",
            "range": REACH | dict.fromkeys(("agrees_from", "agrees_to")) if network else None,
            "components": [judged(k, LAWS[k], 9, form, [3]) for k in range(counts["message"])],
            **({"node": node} if "node" in counts else {}),
            "composed": {"mae": error * 1.1, "medae": error / 3},
        },
        "replace": replaced(network, dim, error),
        "generalise": generalised(sweep, network, error),
    }


def generalised(sweep: Sweep, network: bool, error: float) -> dict[str, Any]:
    """Return the result of the stage generalise: only the law holds under other conditions."""
    shares = {"network": 1.0, "raw": 0.5, "refitted": 1e-3, "clean": 9e-4} if network else {}
    long = {"network": (3.0, 0.4), "refitted": (10.0, 1e-3), "clean": (10.0, 9e-4)} if network else {}

    def under(place: int) -> dict[str, Any]:
        return {
            name: {"mae": error * share * (1 + place), "medae": error * share / 2, "holds": share < 0.1}
            for name, share in shares.items()
        }

    return {
        "conditions": {
            name: {"reason": "", "predictors": under(place)}
            for place, name in enumerate(sweep.config.generalisation.conditions)
        },
        "rollouts": {
            "times": [0.0, 5.0, 10.0],
            "reason": "",
            "predictors": {
                name: {
                    "horizon": horizon,
                    "doubling_time": 0.7,
                    "distance": [0.0, off / 2, off],
                    "energy_drift": [0.0, off, 2 * off],
                }
                for name, (horizon, off) in long.items()
            },
            "paths": {
                name: [[[0.1 * t, float(b)] for b in range(3)] for t in range(3)]
                for name in ("true", "network", "refitted")[: 3 if long else 1]
            },
        },
    }


def replaced(network: bool, dim: int, error: float) -> dict[str, Any]:
    """Return the result of the stage replace of a cell with a network, or of a control."""
    result = empty_result() | {"reason": "a control"}
    if not network:
        return result
    law = {
        "format": 1,
        "dim": dim,
        "messages": [f"-2*d{axis}/m1 + c1*d{axis}/(m1*r)" for axis in "xyz"[:dim]],
        "nodes": [f"s{k + 1}" for k in range(dim)],
        "velocities": [],
        "energies": [],
        "constants": {"c1": 1.98},
        "shared": True,
    }
    parts = {"network": 1.0, "raw": 0.5, "refitted": 1e-3, "clean": 9e-4}
    return result | {
        "replacement": "whole",
        "reason": "",
        "law": law,
        "form": "clean",
        "source": "fronts",
        "text": "a = Σ Δ*(-2 + 1.980/r)/m1",
        "refitted_text": "a = Σ Δ*(-2.001 + 1.980/r)/m1",
        "constants": [{"name": "c1", "value": 1.98, "error": 1e-6, "state": "ok"}],
        "errors": {part: {"mae": error * share, "medae": error * share / 2} for part, share in parts.items()},
    }


def fabricate(sweep: Sweep, cell: Cell, until: Stage = STAGES[-1], **changes: dict[str, Any]) -> None:
    """Write the outcomes of a cell up to a stage; ``changes`` replaces keys of a stage's result."""
    for stage, result in results_of(sweep, cell).items():
        write_outcome(
            cell.outcome(sweep.results, stage),
            key=sweep.key(stage, cell),
            started=time.monotonic(),
            result={**result, **changes.get(stage, {})},
        )
        if stage == until:
            break


def end(sweep: Sweep, cell: Cell, stage: Stage, status: Any, reason: str) -> None:
    """Write outcomes of a cell that failed in a stage; later stages pass this on."""
    position = STAGES.index(stage)
    if position:
        fabricate(sweep, cell, until=STAGES[position - 1])
    for name in STAGES[position:]:
        write_outcome(
            cell.outcome(sweep.results, name),
            key=sweep.key(name, cell),
            started=time.monotonic(),
            result={},
            status=status,
            reason=reason,
        )


def fabricate_quickly(sweep: Sweep) -> None:
    """Write the outcomes of all cells of a large sweep, without waiting for the disk."""
    provenance = {"commit": "0123456789ab", "versions": {"distillery": "1.0"}, "device": "cpu"}
    for number, cell in enumerate(sweep.cells):
        folder = cell.folder(sweep.results)
        folder.mkdir(parents=True, exist_ok=True)
        for stage, result in _results_cached(sweep, cell, number).items():
            content = {
                "status": "ok",
                "reason": "",
                "key": sweep.key(stage, cell),
                "result": result,
                "files": {},
                "seconds": 1.5,
                "provenance": provenance,
            }
            (folder / f"{stage}.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


def _results_cached(sweep: Sweep, cell: Cell, number: int) -> dict[Stage, dict[str, Any]]:
    results = results_of(sweep, sweep.cells[0]) if cell.experiment.dim == 2 else results_of(sweep, cell)
    results["interpret"]["test_mae"] = 0.05 + 1e-5 * number
    for component in results["distill"]["components"]:
        component["front"] = [
            {
                "expression": f"{number}.{rank}*dx*(1.0 - 1.0/r) + 0.25*m1*q2" + " + 0.5*dy" * rank,
                "complexity": 3 + 2 * rank,
                "mae": 1.0 / (rank + 1),
                "score": 0.1 * rank,
            }
            for rank in range(12)
        ]
    return results


def messages(sweep: Sweep, cell: Cell, samples: int = 400) -> Path:
    """Write messages that are the rotated and scaled true force with noise, and their snapshots."""
    dim = cell.experiment.dim
    draw = stream(7, "fabricated", str(cell))
    displacement = draw.normal(size=(samples, dim))
    mass = np.exp(draw.normal(size=(samples, 2)))
    charge = draw.choice([-1.0, 1.0], size=(samples, 2))
    force = sweep.system(cell.experiment).pair_force(
        displacement, (mass[:, 0], mass[:, 1]), (charge[:, 0], charge[:, 1])
    )
    rotation = np.linalg.qr(draw.normal(size=(dim, dim)))[0]
    message = 0.7 * force @ rotation + 0.2 + 0.01 * draw.normal(size=(samples, dim))
    path = cell.messages(sweep.results)
    path.parent.mkdir(parents=True, exist_ok=True)
    final = message[samples // 2 :][:120]
    filmed = {"frames": np.stack([(grown * final).astype(np.float32) for grown in GROWN])} if sweep.frames(cell) else {}
    np.savez(
        path,
        **filmed,
        message=message,
        displacement=displacement,
        mass=mass,
        charge=charge,
        held_out=np.arange(samples) >= samples // 2,
    )
    return path
