"""The user's Dask settings, which are meant for other clusters: those started here do without them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from pathlib import Path
from support.cluster_driver import config
from distillery.workflow.fit_cluster import cluster
from distillery.errors import DistilleryError

def settings(number):
    import dask
    return -number, dask.config.get("temporary-directory"), dask.config.get("distributed.comm.require-encryption")

if __name__ == "__main__":
    before = [name for name in os.environ if name.startswith("DASK_")]
    try:
        with cluster(config({"cluster": "local", "workers": 1}), 1, Path.cwd()) as started:
            found = dict(started.results(settings, {"one": 1}))
    except DistilleryError as error:
        sys.exit(str(error))
    assert found["one"][:2] == (-1, None), found
    assert {name for name in os.environ if name.startswith("DASK_")} == set(before)
"""


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_a_cluster_of_this_program_ignores_the_settings_of_others(tmp_path: Path) -> None:
    (tmp_path / ".config/dask").mkdir(parents=True)
    (tmp_path / ".config/dask/site.yaml").write_text("distributed: {nanny: {preload: [no_such_module]}}\n")
    done = run(
        tmp_path,
        DASK_TEMPORARY_DIRECTORY="/dev/null/none",
        DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION="True",
        DASK_DISTRIBUTED__COMM__TLS__CA_FILE="/none",
        DASK_DISTRIBUTED__WORKER__PRELOAD="['no_such_module']",
        DASK_SCHEDULER_ADDRESS="tcp://192.0.2.1:1",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_settings_that_cannot_be_read_end_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "dask.yaml"
    broken.write_text("distributed: [\n")
    done = run(tmp_path, DASK_CONFIG=str(broken))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"settings of Dask: A dask config file at '{broken}' is malformed; correct that file")
