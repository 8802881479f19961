"""One fit in a process of its own, which is killed at its limit of time or memory from outside.

The child is a loop: it reads the path of a job's folder from its standard input, fits, and writes
``result.json`` there last. It is kept for the next fit while it is healthy (Julia takes 20 s to start) and
dies with the process that started it, however that one ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil

from distillery import files
from distillery.config import DistillationSettings
from distillery.distill.engine import Problem, engine
from distillery.distill.fits import FitResult, finish, unfinished
from distillery.distill.front import Point
from distillery.errors import DistilleryError

_POLL = 0.05
_GRACE = 2.0
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "JULIA_NUM_THREADS",
    "PYTHON_JULIACALL_THREADS",
)
_PR_SET_PDEATHSIG = 1
_FOLDER = "distillery-fit-"


class Child:
    """A process that fits, one problem after the other."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None

    def fit(self, problem: Problem) -> FitResult:
        """Fit a problem within the limits of its settings.

        Args:
            problem: What to fit.

        Returns:
            The result; a child that crashed or was killed gives one too, with the reason.
        """
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-") as name:
            folder = Path(name)
            _write_job(folder, problem)
            process = self._started()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(f"{folder}\n")
                process.stdin.flush()
            try:
                ended = self._watch(process, folder, problem.settings, started)
            except BaseException:
                self.close()
                raise
            seconds = round(time.monotonic() - started, 3)
            if ended is None:
                return _read_result(folder, seconds)
            self.close()
            status, reason = ended
            if status == "failed":
                return FitResult.failed(reason, seconds)
            front = unfinished(problem, _partial(folder, problem))
            return FitResult.of(front, seconds, "timed_out", reason if front else f"{reason}, before it had a front")

    def _watch(
        self, process: subprocess.Popen[str], folder: Path, settings: DistillationSettings, started: float
    ) -> tuple[str, str] | None:
        """Wait for the result; return why there is none, if the process ended or had to."""
        while True:
            if (folder / "result.json").exists():
                return None
            if process.poll() is not None:
                return "failed", f"the fitting process ended ({_ending(process.returncode)}){self._last_words()}"
            if time.monotonic() - started > settings.seconds:
                return "timed_out", f"killed at its limit of {settings.seconds:g} s"
            if _resident_mb(process.pid) > settings.memory_mb:
                return "timed_out", f"killed at its limit of {settings.memory_mb} MB"
            time.sleep(_POLL)

    def close(self) -> None:
        """End the process, by force where it does not go."""
        process, self._process = self._process, None
        if process is not None:
            # The whole session: an engine's own processes go with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            with contextlib.suppress(BrokenPipeError):
                if process.stdin is not None:
                    process.stdin.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        _sweep_up()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "distillery.distill.child", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **dict.fromkeys(_THREADS, "1")},
            start_new_session=True,
            text=True,
        )
        return self._process

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(self._log.tell() - 4000, 0))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1].strip()}" if lines else ""


def _sweep_up() -> None:
    """Remove folders of fits whose process was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).split("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _resident_mb(pid: int) -> float:
    """Return the memory of a process and those it started, in MB (10^6 bytes)."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total / 1e6


def _write_job(folder: Path, problem: Problem) -> None:
    np.savez(
        folder / "problem.npz",
        features=problem.features,
        target=problem.target,
        held_out_features=problem.held_out_features,
        held_out_target=problem.held_out_target,
    )
    job = {"names": problem.names, "settings": problem.settings.model_dump()}
    files.write_json(folder / "job.json", job)


def _read_job(folder: Path) -> Problem:
    job = files.read_json(folder / "job.json", "")
    settings = DistillationSettings.model_validate_json(json.dumps(job["settings"]))
    with np.load(folder / "problem.npz", allow_pickle=False) as arrays:
        return Problem(names=tuple(job["names"]), settings=settings, **{name: arrays[name] for name in arrays.files})


def _read_result(folder: Path, seconds: float) -> FitResult:
    content = files.read_json(folder / "result.json", "")
    if "error" in content:
        return FitResult.failed(content["error"], seconds)
    return FitResult.of([Point(**point) for point in content["front"]], seconds)


def _partial(folder: Path, problem: Problem) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(DistilleryError):
        found = list(files.read_json(folder / "partial.json", ""))
    return found + engine(problem.settings.engine).partial(folder / "engine", problem.names)


def _work(folder: Path) -> None:
    """Do one job, in the child."""
    try:
        problem = _read_job(folder)
        own = folder / "engine"
        own.mkdir()
        texts = engine(problem.settings.engine).search(
            problem, own, lambda found: files.write_json(folder / "partial.json", found)
        )
        files.write_json(folder / "partial.json", texts)
        front = finish(problem, texts)
        content: dict[str, Any] = {"front": [vars(point) for point in front]}
    except Exception as error:
        lines = str(error).splitlines() or [""]
        reason = lines[0] if isinstance(error, DistilleryError) else f"{type(error).__name__}: {lines[0]}"
        content = {"error": reason}
    # The folder is gone where the parent has given this job up meanwhile.
    with contextlib.suppress(FileNotFoundError):
        files.write_json(folder / "result.json", content)


def main(parent: int) -> None:
    """Fit the problems whose folders come on standard input, until it ends."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    for line in sys.stdin:
        _work(Path(line.rstrip("\n")))


_own = threading.local()


def fit_here(problem: Problem) -> FitResult:
    """Fit a problem with the child of this thread, which is started if need be and kept."""
    if not hasattr(_own, "child"):
        _own.child = Child()
        with _lock:
            _children.append(_own.child)
    return _own.child.fit(problem)


_children: list[Child] = []
_lock = threading.Lock()


def close_children() -> None:
    """End the children of all threads of this process."""
    with _lock:
        for child in _children:
            child.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
