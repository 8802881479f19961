"""Distillation with processes: limits, crashes, the Dask cluster, resuming."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from distillery.cluster.dask.cluster import Cluster
from distillery.errors import DistilleryError
from distillery.networks.functions import feature_names
from distillery.symbolic.child import _FOLDER, Child, _sweep_up
from distillery.symbolic.engine import Problem
from distillery.symbolic.fits import FitLost
from distillery.symbolic.settings import OperonSettings
from distillery.workflow.cell import Cell
from distillery.workflow.cell_problems import cell_problems
from distillery.workflow.config import parse_config
from distillery.workflow.outcome import finished, notes, read_outcome
from distillery.workflow.stages.distill import distill
from distillery.workflow.sweep import Sweep
from support.fakepysr import FakePysr, prepared
from support.spring_messages import QUICK, messages, spring

TOKEN = "DISTILLERY_TEST_TOKEN"


@pytest.fixture
def child() -> Iterator[Child]:
    one = Child()
    yield one
    one.close()
    assert not fitting()


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mark the processes of this test, because others may fit on this machine."""
    monkeypatch.setenv(TOKEN, uuid.uuid4().hex)


def fitting() -> list[int]:
    """Return the fitting processes of this test that are alive."""
    return [process.pid for process in psutil.process_iter() if fits_for_this_test(process)]


def fits_for_this_test(process: psutil.Process) -> bool:
    try:
        return "distillery.symbolic.child" in process.cmdline() and process.environ().get(TOKEN) == os.environ[TOKEN]
    except psutil.Error:
        return False


def comparable(sweep: Sweep, cell: Cell) -> Any:
    """Return the outcome of a distillation without times."""
    result = read_outcome(cell.outcome(sweep.results, "distill"), key=sweep.key("distill", cell)).result
    for component in result["components"]:
        component.pop("seconds")
    return result


@pytest.mark.slow
def test_a_fit_in_a_process_repeats_and_the_process_is_reused(child: Child) -> None:
    task = spring(operon=OperonSettings(population=40, generations=3))
    first = child.fit(task)
    process = fitting()
    second = child.fit(task)
    assert first.status == "ok"
    assert first.front == second.front
    assert first.chosen == second.chosen
    assert fitting() == process


