"""Setting up a real cluster: its profile is tried and written, or refused, and nothing is left behind."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from distillery.cluster.slurm import commands, trial
from distillery.errors import DistilleryError
from distillery.workflow.slurm import require
from distillery.workflow.slurm.profile import shipped, with_value
from distillery.workflow.slurm.site import site_of
from support import sweeps

# A test job that will not start soon.
LATE = """
default-resources: {slurm_partition: cpu, slurm_extra: "'--begin=now+1hour'"}
config: {execution: {ranks: 1}}
"""


def said_by(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(sweeps.BIN / "distillery"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def left(folder: Path) -> tuple[list[Path], str]:
    """Return what a check has left in its folder, and of its jobs in the queue."""
    listed = commands.call(
        [
            "squeue",
            "--noheader",
            f"--name={','.join(f'{trial.NAME}-{kind}' for kind in ('node', 'mpi', 'gpu'))}",
            "--format=%Z %i %T",
        ]
    )
    return list(folder.glob(".distillery-check*")), "\n".join(
        line for line in listed.splitlines() if str(folder) in line
    )


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_cluster_that_works_gets_its_profile(tmp_path: Path) -> None:
    words = ("--partition", "cpu", "--gpu-partition", "gpu", "--ranks", "4", "--nodes", "2")
    done = said_by("setup-cluster", *words, "--output", "site", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    # PMI2 loses a message now and then, and ranks wait for each other; then the second attempt counts.
    assert re.search(r"(ok     |warning)  MPI: srun --mpi=pmi2: 4 ranks on node1, node2", done.stdout), done.stdout
    # The GPUs of this Slurm are device files that nobody can compute on: said, not passed over.
    assert re.search(r"warning  GPU: Slurm gave GPU \d on node2, but PyTorch sees none", done.stdout), done.stdout
    profile = yaml.safe_load((tmp_path / "site" / "config.yaml").read_text())
    assert profile["default-resources"]["slurm_partition"] == "cpu"
    assert profile["set-resources"]["train"] == {"gpu": 1, "slurm_partition": "gpu"}
    assert profile["slurm-status-command"] == "squeue"
    # Two nodes of 16,000 MB have room for three workers each.
    assert profile["config"]["execution"]["dask"]["workers"] == 6
    assert left(tmp_path) == ([], "")


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_cluster_that_lacks_what_is_asked_for_gets_none(tmp_path: Path) -> None:
    words = (
        "--partition",
        "cpu",
        "--gpu-partition",
        "nogpu",
        "--ranks",
        "3",
        "--nodes",
        "2",
        "--launcher",
        "srun --mpi=none",
    )
    done = said_by("setup-cluster", *words, "--output", "site", folder=tmp_path)
    assert done.returncode == 1
    assert (
        "error    GPU: partition nogpu has no GPUs; in set-resources: train set slurm_partition to one of cpu, gpu"
        in done.stdout
    )
    assert re.search(
        r"error    MPI: srun --mpi=none does not join 3 ranks .*; set launcher to srun --mpi=pmi2, which does",
        done.stdout,
    )
    assert done.stderr == "distillery: 2 errors; no profile was written (--force writes it all the same)\n"
    assert not (tmp_path / "site").exists()
    assert left(tmp_path) == ([], "")


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_jobs_too_large_for_the_nodes_are_refused_before_any_is_sent(tmp_path: Path) -> None:
    content = {"default-resources": {"slurm_partition": "cpu"}, "config": {"execution": {"ranks": 1}}}
    content["config"]["execution"]["dask"] = {"cluster": "allocation", "workers": 8}
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(content))
    done = said_by("check-cluster", "large.yaml", folder=tmp_path)
    assert done.returncode == 1
    assert "error    jobs of distill: Slurm refuses such a job (" in done.stdout, done.stdout
    assert "cpu has room for 6 such tasks; set config: execution: dask: workers to 6 or less" in done.stdout
    assert left(tmp_path) == ([], "")


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_test_job_that_does_not_start_is_cancelled_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "late.yaml").write_text(LATE)
    done = said_by("check-cluster", "late.yaml", "--patience", "0.1", folder=tmp_path)
    assert done.returncode == 1
    assert re.search(r"error    node: the test job did not start in \d+ s: BeginTime", done.stdout), done.stdout
    assert left(tmp_path) == ([], "")


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_python_that_nodes_do_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial.sys, "executable", "/only/here/python")
    with trial.bench(tmp_path) as bench:
        sent = bench.send("node", ["--partition=cpu", "--mem=200"], ["look"])
        bench.wait(120.0, lambda line: None)
    assert sent.problem is not None
    assert sent.problem.startswith("this Python does not exist on the node; install Distillery in a folder that all")
    assert left(tmp_path) == ([], "")


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_check_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "late.yaml").write_text(LATE)
    # Tests that a shell runs in the background ignore Ctrl-C; this process must not inherit that.
    command = ["env", "--default-signal=INT", str(sweeps.BIN / "distillery"), "check-cluster", "late.yaml"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while "PENDING" not in left(tmp_path)[1]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(number)
    assert process.wait(timeout=60) != 0
    assert left(tmp_path) == ([], "")


@pytest.mark.slurm
@pytest.mark.workflow
@pytest.mark.usefixtures("slurm")
def test_run_with_a_wrong_profile_ends_before_any_job_is_sent(tmp_path: Path) -> None:
    text = shipped().read_text()
    for path, value in (
        (("default-resources", "slurm_partition"), "fast"),
        (("set-resources", "train", "slurm_partition"), "nogpu"),
        (("set-resources", "trian", "mem_mb"), 1),
        (("default-resources", "slurm_acount"), "me"),
    ):
        text = with_value(text, path, value)
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "config.yaml").write_text(text + "default-resourcs:\n  mem_mb: 1\n")
    config = sweeps.write_config(tmp_path, sweeps.TINY)
    done = sweeps.snakemake(tmp_path, config, check=False, profile=("--profile", str(folder)))
    assert done.returncode != 0
    for line in (
        "default-resourcs: Snakemake knows no such section; did you mean default-resources?",
        "default-resources.slurm_acount: neither Snakemake nor its Slurm executor knows this resource",
        "set-resources.trian: the workflow has no rule of this name; did you mean train?",
        "there is no partition fast; set slurm_partition to one of cpu, gpu, nogpu",
        "rule train: asks for a GPU, but partition nogpu has none",
    ):
        assert line in done.stderr, done.stderr[-3000:]
    assert "has been submitted" not in done.stderr


def test_latency_that_is_no_number_is_one_line() -> None:
    with pytest.raises(DistilleryError, match=r"^mine: latency-wait: 'soon' is no number; give seconds$"):
        site_of({"latency-wait": "soon"}, "mine")


@pytest.mark.parametrize(
    ("prefix", "found"), [("distillery", True), ("distillery-mine", True), ("", False), (None, False)]
)
def test_jobs_that_resume_would_not_find_are_refused(prefix: str | None, found: bool) -> None:
    found_prefixes = [line.split(":")[0] for line in require.prefix_problem(prefix)]
    assert found_prefixes == ([] if found else ["slurm-jobname-prefix"])
