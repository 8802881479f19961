"""Training choices for forces with heavy tails: ``python benchmarks/tails.py --results results-tails``.

Charge and 1/r² in 2D with the settings of the study and a quarter of its steps; each row changes one choice: the loss,
the schedule, the data, the symmetry of the inputs. Three seeds are stacked. A row is stored when it is done, and a
second call does not repeat it. Results: docs/training.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from distillery import files
from distillery.networks.models import MODELS
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stages.table import carry_out, simulate
from distillery.workflow.sweep import Sweep, sweep_from

SYSTEMS = ("charge", "r^-2")
SEEDS = (0, 1, 2)
EXPERIMENT: dict[str, Any] = {"dim": 2, "bodies": 4, "simulations": 3000, "test_simulations": 300, "loss": "relative"}
TRAINING: dict[str, Any] = {"batch": 32, "steps": 3000}
# For each row: the model, and the changes to the experiment, the training and the model.
_Change = dict[str, Any]
ROWS: dict[str, tuple[str, _Change, _Change, _Change]] = {
    "bottleneck": ("bottleneck", {}, {}, {}),
    "loss: absolute": ("bottleneck", {"loss": "absolute"}, {}, {}),
    "loss: scaled": ("bottleneck", {"loss": "scaled"}, {}, {}),
    "four times the steps": ("bottleneck", {}, {"steps": 12_000}, {}),
    "a fifth of the learning rate": ("bottleneck", {}, {"learning_rate": 1e-3}, {}),
    "graphs not moved": ("bottleneck", {}, {"translation": 0.0}, {}),
    "relative positions": ("bottleneck", {}, {}, {"relative": True}),
    "relative positions, antisymmetric": ("newton", {}, {}, {}),
    "l1": ("l1", {}, {}, {}),
    "l1, loss: absolute": ("l1", {"loss": "absolute"}, {}, {}),
    "l1, penalty from the first step": ("l1", {}, {"fade_in": 0.0}, {}),
    # Last, because its data replace those of the other rows.
    "a third of the simulations": ("bottleneck", {"simulations": 1000}, {}, {}),
}


def sweep_of(results: Path, system: str, row: str) -> Sweep:
    """Return the sweep of a row's three cells."""
    model, experiment, training, options = ROWS[row]
    name = f"{model}-changed" if options else model
    content: dict[str, Any] = {
        "results": str(results),
        "experiments": [EXPERIMENT | {"system": system} | experiment],
        "models": [name],
        "seeds": list(SEEDS),
        "training": TRAINING | training,
        "interpretation": {"samples": 8000},
        "execution": {"cells_per_job": len(SEEDS), "stacked": True},
    }
    if options:
        content["variants"] = {name: MODELS[model].model_dump(exclude_unset=True) | options}
    return sweep_from(content, row)


def measured(sweep: Sweep) -> dict[str, float | str]:
    """Simulate, train and read the messages of a row's cells; return the means over them, and the worst robust R²."""
    experiment = next(iter(sweep.settings))
    for split in ("train", "test"):
        simulate(sweep, experiment, split, 1)
    for job in sweep.jobs.values():
        carry_out(sweep, "train", job)
        carry_out(sweep, "interpret", job)
    found = [
        read_outcome(cell.outcome(sweep.results, "interpret"), key=sweep.key("interpret", cell)) for cell in sweep.cells
    ]
    best: list[float] = []
    against: set[str] = set()
    for outcome in found:
        fits = outcome.result["fits"]["distilled"]
        # A constant component has no R².
        means = {
            name: statistics.mean(r2 or 0.0 for r2 in fits[name]["r2_robust"]) for name in ("force", "acceleration")
        }
        name = max(means, key=means.__getitem__)
        best.append(means[name])
        against.add({"force": "F", "acceleration": "F/m"}[name])
    return {
        "against": " or ".join(sorted(against)),
        "r2": statistics.mean(best),
        "least": min(best),
        "mae": statistics.mean(float(outcome.result["test_mae"]) for outcome in found),
        "medae": statistics.mean(float(outcome.result["test_medae"]) for outcome in found),
    }


def main() -> None:
    """Measure the missing rows and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--results", type=Path, required=True, help="folder of finished rows")
    results: Path = arguments.parse_args().results
    kept = results / "tails.json"
    known: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    for row in ROWS:
        for system in SYSTEMS:
            if f"{system} {row}" not in known:
                print(f"{system}, {row}", file=sys.stderr)
                known[f"{system} {row}"] = measured(sweep_of(results, system, row))
                files.write_json(kept, known)
    heads = " | ".join(f"{system}: R² | least | mean error | median" for system in SYSTEMS)
    print(f"| | {heads} |\n|---{'|---' * 4 * len(SYSTEMS)}|")
    for row in ROWS:
        cells = []
        for system in SYSTEMS:
            own = known[f"{system} {row}"]
            cells.append(
                f"{own['against']} {own['r2']:.3f} | {own['least']:.3f} | {own['mae']:.3g} | {own['medae']:.2g}"
            )
        print(f"| {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
