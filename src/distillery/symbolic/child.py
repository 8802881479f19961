"""Run fits in a child process, which is killed from outside at the limit of time or memory of a fit.

The child is a loop: it reads the path of a job's folder from a pipe, loads and compiles the engine, writes the file
``ready``, which starts the time of the fit, fits, and writes ``result.json`` last. It is reused for the next fit while
it is healthy (Julia takes 20 s to start) and ends with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any, TextIO

import psutil

from distillery import files
from distillery.errors import explain
from distillery.symbolic import job
from distillery.symbolic.engine import Problem, engine
from distillery.symbolic.fits import FitLost, FitResult, finish, search
from distillery.symbolic.reasons import reason_in, with_remedy
from distillery.symbolic.settings import DistillationSettings
from distillery.util.environment import CORES, THREADS
from distillery.util.process import this_process

_POLL = 0.05
# Seconds between two measurements of memory: one reads all processes, and at every poll would take an eighth of a core.
_WEIGH = 0.5
_GRACE = 2.0
# Limit of loading and compiling in s; it takes minutes on a slow file system with caches for other processors.
_STARTING = 600.0
_PR_SET_PDEATHSIG = 1
# Bytes at the end of a process's log in which the reason of its end is searched.
_LOG_TAIL = 65_536
# The name includes the host and process namespace: nodes and containers may share a folder of temporary files.
_FOLDER = f"distillery-fit-{files.digest([this_process().host, this_process().space])[:8]}-"


class Child:
    """A process that fits one problem after the other."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._environment: dict[str, str] = {}
        self._log: IO[bytes] | None = None

    def fit(self, problem: Problem) -> FitResult:
        """Fit a problem within the limits of its settings.

        Args:
            problem: The problem.

        Returns:
            The result. Its status tells whether a limit ended the fit or the engine failed.

        Raises:
            FitLost: The process ended, or the machine lacks a resource; another try may succeed.
        """
        if problem.guesses:
            # The front of an earlier fit is an optional start: without it the search begins again.
            with contextlib.suppress(FitLost):
                result = self._fit(problem)
                if result.front:
                    return result
            problem = dataclasses.replace(problem, guesses=())
        return self._fit(problem)

    def _fit(self, problem: Problem) -> FitResult:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-") as name:
            folder = Path(name)
            job.write(folder, problem)
            process = self._started(problem)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(f"{folder}\n")
                process.stdin.flush()
            try:
                limit, started = self._watch(process, folder, problem.settings, begun)
            except BaseException:
                self.close()
                raise
            seconds = round(time.monotonic() - started, 3)
            if limit is None:
                return job.result(folder, problem, seconds)
            self.close()
            return job.interrupted(folder, problem, seconds, limit)

    def _watch(
        self, process: subprocess.Popen[str], folder: Path, settings: DistillationSettings, begun: float
    ) -> tuple[str | None, float]:
        """Wait for the result; return the exceeded limit, if any, and the time at which the fit began.

        Raises:
            FitLost: The process ended.
        """
        started, weighed = None, begun
        longest = settings.seconds + engine(settings.engine).overtime(settings)
        while True:
            if started is None and (folder / job.READY).exists():
                started = time.monotonic()
            since = begun if started is None else started
            if (folder / job.RESULT).exists():
                return None, since
            if process.poll() is not None:
                raise FitLost(f"the fitting process ended ({_ending(process.returncode)}){self._log_reason()}")
            elapsed = time.monotonic() - since
            if started is None and elapsed > _STARTING:
                return (
                    f"{settings.engine} was not loaded and compiled within {_STARTING:g} s{self._log_reason()}",
                    since,
                )
            if started is not None and elapsed > longest:
                return f"killed at its limit of {settings.seconds:g} s", since
            if time.monotonic() - weighed > _WEIGH:
                weighed = time.monotonic()
                if _resident_mb(process.pid) > settings.memory_mb:
                    return f"killed at its limit of {settings.memory_mb} MB", since
            time.sleep(_POLL)

    def close(self) -> None:
        """End the process, by force if necessary."""
        process, self._process = self._process, None
        if process is not None:
            # Signal the whole session, which includes an engine's own processes.
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

    def _started(self, problem: Problem) -> subprocess.Popen[str]:
        environment = _environment(problem)
        if self._process is not None and self._process.poll() is None and self._environment == environment:
            return self._process
        self.close()
        self._environment = environment
        _sweep_up()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "distillery.symbolic.child", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **environment},
            start_new_session=True,
            text=True,
        )
        return self._process

    def _log_reason(self) -> str:
        if self._log is None:
            return ""
        # The child writes through the same file description, so its position must not move.
        descriptor = self._log.fileno()
        size = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, _LOG_TAIL, max(size - _LOG_TAIL, 0))
        reason = reason_in(tail.decode(errors="replace"))
        return f": {with_remedy(reason)}" if reason else ""


def _environment(problem: Problem) -> dict[str, str]:
    """Return the environment variables of the child: threads, and the engine's own variables."""
    try:
        cores = max(int(os.environ.get(CORES, "1")), 1)
    except ValueError:
        cores = 1
    threads = engine(problem.settings.engine).threads(problem.settings, cores)
    julia = dict.fromkeys(("JULIA_NUM_THREADS", "PYTHON_JULIACALL_THREADS"), str(threads))
    return {**dict.fromkeys(THREADS, "1"), **julia, **problem.environment}


def _sweep_up() -> None:
    """Remove folders of fits whose process was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).split("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _resident_mb(pid: int) -> float:
    """Return the memory of a process and its descendants, in MB (10^6 bytes)."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total / 1e6


def _work(folder: Path) -> None:
    """Do one job, in the child."""
    ready = False
    try:
        problem = job.read(folder)
        used, own, first = engine(problem.settings.engine), job.engine_folder(folder), folder / "warm-up"
        own.mkdir()
        first.mkdir()
        used.warm_up(problem, first)
        (folder / job.READY).touch()
        ready = True
        texts, stopped = search(problem, own, lambda found: files.write_json(folder / job.PARTIAL, found))
        files.write_json(folder / job.PARTIAL, texts)
        front = [vars(point) for point in finish(problem, texts)]
        content: dict[str, Any] = {"front": front, **({"stopped": stopped} if stopped else {})}
    except Exception as error:
        # An engine that cannot be loaded, a full disk and lack of memory are failures of the machine, not of the fit.
        lost = not ready or isinstance(error, (OSError, MemoryError, ImportError))
        content = {"error": explain(error), "lost": lost}
    # The folder is missing if the parent has abandoned this job.
    with contextlib.suppress(FileNotFoundError):
        files.write_json(folder / job.RESULT, content)


def _private_input() -> TextIO:
    """Return standard input on a new descriptor, and put an empty file in its place.

    Julia makes descriptor 0 non-blocking when it starts. A pipe read from there would seem to end whenever it is empty.
    """
    jobs = os.fdopen(os.dup(0), encoding="utf-8")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return jobs


def main(parent: int) -> None:
    """Fit the problems whose folders arrive on standard input, until it ends."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    with _private_input() as jobs:
        for line in jobs:
            _work(Path(line.rstrip("\n")))


_own = threading.local()


def fit_here(problem: Problem) -> FitResult:
    """Fit a problem with the child of this thread, which is started if necessary and kept.

    Raises:
        FitLost: As ``Child.fit``.
    """
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
