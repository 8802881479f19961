"""Where worker jobs are submitted and cancelled, and what is known of them."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from distillery.cluster.dask.worker import Workers, tell
from distillery.cluster.slurm import commands
from distillery.errors import DistilleryError

# Slurm's words for a refusal that may be lifted by waiting: limits on submitted jobs, a controller that is busy.
_PASSING = ("limit", "temporarily", "timed out", "did not answer", "unable to contact", "try again", "not responding")


class Desk:
    """Submits and cancels worker jobs, one call at a time, and knows what became of them.

    Attributes:
        workers: What is wanted.
        refusal: Slurm's words, from when it refuses a job until another try.
        words: The last such words; none once a job was taken.
        error: What ends the work.
        trouble: Whether something went wrong.
        present: Number of workers that are connected.
        queue: The jobs that wait or run, by number, each with its state; as last looked at.
        came: The names of workers that have connected.
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
        """Submit a worker job and return its id; None when Slurm refuses, until the refusal is forgotten."""
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
        """Cancel a job; those that are asked for during one call go into the next."""
        self._doomed.append(number)
        async with self._lock:
            doomed, self._doomed = self._doomed, []
            if doomed and not self._closed:
                with contextlib.suppress(DistilleryError):
                    await asyncio.to_thread(commands.cancel, doomed)

    async def close(self) -> None:
        """Cancel all jobs of this cluster, known or not; none is submitted afterwards."""
        self._closed = True
        async with self._lock:
            try:
                await asyncio.to_thread(commands.call, ["scancel", "--quiet", f"--name={self.workers.name}"])
            except DistilleryError as error:
                seconds = self.workers.death_seconds
                tell(f"worker jobs were not cancelled ({error}); they end by themselves in {seconds} s")

    def check(self) -> None:
        """Raise what ends the work: Slurm refuses every worker job, or none of them reaches the scheduler."""
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
        """Return what a worker job prints."""
        return self.workers.logs / f"{self.workers.name}-{number}.log"


def queue_of(name: str) -> dict[str, str]:
    """Return the jobs of this name that wait or run, each with its state and reason; one call."""
    words = ["squeue", "--noheader", f"--name={name}", "--format=%i %T %r"]
    lines = [line.split(maxsplit=2) for line in commands.call(words).splitlines()]
    # A job that is completing holds no worker any more, and may do so for long.
    return {line[0]: f"{line[1].lower()} ({line[-1]})" for line in lines if len(line) > 1 and line[1] != "COMPLETING"}
