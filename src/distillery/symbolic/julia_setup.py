"""Prepare the Julia depot, once, on a machine with a network: ``distillery julia-setup``.

Two processes do the work, because each needs its own environment. In the first, juliapkg finds Julia (named by
``PYTHON_JULIAPKG_EXE`` or ``PYTHON_JULIACALL_EXE``, on the path, or a download), installs PySR's packages and compiles
them. The second is an ordinary fit, offline from the depot, which proves that fits work.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distillery import files
from distillery.errors import DistilleryError
from distillery.randomness import stream
from distillery.symbolic import julia, pysr
from distillery.symbolic.child import Child
from distillery.symbolic.engine import Problem
from distillery.symbolic.fits import FitLost, FitResult
from distillery.symbolic.reasons import WRONG_TARGET, reason_in
from distillery.symbolic.settings import DistillationSettings, PysrSettings

_PACKAGES = "https://pkg.julialang.org"
_REACH_SECONDS = 15
_FIT_SECONDS = 600.0
# Lines at the end of an installation's output in which the reason of a failure is searched.
_TAIL_LINES = 2000
_COMMAND = "julia-setup"


def prepare(depot: Path) -> bool:
    """Prepare a depot, unless it is prepared already for the installed PySR.

    Args:
        depot: Absolute path. The folder is created.

    Returns:
        Whether there was something to do.

    Raises:
        DistilleryError: PySR is missing, the depot cannot be written, there is no network, another process is preparing
            it, or a fit from the depot fails.
    """
    missing = pysr.missing() or julia.mismatch()
    if missing:
        raise DistilleryError(f"{_COMMAND}: {missing}; pip install --upgrade pysr")
    if julia.unprepared(depot) is None:
        return False
    with _alone(depot):
        _require_network()
        julia.marker(depot).unlink(missing_ok=True)
        julia.write_marker(depot, _prepared(depot))
    return True


def _prepared(depot: Path) -> julia.Prepared:
    """Install and test everything, for one kind of processor if Julia itself was built for one."""
    chosen = os.environ.get("JULIA_CPU_TARGET")
    target = chosen or julia.cpu_target()
    try:
        prepared = _install(depot, target)
        _try(depot, prepared)
    except DistilleryError as error:
        if WRONG_TARGET not in str(error):
            raise
        if chosen:
            raise DistilleryError(
                f"{error}; this Julia was built for other processors than JULIA_CPU_TARGET={chosen}, "
                f"set JULIA_CPU_TARGET={julia.NATIVE}"
            ) from None
        sys.stderr.write(
            f"{_COMMAND}: this Julia was built for one kind of processor; compiling with JULIA_CPU_TARGET="
            f"{julia.NATIVE}, for nodes like this one\n"
        )
        prepared = _install(depot, julia.NATIVE)
        _try(depot, prepared)
    return prepared


@contextlib.contextmanager
def _alone(depot: Path) -> Iterator[None]:
    """Create the depot, check that it is writable, and lock it against other preparations."""
    remedy = "make it writable, or set execution.julia_depot to a folder that is"
    try:
        depot.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=depot):
            pass
        handle = (depot / ".preparing").open("w")
    except OSError as error:
        raise DistilleryError(f"{depot}: the Julia depot cannot be written ({error.strerror}); {remedy}") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DistilleryError(f"{depot}: is being prepared by another process; wait until it is done") from None
        except OSError:
            # A file system without locks: juliapkg and Julia have locks of their own.
            pass
        yield


def _require_network() -> None:
    """Check that Julia's package server can be reached.

    Raises:
        DistilleryError: It cannot.
    """
    server = os.environ.get("JULIA_PKG_SERVER") or _PACKAGES
    server = server if "://" in server else f"https://{server}"
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{server}/registries"), timeout=_REACH_SECONDS):
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise DistilleryError(
            f"{_COMMAND}: no network here, {server} cannot be reached ({reason}); run it on a node that has one, "
            "usually the login node, or set https_proxy or JULIA_PKG_SERVER"
        ) from None


def _install(depot: Path, target: str) -> julia.Prepared:
    """Run juliapkg, which finds or downloads Julia and installs and compiles PySR's packages."""
    named = os.environ.get("PYTHON_JULIAPKG_EXE") or os.environ.get("PYTHON_JULIACALL_EXE")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON_JULIACALL_")},
        **julia.shared(depot, target),
        "PYTHON_JULIAPKG_OFFLINE": "no",
        "JULIA_PKG_OFFLINE": "false",
        "JULIA_PKG_PRECOMPILE_AUTO": "1",
        **({"PYTHON_JULIAPKG_EXE": named} if named else {}),
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        _run([sys.executable, "-P", "-m", __name__, str(report)], environment)
        found = files.read_json(report, "run it again")
    return julia.Prepared(
        pysr=str(julia.version_of("pysr")),
        juliacall=str(julia.version_of("juliacall")),
        julia=found["version"],
        symbolic_regression=_locked(julia.project(depot), "SymbolicRegression"),
        cpu_target=target,
        machine=platform.machine(),
        executable=found["executable"],
        library=found["library"],
        bindir=found["bindir"],
        host=platform.node(),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    """Run a command and forward its output.

    Julia must not get the terminal's descriptor, which it would make non-blocking for all programs that share it.

    Raises:
        DistilleryError: The command failed; the message contains the line of its output with the reason.
    """
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stderr.write(line)
            tail.append(line)
    if process.returncode:
        reason = reason_in("".join(tail)) or f"exit status {process.returncode}"
        raise DistilleryError(f"{_COMMAND}: Julia or its packages could not be installed ({reason})")


def _locked(project: Path, package: str) -> str:
    """Return the version of a package in a Julia project's manifest."""
    for name in ("Manifest.toml", "JuliaManifest.toml"):
        with contextlib.suppress(OSError, tomllib.TOMLDecodeError, KeyError, IndexError, TypeError):
            content: dict[str, Any] = tomllib.loads((project / name).read_text(encoding="utf-8"))
            return str(content["deps"][package][0]["version"])
    raise DistilleryError(
        f"{project}: {package} was not installed there; remove the folder and run `distillery julia-setup` again"
    )


def _try(depot: Path, prepared: julia.Prepared) -> None:
    """Fit a straight line from the depot, offline.

    Raises:
        DistilleryError: The fit has no front; no other fit would have one.
    """
    budget = PysrSettings(iterations=2, populations=2, population_size=20, cycles=20, max_size=7)
    settings = DistillationSettings(engine="pysr", seconds=_FIT_SECONDS, pysr=budget)
    features = stream(settings.seed, "pysr", "setup").normal(size=(100, 2))
    target = 2 * features[:, 0] + features[:, 1]
    problem = Problem(
        names=("dx", "dy"),
        features=features,
        target=target,
        held_out_features=features,
        held_out_target=target,
        settings=settings,
        environment=julia.environment(depot, prepared, settings.memory_mb),
    )
    child = Child()
    try:
        result = child.fit(problem)
    except FitLost as lost:
        result = FitResult.lost(str(lost))
    finally:
        child.close()
    if not result.front:
        raise DistilleryError(f"{_COMMAND}: a fit from {depot} does not work: {result.reason}")


def _resolve(report: Path) -> None:
    """Run juliapkg and write the paths of Julia; called in a process of its own."""
    juliapkg: Any = importlib.import_module("juliapkg")
    juliapkg.resolve()
    found = {
        "executable": juliapkg.executable(),
        "library": juliapkg.libjulia(),
        "bindir": juliapkg.bindir(),
        "version": str(juliapkg.state.STATE["version"]),
    }
    report.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    _resolve(Path(sys.argv[1]))
