"""Slurm's queue as a look at a sweep needs it: asked once, and only if something of the sweep is said to be there."""

from __future__ import annotations

import functools

from distillery.cluster.slurm import commands
from distillery.cluster.slurm.commands import Job
from distillery.errors import DistilleryError


class Queue:
    """The jobs of ours that a user has in the queue.

    Slurm is asked at the first question and not again. If it does not answer, nothing is known: ``problem`` says why.
    """

    def __init__(self, user: str | None = None) -> None:
        self._user = user
        self.problem = ""

    @functools.cached_property
    def jobs(self) -> dict[str, Job] | None:
        """The jobs by number; None if Slurm is not here or does not answer."""
        if not commands.available():
            return None
        try:
            jobs = commands.our_jobs(user=self._user, patience=commands.BRIEF_PATIENCE)
        except DistilleryError as error:
            self.problem = str(error)
            return None
        # Tasks of an array that wait have one number; each has an id of its own.
        return {job.id if job.waits else job.number: job for job in jobs}

    def find(self, number: str) -> Job | None:
        """Return the job of a number, if it is known to be in the queue."""
        return self.jobs.get(number) if self.jobs is not None else None

    def alive(self, number: str) -> bool | None:
        """Tell whether a job waits or runs; None if that is not known."""
        return None if self.jobs is None else number in self.jobs

    def of_run(self, name: str) -> dict[str, Job]:
        """Return a run's jobs by what Snakemake says of them: the rule and its wildcards, see `comment`.

        Args:
            name: The name that all jobs of the run have. Another sweep's jobs may have equal comments.
        """
        return {job.comment: job for job in (self.jobs or {}).values() if job.name == name}


def comment(rule: str, *wildcards: str) -> str:
    """Return what Snakemake's Slurm executor writes in the comment of a job."""
    values = "_".join(wildcards).replace("/", "_")
    return f"rule_{rule}_wildcards_{values}" if values else f"rule_{rule}"
