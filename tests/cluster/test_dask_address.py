"""A Dask cluster that somebody else runs: it may have no workers, and it may be gone at any time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distillery.cluster.dask import cluster as clusters
from distillery.cluster.dask import worker as cluster_worker
from distillery.errors import DistilleryError
from distillery.workflow.fit_cluster import cluster
from support.cluster_driver import config


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    file = tmp_path / "scheduler.json"
    words = ["--host=127.0.0.1", "--port=0", "--no-dashboard", "--dashboard-address=127.0.0.1:0", "--no-show"]
    with (
        (tmp_path / "scheduler.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", *words, f"--scheduler-file={file}"],
            stdout=log,
            stderr=log,
        ) as process,
    ):
        until = time.monotonic() + 60
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.1)
        yield str(json.loads(file.read_text())["address"]), process
        process.kill()


@pytest.mark.slow
def test_lost_scheduler_is_an_error_and_not_a_result(
    scheduler: tuple[str, subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, process = scheduler
    monkeypatch.setattr(clusters, "_CONNECT_SECONDS", 5)
    monkeypatch.setattr(cluster_worker, "_PAUSES", (0.5, 600.0))
    came = []
    with (
        pytest.raises(DistilleryError, match="the Dask scheduler was lost"),
        cluster(config({"cluster": "address", "address": address}), 2, tmp_path) as workers,
    ):
        workers.client.loop.call_later(2.0, process.kill)
        came += list(workers.results(abs, {"one": -1, "two": -2}))
    assert not came
    assert capsys.readouterr().err.splitlines()[0] == f"waiting for workers, the scheduler at {address} has none"
