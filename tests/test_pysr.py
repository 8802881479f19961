"""The PySR engine and its Julia depot: with a stand-in where there is no Julia, and for real where there is."""

from __future__ import annotations

import dataclasses
import fcntl
import http.server
import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from distillery import formula
from distillery.collect.query import query
from distillery.collect.run import collect
from distillery.config import DistillationSettings, ExecutionSettings, PysrSettings
from distillery.distill import child as child_module
from distillery.distill import fits, julia, pysr, signature
from distillery.distill.child import Child
from distillery.distill.engine import Problem, require
from distillery.distill.julia_setup import prepare
from distillery.distill.run import distill
from distillery.errors import DistilleryError
from distillery.outcome import read_outcome
from distillery.sweep import Sweep
from distillery.verify.run import verify
from fakepysr import FakePysr
from test_distill_run import QUICK, messages

ALL = ("+", "-", "*", "/", ">", "<", "^", "exp", "log", "if")
NAMES = ("dx", "dy")
SMALL = PysrSettings(iterations=5, populations=3, population_size=20, cycles=50, max_size=9)


ROOT = Path(__file__).parents[1]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePysr:
    return FakePysr(tmp_path / "fake", monkeypatch)


@pytest.fixture
def child() -> Iterator[Child]:
    one = Child()
    yield one
    one.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package server that answers."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        monkeypatch.setenv("JULIA_PKG_SERVER", f"http://127.0.0.1:{one.server_port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield
        one.shutdown()


def prepared(depot: Path, **changes: str) -> julia.Prepared:
    """A depot that looks as if it had been prepared for the stand-in."""
    folder = julia.project(depot)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("julia", "libjulia.so"):
        (folder / name).touch(0o755)
    made = julia.Prepared(
        pysr=str(julia.pysr_version()),
        julia="1.11.6",
        symbolic_regression="2.7.3",
        cpu_target="generic",
        machine=os.uname().machine,
        executable=str(folder / "julia"),
        library=str(folder / "libjulia.so"),
        bindir=str(folder),
        host="login1",
        date="2026-01-01T00:00:00+00:00",
    )
    made = dataclasses.replace(made, **changes)
    julia.write_marker(depot, made)
    return made


def problem(depot: Path | None = None, **settings: Any) -> Problem:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 2))
    target = 1.5 * features[:, 0]
    chosen = DistillationSettings(**{"engine": "pysr", "pysr": SMALL, "seconds": 60.0, **settings})
    return Problem(
        names=NAMES,
        features=features[:100],
        target=target[:100],
        held_out_features=features[100:],
        held_out_target=target[100:],
        settings=chosen,
        environment=julia.environment(depot, prepared(depot), chosen.memory_mb) if depot else {},
    )


def execution(depot: Path) -> ExecutionSettings:
    return ExecutionSettings(julia_depot=str(depot))


# What is passed is checked against the installed source.


def test_parameters_that_pysr_does_not_know_are_named_without_importing_it(fake: FakePysr) -> None:
    assert pysr.missing() is None
    fake.write("pysr/sr.py", (fake.site / "pysr/sr.py").read_text().replace("maxsize=30", "max_size=30"))
    fake.write("pysr/export_sympy.py", 'sympy_mappings = {"exp": 1, "log": 2, "greater": 3, "less": 4}\n')
    reason = pysr.missing()
    assert reason is not None
    assert "PySR 2.7.2 does not know the parameter maxsize, the operator cond" in reason
    with pytest.raises(DistilleryError, match=r"pysr cannot run here, PySR 2\.7\.2 does not know .*engine: operon"):
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


# The depot.


def test_nothing_starts_from_a_depot_that_is_not_prepared_for_this_pysr(fake: FakePysr, tmp_path: Path) -> None:
    settings, depot = DistillationSettings(engine="pysr"), tmp_path / "depot"
    require(settings)
    with pytest.raises(DistilleryError, match=r"pysr cannot run yet, .*is not prepared; run `distillery julia-setup`"):
        require(settings, execution(depot))
    made = prepared(depot)
    require(settings, execution(depot))
    fake.version("2.8.0")
    with pytest.raises(DistilleryError, match=r"prepared for PySR 2\.7\.2, but 2\.8\.0 is .*`distillery julia-setup`"):
        require(settings, execution(depot))
    fake.version("2.7.2")
    prepared(depot, machine="riscv64")
    with pytest.raises(DistilleryError, match=r"prepared for riscv64"):
        require(settings, execution(depot))
    prepared(depot)
    Path(made.executable).unlink()
    with pytest.raises(DistilleryError, match=r"prepared with .*julia, which is not there"):
        require(settings, execution(depot))
    julia.marker(depot).write_text('{"format": 1, "prepa')
    with pytest.raises(DistilleryError, match=r"is not prepared"):
        require(settings, execution(depot))
    require(DistillationSettings(), execution(depot))


