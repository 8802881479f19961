"""Slurm's commands, each with a time limit and one-line errors."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from distillery.errors import DistilleryError

# Time limit of a command in seconds, long enough for a busy scheduler.
PATIENCE = 60.0
# Prefix of the names of all jobs of the package: Snakemake's by the profile, Dask's by the cluster.
PREFIX = "distillery"
# Time limit in seconds of optional queries, such as whether a job lives.
BRIEF_PATIENCE = 5.0
# id, number, state, nodes, start, comment, name, working directory
_FIELDS = ("%i", "%A", "%T", "%N", "%S", "%k", "%j", "%Z")
_SEPARATOR = "\x1f"
# Command lines have a limit; job ids are some ten characters each.
_IDS_PER_CALL = 1000


@dataclasses.dataclass(frozen=True)
class Job:
    """A job in Slurm's queue.

    Attributes:
        id: Its id, ``123`` or ``123_4`` for a task of an array.
        number: Value of ``SLURM_JOB_ID`` in its processes; the tasks of a waiting array share one number.
        state: Slurm's name of its state: PENDING, RUNNING, COMPLETING …
        nodes: Nodes on which it runs; empty while it waits.
        start: Actual or expected start; Slurm's text.
        comment: Rule and wildcards, as set by the workflow.
        name: Its name.
        directory: Its working directory.
    """

    id: str
    number: str
    state: str
    nodes: str
    start: str
    comment: str
    name: str
    directory: Path

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")


def available() -> bool:
    """Return whether Slurm's commands are installed; the controller may still not answer."""
    return all(shutil.which(name) for name in ("sbatch", "squeue", "scancel", "sinfo"))


def call(words: Sequence[str], patience: float = PATIENCE, environment: Mapping[str, str] | None = None) -> str:
    """Run one of Slurm's commands and return its output.

    Args:
        words: The command and its arguments.
        patience: Time limit in seconds.
        environment: All variables of the command; by default those of this process.

    Raises:
        DistilleryError: It is not installed, refuses, or does not answer in time.
    """
    try:
        done = subprocess.run(
            list(words),
            capture_output=True,
            text=True,
            timeout=patience,
            stdin=subprocess.DEVNULL,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        raise DistilleryError(
            f"{words[0]}: no such command; run this on a node of the cluster (a login node), or use profiles/local"
        ) from None
    except subprocess.TimeoutExpired:
        raise DistilleryError(
            f"{words[0]}: Slurm did not answer in {patience:g} s; check that `sinfo` answers, and run this again"
        ) from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise DistilleryError(f"{' '.join(words[:2])}: {said.removeprefix(f'{words[0]}: error: ')}")
    return done.stdout


def our_jobs(directory: Path | None = None, user: str | None = None, patience: float = PATIENCE) -> list[Job]:
    """Return a user's jobs of the package that wait, run or complete, with one call to the scheduler.

    Args:
        directory: Working directory from which they were submitted; None for any.
        user: Name of the user; None for the current one.
        patience: Time limit in seconds.

    Raises:
        DistilleryError: Slurm does not answer.
    """
    whose = "--me" if user is None else f"--user={user}"
    text = call(["squeue", whose, "--noheader", "--array", f"--format={_SEPARATOR.join(_FIELDS)}"], patience)
    jobs = []
    for line in text.splitlines():
        fields = line.split(_SEPARATOR)
        if len(fields) == len(_FIELDS) and fields[-2].startswith(PREFIX):
            job, number, state, nodes, start, comment, name, folder = (field.strip() for field in fields)
            jobs.append(Job(job, number, state, nodes, start, comment, name, Path(folder)))
    if directory is None:
        return jobs
    wanted = directory.resolve()
    return [job for job in jobs if job.directory.resolve() == wanted]


def living(numbers: Iterable[str], patience: float = BRIEF_PATIENCE) -> dict[str, str]:
    """Return the states of those jobs that wait, run or complete, by number.

    Args:
        numbers: Numbers of jobs; unknown numbers are ignored.
        patience: Time limit in seconds of each call.

    Raises:
        DistilleryError: Slurm does not answer.
    """
    numbers = list(numbers)
    found: dict[str, str] = {}
    for start in range(0, len(numbers), _IDS_PER_CALL):
        few = ",".join(numbers[start : start + _IDS_PER_CALL])
        try:
            text = call(["squeue", "--noheader", f"--jobs={few}", "--format=%A %T"], patience)
        except DistilleryError as error:
            # Slurm reports a single unknown id as an error, but ignores unknown ones among several.
            if "Invalid job id" not in str(error):
                raise
            continue
        found |= dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line.strip())
    return found


def cancel_named(name: str) -> None:
    """Cancel all jobs of a name.

    Raises:
        DistilleryError: Slurm does not answer, or refuses.
    """
    call(["scancel", "--quiet", "--me", f"--name={name}"])


def cancel(ids: Iterable[str]) -> None:
    """Cancel jobs; ids of jobs that have ended are ignored.

    Raises:
        DistilleryError: Slurm does not answer, or refuses.
    """
    ids = list(ids)
    for start in range(0, len(ids), _IDS_PER_CALL):
        call(["scancel", "--quiet", *ids[start : start + _IDS_PER_CALL]])
