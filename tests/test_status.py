"""Status: every cell is shown where it is, also when its process was killed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distillery import files
from distillery.collect.query import query
from distillery.collect.run import collect
from distillery.collect.status import status, status_text
from distillery.outcome import notes, running, write_outcome
from fabricate import end, fabricate


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
    content = {"host": platform.node(), "pid": os.getpid(), "job": None, "since": time.time(), **changes}
    files.write_json(notes(path)[0], content)


def shown(sweep: Any, cell: Any) -> list[str]:
    return [state.state for state in status(sweep).cells[cell].values()]


def test_the_states_of_stages(sweep: Any) -> None:
    whole, half, diverged, failed, stale, missing = sweep.cells
    fabricate(sweep, whole)
    fabricate(sweep, half, until="interpret")
    end(sweep, diverged, "train", "diverged", "loss was NaN at step 7")
    end(sweep, failed, "distill", "failed", "every fit failed")
    fabricate(sweep, stale)
    path = stale.outcome(sweep.results, "verify")
    path.write_text(path.read_text().replace(sweep.key("verify", stale), "0123456789abcdef"))
    assert shown(sweep, whole) == ["done"] * 4
    assert shown(sweep, half) == ["done", "done", "missing", "missing"]
    assert shown(sweep, diverged) == ["diverged"] * 4
    assert shown(sweep, failed) == ["done", "done", "failed", "failed"]
    assert shown(sweep, stale) == ["done", "done", "done", "stale"]
    assert shown(sweep, missing) == ["missing"] * 4
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
        assert shown(sweep, cell) == ["done", "running", "missing", "missing"]
        assert status(sweep).counts["running"] == 1
        assert f"process {os.getpid()}" in status_text(status(sweep))
    assert shown(sweep, cell)[1] == "missing"
    pid = killed_process()
    note(path, pid=pid)
    assert shown(sweep, cell)[1] == "interrupted"
    assert f"its process {pid} is gone" in status_text(status(sweep))


def test_a_reused_process_number_is_no_running_stage(sweep: Any) -> None:
    path = sweep.cells[0].outcome(sweep.results, "train")
    note(path, since=time.time() - 10 * 365 * 86400)
    assert shown(sweep, sweep.cells[0])[0] == "interrupted"


def test_a_stage_on_another_host_is_believed(sweep: Any) -> None:
    note(sweep.cells[0].outcome(sweep.results, "train"), host="node7", job="4242", pid=1)
    assert shown(sweep, sweep.cells[0])[0] == "running"
    assert "on node7, job 4242 since" in status_text(status(sweep))


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
    assert shown(sweep, cell) == ["done"] * 4


def test_a_failure_from_before_its_input_was_made_again_is_forgotten(sweep: Any) -> None:
    cell = sweep.cells[0]
    failure = notes(cell.outcome(sweep.results, "distill"))[1]
    files.write_json(failure, {"reason": "interpret.json: no such file", "when": time.time()})
    assert shown(sweep, cell)[2] == "failed"
    time.sleep(0.02)
    fabricate(sweep, cell, until="interpret")
    assert shown(sweep, cell) == ["done", "done", "missing", "missing"]
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


def test_a_stage_whose_files_are_gone_is_not_done(sweep: Any) -> None:
    cell = sweep.cells[0]
    fabricate(sweep, cell)
    weights = cell.weights(sweep.results)
    weights.write_bytes(b"weights")
    result = {"steps": 1, "files": {"model.safetensors": ""}, "final_loss": 1.0, "parameters": 1}
    path = cell.outcome(sweep.results, "train")
    write_outcome(path, key=sweep.key("train", cell), started=0.0, result=result, belongings=(weights,))
    assert shown(sweep, cell) == ["done"] * 4
    weights.unlink()
    assert shown(sweep, cell) == ["missing", "done", "done", "done"]
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
    files.write_json(test, {"key": "another"})
    assert states() == ["done", "stale"]
    note(test, pid=killed_process())
    assert states() == ["done", "interrupted"]
    train.write_text(json.dumps({"key": "x"})[:4])
    assert states() == ["failed", "interrupted"]
    assert "train.json: damaged" in status_text(status(sweep))
