"""Array shapes and types of the whole package are checked while tests run; tests that need a Slurm find one running."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Each worker of the tests has a core; threads of several workers, of NumPy as of PyTorch, wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Hundreds of processes are started; none need compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest

from support import typechecks

typechecks.install()
# Half a million objects of imported libraries live until the end; looking for garbage among them takes seconds.
gc.disable()

# After the hook, because they bring parts of the package.
from distillery.symbolic.child import Child  # noqa: E402
from distillery.workflow.config import parse_config  # noqa: E402
from distillery.workflow.sweep import Sweep  # noqa: E402
from support import browser, slurmbox, sweeps  # noqa: E402
from support.fakepysr import FakePysr  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with whole sweeps first, so that at the end no worker waits for another that has just begun one."""
    sweeping = {item.path for item in items if item.get_closest_marker("workflow") or item.get_closest_marker("slurm")}
    items.sort(key=lambda item: item.path not in sweeping)


def pytest_collection_finish() -> None:
    """From here on garbage is looked for, but not among what was imported."""
    gc.freeze()
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test where the Slurm or the browser it needs is not to be had; where DISTILLERY_REQUIRE_* is set, fail."""
    for what, obstacle in (("slurm", slurmbox.obstacle), ("browser", browser.obstacle)):
        if item.get_closest_marker(what) and (reason := obstacle()) is not None:
            if os.environ.get(f"DISTILLERY_REQUIRE_{what.upper()}"):
                pytest.fail(f"no {what} for the tests: {reason}", pytrace=False)
            pytest.skip(f"no {what} for the tests: {reason}")


@pytest.fixture(scope="session")
def slurm() -> Iterator[None]:
    """A Slurm of three nodes: one that runs already, or one for these tests. Use it with the marker ``slurm``."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(slurmbox.running())
        except slurmbox.BoxError as error:
            pytest.fail(str(error), pytrace=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _slurm_that_answers(request: pytest.FixtureRequest) -> None:
    """Start it for tests of the workflow too: Snakemake's Slurm plugin waits long for an installed Slurm to answer."""
    marks = {mark.name for item in request.session.items for mark in item.iter_markers()}
    if marks & {"slurm", "workflow"} and slurmbox.obstacle() is None:
        request.getfixturevalue("slurm")


@pytest.fixture(scope="session", autouse=True)
def _do_not_wait_for_the_disk() -> Iterator[None]:
    """What tests write themselves need not outlive a power failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """A sweep in a folder of its own: one tiny spring experiment with one model, unless told otherwise."""

    def make(**changes: Any) -> Sweep:
        content = {
            "experiments": [{"system": "spring", "simulations": 64, "test_simulations": 16, "snapshots": 10}],
            "models": ["bottleneck"],
            **changes,
        }
        return Sweep(parse_config(content), tmp_path / "results")

    return make


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], str]) -> tuple[Path, str]:
    """Fill a folder once for all workers of the tests; return it and what its maker said."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    said = folder.with_suffix(".said")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            folder.mkdir()
            said.write_text(make(folder))
    return folder, said.read_text()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An unbroken run of the tiny sweep on this machine, in a folder with a space in its name."""

    def make(folder: Path) -> str:
        return sweeps.snakemake(folder, sweeps.write_config(folder, sweeps.TINY)).stdout

    folder, said = _once(tmp_path_factory, "a sweep", make)
    assert "bottleneck" in said, said
    return folder, folder / "given.yaml"


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run of the smoke preset on this machine, and what it said."""
    preset = sweeps.ROOT / "workflow/presets/smoke.yaml"
    return _once(tmp_path_factory, "smoke", lambda folder: sweeps.snakemake(folder, preset).stdout)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePysr:
    """A stand-in for PySR and Julia."""
    return FakePysr(tmp_path / "fake", monkeypatch)


@pytest.fixture
def child() -> Iterator[Child]:
    """A process that fits, ended with the test."""
    one = Child()
    yield one
    one.close()
