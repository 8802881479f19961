"""Make Snakemake end on SIGTERM at any moment.

Snakemake 9 sets a flag in its handler of SIGTERM under a lock that is not reentrant. Python runs handlers in the main
thread, and the main thread holds this lock while it checks the outputs of finished jobs. A signal at that moment would
leave the process waiting for itself, and on a cluster a job that only SIGKILL ends.
"""

from __future__ import annotations

from types import FrameType
from typing import Any


def end_on_sigterm() -> None:
    """Replace Snakemake's handler of SIGTERM by one that takes no lock; assigning the flag is atomic."""
    from snakemake.scheduling.job_scheduler import JobScheduler  # type: ignore[import-untyped]

    JobScheduler.exit_gracefully = _exit_gracefully


def _exit_gracefully(scheduler: Any, _signal: int | None = None, _frame: FrameType | None = None) -> None:
    scheduler._user_kill = "graceful"
    scheduler._open_jobs.release()
