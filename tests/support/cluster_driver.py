"""Run small tasks on a cluster and print each result: ``python tests/support/cluster_driver.py <order>``.

The order is JSON: dask (the settings), tasks, seconds (of each; of the last, if they differ), folder (for logs and the
ledger of tasks that began), and whether the tasks are real fits without end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from distillery.errors import DistilleryError
from distillery.symbolic.child import fit_here
from distillery.symbolic.settings import DistillationSettings, OperonSettings
from distillery.workflow.config import Config, parse_config
from distillery.workflow.fit_cluster import cluster


def config(dask: dict[str, Any]) -> Config:
    return parse_config(
        {"experiments": [{"system": "spring"}], "models": ["bottleneck"], "execution": {"dask": dask}},
    )


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Record the start of a task, take its time, and return where it ran."""
    with Path(task["ledger"]).open("a") as ledger:
        ledger.write(f"{task['key']}\n")
    subprocess.run(["sleep", str(task["seconds"])], check=True)
    names = ("SLURM_JOB_ID", "SLURMD_NODENAME", "DISTILLERY_WORKER_CORES", "SLURM_NTASKS")
    return {"pid": os.getpid(), "directory": str(Path.cwd()), **{name: os.environ.get(name) for name in names}}


def endless() -> Any:
    import numpy as np

    from distillery.symbolic.engine import Problem

    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 7))
    settings = DistillationSettings(seconds=600.0, operon=OperonSettings(population=50, generations=10_000_000))
    target = np.sin(features[:, 0]) * features[:, 1]
    names = ("dx", "dy", "r", "m1", "m2", "q1", "q2")
    return Problem(names, features[:100], target[:100], features[100:], target[100:], settings)


def main(order: dict[str, Any]) -> None:
    folder = Path(order["folder"])
    if order.get("python"):
        sys.executable = order["python"]
    tasks: dict[str, Any] = {
        str(key): {"key": str(key), "ledger": str(folder / "ledger"), "seconds": order["seconds"]}
        for key in range(order["tasks"])
    }
    if "last" in order:
        tasks[str(order["tasks"] - 1)]["seconds"] = order["last"]
    if order.get("fits"):
        tasks = dict.fromkeys(tasks, endless())
    try:
        with cluster(
            config(order["dask"]), len(tasks), folder / "logs", "a test", interval=1.0, death_seconds=5
        ) as workers:
            for key, result in workers.results(fit_here if order.get("fits") else work, tasks):
                answer = {"error": repr(result)} if isinstance(result, BaseException) else result
                print(json.dumps({"key": key, **answer}), flush=True)
            began = time.monotonic()
        print(json.dumps({"closed": time.monotonic() - began}), flush=True)
    except DistilleryError as error:
        sys.exit(f"refused: {error}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
