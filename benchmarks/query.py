"""Questions about 10,000 cells: how long an answer takes, the start of the program included.

The sweep is made up, its outcomes written as the stages write them, then collected. Each question is a
process of its own. The reference is the same question asked with xarray and pandas.

    python benchmarks/query.py [--folder FOLDER] [--repeat 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The made-up outcomes are those that the tests use.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

LIMIT = 1.0

QUESTIONS = {
    "filters": "from distillery.collect.query import answer; answer(results, ['system=spring', 'recovered=yes'])",
    "every cell as CSV": "from distillery.collect.query import answer; answer(results, output='csv')",
    "SQL on cells": (
        "from distillery.collect.query import answer; "
        "answer(results, sql='SELECT model, avg(test_mae), sum(recovered::INT) FROM cells GROUP BY model')"
    ),
    "SQL on cells and equations": (
        "from distillery.collect.query import answer; "
        "answer(results, sql='SELECT c.model, min(e.mae) FROM equations e JOIN cells c USING (cell) GROUP BY 1')"
    ),
}
REFERENCE = (
    "import xarray; tree = xarray.open_datatree(results / 'sweep.zarr', engine='zarr'); "
    "d = tree['cells'].to_dataset()[['status', 'test_mae', 'recovered']].to_dataframe(); "
    "d[d.status != 'unplanned'].groupby('model').agg({'test_mae': 'mean', 'recovered': 'sum'})"
)


def sweep_in(folder: Path):
    from distillery.config import parse_config
    from distillery.sweep import Sweep

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


def timed(statement: str, results: Path) -> float:
    script = f"from pathlib import Path; results = Path({str(results)!r}); {statement}"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], check=True)
    return time.perf_counter() - started


def best_and_median(statement: str, results: Path, repeat: int) -> tuple[float, float]:
    timed(statement, results)
    times = [timed(statement, results) for _ in range(repeat)]
    return min(times), statistics.median(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the made-up sweep is kept for the next time")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sweep = sweep_in(given.folder or Path(temporary))
        prepare(sweep)
        started = time.perf_counter()
        from distillery.collect.status import status, status_text

        status_text(status(sweep))
        print(f"status of {len(sweep.cells):,} cells: {time.perf_counter() - started:.2f} s")
        _, reference = best_and_median(REFERENCE, sweep.results, given.repeat)
        print(f"reference (xarray, pandas), SQL on cells: median {reference:.2f} s")
        slow = 0
        for name, statement in QUESTIONS.items():
            best, median = best_and_median(statement, sweep.results, given.repeat)
            slow += best >= LIMIT
            print(f"{name}: median {median:.2f} s, best {best:.2f} s; {reference / median:.1f}× the reference")
    print(f"each under {LIMIT:.0f} s: {'no' if slow else 'yes'}")
    return 1 if slow else 0


def prepare(sweep) -> None:
    from distillery.collect.run import collect
    from fabricate import fabricate_quickly

    if (sweep.results / "sweep.json").exists():
        return
    fabricate_quickly(sweep)
    started = time.perf_counter()
    collect(sweep)
    print(f"collect {len(sweep.cells):,} cells: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
