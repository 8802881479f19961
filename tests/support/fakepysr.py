"""A stand-in for PySR and Julia: real processes, files and signals, no symbolic regression.

Its source has the shape of PySR's, so that it can be checked without being imported. It misbehaves as the real ones do:

- Julia makes descriptor 0 non-blocking when it starts, also the one that juliapkg runs.
- An empty mapping or list among the arguments ends in a JuliaError.
- PySR warns when it is imported that it cannot choose Julia's threads; the warning is the last line of the log.
- PySR looks at its time limit between steps and needs ``FAKE_WRITE`` seconds (0.4) more to write its results.

The environment chooses the rest: ``FAKE_IMPORT`` and ``FAKE_COMPILE`` (seconds that importing and the first fit take),
``FAKE_FIT`` (seconds of a fit), ``FAKE_DEAF`` (ignores SIGTERM), ``FAKE_DEAF_TO_TIME`` (ignores its own time limit),
``FAKE_NO_GUESSES`` (fails when it is given any), ``FAKE_BROKEN`` (cannot be imported), ``FAKE_ONE_PROCESSOR`` (Julia
was built for one kind of processor and ends under other targets), ``FAKE_CRASHES`` (a folder: each file in it makes one
fit end by the signal that the file names), ``FAKE_ERROR`` (the search ends in this JuliaError). It notes every call in
the file ``FAKE_NOTES``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distillery.symbolic import julia
from distillery.symbolic.engine import Problem
from distillery.symbolic.settings import DistillationSettings, PysrSettings

VERSION = "2.7.2"
JULIACALL = "0.9.36"
NAMES = ("dx", "dy")
SMALL = PysrSettings(iterations=5, populations=3, population_size=20, cycles=50, max_size=9)

_JULIA = """
import fcntl, os, sys


class JuliaError(Exception):
    pass


def start():
    if os.environ.get("FAKE_ONE_PROCESSOR") and os.environ.get("JULIA_CPU_TARGET") != "native":
        print("ERROR: Unable to find compatible target in cached code image.", file=sys.stderr)
        print("Target 0 (znver3): Rejecting this target due to use of runtime-disabled features", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_NONBLOCK)
"""

_INIT = """
import os, time, warnings

if os.environ.get("FAKE_BROKEN"):
    raise RuntimeError("PythonCall.jl did not start properly")
time.sleep(float(os.environ.get("FAKE_IMPORT", "0")))
import fakejulia

fakejulia.start()
if os.environ.get("PYTHON_JULIACALL_THREADS", "auto") != "auto":
    warnings.warn(
        "PYTHON_JULIACALL_THREADS environment variable is set to something other than 'auto', "
        "so PySR was not able to set it."
    )
from .sr import PySRRegressor
"""

_SR = '''
import json, os, signal, sys, time
from pathlib import Path

from fakejulia import JuliaError

compiled = False


class PySRRegressor:
    """elementwise_loss: `L1DistLoss()` or `L2DistLoss()`."""

    def __init__(
        self, model_selection="best", *, binary_operators=None, unary_operators=None, complexity_of_operators=None,
        elementwise_loss=None, niterations=100, populations=31, population_size=27, ncycles_per_iteration=380,
        maxsize=30, batching="auto", batch_size=None, timeout_in_seconds=None, parallelism=None, deterministic=False,
        random_state=None, progress=True,
        verbosity=1, input_stream=None, output_directory=None, run_id=None, guesses=None, **kwargs,
    ):
        self.given = {name: value for name, value in locals().items() if name not in ("self", "kwargs")}
        if kwargs:
            raise TypeError(f"{list(kwargs)} are not valid keyword arguments for PySRRegressor.")

    def fit(self, X, y, *, variable_names=None):
        global compiled
        given = self.given
        if os.environ.get("FAKE_DEAF"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not compiled:
            time.sleep(float(os.environ.get("FAKE_COMPILE", "0")))
            compiled = True
        with open(os.environ["FAKE_NOTES"], "a") as notes:
            note = {
                "pid": os.getpid(),
                "given": given,
                "names": variable_names,
                "shape": X.shape,
                "environment": dict(os.environ),
                "torch": "torch" in sys.modules,
            }
            notes.write(json.dumps(note) + "\\n")
        if given["guesses"] and os.environ.get("FAKE_NO_GUESSES"):
            raise RuntimeError("could not parse the guesses")
        if any(given[name] == {} for name in given) or given["guesses"] == []:
            raise JuliaError("MethodError: no method matching one(::Type{Any})\\nThis error has been manually thrown")
        warm_up = given["niterations"] == 1
        crashes = [] if warm_up else sorted(Path(os.environ.get("FAKE_CRASHES", os.devnull)).glob("*"))
        if crashes:
            number = int(getattr(signal, crashes[0].read_text()))
            crashes[0].unlink()
            os.kill(os.getpid(), number)
        if os.environ.get("FAKE_ERROR") and not warm_up:
            raise JuliaError(os.environ["FAKE_ERROR"])
        found = [(1, variable_names[0]), (3, f"{variable_names[0]} * 1.5f0"), (5, f"({variable_names[0]} * 0.6) + 0.1")]
        until = time.monotonic() + (0 if warm_up else float(os.environ.get("FAKE_FIT", "0")))
        stop = time.monotonic() + (given["timeout_in_seconds"] or 1e9)
        folder = Path(given["output_directory"]) / given["run_id"]
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("hall_of_fame.csv", "hall_of_fame.csv.bak"):
            rows = [f'{cost},0.5,"{text}"' for cost, text in found]
            (folder / name).write_text("\\n".join(["Complexity,Loss,Equation", *rows]) + "\\n")
        while time.monotonic() < until:
            if time.monotonic() >= stop and not os.environ.get("FAKE_DEAF_TO_TIME"):
                time.sleep(float(os.environ.get("FAKE_WRITE", "0.4")))
                break
            time.sleep(0.02)
        self.equations_ = {"equation": [text for _, text in found]}
        return self
'''

_EXPORT = 'sympy_mappings = {"greater": 1, "less": 2, "cond": 3, "exp": 4, "log": 5}\n'

_JULIAPKG = """
import json, os, subprocess, sys
from pathlib import Path
from . import state


