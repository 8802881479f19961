"""After a killed run: what it left is found and ended, everything else is left alone, and the next run goes on."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from distillery import files
from distillery.cluster.slurm import commands
from distillery.cluster.slurm.queue import comment
from distillery.errors import DistilleryError
from distillery.util.process import this_process
from distillery.workflow import claim, earlier
from distillery.workflow.claim import Claim
from distillery.workflow.outcome import notes, read_outcome, running, write_outcome
from distillery.workflow.resume import resume
from distillery.workflow.status import status
from support import slurmbox

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TOKEN = "0123456789abcdef0123456789abcdef"
TINY = {
    "experiments": [{"system": "spring", "simulations": 64, "test_simulations": 16, "snapshots": 10}],
    "models": ["bottleneck"],
    "training": {"hidden": 16, "batch": 16, "steps": 4000},
    "execution": {"checkpoint_every": 50, "ranks": 1},
}


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Snakemake's folder, and with it its lock, is the working directory; nothing goes on there after a test."""
    monkeypatch.chdir(tmp_path)
    yield
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(tmp_path) and process.pid != os.getpid():
                process.kill()


def dead_claim(results: Path, **changes: Any) -> Claim:
    """Leave the claim of a run whose process is gone."""
    worker = dataclasses.replace(this_process(), born="another", **changes.pop("worker", {}))
    dead = Claim(
        TOKEN, changes.pop("user", os.environ.get("USER", "root")), worker, time.time(), Path.cwd(), "snakemake"
    )
    results.mkdir(exist_ok=True)
    (results / claim.NAME).write_text(claim._text(dataclasses.replace(dead, began=True, **changes)))
    return dead