@pytest.mark.slow
def test_setup_prepares_once_and_proves_it_by_a_fit_offline(
    fake: FakePysr, server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_JULIACALL_EXE", "/opt/julia/bin/julia")
    depot = tmp_path / "depot"
    assert prepare(depot)
    (online,) = [note["resolve"] for note in fake.notes("resolve")]
    assert online["PYTHON_JULIAPKG_OFFLINE"] == "no"
    assert online["PYTHON_JULIAPKG_EXE"] == "/opt/julia/bin/julia"
    # juliacall refuses a program without a project; while packages are installed there is none.
    assert "PYTHON_JULIACALL_EXE" not in online
    offline = fake.notes("given")[-1]["environment"]
    for name in ("JULIA_DEPOT_PATH", "JULIA_CPU_TARGET", "PYTHON_JULIAPKG_PROJECT"):
        assert offline[name] == online[name], (
            "caches are found again in the place and for the target they were made for"
        )
    assert online["JULIA_DEPOT_PATH"] == str(depot)
    found = julia.read_marker(depot)
    assert found is not None
    assert (found.pysr, found.julia, found.symbolic_regression) == ("2.7.2", "1.11.6", "2.7.3")
    assert not prepare(depot)
    assert len(fake.notes("resolve")) == 1
    fake.version("2.8.0")
    assert prepare(depot)
    assert julia.read_marker(depot) != found


@pytest.mark.slow
def test_a_depot_that_does_not_work_is_not_marked(
    fake: FakePysr, server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BROKEN", "1")
    with pytest.raises(
        DistilleryError, match=r"julia-setup: a fit from .* does not work: .*PythonCall\.jl did not start"
    ):
        prepare(tmp_path / "depot")
    assert not julia.marker(tmp_path / "depot").exists()
    monkeypatch.setenv("FAKE_NO_JULIA", "1")
    with pytest.raises(DistilleryError, match=r"could not be installed \(Exception: could not find Julia"):
        prepare(tmp_path / "depot")


def test_setup_refuses_in_one_line_what_it_cannot_do(
    fake: FakePysr, server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DistilleryError, match=r"the Julia depot cannot be written \(.*set execution\.julia_depot"):
        prepare(file / "depot")
    depot = tmp_path / "depot"
    depot.mkdir()
    with (depot / ".preparing").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(DistilleryError, match=r"being prepared by another process"):
            prepare(depot)
    monkeypatch.setenv("JULIA_PKG_SERVER", "http://127.0.0.1:9")
    with pytest.raises(DistilleryError, match=r"no network here, http://127\.0\.0\.1:9 cannot be reached .*login node"):
        prepare(depot)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DistilleryError, match=r"pysr is not installed; pip install pysr"):
        prepare(depot)


def test_the_real_juliapkg_is_understood(tmp_path: Path, server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Julia that is a script, asked by the juliapkg that is installed."""
    if importlib.util.find_spec("juliapkg") is None:
        pytest.skip("the Python package juliapkg is not installed")
    fake = FakePysr(tmp_path / "fake", monkeypatch, juliapkg=False)
    program = tmp_path / "bin" / "julia"
    program.parent.mkdir()
    (program.parent / "libjulia.so").touch()
    script = f"""\
        #!{sys.executable}
        import os, sys
        from pathlib import Path
        if "--version" in sys.argv:
            print("julia version 1.11.6")
        elif "Libdl" in sys.argv[-1]:
            sys.stdout.write("{program.parent}/libjulia.so\\0{program.parent}")
        else:
            assert os.environ["JULIA_PKG_PRECOMPILE_AUTO"] == "1"
            (project,) = [word.removeprefix("--project=") for word in sys.argv if word.startswith("--project=")]
            Path(project, "Manifest.toml").write_text('[[deps.SymbolicRegression]]\\nversion = "2.7.3"\\n')
        """
    program.write_text(textwrap.dedent(script))
    program.chmod(0o755)
    monkeypatch.setenv("PYTHON_JULIAPKG_EXE", str(program))
    depot = tmp_path / "depot"
    assert prepare(depot)
    found = julia.read_marker(depot)
    assert found is not None
    assert (found.julia, found.executable, found.bindir) == ("1.11.6", str(program), str(program.parent))
    assert (julia.project(depot) / "Project.toml").exists()
    assert fake.notes("given")[-1]["environment"]["PYTHON_JULIACALL_LIB"] == found.library


def test_the_real_juliacall_takes_the_depot_as_it_is(tmp_path: Path) -> None:
    """It goes straight to Julia's library, which is an empty file here, and asks juliapkg nothing."""
    if importlib.util.find_spec("juliacall") is None:
        pytest.skip("the Python package juliacall is not installed")
    made = prepared(tmp_path)
    program = """
        import sys
        try:
            import juliacall
        except OSError as error:
            assert "juliapkg" not in sys.modules
            print(error)
        """
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, **julia.environment(tmp_path, made, 1000)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{made.library}: file too short" in answer.stdout


# Fits.


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


def test_the_process_that_runs_julia_imports_no_torch() -> None:
    command = "import sys, distillery.distill.child, distillery.distill.pysr; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


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


def test_a_start_without_end_is_a_failure_of_its_own(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_IMPORT", "60")
    monkeypatch.setattr(child_module, "_STARTING", 1.5)
    result = child.fit(problem(tmp_path / "depot"))
    assert result.status == "failed"
    assert result.reason.startswith("pysr was not loaded and compiled within 1.5 s")


@pytest.mark.slow
def test_a_fit_that_pysr_ends_itself_is_timed_out_and_keeps_its_front(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FIT", "60")
    result = child.fit(problem(tmp_path / "depot", seconds=4.0))
    assert (result.status, result.reason) == ("timed_out", "stopped by PySR at its limit of 3.8 s")
    assert len(result.front) >= 2


@pytest.mark.slow
def test_a_fit_that_hears_nothing_is_killed_and_keeps_its_hall_of_fame(
    fake: FakePysr, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FAKE_DEAF", "FAKE_DEAF_TO_TIME"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("FAKE_FIT", "60")
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
    short = problem(tmp_path / "depot", seconds=0.5)
    key, path = fits.fit_key(short), tmp_path / "fit.json"
    assert fits.earlier_front(path, key) == ()
    fits.keep_fit(path, key, short.settings, child.fit(short))
    kept = fits.load_fit(path, key, short.settings)
    assert kept is not None
    assert kept.found
    long = problem(tmp_path / "depot", seconds=60.0)
    assert fits.fit_key(long) == key
    assert fits.load_fit(path, key, long.settings) is None
    assert fits.earlier_front(path, "another") == ()
    monkeypatch.setenv("FAKE_FIT", "0")
    long = dataclasses.replace(long, guesses=fits.earlier_front(path, key))
    assert fits.fit_key(long) == key
    result = child.fit(long)
    assert fake.notes("given")[-1]["given"]["guesses"] == ["dx", "dx * 1.5f0", "(dx * 0.6) + 0.1"]
    assert (result.status, result.guesses, result.found) == ("ok", 3, ())
    fits.keep_fit(path, key, long.settings, result)
    assert fits.earlier_front(path, key) == ()
    again = fits.load_fit(path, key, long.settings)
    assert again is not None
    assert again.guesses == 3


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
    assert given["timeout_in_seconds"] < DistillationSettings().seconds
    other = pysr.parameters(DistillationSettings(engine="pysr", operators=ALL), Path("elsewhere"))
    assert given["random_state"] == other["random_state"]


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
    assert pysr.partial(tmp_path, NAMES) == []
    (tmp_path / "run").mkdir()
    table = 'Complexity,Loss,Equation\n1,0.5,"dx"\n5,0.1,"(dx * 2.0) / dy"\n'
    (tmp_path / "run" / "hall_of_fame.csv.bak").write_text(table)
    # Killed while it was written: the last line is cut, and what is left of it is another expression.
    (tmp_path / "run" / "hall_of_fame.csv").write_text(table + '7,0.05,"(dx * 2.0) / (dy + 1.2')
    assert pysr.guesses(tmp_path) == ["dx", "(dx * 2.0) / dy"]
    assert pysr.partial(tmp_path, NAMES) == ["dx", "dx * 2.0 / dy"]


# Engines compared.


@pytest.mark.slow
def test_engines_are_compared_on_equal_targets_in_one_query(
    fake: FakePysr, make_sweep: Callable[..., Sweep], tmp_path: Path
) -> None:
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
    alone = query(sweep.results, ["engine=pysr"], equations=True, columns=["engine", "expression", "fit_seconds"])
    assert alone.rows
    assert {row[0] for row in alone.rows} == {"pysr"}
    (chosen,) = query(sweep.results, columns=["engine", "equation"]).rows
    front = [point["expression"] for point in distilled.result["components"][0]["front"]]
    assert chosen[0] == "operon"
    assert chosen[1][0] in front


def test_engines_that_are_compared_are_checked_too(fake: FakePysr, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stands twice among operon, operon"):
        DistillationSettings(compare=("operon",))
    unable = DistillationSettings(engine="pysr", operators=("+", "if"), compare=("operon",))
    with pytest.raises(DistilleryError, match=r"operon has no if; leave it out, or take operon out of compare"):
        require(unable)
    with pytest.raises(DistilleryError, match=r"compare: pysr cannot run yet, .*, or take pysr out of compare"):
        require(DistillationSettings(compare=("pysr",)), execution(tmp_path / "depot"))


# With Julia.

BUDGET = PysrSettings(iterations=40, populations=8, population_size=30, cycles=200, max_size=15)


@pytest.fixture(scope="session")
def depot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depot that is prepared: the one named by DISTILLERY_TEST_DEPOT, the checkout's, or one made for the tests."""
    reason = pysr.missing()
    if reason:
        pytest.skip(reason)
    chosen = Path(os.environ.get("DISTILLERY_TEST_DEPOT", ROOT / ".julia"))
    if julia.unprepared(chosen) is not None:
        if shutil.which("julia") is None:
            pytest.skip(f"{julia.unprepared(chosen)}, and julia is not on the PATH")
        chosen = tmp_path_factory.mktemp("depot")
        try:
            prepare(chosen)
        except DistilleryError as error:
            pytest.skip(str(error))
    return chosen


def spring(depot: Path, **settings: Any) -> Problem:
    """One message component: a spring's force, turned, with noise, and inputs that mean nothing."""
    rng = np.random.default_rng(3)
    displacement = rng.normal(0, 1.4, (2000, 2))
    distance = np.linalg.norm(displacement, axis=1)
    features = np.column_stack([displacement, distance, np.exp(rng.normal(size=2000))])
    target = displacement @ [0.6, 0.8] * (1 - 1 / distance) + 0.01 * rng.normal(size=2000)
    chosen = DistillationSettings(**{"engine": "pysr", "pysr": BUDGET, "seconds": 300.0, **settings})
    return Problem(
        names=("dx", "dy", "r", "m1"),
        features=features[:1000],
        target=target[:1000],
        held_out_features=features[1000:],
        held_out_target=target[1000:],
        settings=chosen,
        environment=pysr.environment(chosen, execution(depot)) if chosen.engine == "pysr" else {},
    )


@pytest.mark.pysr
@pytest.mark.slow
def test_both_engines_find_the_same_law_in_the_same_target(depot: Path, child: Child) -> None:
    for engine in ("operon", "pysr"):
        result = child.fit(spring(depot, engine=engine))
        assert result.status == "ok", result.reason
        assert result.front[-1].mae < 0.05, engine


@pytest.mark.pysr
@pytest.mark.slow
def test_equal_seeds_give_equal_fronts_in_a_fresh_and_in_a_warm_process(depot: Path, child: Child) -> None:
    task = spring(depot, pysr=BUDGET.model_copy(update={"iterations": 5}))
    first, warm = child.fit(task), child.fit(task)
    child.close()
    fresh = child.fit(task)
    assert first.status == "ok", first.reason
    assert first.front == warm.front == fresh.front


@pytest.mark.pysr
@pytest.mark.slow
def test_pysr_keeps_its_front_at_a_limit_and_goes_on_from_it(depot: Path, child: Child) -> None:
    short = child.fit(spring(depot, seconds=15.0, pysr=BUDGET.model_copy(update={"iterations": 1_000_000})))
    assert short.status == "timed_out", short.reason
    assert short.found
    result = child.fit(dataclasses.replace(spring(depot), guesses=short.found))
    assert (result.status, result.guesses) == ("ok", len(short.found)), result.reason
    assert result.front[-1].mae <= 1.05 * short.front[-1].mae


@pytest.mark.pysr
@pytest.mark.slow
def test_pysr_knows_all_operators(depot: Path, child: Child) -> None:
    result = child.fit(spring(depot, operators=ALL, pysr=SMALL))
    assert result.status == "ok", result.reason
