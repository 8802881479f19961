"""Status: every cell is shown where it is, also when its process was killed."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery import files
from distillery.cluster.slurm import commands
from distillery.cluster.slurm.commands import Job
from distillery.cluster.slurm.queue import comment
from distillery.errors import DistilleryError
from distillery.results.query import query
from distillery.util.process import this_process
from distillery.workflow import claim
from distillery.workflow.cell import STAGES
from distillery.workflow.cli import main
from distillery.workflow.outcome import notes, read_outcome, running, write_outcome
from distillery.workflow.slurm.growth import Growth
from distillery.workflow.slurm.watch import Watch
from distillery.workflow.stages.collect import collect
from distillery.workflow.status import cells_text, status, status_json, status_text
from distillery.workflow.sweep import RESOLVED
from support.fabricate import end, fabricate


@pytest.fixture
def sweep(make_sweep: Any) -> Any:
    return make_sweep(models=["bottleneck", "l1", "standard"], seeds=[0, 1])


def killed_process() -> int:
    """The number of a process that is gone."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    child.kill()
    child.wait()
    return child.pid


def note(path: Path, **changes: Any) -> None:
    content = {**dataclasses.asdict(this_process()), "since": time.time(), "attempt": 1, **changes}
    files.write_json(notes(path)[0], content)


@pytest.fixture(autouse=True)
def _no_slurm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("slurm") is None:
        monkeypatch.setattr(commands, "available", lambda: False)


def shown(sweep: Any, cell: Any) -> list[str]:
    return [state.state for state in status(sweep).cells[cell].values()]


def test_the_states_of_stages(sweep: Any) -> None:
    whole, half, diverged, failed, stale, missing = sweep.cells
    fabricate(sweep, whole)
    fabricate(sweep, half, until="interpret")
    end(sweep, diverged, "train", "diverged", "loss was NaN at step 7")
    end(sweep, failed, "distill", "failed", "every fit failed")
    fabricate(sweep, stale)
    path = stale.outcome(sweep.results, STAGES[-1])
    path.write_text(path.read_text().replace(sweep.key(STAGES[-1], stale), "0123456789abcdef"))
    assert shown(sweep, whole) == ["done"] * 6
    assert shown(sweep, half) == ["done", "done", *["missing"] * 4]
    assert shown(sweep, diverged) == ["diverged"] * 6
    assert shown(sweep, failed) == ["done", "done", *["failed"] * 4]
    assert shown(sweep, stale) == [*["done"] * 5, "stale"]
    assert shown(sweep, missing) == ["missing"] * 6
    found = status(sweep)
    assert found.counts == {"done": 1, "diverged": 1, "failed": 1, "stale": 1, "missing": 2}
    lines = status_text(found).splitlines()
    assert lines[0] == "6 cells: 1 done, 1 diverged, 1 failed, 1 stale, 2 missing"
    assert not any(line.startswith(f"{whole} ") for line in lines)
    assert any(line.startswith(f"{whole} ") for line in status_text(found, everything=True).splitlines())
    (line,) = [line for line in lines if line.startswith(f"{failed} ")]
    assert line.endswith("distill: every fit failed")


def test_a_running_stage_is_told_from_a_killed_one(sweep: Any) -> None:
    cell = sweep.cells[0]
    fabricate(sweep, cell, until="train")
    path = cell.outcome(sweep.results, "interpret")
    with running(path):
        assert shown(sweep, cell) == ["done", "running", *["missing"] * 4]
        assert status(sweep).counts["running"] == 1
        assert f"process {os.getpid()}" in status_text(status(sweep))
    assert shown(sweep, cell)[1] == "missing"
    pid = killed_process()
    note(path, pid=pid)
    assert shown(sweep, cell)[1] == "interrupted"
    assert f"its process {pid} on this host is gone" in status_text(status(sweep))


def test_a_reused_process_number_is_no_running_stage(sweep: Any) -> None:
    path = sweep.cells[0].outcome(sweep.results, "train")
    note(path, born="another")
    assert shown(sweep, sweep.cells[0])[0] == "interrupted"


def test_a_stage_on_another_host_is_believed(sweep: Any) -> None:
    note(sweep.cells[0].outcome(sweep.results, "train"), host="node7", job="4242", pid=1)
    assert shown(sweep, sweep.cells[0])[0] == "running"
    assert "train: job 4242 on node7 since" in status_text(status(sweep))
    assert "(another host; not checked)" in status_text(status(sweep))


def test_a_stage_that_broke_shows_its_reason_until_it_is_done(sweep: Any) -> None:
    cell = sweep.cells[0]

    def break_down() -> None:
        with running(cell.outcome(sweep.results, "train")):
            raise MemoryError("no room for 3 TB")

    with pytest.raises(MemoryError):
        break_down()
    assert shown(sweep, cell)[0] == "failed"
    assert "train: MemoryError: no room for 3 TB" in status_text(status(sweep))
    fabricate(sweep, cell)
    assert shown(sweep, cell) == ["done"] * 6