@pytest.mark.slow
def test_files_of_the_user_take_the_place_of_no_library(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "string", "queue", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user')\n")
    monkeypatch.chdir(tmp_path)
    result = child.fit(spring(operon=OperonSettings(population=20, generations=1)))
    assert result.status == "ok", result.reason


@pytest.mark.slow
def test_a_fit_over_its_time_is_killed_and_keeps_its_best_front(child: Child) -> None:
    endless = OperonSettings(population=50, generations=10_000_000)
    result = child.fit(spring(seconds=4.0, operon=endless))
    assert result.status == "timed_out"
    assert "limit of 4 s" in result.reason
    assert result.front
    assert result.chosen is not None
    assert not fitting()


@pytest.mark.slow
def test_a_fit_over_its_memory_is_killed(child: Child) -> None:
    # A population of gigabytes.
    result = child.fit(spring(memory_mb=256, operon=OperonSettings(population=3_000_000, generations=1000)))
    assert result.status == "lost"
    assert "limit of 256 MB, before it had a front" in result.reason
    assert not fitting()


@pytest.mark.slow
def test_a_crash_is_no_result_and_the_next_fit_works(child: Child) -> None:
    def kill() -> None:
        while not fitting():
            time.sleep(0.01)
        os.kill(fitting()[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(FitLost, match="SIGKILL"):
        child.fit(spring(operon=OperonSettings(population=50, generations=10_000_000)))
    killer.join()
    assert child.fit(spring(operon=OperonSettings(population=50, generations=3))).status == "ok"


@pytest.mark.slow
def test_an_error_in_a_fit_is_its_reason(child: Child) -> None:
    nameless = dataclasses.replace(spring(), names=("dx",))
    result = child.fit(nameless)
    assert result.status == "failed"
    assert result.reason.startswith("ValueError: zip()")


@pytest.mark.slow
def test_a_fit_dies_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            sys.path.insert(0, sys.argv[1])
            from support.spring_messages import spring
            from distillery.symbolic.settings import OperonSettings
            from distillery.symbolic.child import _FOLDER, Child, _sweep_up
            Child().fit(spring(operon=OperonSettings(population=50, generations=10_000_000)))
            """
        )
    )
    parent = subprocess.Popen([sys.executable, str(script), str(Path(__file__).parents[1])])
    wait_for(lambda: bool(fitting()))
    parent.kill()
    parent.wait()
    wait_for(lambda: not fitting())


def test_what_a_killed_fit_left_is_removed_unless_another_machine_may_own_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("psutil.pid_exists", lambda pid: pid == os.getpid())
    left, lives, elsewhere = (
        tmp_path / name for name in (f"{_FOLDER}41-x", f"{_FOLDER}{os.getpid()}-x", "distillery-fit-00000000-41-x")
    )
    for folder in (left, lives, elsewhere):
        folder.mkdir()
    _sweep_up()
    assert sorted(tmp_path.iterdir()) == sorted([lives, elsewhere])


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_statuses_pass_and_a_missing_cell_stops_no_other(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(distillation=QUICK, models=["bottleneck", "l1", "standard"], execution={"cells_per_job": 3})
    diverged, missing, other = sweep.cells
    messages(sweep, diverged, status="diverged")
    messages(sweep, other, status="diverged")
    distill(sweep, sweep.cells)
    for cell in (diverged, other):
        outcome = read_outcome(cell.outcome(sweep.results, "distill"), key=sweep.key("distill", cell))
        assert (outcome.status, outcome.reason) == ("diverged", "loss is not finite")
    outcome = read_outcome(missing.outcome(sweep.results, "distill"), key=sweep.key("distill", missing))
    assert outcome.status == "failed"
    assert "l1-s0/interpret.json: no such file" in outcome.reason
    assert not any(note.exists() for note in notes(missing.outcome(sweep.results, "distill")))
    messages(sweep, missing, status="diverged")
    distill(sweep, sweep.cells)
    assert read_outcome(missing.outcome(sweep.results, "distill")).status == "diverged", "a failure is tried again"


def test_damaged_messages_are_named(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(distillation=QUICK)
    (cell,) = sweep.cells
    messages(sweep, cell)
    path = cell.messages(sweep.results)
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, "mass": arrays["mass"][:-1]})
    with pytest.raises(DistilleryError, match=r"messages\.npz: written by another version"):
        cell_problems(sweep, cell)
    np.savez(path, **{**arrays, "message": arrays["message"] * np.nan})
    with pytest.raises(DistilleryError, match=r"messages\.npz: holds values that are not finite"):
        cell_problems(sweep, cell)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DistilleryError, match=r"messages\.npz: damaged .*interpret\.json and run"):
        cell_problems(sweep, cell)
    with pytest.raises(DistilleryError, match=r"messages\.npz: missing or damaged"):
        distill(sweep, sweep.cells)
    assert not cell.outcome(sweep.results, "distill").exists(), "it is tried again"


def test_features_that_are_the_same_everywhere_are_not_offered(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(distillation=QUICK)
    (cell,) = sweep.cells
    messages(sweep, cell)
    path = cell.messages(sweep.results)
    assert cell_problems(sweep, cell)["message", 0].names == feature_names(2)
    with np.load(path) as stored:
        arrays = dict(stored)
    chargeless, equal = np.zeros_like(arrays["charge"]), np.ones_like(arrays["mass"])
    np.savez(path, **{**arrays, "charge": chargeless})
    problem = cell_problems(sweep, cell)["message", 0]
    assert problem.names == ("dx", "dy", "r", "m1", "m2")
    assert problem.features.shape[1] == problem.held_out_features.shape[1] == 5
    np.savez(path, **{**arrays, "mass": equal})
    assert cell_problems(sweep, cell)["message", 0].names == ("dx", "dy", "r", "q1", "q2")


def test_nothing_starts_without_the_engine(make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make_sweep(distillation={**QUICK, "engine": "pysr"})
    monkeypatch.setattr("distillery.symbolic.pysr.missing", lambda: "julia is not on the PATH")
    with pytest.raises(DistilleryError, match=r"pysr cannot run here, julia is not on the PATH"):
        distill(sweep, sweep.cells)
    assert not sweep.results.exists()


@pytest.mark.slow
def test_cells_are_distilled_on_a_cluster_and_kept_fits_are_not_repeated(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(distillation=QUICK, models=["bottleneck", "l1"], execution={"cells_per_job": 2})
    for seed, cell in enumerate(sweep.cells):
        messages(sweep, cell, seed)
    distill(sweep, sweep.cells)
    assert not fitting()
    found = [comparable(sweep, cell) for cell in sweep.cells]
    for result in found:
        assert (result["engine"], result["reading"]) == ("operon", "std")
        assert [component["status"] for component in result["components"]] == ["ok", "ok"]
    kept = sorted((sweep.results / "fits").glob("*.json"))
    assert len(kept) == 4
    times = [path.stat().st_mtime_ns for path in kept]
    for cell in sweep.cells:
        cell.outcome(sweep.results, "distill").unlink()
    kept[0].unlink()
    distill(sweep, sweep.cells)
    assert [comparable(sweep, cell) for cell in sweep.cells] == found
    assert [path.stat().st_mtime_ns for path in kept[1:]] == times[1:]
    assert kept[0].exists()


@pytest.mark.slow
def test_a_running_cluster_is_used_and_left_clean(make_sweep: Callable[..., Sweep]) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as local:
        dask = {"cluster": "address", "address": local.scheduler_address}
        sweep = make_sweep(distillation=QUICK, execution={"dask": dask})
        (cell,) = sweep.cells
        messages(sweep, cell)
        distill(sweep, sweep.cells)
        assert not fitting()
        assert len(local.workers) == 1
    assert [c["status"] for c in comparable(sweep, cell)["components"]] == ["ok", "ok"]


@pytest.mark.slow
def test_a_fit_whose_process_is_killed_is_tried_again(
    make_sweep: Callable[..., Sweep], tmp_path: Path, fake: FakePysr, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two crashes of two fits change nothing; fits that crash every time leave the cell open, with a reason."""
    crashes = tmp_path / "crashes"
    crashes.mkdir()
    monkeypatch.setenv("FAKE_CRASHES", str(crashes))
    prepared(tmp_path / "depot")
    sweep = make_sweep(
        distillation={**QUICK, "engine": "pysr", "pysr": {"iterations": 3}},
        execution={"julia_depot": str(tmp_path / "depot")},
    )
    (cell,) = sweep.cells
    messages(sweep, cell)
    path, key = cell.outcome(sweep.results, "distill"), sweep.key("distill", cell)
    for number in range(30):
        (crashes / f"{number:02}").write_text("SIGKILL")
    distill(sweep, sweep.cells)
    outcome = read_outcome(path, key=key)
    assert outcome.status == "failed"
    assert (
        "not fitted (message 0 by pysr, message 1 by pysr): the fitting process ended (signal SIGKILL)"
        in outcome.reason
    )
    assert "in each of 4 tries" in outcome.reason
    assert not finished(path, key)
    assert not list((sweep.results / "fits").glob("*.json"))
    for left in sorted(crashes.glob("*"))[2:]:
        left.unlink()
    distill(sweep, sweep.cells)
    outcome = read_outcome(path, key=key)
    assert (outcome.status, outcome.reason) == ("ok", "")
    assert [component["status"] for component in outcome.result["components"]] == ["ok", "ok"]


@pytest.mark.slow
def test_a_cell_with_one_lost_fit_is_open_and_its_other_fits_are_kept(
    make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(distillation={**QUICK, "functions": ["message", "node"]})
    (cell,) = sweep.cells
    messages(sweep, cell)
    lost: list[str] = []

    def results(_: Any, function: Any, tasks: Any) -> Iterator[tuple[str, Any]]:
        for key, task in tasks.items():
            if not lost:
                lost.append(key)
                yield key, FitLost("the fitting process ended (signal SIGKILL)")
            else:
                yield key, function(task)

    monkeypatch.setattr(Cluster, "results", results)
    monkeypatch.setattr("distillery.workflow.cell_distillation.cell_problems", lambda *_: two_problems(sweep))
    distill(sweep, sweep.cells)
    path, key = cell.outcome(sweep.results, "distill"), sweep.key("distill", cell)
    assert read_outcome(path).status == "failed"
    assert len(list((sweep.results / "fits").glob("*.json"))) == 1
    assert not finished(path, key)
    distill(sweep, sweep.cells)
    assert read_outcome(path, key=key).status == "ok"


def two_problems(sweep: Sweep) -> dict[tuple[str, int], Problem]:
    settings = sweep.config.distillation.model_dump()
    return {("message", number): spring(**{**settings, "seed": number}) for number in range(2)}


SCRIPT = """
import sys
from pathlib import Path
from distillery.workflow.config import load_config
from distillery.workflow.stages.distill import distill
from distillery.workflow.sweep import Sweep

if __name__ == "__main__":
    sweep = Sweep(load_config(Path(sys.argv[1])), Path(sys.argv[2]))
    distill(sweep, sweep.cells)
"""


INTERRUPTED: dict[str, Any] = {
    "experiments": [{"system": "spring", "simulations": 64, "test_simulations": 16, "snapshots": 10}],
    "models": ["bottleneck", "l1"],
    "distillation": {**QUICK, "operon": {"population": 100, "generations": 10, "max_length": 10}},
    "execution": {"cells_per_job": 2},
}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Return a sweep that was distilled without interruption."""
    sweep = Sweep(parse_config(INTERRUPTED), tmp_path_factory.mktemp("unbroken"))
    for seed, cell in enumerate(sweep.cells):
        messages(sweep, cell, seed)
    distill(sweep, sweep.cells)
    return sweep


@pytest.mark.slow
@pytest.mark.parametrize("blow", ["SIGKILL", "SIGINT", "worker"])
def test_interrupted_distilling_goes_on_where_it_was(blow: str, unbroken: Sweep, tmp_path: Path) -> None:
    sweep = Sweep(unbroken.config, tmp_path / "results")
    config, script = tmp_path / "config.yaml", tmp_path / "run.py"
    config.write_text(json.dumps(INTERRUPTED))
    script.write_text(SCRIPT)
    for seed, cell in enumerate(sweep.cells):
        messages(sweep, cell, seed)

    def start() -> subprocess.Popen[bytes]:
        # Tests that a shell runs in the background ignore Ctrl-C; these processes must not inherit that.
        program = ["env", "--default-signal=INT", sys.executable, str(script), str(config), str(sweep.results)]
        return subprocess.Popen(program, start_new_session=True)

    kept = sweep.results / "fits"
    process = start()
    if blow == "worker":
        wait_for(lambda: bool(fitting()))
        os.kill(psutil.Process(fitting()[0]).ppid(), signal.SIGKILL)
        assert process.wait(120) == 0
    else:
        wait_for(lambda: kept.exists() and any(kept.glob("*.json")))
        os.killpg(process.pid, getattr(signal, blow))
        assert process.wait(60) != 0
        wait_for(lambda: not fitting())
        done = {path: path.stat().st_mtime_ns for path in kept.glob("*.json")}
        assert not all(cell.outcome(sweep.results, "distill").exists() for cell in sweep.cells)
        if blow == "SIGINT":
            assert not list(sweep.results.rglob("*.running"))
        assert start().wait(120) == 0
        assert done == {path: path.stat().st_mtime_ns for path in done}
    assert not fitting()
    assert len(list(kept.glob("*.json"))) == 4
    for cell in sweep.cells:
        assert comparable(sweep, cell) == comparable(unbroken, cell)
