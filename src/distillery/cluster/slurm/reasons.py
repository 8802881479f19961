"""Why Slurm did not take a job, or ended it: decided from its words."""

from __future__ import annotations

import re
from typing import Literal

Lack = Literal["memory", "time"]
# sbatch says so of a controller that is away or overloaded, of munge, and of limits on the number of a user's jobs.
# The same request may be taken later.
_PASSING = re.compile(
    r"unable to contact|connect failure|connection (refused|reset)|timed out|zero bytes|temporarily|try again|"
    r"munge|authentication|credential|max_?submit|submit ?job|submission limit|too many jobs|not respon|"
    r"failed to run sinfo|did not answer|communication|in standby|shutdown in progress|required node not available|"
    r"nodes? (are|is) (busy|down|drained)|system is currently disabled",
    re.IGNORECASE,
)
# Slurm may have taken a job although sbatch lost the answer.
_UNSURE = re.compile(r"timed out|zero bytes|reset|communication", re.IGNORECASE)
_SBATCH = re.compile(r"The error message was '(?P<said>.*?)'\.\n", re.DOTALL)
_EXCEPTION = re.compile(r"failed with exception: (?P<said>.*)", re.DOTALL)
_STATE = re.compile(r"SLURM status is:\s*'(?P<state>[A-Z_]+)'")
# A GPU that is out of memory is not meant: PyTorch writes "CUDA out of memory" and OutOfMemoryError.
_MEMORY = re.compile(
    r"oom[_-]kill|\btask \d+: Out Of Memory|[Ee]xceeded (job |step )?memory limit|^MemoryError\b|\bMemoryError:|"
    r"Cannot allocate memory|can't allocate memory|std::bad_alloc|outgrew its memory",
    re.MULTILINE,
)


def passing(said: str) -> bool:
    """Tell whether a refusal by sbatch may pass, so that the same job is worth sending again later."""
    return _PASSING.search(said) is not None


def unsure(said: str) -> bool:
    """Tell whether Slurm may have taken the job although sbatch failed."""
    return _UNSURE.search(said) is not None


def refusal(message: str) -> str:
    """Return the words of sbatch, on one line, in the executor's message about a job that was not submitted."""
    found = _SBATCH.search(message) or _EXCEPTION.search(message)
    lines = [line.strip() for line in (found["said"] if found else message).splitlines() if line.strip()]
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in lines]
    # The last line is the general one; the lines before it give the reason.
    return "; ".join(dict.fromkeys(lines))


def lack(message: str, log: str) -> Lack | None:
    """Return what a job ran out of, or None where it ended for another reason.

    Args:
        message: The executor's message, which holds Slurm's state of the job.
        log: Slurm's log of the job, and those of its stages.
    """
    found = _STATE.search(message)
    state = found["state"] if found else ""
    if state == "OUT_OF_MEMORY" or (state in ("FAILED", "CANCELLED") and _MEMORY.search(log)):
        return "memory"
    return "time" if state in ("TIMEOUT", "DEADLINE") else None
