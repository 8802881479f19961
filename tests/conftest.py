"""Run-time checks of types and shapes, order of the tests, and fixtures that several packages share."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# One thread per worker: threads of several workers would compete for the same cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Let the hundreds of processes that tests start share compiled modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest

from support import typechecks

typechecks.install()
# Disable garbage collection while importing heavy libraries; their objects live until the end.
gc.disable()

# Imported after the hook, because these import the package.
from distillery.symbolic.child import Child  # noqa: E402
from distillery.workflow.config import parse_config  # noqa: E402
from distillery.workflow.sweep import Sweep  # noqa: E402
from support import browser, slurmbox, sweeps  # noqa: E402
from support.fakepysr import FakePysr  # noqa: E402

# Markers of tests that need something outside of Python.
_EXTERNAL = ("pysr", "gpu", "slurm", "browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with whole sweeps first, so that no worker starts one at the end."""
    sweeping = {item.path for item in items if item.get_closest_marker("workflow") or item.get_closest_marker("slurm")}
    items.sort(key=lambda item: item.path not in sweeping)


def pytest_collection_finish() -> None:
    """Enable garbage collection again, except for imported objects."""
    gc.freeze()
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose Slurm, browser or GPU is missing; fail if DISTILLERY_REQUIRE_SLURM (_BROWSER, _GPU) is set."""
    for what, obstacle in (("slurm", slurmbox.obstacle), ("browser", browser.obstacle), ("gpu", _no_gpu)):
        if item.get_closest_marker(what) and (reason := obstacle()) is not None:
            if os.environ.get(f"DISTILLERY_REQUIRE_{what.upper()}"):
                pytest.fail(f"no {what} for the tests: {reason}", pytrace=False)
            pytest.skip(f"no {what} for the tests: {reason}")


def _no_gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "PyTorch finds no CUDA device"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List every test that was skipped because Julia, a GPU, Slurm or a browser is missing."""
    skipped = [
        (name, report.nodeid, report.longrepr[2].removeprefix("Skipped: "))
        for report in terminalreporter.stats.get("skipped", [])
        for name in _EXTERNAL
        if name in report.keywords and isinstance(report.longrepr, tuple)
    ]
    if skipped:
        terminalreporter.section(f"{len(skipped)} tests not run: something outside of Python is missing")
    for name, test, reason in sorted(skipped):
        terminalreporter.write_line(f"{name}: {test}: {reason}")


@pytest.fixture(scope="session")
def slurm() -> Iterator[None]:
    """Start a Slurm of three nodes, or use a running one. Use it with the marker ``slurm``."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(slurmbox.running())
        except slurmbox.BoxError as error:
            pytest.fail(str(error), pytrace=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _slurm_for_workflows(request: pytest.FixtureRequest) -> None:
    """Start Slurm for workflow tests too: Snakemake's plugin waits long for an installed Slurm that does not run."""
    marks = {mark.name for item in request.session.items for mark in item.iter_markers()}
    if marks & {"slurm", "workflow"} and slurmbox.obstacle() is None:
        request.getfixturevalue("slurm")


@pytest.fixture(scope="session", autouse=True)
def _no_fsync() -> Iterator[None]:
    """Disable fsync: files of tests need not survive a power failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """Return a function that makes a sweep: by default one small spring experiment with one model."""

    def make(**changes: Any) -> Sweep:
        content = {
            "experiments": [{"system": "spring", "simulations": 64, "test_simulations": 16, "snapshots": 10}],
            "models": ["bottleneck"],
            **changes,
        }
        return Sweep(parse_config(content), tmp_path / "results")

    return make


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], str]) -> tuple[Path, str]:
    """Fill a folder once for all workers; return it and the output of the function that filled it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    output = folder.with_suffix(".output")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.exists():
            folder.mkdir()
            output.write_text(make(folder))
    return folder, output.read_text()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run the tiny sweep without interruption, in a folder whose name has a space; return folder and configuration."""

    def make(folder: Path) -> str:
        return sweeps.snakemake(folder, sweeps.write_config(folder, sweeps.TINY)).stdout

    folder, output = _once(tmp_path_factory, "a sweep", make)
    assert "bottleneck" in output, output
    return folder, folder / "given.yaml"


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the smoke preset; return the folder and the output."""
    preset = sweeps.ROOT / "workflow/presets/smoke.yaml"
    return _once(tmp_path_factory, "smoke", lambda folder: sweeps.snakemake(folder, preset).stdout)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePysr:
    """Return a stand-in for PySR and Julia."""
    return FakePysr(tmp_path / "fake", monkeypatch)


@pytest.fixture
def child() -> Iterator[Child]:
    """Return a process for fits, which ends with the test."""
    one = Child()
    yield one
    one.close()