def resumed(sweep: Any, **options: Any) -> list[str]:
    lines: list[str] = []
    done = resume(sweep, lines.append, **options)
    assert done == bool(lines)
    return lines


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes that carry a run's token in their environment; ends what is left of them."""
    processes = []

    def start(token: str, *words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(words or ("sleep", "60"), env={**os.environ, claim.RUN: token})
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def lock(results: Path, number: int) -> Path:
    held = Path.cwd() / ".snakemake" / "locks" / f"{number}.output.lock"
    held.parent.mkdir(parents=True, exist_ok=True)
    held.write_text(f"{results}/sweep.json\n")
    return held


def test_where_nothing_was_killed_there_is_nothing_to_do(make_sweep: Any) -> None:
    sweep = make_sweep()
    assert resumed(sweep) == []
    assert not sweep.results.exists()
    sweep.results.mkdir()
    assert resumed(sweep) == []
    assert list(sweep.results.iterdir()) == []


def test_a_living_run_is_left_alone(make_sweep: Any) -> None:
    sweep = make_sweep()
    held = lock(sweep.results, 0)
    claim.take(sweep.results)
    with pytest.raises(DistilleryError, match="is run already by"):
        resumed(sweep)
    claim.release()
    assert held.exists()


def test_lock_and_claim_of_a_killed_run_go_and_those_of_another_sweep_stay(make_sweep: Any) -> None:
    sweep = make_sweep()
    dead_claim(sweep.results)
    held, other = lock(sweep.results, 0), lock(Path("results-other"), 1)
    lines = resumed(sweep)
    assert lines[0].startswith("removed Snakemake's lock in ")
    assert lines[1].startswith("gave up the claim of ")
    assert not held.exists()
    assert other.exists()
    assert claim.look(sweep.results) is None
    assert resumed(sweep) == []


@pytest.mark.slow
def test_processes_of_the_killed_run_are_ended_and_no_others(make_sweep: Any, started: Any) -> None:
    sweep = make_sweep()
    ours, stubborn, another = started(TOKEN), started(TOKEN, "sh", "-c", "trap '' TERM; sleep 60"), started("other")
    dead_claim(sweep.results)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distillery.workflow.resume._END_SECONDS", 1.0)
        lines = resumed(sweep)
    assert re.match(r"ended \d processes of the killed run", lines[0])
    assert str(ours.pid) in lines[0]
    assert processes_of(TOKEN) == []
    assert stubborn.poll() is not None
    assert another.poll() is None


@pytest.mark.slow
def test_with_wait_processes_come_to_their_end(make_sweep: Any, started: Any) -> None:
    sweep = make_sweep()
    process = started(TOKEN, "sh", "-c", "sleep 1; touch finished")
    dead_claim(sweep.results)
    lines = resumed(sweep, wait=True)
    assert process.poll() is not None
    assert Path("finished").exists()
    assert re.match(r"waiting for \d process", lines[0])


def test_a_run_on_another_host_is_not_declared_dead_with_its_processes(make_sweep: Any) -> None:
    sweep = make_sweep()
    dead_claim(sweep.results, worker={"host": "elsewhere"})
    os.utime(sweep.results / claim.NAME, (1.0, 1.0))
    note = {**dataclasses.asdict(this_process()), "host": "elsewhere", "since": time.time(), "job": None}
    files.write_json(notes(sweep.cells[0].outcome(sweep.results, "train"))[0], note)
    with pytest.raises(DistilleryError, match=r"train\.running: runs on elsewhere, .* --host-is-gone"):
        resumed(sweep)
    assert claim.look(sweep.results) is not None
    assert resumed(sweep, host_is_gone=True)
    assert claim.look(sweep.results) is None


def test_processes_of_another_user_are_not_taken_for_gone(make_sweep: Any) -> None:
    sweep = make_sweep()
    dead_claim(sweep.results, user="somebody else")
    note = {**dataclasses.asdict(this_process()), "since": time.time(), "job": None}
    path = notes(sweep.cells[0].outcome(sweep.results, "train"))[0]
    files.write_json(path, note)
    with pytest.raises(DistilleryError, match=rf"process {os.getpid()} .* belongs to somebody else"):
        resumed(sweep)
    assert claim.look(sweep.results) is not None
    path.unlink()
    resumed(sweep)
    assert claim.look(sweep.results) is None


def test_jobs_in_which_a_cell_failed_are_opened_again(make_sweep: Any) -> None:
    sweep = make_sweep(seeds=[0, 1], execution={"cells_per_job": 2})
    (job,) = sweep.jobs.values()
    for cell in job.cells:
        write_outcome(cell.outcome(sweep.results, "train"), key="k", started=0.0, result={})
    marker = job.outcome(sweep.results, "train")
    files.write_json(marker, {"key": sweep.job_key("train", job), "failed": [str(job.cells[0])]})
    assert resumed(sweep) == ["opened again 1 stage of jobs in which a cell failed or lost its outcome"]
    assert not marker.exists()
    assert claim.look(sweep.results) is None


def test_outcomes_that_the_killed_run_was_to_make_again_are_put_back(make_sweep: Any) -> None:
    sweep = make_sweep()
    path = sweep.cells[0].outcome(sweep.results, "train")
    write_outcome(path, key="k", started=0.0, result={})
    earlier.keep([path], forced=True)
    path.unlink()
    marks = Path.cwd() / ".snakemake" / "incomplete"
    code = base64.urlsafe_b64encode(str(path).encode()).decode()
    ours, other = marks / f"@{code[:9]}" / code[9:], marks / base64.urlsafe_b64encode(b"other.json").decode()
    for mark in (ours, other):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text("{}")
    dead_claim(sweep.results)
    assert resumed(sweep)[0] == "put back 1 outcome that the killed run was about to make again"
    assert read_outcome(path).key == "k"
    # With its mark Snakemake would make it again, or refuse to begin.
    assert not ours.exists()
    assert other.exists()
    assert earlier.kept(sweep.results) == []


def sbatch(*words: str, name: str, words_of: str = "", run: str = "sleep 120") -> str:
    """Submit a job of ours and return its id."""
    more = [f"--comment={words_of}"] if words_of else []
    given = ["sbatch", "--parsable", f"--job-name={name}", "--output=/dev/null", "--mem=50", *more, *words]
    return commands.call([*given, f"--wrap={run}"], 30.0).strip()


@pytest.fixture
def submitted(slurm: None) -> Iterator[Callable[..., str]]:
    """Submits jobs; cancels what is left of them."""
    jobs = []

    def submit(*words: str, **options: str) -> str:
        jobs.append(sbatch(*words, **options))
        return jobs[-1]

    yield submit
    commands.cancel(jobs)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def state(job: str) -> str | None:
    return commands.living([job], 30.0).get(job)


@pytest.mark.slurm
@pytest.mark.slow
def test_orphaned_jobs_are_cancelled_and_others_left_alone(make_sweep: Any, submitted: Any) -> None:
    sweep = make_sweep()
    run = f"distillery_{os.getpid()}"
    workers = claim.worker_jobs(TOKEN)
    left = [submitted(name=run), submitted("--hold", name=run), submitted(name=f"{workers}-spring-1")]
    others = [submitted(name=f"{run}x"), submitted("--hold", name=f"{claim.worker_jobs('f' * 32)}-spring-1")]
    until(lambda: state(left[0]) == state(left[2]) == state(others[0]) == "RUNNING")
    dead_claim(sweep.results, slurm=run)
    lines = resumed(sweep)
    assert lines[0] == f"cancelled 3 Slurm jobs of the killed run (1 waiting, 2 running): {', '.join(sorted(left))}"
    assert [state(job) for job in left] == [None] * 3
    assert [state(job) for job in others] == ["RUNNING", "PENDING"]
    assert not [pid for job in left for pid in slurmbox.job_processes(job)]


@pytest.mark.slurm
@pytest.mark.slow
def test_with_wait_running_jobs_come_to_their_end(make_sweep: Any, submitted: Any, tmp_path: Path) -> None:
    sweep = make_sweep()
    run = f"distillery_{os.getpid()}"
    works = submitted(name=run, run=f"sleep 3; touch {tmp_path}/finished")
    waits = submitted("--hold", name=run, run=f"touch {tmp_path}/never")
    until(lambda: state(works) == "RUNNING")
    dead_claim(sweep.results, slurm=run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distillery.workflow.resume._WAIT_SECONDS", 0.5)
        lines = resumed(sweep, wait=True)
    assert lines[0] == f"cancelled 1 Slurm job of the killed run (1 waiting, 0 running): {waits}"
    assert Path("finished").exists()
    assert not Path("never").exists()


@pytest.mark.slurm
@pytest.mark.slow
def test_a_job_on_another_node_that_works_on_a_cell_is_waited_for(
    make_sweep: Any, submitted: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_sweep().cells[0].outcome(Path("results"), "train")
    monkeypatch.setattr("distillery.workflow.outcome._FIRST_PAUSE", 0.5)
    job = submitted(name="distillery_other", run="sleep 3")
    until(lambda: state(job) == "RUNNING")
    note = {**dataclasses.asdict(this_process()), "host": "node9", "node": "node9", "job": job, "since": time.time()}
    files.write_json(notes(path)[0], note)
    with running(path):
        assert state(job) is None
    assert f"waiting for job {job} on node9, which makes {path}" in capsys.readouterr().err


@pytest.mark.slurm
@pytest.mark.slow
def test_the_real_queue_tells_status_what_waits_and_what_is_gone(make_sweep: Any, submitted: Any) -> None:
    sweep = make_sweep(seeds=[0, 1, 2])
    run = f"distillery_{os.getpid()}"
    claim.take(sweep.results)
    claim.begin(run)
    waits = submitted("--hold", name=run, words_of=comment("train", str(sweep.cells[0])))
    works = submitted(name=run, words_of=comment("train", str(sweep.cells[1])))
    until(lambda: state(works) == "RUNNING")
    for cell, job in zip(sweep.cells[1:], (works, "99999999"), strict=True):
        note = {**dataclasses.asdict(this_process()), "host": "node9", "job": job, "since": time.time(), "attempt": 1}
        files.write_json(notes(cell.outcome(sweep.results, "train"))[0], note)
    found = status(sweep)
    claim.release()
    assert [found.cells[cell]["train"].state for cell in sweep.cells] == ["queued", "running", "interrupted"]
    assert found.cells[sweep.cells[0]]["train"].job == waits


def snakemake(config: Path, *more: str, **options: Any) -> subprocess.Popen[str]:
    words = [BIN / "snakemake", "--snakefile", ROOT / "workflow/Snakefile", "--profile", ROOT / "profiles/local"]
    return subprocess.Popen(
        [*words, *more, "--configfile", config],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def ended(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    return output


@pytest.mark.workflow
@pytest.mark.slow
def test_a_second_snakemake_is_refused_and_a_killed_one_cleared_up_after(tmp_path: Path) -> None:
    config = tmp_path / "given.yaml"
    config.write_text(yaml.safe_dump({**TINY, "results": str(tmp_path / "results")}))
    target = str(tmp_path / "results/spring-2d-4b-s0/bottleneck-s0/train.json")
    (tmp_path / "elsewhere").mkdir()

    both = [snakemake(config, target), snakemake(config, target, cwd=tmp_path / "elsewhere")]
    checkpoints = tmp_path / "results/spring-2d-4b-s0/bottleneck-s0/checkpoint"
    until(lambda: list(checkpoints.glob("*.json")) or all(process.poll() is not None for process in both), 120)
    held = claim.look(tmp_path / "results")
    assert held is not None
    assert held.claim is not None
    for pid in processes_of(held.claim.token):
        if pid != held.claim.worker.pid:
            os.kill(pid, signal.SIGSTOP)  # The training shall not end before its time.
    (second,) = [process for process in both if process.poll() is not None]
    (first,) = [process for process in both if process is not second]
    for refused in (second, snakemake(config, target, cwd=held.claim.directory)):
        output = ended(refused)
        assert refused.returncode == 1
        told = [line for line in output.splitlines() if not line.startswith("Using profile")]
        assert len(told) == 1, output
        assert f"(process {held.claim.worker.pid}) since" in told[0]
    asked = snakemake(config, "--dry-run", target)
    assert "This was a dry-run" in ended(asked), "a look does no harm"

    os.kill(held.claim.worker.pid, signal.SIGKILL)
    first.wait(30)
    orphans = processes_of(held.claim.token)
    assert orphans, "the training goes on"
    refused = snakemake(config, target)
    assert "was killed, and jobs of it may go on; run distillery resume" in ended(refused)
    done = subprocess.run(
        [BIN / "distillery", "resume", "--config", config], capture_output=True, text=True, timeout=120, check=True
    )
    assert re.search(r"ended \d+ process", done.stdout)
    assert not processes_of(held.claim.token)
    ended(first)
    again = snakemake(config, target)
    output = ended(again)
    assert again.returncode == 0, output
    assert read_outcome(Path(target)).provenance["attempts"] == 2
    assert claim.look(tmp_path / "results") is None


def processes_of(token: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(claim.RUN) == token:
                found.append(process.pid)
    return found
