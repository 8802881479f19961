"""Cost of a sweep of 10,000 cells for Snakemake: ``python benchmarks/workflow.py``.

Measures a dry run, collecting, a run with nothing to do, and status, also for a sweep of 100 cells. Stages are stubs
with fabricated outcomes. One cell per job as on one machine, ten as in the Slurm profile.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
sys.path.insert(0, str(ROOT / "tests"))

from distillery.workflow.cell import PICTURES, SPLITS, STAGES  # noqa: E402
from distillery.workflow.sweep import Sweep, load_sweep  # noqa: E402
from support.fabricate import fabricate_quickly  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Measured:
    """Return wall time in seconds, peak memory of the largest process in MB, and the output."""

    seconds: float
    memory: float
    said: str


def measure(*words: str | Path, cwd: Path = ROOT) -> Measured:
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(list(words), cwd=cwd, stdout=said, stderr=subprocess.STDOUT, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        said.seek(0)
        text = said.read()
    if status:
        raise SystemExit(f"{' '.join(map(str, words))} failed:\n{text[-3000:]}")
    return Measured(seconds, usage.ru_maxrss / 1024, text)


def snakemake(folder: Path, *more: str) -> Measured:
    return measure(
        BIN / "snakemake",
        "--profile",
        "profiles/local",
        *more,
        "--directory",
        folder,
        "--configfile",
        folder / "config.yaml",
    )


def write_config(folder: Path, cells: int, per_job: int) -> Sweep:
    experiments = [
        {"system": system, "dim": dim, "bodies": 4, "seed": seed}
        for system in ("spring", "r^-1", "r^-2", "charge", "damped")
        for dim in (2, 3)
        for seed in range(max(cells // 500, 1))
    ]
    seeds = list(range(cells // (2 * len(experiments))))
    sweep = {
        "experiments": experiments,
        "models": ["bottleneck", "l1"],
        "seeds": seeds,
        "execution": {"cells_per_job": per_job},
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(sweep))
    return dataclasses.replace(load_sweep(config), results=folder / "results")


def pretend(sweep: Sweep) -> None:
    """Write the files of a finished sweep that Snakemake and status read."""
    fabricate_quickly(sweep)
    for experiment in sweep.experiments:
        for split in SPLITS:
            experiment.store(sweep.results, split).mkdir(parents=True)
            marker = {"key": sweep.data_key(experiment, split)}
            experiment.marker(sweep.results, split).write_text(json.dumps(marker))
        experiment.picture(sweep.results).write_text("<svg/>")
    for job in sweep.jobs.values():
        job.outcome(sweep.results, "train").parent.mkdir(exist_ok=True)
        for stage in STAGES:
            if len(job.cells) > 1:
                record: dict[str, object] = {"key": sweep.job_key(stage, job), "failed": []}
                job.outcome(sweep.results, stage).write_text(json.dumps(record))
        for picture in PICTURES:
            job.picture(sweep.results, picture).write_text("<svg/>")


def measure_sweep(cells: int, per_job: int, *, whole: bool = True) -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep = write_config(folder, cells, per_job)
        plan = found["dry run"] = snakemake(folder, "--dry-run", "--quiet", "all")
        if whole:
            pretend(sweep)
            found["collect"] = measure(BIN / "distillery", "collect", "--config", folder / "config.yaml", cwd=folder)
            snakemake(folder, "--touch", "--quiet", "all")
            again = found["second run"] = snakemake(folder)
            if "Nothing to be done" not in again.said:
                raise SystemExit(f"the second run is not idle:\n{again.said[-3000:]}")
            state = found["status"] = measure(
                BIN / "distillery", "status", "--config", folder / "config.yaml", cwd=folder
            )
            if f"{len(sweep.cells):,} done" not in state.said:
                raise SystemExit(f"not all cells are done:\n{state.said[-3000:]}")
    jobs = next((line.split()[-1] for line in plan.said.splitlines() if line.startswith("total")), "?")
    print(f"{cells:,} cells, {per_job} per job: {jobs} jobs of Snakemake")
    for what, one in found.items():
        print(f"  {what:<11} {one.seconds:6.1f} s  {one.memory:6.0f} MB", flush=True)
    return found


def main() -> None:
    small = measure_sweep(100, 1)
    for per_job, whole in ((10, True), (1, False)):
        large = measure_sweep(10_000, per_job, whole=whole)
        ratios = ", ".join(f"{what} {one.seconds / small[what].seconds:.1f}" for what, one in large.items())
        print(f"  times 100 cells, 1 per job, in the same run: {ratios}")


if __name__ == "__main__":
    main()