def test_a_failure_from_before_its_input_was_made_again_is_forgotten(sweep: Any) -> None:
    cell = sweep.cells[0]
    failure = notes(cell.outcome(sweep.results, "distill"))[1]
    files.write_json(failure, {"reason": "interpret.json: no such file", "when": time.time()})
    assert shown(sweep, cell)[2] == "failed"
    time.sleep(0.02)
    fabricate(sweep, cell, until="interpret")
    assert shown(sweep, cell) == ["done", "done", *["missing"] * 4]
    files.write_json(failure, {"reason": "out of memory", "when": time.time() + 1})
    assert shown(sweep, cell)[2] == "failed"


def test_a_killed_rerun_is_interrupted_though_its_stale_outcome_is_there(sweep: Any) -> None:
    cell = sweep.cells[0]
    fabricate(sweep, cell, until="train")
    path = cell.outcome(sweep.results, "train")
    note(path, pid=killed_process())
    assert shown(sweep, cell)[0] == "done"
    path.write_text(path.read_text().replace(sweep.key("train", cell), "0123456789abcdef"))
    assert shown(sweep, cell)[0] == "interrupted"


@pytest.mark.slow
def test_a_stage_whose_files_are_gone_is_not_done(sweep: Any) -> None:
    cell = sweep.cells[0]
    fabricate(sweep, cell)
    weights = cell.weights(sweep.results)
    weights.write_bytes(b"weights")
    result = {"steps": 1, "files": {"model.safetensors": ""}, "final_loss": 1.0, "parameters": 1}
    path = cell.outcome(sweep.results, "train")
    write_outcome(path, key=sweep.key("train", cell), started=0.0, result=result, belongings=(weights,))
    assert shown(sweep, cell) == ["done"] * 6
    weights.unlink()
    assert shown(sweep, cell) == ["missing", *["done"] * 5]
    assert "train: model.safetensors is gone; run the sweep again" in status_text(status(sweep))
    assert collect(sweep) == {"missing": len(sweep.cells)}
    assert query(sweep.results, [f"cell={cell}"], columns=["reason"]).rows == (
        ("train: model.safetensors is gone; run the sweep again",),
    )


@pytest.mark.parametrize("content", [b"", b"{", b'{"status": "ok"}', b"[1]", b'{"key": 3, "result"}\n', b"\xff\xfe"])
def test_damage_is_shown_and_breaks_nothing(sweep: Any, content: bytes) -> None:
    cell = sweep.cells[0]
    fabricate(sweep, cell)
    cell.outcome(sweep.results, "distill").write_bytes(content)
    notes(cell.outcome(sweep.results, "verify"))[0].write_bytes(content)
    assert shown(sweep, cell)[2] in ("failed", "stale")
    assert "distill: " in status_text(status(sweep))


def test_trajectories_have_states_too(sweep: Any) -> None:
    experiment = sweep.experiments[0]
    train, test = (experiment.marker(sweep.results, split) for split in ("train", "test"))

    def states() -> list[str]:
        return [state.state for state in status(sweep).trajectories[experiment].values()]

    assert states() == ["missing", "missing"]
    files.write_json(train, {"key": sweep.data_key(experiment, "train")})
    assert states() == ["missing", "missing"]
    assert "train.zarr is gone; run the sweep again" in status_text(status(sweep))
    experiment.store(sweep.results, "train").mkdir()
    files.write_json(train, {"key": sweep.data_key(experiment, "train"), "redraws": 2})
    files.write_json(test, {"key": "another"})
    assert states() == ["done", "stale"]
    assert "2 initial conditions given up and drawn again" in status_text(status(sweep), everything=True)
    splits = json.loads(status_json(status(sweep)))["trajectories"][0]["splits"]
    assert [splits[split]["redraws"] for split in ("train", "test")] == [2, None]
    note(test, pid=killed_process())
    assert states() == ["done", "interrupted"]
    train.write_text(json.dumps({"key": "x"})[:4])
    assert states() == ["failed", "interrupted"]
    assert "train.json: damaged" in status_text(status(sweep))


def queue(monkeypatch: pytest.MonkeyPatch, *jobs: Job) -> list[str | None]:
    """Put jobs in Slurm's queue; returns the users that are asked for, call by call."""
    asked = []

    def our_jobs(user: str | None = None, patience: float = 0) -> list[Job]:
        asked.append(user)
        return list(jobs)

    monkeypatch.setattr(commands, "available", lambda: True)
    monkeypatch.setattr(commands, "our_jobs", our_jobs)
    return asked


