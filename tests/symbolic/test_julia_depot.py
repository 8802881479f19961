"""The Julia depot: prepared once, tested by a fit, refused if it does not match PySR; with a replacement for Julia."""

from __future__ import annotations

import fcntl
import http.server
import importlib.util
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distillery.errors import DistilleryError
from distillery.symbolic import julia
from distillery.symbolic.engine import require
from distillery.symbolic.julia_setup import prepare
from distillery.symbolic.settings import DistillationSettings
from support.fakepysr import FakePysr, prepared


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a package server that answers."""

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


def test_nothing_starts_from_a_depot_that_is_not_prepared_for_this_pysr(fake: FakePysr, tmp_path: Path) -> None:
    settings, depot = DistillationSettings(engine="pysr"), tmp_path / "depot"
    require(settings)
    with pytest.raises(DistilleryError, match=r"pysr cannot run yet, .*is not prepared; run `distillery julia-setup`"):
        require(settings, depot)
    made = prepared(depot)
    require(settings, depot)
    fake.version("2.8.0")
    with pytest.raises(DistilleryError, match=r"prepared for PySR 2\.7\.2, but 2\.8\.0 is .*`distillery julia-setup`"):
        require(settings, depot)
    fake.version("2.7.2")
    fake.juliacall("0.9.35")
    with pytest.raises(DistilleryError, match=r"prepared for juliacall 0\.9\.36, but 0\.9\.35 is .*julia-setup`"):
        require(settings, depot)
    fake.juliacall("0.9.36")
    prepared(depot, machine="riscv64")
    with pytest.raises(DistilleryError, match=r"prepared for riscv64"):
        require(settings, depot)
    prepared(depot)
    Path(made.executable).unlink()
    with pytest.raises(DistilleryError, match=r"prepared with .*julia, which is not there"):
        require(settings, depot)
    julia.marker(depot).write_text('{"format": 1, "prepa')
    with pytest.raises(DistilleryError, match=r"is not prepared"):
        require(settings, depot)
    require(DistillationSettings(), depot)


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
    # juliacall refuses a program without a project, and there is none while packages are installed.
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
    with pytest.raises(DistilleryError, match=r"could not be installed \(.*(could not find|Locating) Julia"):
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
    with pytest.raises(DistilleryError, match=r"pysr is not installed; pip install --upgrade pysr"):
        prepare(depot)


@pytest.mark.parametrize("installed", ["0.9.35", "0.9.37"])
def test_setup_refuses_a_juliacall_that_does_not_go_with_pysr_before_it_compiles(
    fake: FakePysr, server: None, tmp_path: Path, installed: str
) -> None:
    fake.juliacall(installed)
    with pytest.raises(
        DistilleryError, match=rf"PySR 2\.7\.2 needs juliacall .*0\.9\.36.*, and {installed} is installed"
    ):
        prepare(tmp_path / "depot")
    assert not fake.notes("resolve")


@pytest.mark.slow
def test_a_julia_built_for_one_processor_is_used_with_its_own_target(
    fake: FakePysr, server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_ONE_PROCESSOR", "1")
    depot = tmp_path / "depot"
    assert prepare(depot)
    found = julia.read_marker(depot)
    assert found is not None
    assert found.cpu_target == "native"
    assert "compiling with JULIA_CPU_TARGET=native" in capfd.readouterr().err
    assert fake.notes("given")[-1]["environment"]["JULIA_CPU_TARGET"] == "native"
    # A configured target is not replaced.
    monkeypatch.setenv("JULIA_CPU_TARGET", "haswell")
    with pytest.raises(DistilleryError, match=r"ERROR: Unable to find compatible target.*JULIA_CPU_TARGET=native"):
        prepare(tmp_path / "other")
    assert not julia.marker(tmp_path / "other").exists()


@pytest.mark.slow
def test_setup_leaves_the_terminal_blocking(
    fake: FakePysr, server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, _ = os.openpty()
    before = os.dup(0)
    os.dup2(terminal, 0)
    try:
        assert prepare(tmp_path / "depot")
        assert not fcntl.fcntl(0, fcntl.F_GETFL) & os.O_NONBLOCK
    finally:
        os.dup2(before, 0)


@pytest.mark.slow
def test_the_real_juliapkg_is_understood(tmp_path: Path, server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed juliapkg runs with a script in place of Julia."""
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
    """It opens Julia's library, an empty file here, and never calls juliapkg."""
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
