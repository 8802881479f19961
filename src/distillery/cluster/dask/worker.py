"""The workers of a cluster on other machines: their size, environment, keys, and the address of the scheduler."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distillery.cluster.slurm import nested
from distillery.errors import DistilleryError
from distillery.util.environment import CORES

# Seconds for which a worker looks for a lost scheduler before it ends.
DEATH_SECONDS = 60
# Seconds between two counts of the workers.
INTERVAL = 20.0
# Dask's web servers cannot be disabled; these listen on their own machine and a free port.
_OWN = "127.0.0.1:0"
SHUT = {"dashboard": False, "dashboard_address": _OWN}
QUIET = ["--no-dashboard", f"--dashboard-address={_OWN}"]
# Pauses in seconds between printed lines.
_PAUSES = (10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclasses.dataclass(frozen=True)
class Workers:
    """The requested workers; each runs one fit at a time.

    Attributes:
        count: Number of workers.
        cores: Cores of each.
        memory_mb: Memory of each in MB.
        minutes: Time limit of a worker job.
        name: Unique name of their Slurm jobs or step.
        logs: Folder of their logs.
        interval: Seconds between two checks.
        death_seconds: Seconds for which a worker looks for a lost scheduler.
    """

    count: int
    cores: int
    memory_mb: int
    minutes: int
    name: str
    logs: Path
    interval: float = INTERVAL
    death_seconds: int = DEATH_SECONDS

    @property
    def arguments(self) -> list[str]:
        """Arguments of ``dask worker``: one fit at a time; the cluster, not Dask, limits memory; no dashboard."""
        return ["--nthreads=1", "--memory-limit=0", *QUIET, f"--death-timeout={self.death_seconds}"]

    def command(self, address: str) -> list[str]:
        """Return the command that starts a worker for the scheduler at an address."""
        return [sys.executable, "-P", "-m", "distributed.cli.dask_worker", address, *self.arguments]


def security() -> Any:
    """Return new TLS keys of a cluster, which only its processes have (a ``distributed.Security``).

    Without keys, everyone who reaches the scheduler's port, on many clusters every user, can run code as this user.

    Raises:
        DistilleryError: The library for keys is missing.
    """
    from distributed import Security

    try:
        return Security.temporary()  # type: ignore[no-untyped-call]
    except ImportError:
        raise missing("cryptography") from None


def missing(library: str) -> DistilleryError:
    """Return the error about a missing library that only clusters need."""
    return DistilleryError(
        f"execution.dask.cluster: {library} is not installed, which workers on a cluster need; "
        "install distillery[slurm]"
    )


def environment(workers: Workers, keys: Any) -> dict[str, str]:
    """Return the environment of the workers' jobs or step: this process's, clean of Slurm's options, with the keys.

    Keys are passed here because other users cannot read an environment, and it leaves no file.

    Args:
        workers: The requested workers.
        keys: The keys from ``security``.
    """
    tls = keys.get_tls_config_for_role("worker")
    return {
        **nested.clean(os.environ),
        CORES: str(workers.cores),
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": tls["ca_file"],
        "DASK_DISTRIBUTED__COMM__TLS__WORKER__CERT": tls["cert"],
        "DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY": tls["key"],
        "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__GIL__ENABLED": "False",
    }


def scheduler_host() -> str:
    """Return the address of this machine for the cluster's nodes.

    It is the address from which this machine reaches Slurm's controller. If nodes need another, Dask's own setting
    ``jobqueue.slurm.interface`` (``DASK_JOBQUEUE__SLURM__INTERFACE=ib0``) names the network interface.

    Raises:
        DistilleryError: Slurm does not answer, or there is no such interface.
    """
    import dask
    import distributed.utils

    find: Any = distributed.utils
    interface = dask.config.get("jobqueue.slurm.interface", None)
    if interface is not None:
        try:
            return str(find.get_ip_interface(interface))
        except (ValueError, OSError) as error:
            raise DistilleryError(f"jobqueue.slurm.interface: {error}; set it to one of this machine's") from None
    host = nested.controller()
    try:
        return str(find.get_ip(host) if host else find.get_ip())
    except OSError:
        return str(find.get_ip())


class Waiting:
    """Prints the reason of a wait at growing intervals."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._count = 0
        self._last = clock()

    @property
    def due(self) -> bool:
        """Whether the pause since the last line is over."""
        return self._clock() - self._last >= _PAUSES[min(self._count, len(_PAUSES) - 1)]

    def report(self, text: str) -> None:
        """Print a line if the pause since the last one is over."""
        if self.due:
            self._count, self._last = self._count + 1, self._clock()
            log_line(text)

    def over(self) -> None:
        """Reset the pauses at the end of a wait."""
        self._count, self._last = 0, self._clock()


def log_line(text: str) -> None:
    """Print a line to standard error."""
    print(text, file=sys.stderr, flush=True)


def last_line(path: Path) -> str:
    """Return the last non-empty line of a log; empty without one."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - 4000, 0))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line), "")
