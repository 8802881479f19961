"""Measure the time of queries of 10,000 cells, the start of the program included.

The outcomes of the sweep are fabricated in the format of the stages, then collected. Each query is a process of its
own, as on the command line. The reference computes a mean per model with xarray and pandas.

    python benchmarks/query.py [--folder FOLDER] [--repeat 5]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distillery.workflow.sweep import Sweep

# The tests use the same fabricated outcomes.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

LIMIT = 1.0

QUESTIONS = {
    "filters": ["system=spring", "recovered=yes"],
    "every cell as CSV": ["--format", "csv"],
    "SQL on cells": ["--sql", "SELECT model, avg(test_mae), sum(recovered::INT) FROM cells GROUP BY model"],
    "SQL on cells and equations": [
        "--sql",
        "SELECT c.model, min(e.mae) FROM equations e JOIN cells c USING (cell) GROUP BY 1",
    ],
}
REFERENCE = (
    "import xarray; tree = xarray.open_datatree(results / 'sweep.zarr', engine='zarr'); "
    "d = tree['cells'].to_dataset()[['status', 'test_mae', 'recovered']].to_dataframe(); "
    "d[d.status != 'unplanned'].groupby('model').agg({'test_mae': 'mean', 'recovered': 'sum'})"
)


def sweep_in(folder: Path) -> Sweep:
    from distillery.workflow.config import parse_config
    from distillery.workflow.sweep import Sweep

    experiments = [
        {"system": system, "dim": dim, "bodies": bodies, "seed": seed}
        for system in ("spring", "r^-1", "r^-2", "charge", "damped")
        for dim in (2, 3)
        for bodies in (4, 8)
        for seed in range(10)
    ]
    models = ["standard", "bottleneck", "l1", "kl", "flathgn"]
    config = {"experiments": experiments, "models": models, "seeds": list(range(10))}
    return Sweep(parse_config(config), folder / "results")


def timed(command: list[str], repeat: int) -> tuple[float, float, float]:
    """Return the median and the least wall time of a command, and its least CPU time."""
    walls, cpus = [], []
    for _ in range(repeat + 1):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # The first run fills the disk's cache.
    return statistics.median(walls[1:]), min(walls[1:]), min(cpus[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder that keeps the fabricated sweep for the next run")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sweep = sweep_in(given.folder or Path(temporary))
        prepare(sweep)
        started = time.perf_counter()
        from distillery.workflow.status import status, status_text

        status_text(status(sweep))
        print(f"status of {len(sweep.cells):,} cells: {time.perf_counter() - started:.2f} s")
        script = f"from pathlib import Path; results = Path({str(sweep.results)!r}); {REFERENCE}"
        reference, best, cpu = timed([sys.executable, "-c", script], given.repeat)
        print(
            f"reference (xarray, pandas), mean per model: median {reference:.2f} s, best {best:.2f} s, CPU {cpu:.2f} s"
        )
        slow = 0
        for name, arguments in QUESTIONS.items():
            command = [sys.executable, "-m", "distillery", "query", "--results", str(sweep.results), *arguments]
            median, best, cpu = timed(command, given.repeat)
            slow += median >= LIMIT
            ratio = f"{reference / median:.1f}× the reference"
            print(f"{name}: median {median:.2f} s, best {best:.2f} s, CPU {cpu:.2f} s; {ratio}")
    print(f"each median under {LIMIT:.0f} s: {'no' if slow else 'yes'}")
    return 1 if slow else 0


def prepare(sweep: Sweep) -> None:
    from distillery.workflow.stages.collect import collect
    from support.fabricate import fabricate_quickly

    if (sweep.results / "sweep.json").exists():
        return
    fabricate_quickly(sweep)
    started = time.perf_counter()
    collect(sweep)
    print(f"collect {len(sweep.cells):,} cells: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