def job(number: str, state: str, words: str, run: str = "distillery_run") -> Job:
    node = "" if state == "PENDING" else "node7"
    return Job(number, number, state, node, "", words, run, Path("/somewhere"))


def slurm_run(sweep: Any) -> None:
    """Say that the sweep is run on Slurm, by this process."""
    claim.take(sweep.results)
    claim.begin("distillery_run")


def test_slurm_is_asked_once_for_all_jobs_on_other_nodes(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = queue(monkeypatch, job("41", "RUNNING", "rule_train"))
    status(sweep)
    assert asked == [], "nothing of the sweep is in the queue"
    for cell, number in zip(sweep.cells, ("41", "42", "43"), strict=False):
        note(cell.outcome(sweep.results, "train"), host="node7", node="node7", job=number, pid=1)
    assert [shown(sweep, cell)[0] for cell in sweep.cells[:3]] == ["running", "interrupted", "interrupted"]
    asked.clear()
    text = status_text(status(sweep))
    assert asked == [None]
    assert "train: job 41 on node7 since" in text
    assert "its job 42 on node7 is gone" in text


def test_what_waits_in_the_queue_is_told_from_what_is_missing(make_sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make_sweep(seeds=[0, 1, 2], execution={"cells_per_job": 2})
    pair, single = sweep.jobs.values()
    slurm_run(sweep)
    queue(
        monkeypatch,
        job("7", "PENDING", comment("train", str(pair))),
        job("8", "RUNNING", comment("train", str(single))),
        job("9", "PENDING", comment("simulate", str(sweep.experiments[0]), "test")),
    )
    found = status(sweep)
    claim.release()
    assert [found.cells[cell]["train"].state for cell in sweep.cells] == ["queued"] * 3
    assert found.cells[pair.cells[1]]["train"].job == "7"
    assert found.counts == {"queued": 3}
    lines = status_text(found).splitlines()
    assert any(line.endswith("train: job 7 waits") for line in lines)
    assert any(line.endswith("train: job 8 on node7 has not come to it yet") for line in lines)
    assert [state.state for state in found.trajectories[sweep.experiments[0]].values()] == ["missing", "queued"]


def test_the_jobs_are_those_of_the_latest_run_whatever_its_profile_changed(
    make_sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(seeds=[0, 1])
    run = sweep.config.model_dump(mode="json") | {"execution": {"cells_per_job": 2}}
    files.write_text(sweep.results / "resolved.yaml", yaml.safe_dump(run))
    slurm_run(sweep)
    queue(monkeypatch, job("7", "PENDING", comment("train", "spring-2d-4b-s0/bottleneck-s0+1")))
    found = status(sweep)
    claim.release()
    assert [found.cells[cell]["train"].state for cell in sweep.cells] == ["queued", "queued"]


def test_jobs_of_another_sweep_are_not_taken_for_its_own(make_sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make_sweep(seeds=[0, 1])
    first, second = map(str, sweep.cells)
    slurm_run(sweep)
    # The other sweep has the same cells, and was started in the same working directory.
    queue(
        monkeypatch,
        job("7", "PENDING", comment("train", first), "distillery_other"),
        job("8", "PENDING", comment("train", second), "distillery_run"),
        job("9", "RUNNING", comment("train", second), "distillery_other"),
    )
    found = status(sweep)
    claim.release()
    assert [found.cells[cell]["train"].state for cell in sweep.cells] == ["missing", "queued"]
    assert found.cells[sweep.cells[1]]["train"].job == "8"


def test_a_refusal_by_slurm_is_named_with_every_cell_of_the_job(make_sweep: Any) -> None:
    sweep = make_sweep(seeds=[0, 1], execution={"cells_per_job": 2})
    (pair,) = sweep.jobs.values()
    for cell in sweep.cells:
        fabricate(sweep, cell, until="interpret")
    watch = Watch(sweep, Growth())
    wildcards = {"experiment": str(sweep.experiments[0]), "member": str(pair).partition("/")[2]}
    watch.refused("distill", wildcards, "Requested node configuration is not available")
    watch.refused("simulate", {"experiment": str(sweep.experiments[0]), "split": "test"}, "Invalid qos specification")
    watch.refused("picture_cell", wildcards, "x")
    watch.refused("collect", {}, "x")
    found = status(sweep)
    assert [found.cells[cell]["distill"].state for cell in sweep.cells] == ["failed", "failed"]
    text = status_text(found)
    assert text.count("distill: Slurm refused the job: Requested node configuration is not available") == 2
    assert "Slurm refused the job: Invalid qos specification" in text
    fabricate(sweep, sweep.cells[0])
    assert status(sweep).counts == {"done": 1, "failed": 1}, "a later success settles it"


def test_a_slurm_that_does_not_answer_costs_a_remark(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    queue(monkeypatch)

    def fail(**_: Any) -> None:
        raise DistilleryError("squeue: Slurm did not answer in 5 s")

    monkeypatch.setattr(commands, "our_jobs", fail)
    note(sweep.cells[0].outcome(sweep.results, "train"), host="node7", job="4242", pid=1)
    found = status(sweep)
    assert found.cells[sweep.cells[0]]["train"].state == "running"
    assert "jobs on other nodes are not checked: squeue: Slurm did not answer" in status_text(found)
    assert json.loads(status_json(found))["remark"].startswith("squeue: Slurm did not answer")


def test_attempts_are_counted_over_failures_and_kills(sweep: Any) -> None:
    cell = sweep.cells[0]
    path = cell.outcome(sweep.results, "train")

    def fail() -> None:
        with running(path):
            raise MemoryError("no room")

    with pytest.raises(MemoryError):
        fail()
    assert status(sweep).cells[cell]["train"].attempts == 1
    with running(path):
        state = status(sweep).cells[cell]["train"]
        assert (state.state, state.attempts, state.error) == ("running", 2, "MemoryError: no room")
        assert "attempt 2 (before: MemoryError: no room)" in status_text(status(sweep))
    with pytest.raises(MemoryError):
        fail()
    note(path, pid=killed_process(), attempt=2)
    with running(path) as started:
        state = status(sweep).cells[cell]["train"]
        assert state.attempts == 3
        assert state.error.startswith("attempt 2 was killed (process ")
        write_outcome(path, key=sweep.key("train", cell), started=started, result={})
    assert read_outcome(path).provenance["attempts"] == 3
    assert not any(file.exists() for file in notes(path))


def test_a_cell_in_full(sweep: Any) -> None:
    cell = sweep.cells[0]
    fabricate(sweep, cell, until="train")
    log = sweep.job_of(cell).log(sweep.results, "interpret")
    note(cell.outcome(sweep.results, "interpret"), host="node7", node="node7", job="4242", pid=1, attempt=3)
    text = cells_text(status(sweep, [cell]))
    (line,) = [line for line in text.splitlines() if line.startswith("interpret ")]
    assert line.split()[:5] == ["interpret", "running", "3", "4242", "node7"]
    assert line.endswith(f"log {log}")
    (row,) = json.loads(status_json(status(sweep, [cell])))["cells"]
    assert row["state"] == "running"
    assert row["stages"]["train"]["state"] == "done"
    assert row["stages"]["train"]["attempts"] == 1
    assert row["stages"]["interpret"]["log"] == str(log)
    assert row["stages"]["interpret"]["since"].endswith("+00:00")
    assert row["stages"]["verify"] == {
        "state": "missing",
        "reason": "",
        **dict.fromkeys(("attempts", "job", "node", "since", "error", "log")),
    }


def test_the_run_is_told(sweep: Any) -> None:
    slurm_run(sweep)
    assert f"run by root on {this_process().host} (process {os.getpid()}) since" in status_text(status(sweep)).replace(
        getpass.getuser(), "root"
    )
    path = sweep.results / claim.NAME
    files.write_json(path, {**json.loads(path.read_text()), "born": "another"})
    assert "was killed, and jobs of it may go on; run distillery resume" in status_text(status(sweep))
    claim.release()
    assert status(sweep).run == ""


@pytest.mark.slow
def test_the_status_of_a_results_folder_that_was_moved(
    sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder is enough: by the configuration of its run, or by that of its store."""

    def run(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["status", *arguments])
        return ended.value.code, *capsys.readouterr()

    for cell in sweep.cells[:2]:
        fabricate(sweep, cell)
    collect(sweep)
    counts = "6 cells: 2 done, 4 missing"
    moved = sweep.results.rename(tmp_path / "moved")
    capsys.readouterr()
    code, out, _ = run("--results", str(moved))
    assert (code, out.splitlines()[0]) == (0, counts)
    (moved / RESOLVED).write_text(yaml.safe_dump(sweep.config.model_dump(mode="json")), encoding="utf-8")
    shutil.rmtree((moved / "sweep.zarr").resolve())
    code, out, _ = run("--results", str(moved), str(sweep.cells[0]))
    assert (code, out.splitlines()[0]) == (0, f"{sweep.cells[0]}: done")
    code, _, err = run("--results", str(moved), "--config", str(moved / RESOLVED))
    assert (code, err.count("\n")) == (1, 1)
    assert "leave out --config or --results" in err
    code, _, err = run("--results", str(tmp_path / "nowhere"))
    assert (code, err.count("\n")) == (1, 1)
    assert "is no results folder" in err
