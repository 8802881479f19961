"""Identity of a process on a host, distinguished from a later process with the same number."""

from __future__ import annotations

import dataclasses
import functools
import getpass
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil


def user_name() -> str:
    """Return the name of the user, or the number where the system knows no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@dataclasses.dataclass(frozen=True)
class Worker:
    """A process, as others can find it.

    Attributes:
        host: Name of its machine.
        space: Its space of process numbers; containers on one machine have several.
        pid: Its number there.
        born: When it began, in a form that does not depend on the clock.
        job: Its Slurm job, if it has one.
        node: What Slurm calls its machine.
    """

    host: str
    space: str
    pid: int
    born: str
    job: str | None = None
    node: str | None = None

    @property
    def here(self) -> bool:
        """Whether its number means something on this machine."""
        return self.host == platform.node() and self.space in ("", _space())

    def alive(self) -> bool | None:
        """Tell whether it lives; None where that cannot be seen from here."""
        return born(self.pid) == self.born if self.here else None

    def __str__(self) -> str:
        if self.job is not None:
            return f"job {self.job} on {self.node or self.host}"
        return f"process {self.pid} on {'this host' if self.here else self.host}"


def this_process() -> Worker:
    """Return the process that asks."""
    pid = os.getpid()
    variables = os.environ.get
    return Worker(
        platform.node(), _space(), pid, born(pid) or "", variables("SLURM_JOB_ID"), variables("SLURMD_NODENAME")
    )


def worker_from(content: Mapping[str, Any]) -> Worker | None:
    """Read a worker from JSON-like content; None if it is damaged."""
    host, pid, job, node = (content.get(name) for name in ("host", "pid", "job", "node"))
    if not isinstance(host, str) or not isinstance(pid, int):
        return None
    space, begun = str(content.get("space", "")), str(content.get("born", ""))
    return Worker(host, space, pid, begun, str(job) if job else None, str(node) if node else None)


def born(pid: int) -> str | None:
    """Return when a process of this machine began, or None if there is none of that number.

    On Linux: the boot and the ticks since then, which no change of the clock moves.
    """
    try:
        # The name of the program stands in parentheses and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"
    except (OSError, IndexError):
        pass
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.Error:
        return None


@functools.cache
def _boot() -> str:
    return _line(Path("/proc/sys/kernel/random/boot_id"))[:8]


@functools.cache
def _space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
