"""Submission and cancellation of worker jobs, and their states."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from distillery.cluster.dask.worker import Workers, log_line
from distillery.cluster.slurm import commands
from distillery.errors import DistilleryError

# Words in Slurm's temporary refusals: limits on submitted jobs, a busy controller.
_PASSING = ("limit", "temporarily", "timed out", "did not answer", "unable to contact", "try again", "not responding")


class Submission:
    """Submits and cancels worker jobs, one call at a time, and tracks their states.

    Attributes:
        workers: The requested workers.
        refusal: Slurm's message about a refused job, until the next attempt.
        words: The latest such message; empty after a job was accepted.
        error: Error that ends the work.
        trouble: Whether a job failed.
        present: Number of connected workers.
        queue: States of the jobs that wait or run, by number, at the latest query.
        came: Names of the workers that have connected.
    """

    def __init__(self, workers: Workers, environment: dict[str, str]) -> None:
        self.workers = workers
        self.environment = environment
        self.refusal = ""
        self.words = ""
        self.error: DistilleryError | None = None
        self.trouble = False
        self.present = 0
        self.queue: dict[str, str] = {}
        self.came: set[str] = set()
        self._lock = asyncio.Lock()
        self._closed = False
        self._doomed: list[str] = []

    async def submit(self, script: Path) -> str | None:
        """Submit a worker job and return its id; None if Slurm refuses it, or has refused one since the last reset."""
        async with self._lock:
            if self._closed or self.refusal:
                return None
            try:
                words = ["sbatch", "--parsable", str(script)]
                answer = await asyncio.to_thread(commands.call, words, environment=self.environment)
            except DistilleryError as error:
                self.refusal = self.words = str(error)
                return None
            self.words = ""
            number = answer.strip().split(";")[0]
            self.queue[number] = "submitted"
            return number

    async def cancel(self, number: str) -> None:
        """Cancel a job; jobs added during one call are cancelled by the next."""
        self._doomed.append(number)
        async with self._lock:
            doomed, self._doomed = self._doomed, []
            if doomed and not self._closed:
                with contextlib.suppress(DistilleryError):
                    await asyncio.to_thread(commands.cancel, doomed)

    async def close(self) -> None:
        """Cancel all jobs of this cluster by name; none is submitted afterwards."""
        self._closed = True
        async with self._lock:
            try:
                await asyncio.to_thread(commands.call, ["scancel", "--quiet", f"--name={self.workers.name}"])
            except DistilleryError as error:
                seconds = self.workers.death_seconds
                log_line(f"worker jobs were not cancelled ({error}); they end by themselves in {seconds} s")

    def check(self) -> None:
        """Raise if Slurm refuses every worker job, or none of them reaches the scheduler."""
        if self.error is not None:
            raise self.error
        if (
            self.refusal
            and not self.queue
            and not self.present
            and not any(w in self.refusal.lower() for w in _PASSING)
        ):
            raise DistilleryError(
                f"Slurm refuses the worker jobs ({self.refusal}); set memory_mb, cores and walltime_minutes in "
                "execution.dask, and partition and account in the profile, to what the site allows"
            )

    def log(self, number: str) -> Path:
        """Return the log of a worker job."""
        return self.workers.logs / f"{self.workers.name}-{number}.log"


def queue_of(name: str) -> dict[str, str]:
    """Return the jobs of a name that wait or run, each with its state and reason; one call."""
    words = ["squeue", "--noheader", f"--name={name}", "--format=%i %T %r"]
    lines = [line.split(maxsplit=2) for line in commands.call(words).splitlines()]
    # A completing job has no worker any more, but may stay in this state for long.
    return {line[0]: f"{line[1].lower()} ({line[-1]})" for line in lines if len(line) > 1 and line[1] != "COMPLETING"}