def resolve():
    print("[juliapkg] Locating Julia")
    code = "import fakejulia; fakejulia.start()"
    subprocess.run([sys.executable, "-c", code, *["--startup-file=no"] * 30], check=True)
    if os.environ.get("FAKE_NO_JULIA"):
        raise Exception("could not find Julia ^1.10.3")
    project = Path(os.environ["PYTHON_JULIAPKG_PROJECT"])
    (project / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("julia", "libjulia.so"):
        (project / "bin" / name).touch()
    (project / "Manifest.toml").write_text('[[deps.SymbolicRegression]]\\nversion = "2.7.3"\\n')
    with open(os.environ["FAKE_NOTES"], "a") as notes:
        notes.write(json.dumps({"resolve": dict(os.environ), "torch": "torch" in sys.modules}) + "\\n")
    state.STATE["version"] = "1.11.6"


def _file(name):
    return str(Path(os.environ["PYTHON_JULIAPKG_PROJECT"]) / "bin" / name)


def executable():
    return _file("julia")


def libjulia():
    return _file("libjulia.so")


def bindir():
    return _file("")
"""


class FakePysr:
    """The stand-in for PySR in the processes of a test."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, juliapkg: bool = True) -> None:
        self.site, self.notes_file = folder / "site", folder / "notes.jsonl"
        self.site.mkdir(parents=True)
        self.write("fakejulia.py", _JULIA)
        self.write("pysr/__init__.py", _INIT)
        self.write("pysr/sr.py", _SR)
        self.write("pysr/export_sympy.py", _EXPORT)
        if juliapkg:
            self.write("juliapkg/__init__.py", _JULIAPKG)
            self.write("juliapkg/state.py", "STATE = {}\n")
        self.version(VERSION)
        self.juliacall(JULIACALL)
        patch.syspath_prepend(self.site)
        patch.setenv("PYTHONPATH", str(self.site), prepend=os.pathsep)
        patch.setenv("FAKE_NOTES", str(self.notes_file))
        for name in ("PYTHON_JULIAPKG_EXE", "PYTHON_JULIACALL_EXE", "JULIA_CPU_TARGET", "DISTILLERY_WORKER_CORES"):
            patch.delenv(name, raising=False)

    def write(self, name: str, text: str) -> None:
        path = self.site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def version(self, version: str) -> None:
        """Install another version of PySR, which needs the juliacall of the stand-in."""
        self._install("pysr", version, f"Requires-Dist: juliacall<0.9.37,>={JULIACALL}\n")

    def juliacall(self, version: str) -> None:
        """Install another version of juliacall."""
        self._install("juliacall", version)

    def _install(self, package: str, version: str, more: str = "") -> None:
        for old in self.site.glob(f"{package}-*.dist-info/METADATA"):
            old.unlink()
            old.parent.rmdir()
        text = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n{more}"
        self.write(f"{package}-{version}.dist-info/METADATA", text)

    def notes(self, kind: str) -> list[dict[str, Any]]:
        """Return the calls so far: ``given`` for fits and warm-ups, ``resolve`` for juliapkg."""
        if not self.notes_file.exists():
            return []
        lines = [json.loads(line) for line in self.notes_file.read_text().splitlines()]
        return [line for line in lines if kind in line]


def prepared(depot: Path, **changes: str) -> julia.Prepared:
    """Return a depot that is prepared for the stand-in."""
    folder = julia.project(depot)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("julia", "libjulia.so"):
        (folder / name).touch(0o755)
    made = julia.Prepared(
        pysr=str(julia.version_of("pysr")),
        juliacall=str(julia.version_of("juliacall")),
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
