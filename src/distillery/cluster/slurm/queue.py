"""The jobs of a user in Slurm's queue, queried once and on demand."""

from __future__ import annotations

import functools

from distillery.cluster.slurm import commands
from distillery.cluster.slurm.commands import Job
from distillery.errors import DistilleryError


class Queue:
    """The jobs of the package that a user has in the queue.

    Slurm is queried at the first use and not again. If it does not answer, ``problem`` holds the reason.
    """

    def __init__(self, user: str | None = None) -> None:
        self._user = user
        self.problem = ""

    @functools.cached_property
    def jobs(self) -> dict[str, Job] | None:
        """The jobs by number; None if Slurm is not installed or does not answer."""
        if not commands.available():
            return None
        try:
            jobs = commands.our_jobs(user=self._user, patience=commands.BRIEF_PATIENCE)
        except DistilleryError as error:
            self.problem = str(error)
            return None
        # Waiting tasks of an array share one number, but have different ids.
        return {job.id if job.waits else job.number: job for job in jobs}

    def find(self, number: str) -> Job | None:
        """Return the job with a number, if it is in the queue."""
        return self.jobs.get(number) if self.jobs is not None else None

    def alive(self, number: str) -> bool | None:
        """Return whether a job waits or runs; None if that is unknown."""
        return None if self.jobs is None else number in self.jobs

    def of_run(self, name: str) -> dict[str, Job]:
        """Return a run's jobs by their rule and wildcards; see `comment`.

        Args:
            name: The common name of the run's jobs. Jobs of another sweep may have equal comments.
        """
        return {job.comment: job for job in (self.jobs or {}).values() if job.name == name}


def comment(rule: str, *wildcards: str) -> str:
    """Return the comment that Snakemake's Slurm executor gives a job."""
    values = "_".join(wildcards).replace("/", "_")
    return f"rule_{rule}_wildcards_{values}" if values else f"rule_{rule}"
