"""The ranks of an MPI run: they share work by a common counter, and fail together or not at all.

Without a launcher there is one rank, and everything works the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from distillery.errors import DistilleryError

_T = TypeVar("_T")
# How long ranks may take to find each other; those on a slow file system read their libraries meanwhile.
_START_SECONDS = 300.0
# Variables that launchers set for their tasks: the number of tasks, and the index of this one.
_LAUNCHERS = {
    "PMI_SIZE": "PMI_RANK",
    "PMIX_SIZE": "PMIX_RANK",
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_SIZE": "MV2_COMM_WORLD_RANK",
    "PALS_SIZE": "PALS_RANKID",
    "SLURM_STEP_NUM_TASKS": "SLURM_PROCID",
}


@dataclasses.dataclass(frozen=True)
class Ranks:
    """All ranks of a run, seen from one of them.

    Attributes:
        rank: Number of this rank.
        size: How many there are.
    """

    rank: int
    size: int
    _mpi: Any
    _comm: Any
    _counter: Any

    def first(self, do: Callable[[], _T]) -> _T:
        """Let rank 0 do something while the others wait; every rank gets its result or stops.

        Raises:
            DistilleryError: It failed (on rank 0; the other ranks exit).
        """
        error: Exception | None = None
        result: Any = None
        if self.rank == 0:
            try:
                result = do()
            except Exception as caught:
                error = caught
        self._agree(error)
        return self._comm.bcast(result)

    def share(self, work: Sequence[_T], do: Callable[[_T], None]) -> None:
        """Do each piece of work on whichever rank is free; returns when all is done everywhere.

        Args:
            work: The pieces, the same on every rank.
            do: Does one piece.

        Raises:
            DistilleryError: A rank failed (raised on rank 0; the other ranks exit).
        """
        error: Exception | None = None
        self._comm.Barrier()
        try:
            while (index := self._take(1)) < len(work):
                do(work[index])
        except Exception as caught:
            error = caught
            # Beyond the end of the work: the others stop at their next piece.
            self._take(len(work))
        self._agree(error)
        if self.rank == 0:
            self._take(-self._take(0))
        self._comm.Barrier()

    def taken(self) -> int:
        """Return how many pieces of the present work are done or being done."""
        return self._take(0)

    def total(self, value: float) -> float:
        """Return the sum of a value over all ranks, on every rank."""
        return float(self._comm.allreduce(value))

    def gathered(self, value: _T) -> list[_T]:
        """Return the value of every rank in their order, on every rank."""
        return list(self._comm.allgather(value))

    def _take(self, count: int) -> int:
        before = np.zeros(1, dtype=np.int64)
        self._counter.Fetch_and_op(np.array([count], dtype=np.int64), before, 0, op=self._mpi.SUM)
        self._counter.Flush(0)
        return int(before[0])

    def _agree(self, error: Exception | None) -> None:
        """Go on if no rank failed. Otherwise rank 0 raises the first failure, and the others exit."""
        if error is not None and self.rank != 0 and not isinstance(error, (DistilleryError, OSError)):
            traceback.print_exception(error)
        failures = [text for text in self._comm.allgather(None if error is None else _explain(error)) if text]
        if not failures:
            return
        if self.rank != 0:
            raise SystemExit(1)
        if error is not None and not isinstance(error, (DistilleryError, OSError)):
            raise error
        raise DistilleryError(failures[0]) from None


def _explain(error: Exception) -> str:
    if isinstance(error, DistilleryError):
        return str(error)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}; mend that and run again, only what is missing is computed"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


@contextlib.contextmanager
def _started_in(seconds: float) -> Iterator[None]:
    """End this process with a trace if a block takes too long.

    A launcher that loses a message between ranks leaves them waiting for each other inside MPI's start, in C, where
    nothing of Python's can intervene; the job would wait with them until its time limit.
    """
    if sys.__stderr__ is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def joined(expected: int) -> Iterator[Ranks]:
    """Start MPI and make sure that all expected ranks are here.

    Args:
        expected: How many ranks there should be.

    Yields:
        The ranks.

    Raises:
        DistilleryError: There are more or fewer, or the launcher and the MPI library do not know each other, so
            that each task believes to be alone (raised on the first task; the others exit).
    """
    if expected == 1:
        _leave_step()
    try:
        with _started_in(_START_SECONDS), warnings.catch_warnings():
            # mpi4py warns of a foreign launcher; that is refused below, in a line of our own.
            warnings.simplefilter("ignore", RuntimeWarning)
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DistilleryError(f"MPI: cannot be loaded ({reason}); install the mpich package") from None
    comm = MPI.COMM_WORLD
    _check(expected, comm.size, comm.rank)
    try:
        counter = MPI.Win.Allocate(8 if comm.rank == 0 else 0, 8, comm=comm)
        memory: Any = counter.tomemory()
        np.frombuffer(memory, dtype=np.int64)[:] = 0
        comm.Barrier()
        counter.Lock_all()
        yield Ranks(comm.rank, comm.size, MPI, comm, counter)
    except BaseException as error:
        # An agreed failure leaves all ranks at once. Anything else does not: the others would wait for ever.
        if comm.size > 1 and not isinstance(error, (DistilleryError, SystemExit)):
            if not isinstance(error, KeyboardInterrupt):
                traceback.print_exception(error)
            sys.stderr.flush()
            comm.Abort(1)
        counter.Unlock_all()
        counter.Free()
        raise
    else:
        counter.Unlock_all()
        counter.Free()


def _leave_step() -> None:
    """Forget the tasks of a Slurm step in which this process was started by a shell, as by ``srun --pty bash``.

    The shell is the task; what a user starts in it is alone, and would wait for tasks that never come.
    """
    if os.environ.get("SLURM_TASK_PID", str(os.getpid())) != str(os.getpid()):
        for name in [name for name in os.environ if name in _LAUNCHERS or name.startswith(("PMI_", "PMIX_"))]:
            del os.environ[name]


def _check(expected: int, size: int, rank: int) -> None:
    tasks, task, source = size, rank, "MPI"
    if size == 1:
        for name, number in _LAUNCHERS.items():
            told = os.environ.get(name, "")
            if told.isdigit() and int(told) > 1:
                tasks, task, source = int(told), int(os.environ.get(number, "0")), name
                break
    problem = None
    if source != "MPI":
        problem = (
            f"the launcher started {tasks} tasks ({source}), but each believes to be alone: it belongs to another MPI; "
            f"use {Path(sys.executable).with_name('mpiexec')} or srun --mpi=pmi2"
        )
    elif size != expected:
        problem = f"{expected} ranks expected, {size} started; run it as mpiexec -n {expected} … --ranks {expected}"
    if problem is None:
        return
    if task != 0:
        raise SystemExit(1)
    raise DistilleryError(f"MPI: {problem}")
