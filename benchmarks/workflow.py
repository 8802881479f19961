"""Dry-run a sweep of 10,000 cells with Snakemake: ``python benchmarks/workflow.py``.

Printed beside a dry run of 100 cells in the same run, and as time per cell.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def dry_run(cells: int) -> tuple[float, str]:
    experiments = [
        {"system": system, "dim": dim, "bodies": 4, "seed": seed}
        for system in ("spring", "r^-1", "r^-2", "charge", "damped")
        for dim in (2, 3)
        for seed in range(max(cells // 500, 1))
    ]
    seeds = list(range(cells // (2 * len(experiments))))
    sweep = {"experiments": experiments, "models": ["bottleneck", "l1"], "seeds": seeds}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(yaml.safe_dump(sweep))
        command = [
            Path(sys.executable).parent / "snakemake",
            "--profile",
            "profiles/local",
            "--dry-run",
            "--quiet",
            "all",
        ]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, "--directory", folder, "--configfile", config],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    return time.perf_counter() - started, (done.stdout + done.stderr)


def main() -> None:
    small, _ = dry_run(100)
    large, output = dry_run(10_000)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    jobs = next((line.split()[-1] for line in output.splitlines() if line.startswith("total")), "?")
    print(f"dry run of    100 cells: {small:6.1f} s")
    print(f"dry run of 10,000 cells: {large:6.1f} s, {jobs} jobs, peak memory {memory:.0f} MB")
    print(f"ratio {large / small:.1f} for 100 times the cells")


if __name__ == "__main__":
    main()
