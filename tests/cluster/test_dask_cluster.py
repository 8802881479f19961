"""Distilling on workers elsewhere: Slurm jobs of their own, or tasks of the job's allocation."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from distillery.cluster.dask.worker import Waiting
from distillery.cluster.slurm import nested
from distillery.cluster.slurm.commands import call
from distillery.errors import DistilleryError
from distillery.workflow.fit_cluster import cluster, workers_of
from support import slurmbox
from support.cluster_driver import config

DRIVER = Path(__file__).parents[1] / "support" / "cluster_driver.py"
PATIENCE = 240.0
WORKER = "distributed.cli.dask_worker"


def wait_for(what: str, check: Callable[[], Any]) -> Any:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if found := check():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {PATIENCE:g} s in vain for {what}")


class Run:
    """A driver that runs, alone or as a batch job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.process: subprocess.Popen[bytes] | None = None
        self.job: str | None = None

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        lines = [json.loads(line) for line in self.text.splitlines() if line.startswith("{") and line.endswith("}")]
        return {line["key"]: line for line in lines if "key" in line}

    @property
    def text(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    @property
    def name(self) -> str:
        """The name of its worker jobs, once there are any."""
        return next((job.name for job in queue(self.folder) if job.name.startswith("distillery-dask-")), "")

    def workers(self) -> list[psutil.Process]:
        """Its ``dask worker`` processes; each holds a nanny, whose child does the work."""
        return [p for p in self.processes() if WORKER in words(p) and words(p)[0].endswith(Path(sys.executable).name)]

    def processes(self) -> list[psutil.Process]:
        """All processes in its folder or of its workers, by their environment."""
        return [p for p in psutil.process_iter() if marked(p, str(self.folder))]


def words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline() or [""]
    return [""]


def marked(process: psutil.Process, folder: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.environ().get("DRIVER_FOLDER") == folder and process.status() != psutil.STATUS_ZOMBIE
    return False


def job_of(process: psutil.Process) -> str:
    return str(process.environ()["SLURM_JOB_ID"])


def queue(folder: Path) -> list[Any]:
    from distillery.cluster.slurm.commands import our_jobs

    return our_jobs(folder)


def order(folder: Path, kind: str, tasks: int, seconds: float, **more: Any) -> list[str]:
    dask = {"cluster": kind, "workers": 2, "memory_mb": 600, "walltime_minutes": 10, **more.pop("dask", {})}
    content = {"dask": dask, "tasks": tasks, "seconds": seconds, "folder": str(folder), **more}
    return [sys.executable, str(DRIVER), json.dumps(content)]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start drivers, each in a folder of its own; afterwards nothing of them may be left."""
    runs: list[Run] = []

    def start(kind: str, tasks: int, seconds: float, batch: str | None = None, **more: Any) -> Run:
        run = Run(tmp_path / f"run{len(runs)}")
        runs.append(run)
        run.folder.mkdir()
        environment = {**os.environ, "DRIVER_FOLDER": str(run.folder), "OMP_NUM_THREADS": "1"}
        command = order(run.folder, kind, tasks, seconds, **more)
        if batch is None:
            with run.output.open("wb") as output:
                # Tests that a shell runs in the background ignore Ctrl-C; this process must not inherit that.
                whole = ["env", "--default-signal=INT", *command]
                run.process = subprocess.Popen(
                    whole, stdout=output, stderr=output, env=environment, cwd=run.folder, start_new_session=True
                )
            return run
        script = run.folder / "script.sh"
        quoted = " ".join(f"'{word}'" for word in command)
        script.write_text(f"#!/bin/bash\n{batch.replace('COMMAND', quoted)}\n".replace("\n\n", "\n"))
        sbatch = ["sbatch", "--parsable", f"--chdir={run.folder}", f"--output={run.output}", str(script)]
        run.job = call(sbatch, environment=environment).strip()
        return run

    yield start
    try:
        for run in runs:
            wait_for("the end of every process", lambda run=run: not run.processes())
            wait_for("an empty queue", lambda run=run: not queue(run.folder))
    finally:
        for run in runs:
            if run.process is not None:
                run.process.kill()
                run.process.wait()
            for process in run.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()
            stray = [job.id for job in queue(run.folder)] + ([run.job] if run.job else [])
            if stray:
                call(["scancel", "--quiet", *stray])


def show(job: str) -> dict[str, str]:
    text = call(["scontrol", "--oneliner", "show", "job", job])
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_workers_are_jobs_beside_the_one_that_starts_them(launch: Callable[..., Run]) -> None:
    # As Snakemake does: the command is a step of a job, here of a place and with options that must not be inherited.
    # Tasks last long enough that the second worker comes before the first has done them all.
    options = "#SBATCH --partition=nogpu --ntasks=3 --mem-per-cpu=300 --job-name=parent --time=5"
    run = launch("slurm", 12, 2.0, last=20, batch=f"{options}\nsrun --ntasks=1 COMMAND", dask={"cores": 2})
    given_back = lambda: len(run.results) == 11 and len([j for j in queue(run.folder) if "dask" in j.name]) == 1  # noqa: E731
    wait_for("the return of the worker that has nothing left to do", given_back)
    wait_for("all tasks", lambda: len(run.results) == 12 or "refused" in run.text)
    results = list(run.results.values())
    assert {result["DISTILLERY_WORKER_CORES"] for result in results} == {"2"}
    assert {result["directory"] for result in results} == {str(run.folder)}
    jobs = {result["SLURM_JOB_ID"] for result in results}
    assert len(jobs) == 2
    assert run.job not in jobs
    for job in jobs:
        about = show(job)
        assert about["JobName"].startswith("distillery-dask-")
        assert about["WorkDir"] == str(run.folder)
        assert (about["Partition"], about["NumCPUs"], about["MinMemoryNode"]) == ("nogpu", "2", "600M")
    wait_for("the end", lambda: '"closed"' in run.text)
    wait_for("the end of the jobs", lambda: not any(slurmbox.job_processes(job) for job in jobs))
    # Only what went wrong leaves logs.
    assert not list((run.folder / "logs").iterdir())


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_lost_workers_are_replaced_and_finished_fits_are_not_repeated(launch: Callable[..., Run]) -> None:
    run = launch("slurm", 500, 1.0)
    places = lambda: {(result["SLURM_JOB_ID"], result["pid"]) for result in run.results.values()}  # noqa: E731
    before = wait_for("results of two workers", lambda: len(places()) == 2 and places())
    first, second = sorted(run.workers(), key=job_of)
    cancelled, kept = job_of(first), job_of(second)
    # What was told a moment ago may still be with its worker; some results later it is not.
    done = set(run.results)
    wait_for("more results", lambda: len(run.results) >= len(done) + 4)
    call(["scancel", cancelled])
    second.children()[-1].kill()
    # A killed process has its successor in the same job, a cancelled job in another.
    wait_for("a successor in the same job", lambda: any(job == kept for job, _ in places() - before))
    wait_for("a successor in another", lambda: {job for job, _ in places()} - {cancelled, kept})
    assert not [result for result in run.results.values() if "error" in result]
    began = (run.folder / "ledger").read_text().split()
    assert all(began.count(key) == 1 for key in done)
    assert f"worker job {cancelled} ended; another takes its place" in run.text
    assert run.process is not None
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(PATIENCE) != 0
    assert list((run.folder / "logs").glob(f"*-{cancelled}.log"))


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_no_worker_outlives_a_killed_or_terminated_scheduler(launch: Callable[..., Run]) -> None:
    killed, terminated = launch("slurm", 200, 1.0), launch("slurm", 2, 0, fits=True)
    assert killed.process is not None
    assert terminated.process is not None
    wait_for("results", lambda: killed.results)
    fitting = "distillery.symbolic.child"
    wait_for("two fits", lambda: sum(fitting in words(process) for process in terminated.processes()) == 2)
    killed.process.kill()
    terminated.process.send_signal(signal.SIGTERM)
    assert terminated.process.wait(PATIENCE) == 128 + signal.SIGTERM
    assert killed.process.wait(PATIENCE) == -signal.SIGKILL
    # By the fixture: no process is left, and no job.


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_workers_fill_the_allocation_and_end_with_the_scheduler(launch: Callable[..., Run]) -> None:
    options = "#SBATCH --nodes=2 --ntasks-per-node=2 --mem-per-cpu=700 --time=5"
    # As Snakemake's plugin leaves it: the job's number, and nothing else of Slurm.
    strip = 'for name in ${!SLURM_*}; do [ "$name" = SLURM_JOB_ID ] || unset "$name"; done'
    # The job goes on after its driver: only the workers themselves can end.
    script = f"{options}\n{strip}\nCOMMAND\ntouch ended; while [ ! -e stop ]; do sleep 0.2; done"
    run = launch("allocation", 200, 1.0, batch=script, dask={"workers": 4})
    wait_for("a result of every worker", lambda: len({result["pid"] for result in run.results.values()}) == 4)
    assert {result["SLURM_JOB_ID"] for result in run.results.values()} == {run.job}
    assert {result["SLURMD_NODENAME"] for result in run.results.values()} == {"node1", "node2"}
    nannies = run.workers()
    before = {result["pid"] for result in run.results.values()}
    nannies[0].kill()
    nannies[1].children()[-1].kill()
    wait_for("their successors", lambda: len({r["pid"] for r in run.results.values()} - before) == 2)
    assert not [result for result in run.results.values() if "error" in result]
    (driver,) = [p for p in run.processes() if str(DRIVER) in words(p) and "srun" not in words(p)[0]]
    driver.kill()
    wait_for("the end of the driver", (run.folder / "ended").exists)
    wait_for("the end of the workers", lambda: not [p for p in run.processes() if WORKER in " ".join(words(p))])
    (run.folder / "stop").touch()


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_what_slurm_refuses_is_told_in_its_words(launch: Callable[..., Run]) -> None:
    large = launch("slurm", 2, 0, dask={"memory_mb": 60_000})
    long = launch("slurm", 2, 0, dask={"walltime_minutes": 5000})
    broken = launch("slurm", 2, 0, python="/nowhere/python")
    small = launch("allocation", 4, 0, batch="#SBATCH --ntasks=3 --time=5\nCOMMAND", dask={"workers": 4})
    for run in (large, long, broken, small):
        wait_for("a refusal", lambda run=run: "refused: " in run.text)
        assert "Traceback" not in run.text
    assert "Requested node configuration is not available" in large.text
    assert "never start (PartitionTimeLimit)" in long.text
    assert "before they reached the scheduler" in broken.text
    assert "/nowhere/python: No such file or directory" in broken.text
    assert f"4 workers of 1 cores are more than the 3 CPUs of job {small.job}" in small.text


@pytest.mark.slow
def test_an_allocation_is_asked_for_outside_of_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_JOBID"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(DistilleryError, match=r"SLURM_JOB_ID is not set.*set it to slurm or local"),
        cluster(config({"cluster": "allocation"}), 1, tmp_path),
    ):
        pass


@pytest.mark.parametrize("library", ["dask_jobqueue", "cryptography"])
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "distillery.cluster.dask.jobs", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    for name in ("SLURM_JOB_ID", "SLURM_JOBID"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(DistilleryError, match=rf"{library}.* is not installed.*distillery\[slurm\]"),
        cluster(config({"cluster": "slurm"}), 1, tmp_path),
    ):
        pass


def test_nested_jobs_inherit_no_options() -> None:
    inside = {
        "SLURM_JOB_ID": "1",
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_MEM_PER_CPU": "500",
        "SBATCH_PARTITION": "x",
        "TMPDIR": "/job1",
        "PATH": "/bin",
    }
    assert nested.clean(inside) == {"SLURM_CONF": "/etc/slurm.conf", "PATH": "/bin"}
    # Outside of jobs a user's own choice of a place holds.
    outside = {"SBATCH_PARTITION": "x", "SBATCH_ARRAY_INX": "1-9", "TMPDIR": "/tmp"}
    assert nested.clean(outside) == {"SBATCH_PARTITION": "x", "TMPDIR": "/tmp"}


def test_workers_are_no_more_than_tasks_and_hold_what_a_fit_may_use(tmp_path: Path) -> None:
    settings = config({"cluster": "slurm", "workers": 8, "cores": 3})
    workers = workers_of(settings, 5, tmp_path, "r^-2-2d-4b-s0/bottleneck s0")
    assert (workers.count, workers.cores) == (5, 3)
    assert workers.memory_mb == settings.distillation.memory_mb + 1000
    assert workers.name.startswith("distillery-dask-")
    assert not set(workers.name) & set(" ^/,%")
    assert workers_of(settings, 5, tmp_path, "").name != workers_of(settings, 5, tmp_path, "").name


def test_waiting_is_told_at_growing_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    waiting = Waiting(clock=lambda: now)
    for second in range(3600):
        now = float(second)
        waiting.report(f"{second}")
    told = [int(line) for line in capsys.readouterr().err.split()]
    assert told[:4] == [10, 30, 60, 120]
    assert told == sorted(told)
    assert len(told) < 12
