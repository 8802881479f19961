"""The Slurm that the tests start does what a cluster does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import slurmbox

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm")]

SIZE_AND_NODE = """
import os
from mpi4py import MPI
print(MPI.COMM_WORLD.Get_size(), os.environ["SLURMD_NODENAME"])
"""
# Touches more memory than it is given, and then waits to be killed for it.
GREEDY = "x = bytearray(500_000_000); import time; time.sleep(60)"


def slurm(*words: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)


def submit(output: Path, *options: str, command: str) -> str:
    done = slurm("sbatch", "--parsable", f"--output={output}", *options, f"--wrap={command}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def end_of(job: str, seconds: float) -> str:
    """Wait for the end of a job, of its processes too, and return its last state."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = slurm("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").stdout.strip()
        if state not in ("PENDING", "RUNNING", "COMPLETING") and not slurmbox.job_processes(job):
            return state
        time.sleep(0.3)
    pytest.fail(f"job {job} did not end in {seconds} s")


@pytest.fixture(scope="module", autouse=True)
def late_job(slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A job that is over its time limit. The controller looks for such every 30 s, so this one comes first."""
    output = tmp_path_factory.mktemp("late") / "out"
    job = submit(output, "--time=1", command="sleep 300")
    while not slurmbox.job_processes(job):
        time.sleep(0.1)
    subprocess.run(["scontrol", "update", f"jobid={job}", "EndTime=now+1"], check=True, timeout=30)
    yield job, output
    subprocess.run(["scancel", "--quiet", job], check=True, timeout=30)


def test_ranks_of_one_program_span_both_nodes() -> None:
    done = slurm("srun", "--mpi=pmi2", "--nodes=2", "--ntasks=4", sys.executable, "-c", SIZE_AND_NODE)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [size for size, _ in lines] == ["4"] * 4, done.stderr
    assert {node for _, node in lines} == {"node1", "node2"}


def test_gpu_is_given_to_the_job_that_asks() -> None:
    show = 'echo "${CUDA_VISIBLE_DEVICES-none}"'
    options = ["--partition=gpu", "--ntasks=1"]
    assert slurm("srun", *options, "--gres=gpu:1", "sh", "-c", show).stdout.strip() in ("0", "1")
    assert slurm("srun", *options, "sh", "-c", show).stdout.strip() == "none"


def test_configuration_of_another_slurm_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slurm.conf").write_text("ClusterName=real")
    monkeypatch.setattr(slurmbox, "ETC", tmp_path)
    with pytest.raises(slurmbox.BoxError, match="real Slurm is left alone"):
        slurmbox.start()
    assert (tmp_path / "slurm.conf").read_text() == "ClusterName=real"


def test_last_user_stops_what_was_not_started_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(slurmbox, "BOX", tmp_path)
    monkeypatch.setattr(slurmbox, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(slurmbox, "_begin", lambda: done.append("begin"))
    monkeypatch.setattr(slurmbox, "_end", lambda: done.append("end"))
    with slurmbox.running():
        with slurmbox.running():
            pass
        assert done == ["begin", "begin"]
    assert done == ["begin", "begin", "end"]
    slurmbox.start()
    with slurmbox.running():
        pass
    assert done.count("end") == 1


@pytest.mark.parametrize("options", [["--partition=nowhere"], ["--partition=nogpu", "--gres=gpu:1"]], ids=" ".join)
def test_what_the_site_does_not_have_is_refused(options: list[str]) -> None:
    done = slurm("sbatch", *options, "--wrap=true")
    assert done.returncode != 0
    assert "error" in done.stderr


def test_job_over_its_memory_is_killed(tmp_path: Path) -> None:
    output = tmp_path / "out"
    job = submit(output, "--mem=200", command=f"{sys.executable} -c '{GREEDY}'; echo survived")
    assert end_of(job, 40) == "FAILED"
    assert "Exceeded job memory limit" in output.read_text()
    assert "survived" not in output.read_text()


def test_eight_small_jobs_run_at_once(tmp_path: Path) -> None:
    jobs = [submit(tmp_path / "out", "--mem=3000", command="sleep 600") for _ in range(8)]
    try:
        # Jobs of sweeps of another worker of the tests may hold the nodes for a while.
        deadline = time.monotonic() + 400
        while not all(slurmbox.job_processes(job) for job in jobs):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        slurm("scancel", *jobs)
    for job in jobs:
        assert end_of(job, 20) == "CANCELLED"


def test_job_over_its_time_is_killed(late_job: tuple[str, Path]) -> None:
    job, output = late_job
    assert end_of(job, 60) == "TIMEOUT"
    assert "DUE TO TIME LIMIT" in output.read_text()
