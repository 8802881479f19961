"""The Dask cluster that fits run on: one started here, or one that is running already."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

from distillery.config import DaskSettings
from distillery.errors import DistilleryError

# A worker that dies takes its fit with it; the fit is given to this many further workers.
RETRIES = 3
_CONNECT_SECONDS = 30


@contextlib.contextmanager
def cluster(settings: DaskSettings, tasks: int) -> Iterator[Any]:
    """Connect to the configured cluster; a local one lives as long as the block.

    Args:
        settings: Which cluster.
        tasks: Fits to be done; a local cluster gets no more workers than that.

    Yields:
        A ``distributed.Client``.

    Raises:
        DistilleryError: Nothing answers at the configured address.
    """
    import dask
    from distributed import Client, LocalCluster

    quiet = {
        "distributed.scheduler.allowed-failures": RETRIES,
        "distributed.admin.system-monitor.gil.enabled": False,
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(quiet))
        if settings.cluster == "local":
            stack.enter_context(_quiet_logs())
            with _interrupts_held():
                local = LocalCluster(  # type: ignore[no-untyped-call]
                    n_workers=max(min(settings.workers, tasks), 1),
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    memory_limit=None,
                    silence_logs=logging.CRITICAL,
                )
            stack.enter_context(local)
            client = stack.enter_context(Client(local))  # type: ignore[no-untyped-call]
            yield client
            return
        try:
            client = stack.enter_context(
                Client(settings.address, timeout=_CONNECT_SECONDS)  # type: ignore[no-untyped-call]
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise DistilleryError(
                f"execution.dask.address: no scheduler answers at {settings.address} ({error}); "
                "start one there, or choose cluster: local"
            ) from None
        yield client


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Deliver Ctrl-C after the block, and never to the processes that are started in it.

    A terminal sends it to all of its processes at once; workers must not fall before they are told to.
    """
    # Started later, Python's resource tracker would lift the block.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """Silence the chatter of a cluster that starts and ends; what matters comes back as results."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
