"""Reasons why Slurm did not accept a job, or ended it, from its messages."""

from __future__ import annotations

import re
from typing import Literal

Lack = Literal["memory", "time"]
# Messages of sbatch about an unavailable or overloaded controller, munge, and limits on the number of a user's jobs.
# The same request may be accepted later.
_PASSING = re.compile(
    r"unable to contact|connect failure|connection (refused|reset)|timed out|zero bytes|temporarily|try again|"
    r"munge|authentication|credential|max_?submit|submit ?job|submission limit|too many jobs|not respon|"
    r"failed to run sinfo|did not answer|communication|in standby|shutdown in progress|required node not available|"
    r"nodes? (are|is) (busy|down|drained)|system is currently disabled",
    re.IGNORECASE,
)
# Messages of sbatch after which Slurm may have accepted the job.
_UNSURE = re.compile(r"timed out|zero bytes|reset|communication", re.IGNORECASE)
_SBATCH = re.compile(r"The error message was '(?P<said>.*?)'\.\n", re.DOTALL)
_EXCEPTION = re.compile(r"failed with exception: (?P<said>.*)", re.DOTALL)
_STATE = re.compile(r"SLURM status is:\s*'(?P<state>[A-Z_]+)'")
# Does not match a GPU out of memory: PyTorch writes "CUDA out of memory" and OutOfMemoryError.
_MEMORY = re.compile(
    r"oom[_-]kill|\btask \d+: Out Of Memory|[Ee]xceeded (job |step )?memory limit|^MemoryError\b|\bMemoryError:|"
    r"Cannot allocate memory|can't allocate memory|std::bad_alloc|outgrew its memory",
    re.MULTILINE,
)


def passing(said: str) -> bool:
    """Return whether a refusal by sbatch is temporary, so that the same job may be accepted later."""
    return _PASSING.search(said) is not None


def unsure(said: str) -> bool:
    """Return whether Slurm may have accepted the job although sbatch failed."""
    return _UNSURE.search(said) is not None


def refusal(message: str) -> str:
    """Return the message of sbatch, in one line, from the executor's message about a job that was not submitted."""
    found = _SBATCH.search(message) or _EXCEPTION.search(message)
    lines = [line.strip() for line in (found["said"] if found else message).splitlines() if line.strip()]
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in lines]
    # The last line is general; the lines before it give the reason.
    return "; ".join(dict.fromkeys(lines))


def lack(message: str, log: str) -> Lack | None:
    """Return the resource that a job ran out of, or None if it ended for another reason.

    Args:
        message: The executor's message, with Slurm's state of the job.
        log: Slurm's log of the job, and those of its stages.
    """
    found = _STATE.search(message)
    state = found["state"] if found else ""
    if state == "OUT_OF_MEMORY" or (state in ("FAILED", "CANCELLED") and _MEMORY.search(log)):
        return "memory"
    return "time" if state in ("TIMEOUT", "DEADLINE") else None
