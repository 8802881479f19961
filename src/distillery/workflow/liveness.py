"""Liveness of a process: on this machine by its number and start, elsewhere by its Slurm job."""

from __future__ import annotations

from collections.abc import Callable

from distillery.cluster.slurm import commands
from distillery.errors import DistilleryError
from distillery.util.process import Worker


def job_alive(job: str) -> bool | None:
    """Return whether a Slurm job waits or runs; None if Slurm is not available or does not answer."""
    if not commands.available():
        return None
    try:
        return job in commands.living([job])
    except DistilleryError:
        return None


def is_alive(worker: Worker, job_alive: Callable[[str], bool | None] = job_alive) -> bool | None:
    """Return whether a process lives; None if that is unknown.

    Args:
        worker: The process.
        job_alive: Returns whether a Slurm job lives; called if the process is on another machine.
    """
    alive = worker.alive()
    return job_alive(worker.job) if alive is None and worker.job is not None else alive
