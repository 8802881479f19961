"""The PySR engine, with a replacement if Julia is missing: arguments, fits and their limits, comparison."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from distillery.errors import DistilleryError
from distillery.physics import formula
from distillery.results.query import query
from distillery.symbolic import child as child_module
from distillery.symbolic import fits, julia, operon, pysr, signature
from distillery.symbolic.child import Child
from distillery.symbolic.engine import require
from distillery.symbolic.settings import DistillationSettings, PysrSettings
from distillery.workflow import stored_fits
from distillery.workflow.config import parse_config
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stages.collect import collect
from distillery.workflow.stages.distill import distill
from distillery.workflow.stages.verify import verify
from distillery.workflow.sweep import Sweep
from support import orbits
from support.fakepysr import SMALL, FakePysr, prepared, problem
from support.spring_messages import QUICK, messages

ALL = ("+", "-", "*", "/", ">", "<", "^", "exp", "log", "if")


def test_parameters_that_pysr_does_not_know_are_named_without_importing_it(fake: FakePysr) -> None:
    assert pysr.missing() is None
    fake.write("pysr/sr.py", (fake.site / "pysr/sr.py").read_text().replace("maxsize=30", "max_size=30"))
    fake.write("pysr/export_sympy.py", 'sympy_mappings = {"exp": 1, "log": 2, "greater": 3, "less": 4}\n')
    reason = pysr.missing()
    assert reason is not None
    assert "PySR 2.7.2 does not support the parameter maxsize, the operator cond" in reason
    with pytest.raises(DistilleryError, match=r"pysr cannot run here, PySR 2\.7\.2 does not support .*engine: operon"):
        require(DistillationSettings(engine="pysr"))
    assert "pysr" not in sys.modules


@pytest.mark.parametrize("source", ["class Other:\n    pass\n", "class PySRRegressor(:\n", None])
def test_a_pysr_that_cannot_be_read_is_refused(fake: FakePysr, source: str | None) -> None:
    path = fake.site / "pysr/sr.py"
    path.unlink() if source is None else path.write_text(source)
    assert "cannot be checked" in str(pysr.missing())


def test_the_installed_pysr_knows_all_that_is_passed() -> None:
    if importlib.util.find_spec("pysr") is None:
        pytest.skip("the Python package pysr is not installed")
    assert pysr.missing() is None
    folder = signature.source()
    assert folder is not None
    assert signature.unknown(folder, ["niter"], ["Z"], ["bad"], "L9()") == [
        "the parameter niter",
        "the argument Z of fit",
        "the operator bad",
        "the loss L9()",
    ]
    assert "pysr" not in sys.modules


@pytest.mark.slow
def test_a_fit_runs_offline_from_the_depot_in_a_process_without_torch(
    fake: FakePysr, child: Child, tmp_path: Path
) -> None:
    depot = tmp_path / "depot"
    result = child.fit(problem(depot))
    assert (result.status, result.reason) == ("ok", "")
    assert result.front[-1].mae < 1e-6
    note = fake.notes("given")[-1]
    made = julia.read_marker(depot)
    assert made is not None
    wanted = {
        "JULIA_DEPOT_PATH": str(depot),
        "JULIA_CPU_TARGET": "generic",
        "JULIA_PKG_OFFLINE": "true",
        "JULIA_NUM_THREADS": "1",
        "PYTHON_JULIAPKG_OFFLINE": "yes",
        "PYTHON_JULIAPKG_PROJECT": str(julia.project(depot)),
        "PYTHON_JULIACALL_EXE": made.executable,
        "PYTHON_JULIACALL_PROJECT": str(julia.project(depot)),
        "PYTHON_JULIACALL_THREADS": "1",
        "PYTHON_JULIACALL_HANDLE_SIGNALS": "yes",
    }
    assert {name: note["environment"].get(name) for name in wanted} == wanted
    assert not note["torch"]
    given = note["given"]
    assert (given["parallelism"], given["deterministic"], given["guesses"]) == ("serial", True, None)
    assert note["pid"] != os.getpid()


@pytest.mark.slow
def test_the_process_that_runs_julia_imports_no_torch() -> None:
    command = "import sys, distillery.symbolic.child, distillery.symbolic.pysr; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.mark.slow
def test_threads_are_the_workers_cores_where_many_are_asked_for(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLERY_WORKER_CORES", "6")
    child.fit(problem(tmp_path / "depot"))
    assert fake.notes("given")[-1]["environment"]["PYTHON_JULIACALL_THREADS"] == "1"
    many = SMALL.model_copy(update={"parallelism": "multithreading"})
    child.fit(problem(tmp_path / "depot", pysr=many))
    note = fake.notes("given")[-1]
    assert note["environment"]["PYTHON_JULIACALL_THREADS"] == note["environment"]["JULIA_NUM_THREADS"] == "6"
    assert note["environment"]["OMP_NUM_THREADS"] == "1"
    assert (note["given"]["parallelism"], note["given"]["deterministic"]) == ("multithreading", False)


@pytest.mark.slow
def test_starting_and_compiling_do_not_count_as_the_fits_time(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_IMPORT", "0.6")
    monkeypatch.setenv("FAKE_COMPILE", "0.6")
    result = child.fit(problem(tmp_path / "depot", seconds=1.0))
    assert result.status == "ok"
    assert result.seconds < 1.0
    first, second = fake.notes("given")
    assert first["given"]["niterations"] == 1
    assert first["shape"] == second["shape"]
    assert first["given"]["binary_operators"] == second["given"]["binary_operators"]
    child.fit(problem(tmp_path / "depot", seconds=1.0))
    assert len(fake.notes("given")) == 3, "a process that is warm is not warmed again"


@pytest.mark.slow
def test_a_start_without_end_is_a_failure_of_its_own(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_IMPORT", "60")
    monkeypatch.setattr(child_module, "_STARTING", 1.5)
    result = child.fit(problem(tmp_path / "depot"))
    assert result.status == "lost"
    assert result.reason.startswith("pysr was not loaded and compiled within 1.5 s")


@pytest.mark.slow
def test_a_limit_shorter_than_the_start_keeps_fronts_and_the_process(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_COMPILE", "1.5")
    monkeypatch.setenv("FAKE_FIT", "60")
    for _ in range(3):
        result = child.fit(problem(tmp_path / "depot", seconds=1.0))
        assert (result.status, result.reason) == ("timed_out", "stopped by PySR at its limit of 1 s")
        assert len(result.front) >= 2
    notes = fake.notes("given")
    assert len({note["pid"] for note in notes}) == 1
    assert [note["given"]["niterations"] == 1 for note in notes] == [True, False, False, False], "compiled once"


@pytest.mark.slow
def test_a_fit_that_hears_nothing_is_killed_and_keeps_its_hall_of_fame(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FAKE_DEAF", "FAKE_DEAF_TO_TIME"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("FAKE_FIT", "60")
    monkeypatch.setattr(pysr, "_OVERTIME", 0.2)
    result = child.fit(problem(tmp_path / "depot", seconds=0.5))
    assert (result.status, result.reason) == ("timed_out", "killed at its limit of 0.5 s")
    assert len(result.front) >= 2
    assert result.found == ("dx", "dx * 1.5f0", "(dx * 0.6) + 0.1")
    assert not psutil.pid_exists(fake.notes("given")[-1]["pid"])


@pytest.mark.slow
def test_a_fit_with_more_time_goes_on_from_the_front_that_was_kept(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FIT", "60")
    monkeypatch.setenv("FAKE_DEAF_TO_TIME", "1")
    monkeypatch.setattr(pysr, "_OVERTIME", 0.2)
    short = problem(tmp_path / "depot", seconds=0.5)
    key, path = stored_fits.fit_key(short), tmp_path / "fit.json"
    assert stored_fits.earlier_front(path, key) == ()
    stored_fits.keep_fit(path, key, short.settings, child.fit(short))
    kept = stored_fits.load_fit(path, key, short.settings)
    assert kept is not None
    assert kept.found
    long = problem(tmp_path / "depot", seconds=60.0)
    assert stored_fits.fit_key(long) == key
    assert stored_fits.load_fit(path, key, long.settings) is None
    assert stored_fits.earlier_front(path, "another") == ()
    monkeypatch.setenv("FAKE_FIT", "0")
    long = dataclasses.replace(long, guesses=stored_fits.earlier_front(path, key))
    assert stored_fits.fit_key(long) == key
    result = child.fit(long)
    assert fake.notes("given")[-1]["given"]["guesses"] == ["dx", "dx * 1.5f0", "(dx * 0.6) + 0.1"]
    assert (result.status, result.guesses, result.found) == ("ok", 3, ())
    stored_fits.keep_fit(path, key, long.settings, result)
    assert stored_fits.earlier_front(path, key) == ()
    again = stored_fits.load_fit(path, key, long.settings)
    assert again is not None
    assert again.guesses == 3


@pytest.mark.slow
def test_guesses_that_are_refused_do_not_cost_the_fit(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_NO_GUESSES", "1")
    result = child.fit(dataclasses.replace(problem(tmp_path / "depot"), guesses=("dx +",)))
    assert (result.status, result.guesses) == ("ok", 0)


def test_pysr_gets_the_papers_parameters() -> None:
    given = pysr.parameters(DistillationSettings(engine="pysr", operators=ALL), Path("somewhere"))
    assert given["binary_operators"] == ["+", "-", "*", "/", "greater", "less", "^", "cond"]
    assert given["unary_operators"] == ["exp", "log"]
    assert given["complexity_of_operators"] == {"^": 3, "exp": 3, "log": 3, "cond": 3}
    assert given["elementwise_loss"] == "L1DistLoss()"
    assert (given["parallelism"], given["deterministic"]) == ("serial", True)
    assert given["timeout_in_seconds"] == DistillationSettings().seconds
    other = pysr.parameters(DistillationSettings(engine="pysr", operators=ALL), Path("elsewhere"))
    assert given["random_state"] == other["random_state"]


@pytest.mark.parametrize("operators", [("+", "-", "*", "/"), ("+",), ("exp", "log"), ALL])
def test_no_argument_of_pysr_is_an_empty_mapping_or_list_but_its_binary_operators(operators: tuple[Any, ...]) -> None:
    given = pysr.parameters(DistillationSettings(engine="pysr", operators=operators), Path("somewhere"))
    assert {name for name, value in given.items() if value in ({}, [], ())} <= {"binary_operators"}
    # PySR replaces missing binary operators by + - * /.
    assert "binary_operators" in given


def test_pysr_compares_expressions_on_all_samples_unless_a_batch_is_chosen() -> None:
    assert pysr.parameters(DistillationSettings(engine="pysr"), Path())["batching"] is False
    chosen = DistillationSettings(engine="pysr", pysr=PysrSettings(batch=500))
    given = pysr.parameters(chosen, Path())
    assert (given["batching"], given["batch_size"]) == (True, 500)


def test_too_little_memory_for_julia_is_refused() -> None:
    with pytest.raises(ValueError, match=r"memory_mb: 600 is too little for pysr, set 1000 or more"):
        DistillationSettings(engine="pysr", memory_mb=600)
    with pytest.raises(ValueError, match="memory_mb"):
        DistillationSettings(compare=("pysr",), memory_mb=999)
    assert DistillationSettings(memory_mb=600).memory_mb == 600
    content = {"experiments": [{"system": "spring"}], "models": ["l1"], "execution": {"dask": {"memory_mb": 1000}}}
    with pytest.raises(DistilleryError, match=r"execution\.dask\.memory_mb: 1000 is too little .*set 1120 or more"):
        parse_config({**content, "distillation": {"engine": "pysr"}})
    assert parse_config(content).execution.dask.memory_mb == 1000


def test_data_far_from_one_are_scaled_for_pysr_and_expressions_scaled_back() -> None:
    """Gravity in SI units, from an expression that PySR would find in scaled data."""
    rng = np.random.default_rng(0)
    dx = 1e11 * rng.normal(size=300)
    r = 1.3 * np.abs(dx) + 1e10
    mass = 1e24 * np.exp(rng.normal(size=300))
    force = -6.7e-11 * dx * mass / r**3
    columns = {"dx": dx, "r": r, "m2": mass, "q2": rng.choice([-1.0, 1.0], 300)}
    table = np.column_stack(list(columns.values()))
    task = dataclasses.replace(
        problem(), names=tuple(columns), features=table, target=force, held_out_features=table, held_out_target=force
    )
    scales = pysr.Scales.of(task)
    assert set(scales.features) == {"dx", "r", "m2"}, "charges are of order one and stay"
    inputs = {name: column / scales.features.get(name, 1.0) for name, column in columns.items()}
    target = force / scales.target
    for values in (*inputs.values(), target):
        assert 1 / 8 <= np.median(np.abs(values)) <= 8
    (constant,) = np.linalg.lstsq((inputs["dx"] * inputs["m2"] / inputs["r"] ** 3)[:, None], target, rcond=None)[0]
    (text,) = pysr.translated([f"({constant} * dx * m2) / (r * r * r)"], scales)
    np.testing.assert_allclose(formula.evaluate(formula.parse(text, tuple(columns)), columns), force, rtol=1e-12)
    front = fits.finish(task, [text])
    assert [point.complexity for point in front if point.mae < 1e-9 * np.abs(force).mean()] == [11]


def test_data_of_order_one_reach_pysr_as_they_are() -> None:
    rng = np.random.default_rng(0)
    task = dataclasses.replace(problem(), features=rng.uniform(0.2, 5, (100, 2)), target=np.zeros(100))
    assert pysr.Scales.of(task) == pysr.Scales({}, 1.0)


# Failures of the machine.


@pytest.mark.slow
def test_a_crash_is_no_result_and_the_fit_can_be_done_again(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes = tmp_path / "crashes"
    crashes.mkdir()
    (crashes / "1").write_text("SIGSEGV")
    monkeypatch.setenv("FAKE_CRASHES", str(crashes))
    with pytest.raises(fits.FitLost, match=r"the fitting process ended \(signal SIGSEGV\)"):
        child.fit(problem(tmp_path / "depot"))
    assert child.fit(problem(tmp_path / "depot")).status == "ok"


@pytest.mark.slow
def test_a_pysr_that_cannot_be_imported_is_a_fault_of_the_machine(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BROKEN", "1")
    with pytest.raises(fits.FitLost, match=r"RuntimeError: PythonCall\.jl did not start properly"):
        child.fit(problem(tmp_path / "depot"))


@pytest.mark.slow
def test_the_reason_of_a_failed_fit_is_julias_error(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ERROR", "DomainError with -1.0:")
    result = child.fit(problem(tmp_path / "depot"))
    assert (result.status, result.reason) == ("failed", "JuliaError: DomainError with -1.0:")
    monkeypatch.setenv("FAKE_ONE_PROCESSOR", "1")
    child.close()
    with pytest.raises(fits.FitLost) as caught:
        child.fit(problem(tmp_path / "depot"))
    assert "exit status 1): ERROR: Unable to find compatible target in cached code image" in str(caught.value)
    assert "JULIA_CPU_TARGET=native" in str(caught.value)


def test_pysrs_notation_is_translated() -> None:
    texts = pysr.translated(
        ["(dx ^ 2.0) * cond(r - 2.0, greater(dx, m1) + 1.5f-1)", "exp(dx) - (q1 < q2)", "a b", "dx - 2f3"]
    )
    assert len(texts) == 3
    names = ("dx", "r", "m1", "q1", "q2")
    rng = np.random.default_rng(1)
    values = {name: rng.uniform(0.5, 3.0, 50) for name in names}
    first, second, third = (formula.evaluate(formula.parse(text, names), values) for text in texts)
    dx, r = values["dx"], values["r"]
    np.testing.assert_allclose(first, dx**2 * np.where(r > 2, (dx > values["m1"]) + 0.15, 0.0))
    np.testing.assert_allclose(second, np.exp(dx) - (values["q1"] < values["q2"]))
    np.testing.assert_allclose(third, dx - 2000)


def test_a_killed_pysr_leaves_its_hall_of_fame(tmp_path: Path) -> None:
    assert pysr.partial(tmp_path, problem()) == []
    (tmp_path / "run").mkdir()
    table = 'Complexity,Loss,Equation\n1,0.5,"dx"\n5,0.1,"(dx * 2.0) / dy"\n'
    (tmp_path / "run" / "hall_of_fame.csv.bak").write_text(table)
    # A kill during the write leaves an incomplete last line, which reads as another expression.
    (tmp_path / "run" / "hall_of_fame.csv").write_text(table + '7,0.05,"(dx * 2.0) / (dy + 1.2')
    assert pysr.guesses(tmp_path) == ["dx", "(dx * 2.0) / dy"]
    assert pysr.partial(tmp_path, problem()) == ["dx", "dx * 2.0 / dy"]


# Engines compared.


@pytest.mark.slow
def test_engines_are_compared_on_equal_targets_in_one_query(
    fake: FakePysr, make_sweep: Callable[..., Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orbits.use(monkeypatch)
    prepared(tmp_path / "depot")
    sweep = make_sweep(
        distillation={**QUICK, "compare": ["pysr"], "pysr": {"iterations": 3}},
        execution={"julia_depot": str(tmp_path / "depot")},
    )
    (cell,) = sweep.cells
    messages(sweep, cell)
    distill(sweep, sweep.cells)
    distilled = read_outcome(cell.outcome(sweep.results, "distill"))
    assert distilled.result["engine"] == "operon"
    (other,) = distilled.result["compared"]
    assert other["engine"] == "pysr"
    keys = [component["fit"] for found in (distilled.result, other) for component in found["components"]]
    assert len(set(keys)) == 2 * cell.experiment.dim
    verify(sweep, cell)
    verdict = read_outcome(cell.outcome(sweep.results, "verify")).result
    assert [entry["engine"] for entry in verdict["compared"]] == ["pysr"]
    assert not verdict["compared"][0]["recovered"]
    collect(sweep)
    best = query(
        sweep.results,
        sql="SELECT component, engine, min(mae), any_value(fit), bool_or(passes) FROM equations "
        "GROUP BY component, engine ORDER BY component, engine",
    )
    assert [row[:2] for row in best.rows] == [(0, "operon"), (0, "pysr"), (1, "operon"), (1, "pysr")]
    assert {row[3] for row in best.rows} == {"ok"}
    alone = query(sweep.results, ["engine=pysr"], rows="equations", columns=["engine", "expression", "fit_seconds"])
    assert alone.rows
    assert {row[0] for row in alone.rows} == {"pysr"}
    (chosen,) = query(sweep.results, columns=["engine", "equation"]).rows
    front = [point["expression"] for point in distilled.result["components"][0]["front"]]
    assert chosen[0] == "operon"
    assert chosen[1][0] in front


def test_engines_that_are_compared_are_checked_too(
    fake: FakePysr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operon, "_PIECEWISE", frozenset({">", "<"}))
    with pytest.raises(ValueError, match="stands twice among operon, operon"):
        DistillationSettings(compare=("operon",))
    unable = DistillationSettings(engine="pysr", operators=("+", "if"), compare=("operon",))
    with pytest.raises(DistilleryError, match=r"operon has no if; leave it out, or take operon out of compare"):
        require(unable)
    with pytest.raises(DistilleryError, match=r"compare: pysr cannot run yet, .*, or take pysr out of compare"):
        require(DistillationSettings(compare=("pysr",)), tmp_path / "depot")
