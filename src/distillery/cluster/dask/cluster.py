"""A Dask cluster: processes of this machine, Slurm jobs, tasks of an allocation, or a running cluster."""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

from distillery.cluster.dask import settings as dask_settings
from distillery.cluster.dask.options import DaskSettings
from distillery.cluster.dask.worker import SHUT, Waiting, Workers, log_line, missing, security
from distillery.errors import DistilleryError
from distillery.util.environment import CORES

# Number of times a task is repeated on any free worker after its worker died.
RETRIES = 3
_CONNECT_SECONDS = 30
_TICK = 0.5
_SETTINGS = {
    "distributed.scheduler.allowed-failures": RETRIES,
    # Tasks wait at the scheduler, not in the queue of a busy worker.
    "distributed.scheduler.worker-saturation": 1.0,
    # Long enough for a nanny that restarts its worker on a slow file system.
    "distributed.deploy.lost-worker-timeout": "120s",
    "distributed.admin.system-monitor.gil.enabled": False,
}


class Cluster:
    """A running cluster.

    Attributes:
        client: A ``distributed.Client``.
    """

    def __init__(self, client: Any, left: _Left, check: Callable[[], None], ended_by_slurm: bool) -> None:
        self.client = client
        self._left = left
        self._check = check
        self._ended_by_slurm = ended_by_slurm

    def results(self, function: Callable[[Any], Any], tasks: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Call a function with every task on some worker; yield results as they arrive, in any order.

        A yielded task is complete: it is not repeated when its worker dies.

        Args:
            function: A function of one argument.
            tasks: Its arguments, by key.

        Yields:
            A key, and the result or the exception of its task.

        Raises:
            DistilleryError: There are no workers and none will start, or the scheduler is lost.
        """
        self._left.count = len(tasks)
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        keys = {}
        for key, task in tasks.items():
            future = self.client.submit(function, task, key=f"fit-{key}", retries=RETRIES, pure=False)
            future.add_done_callback(ended.put)
            keys[future] = key
        try:
            while keys:
                try:
                    future = ended.get(timeout=_TICK)
                except queue.Empty:
                    self._check()
                    continue
                # A cancelled task has no result.
                if future.cancelled():
                    raise DistilleryError(
                        "the Dask scheduler was lost, or has cancelled the fits; finished ones are kept; check "
                        "the scheduler and run this again"
                    )
                result = future.exception()
                if result is None:
                    try:
                        result = future.result()
                    except Exception as error:  # the result was lost with its worker
                        result = error
                key = keys.pop(future)
                future.release()
                self._left.count = len(keys)
                yield key, result
        finally:
            self.client.cancel(list(keys), force=True)

    def everywhere(self, function: Callable[[], None]) -> None:
        """Run a function on every worker that answers, except on workers that Slurm ends."""
        if not self._ended_by_slurm:
            with contextlib.suppress(Exception):
                self.client.run(function, on_error="ignore")


class _Left:
    """The number of open tasks."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self) -> int:
        return self.count


@contextlib.contextmanager
def start_cluster(settings: DaskSettings, workers: Workers, tasks: int) -> Iterator[Cluster]:
    """Start a cluster, or connect to a running one; a started cluster lives as long as the block.

    Args:
        settings: Kind of cluster, and the address of a running one.
        workers: The workers to start.
        tasks: Number of tasks.

    Yields:
        The cluster.

    Raises:
        DistilleryError: It cannot be started or reached; the message names the setting to change.
    """
    dask_settings.load()
    import dask

    left = _Left(tasks)
    with contextlib.ExitStack() as stack:
        kind = settings.cluster
        if kind != "address":
            stack.enter_context(dask_settings.defaults())
        stack.enter_context(dask.config.set(_SETTINGS))
        leave = stack.enter_context(_left_in_order())
        if kind != "address":
            stack.enter_context(_quiet_logs())
        if kind == "address":
            client = stack.enter_context(_running(settings))
            check = _patient(client, settings.address)
        elif kind == "local":
            client, check = stack.enter_context(_local(workers)), lambda: None
        else:
            client, check = stack.enter_context(_elsewhere(kind, workers, left))
        try:
            yield Cluster(client, left, check, ended_by_slurm=kind in ("allocation", "slurm"))
        finally:
            leave()


def _elsewhere(
    kind: str, workers: Workers, left: _Left
) -> contextlib.AbstractContextManager[tuple[Any, Callable[[], None]]]:
    if kind == "allocation":
        from distillery.cluster.dask.allocation import allocation_cluster

        return allocation_cluster(workers)
    try:
        with _interrupts_kept():
            from distillery.cluster.dask.jobs import job_cluster
    except ModuleNotFoundError as error:
        raise missing(error.name or "dask-jobqueue") from None
    return job_cluster(workers, left)


@contextlib.contextmanager
def _local(workers: Workers) -> Iterator[Any]:
    """Start workers that are child processes."""
    from distributed import Client, LocalCluster

    try:
        # On a shared node, other users reach this machine's ports.
        tls: dict[str, Any] = {"protocol": "tls://", "security": security()}
    except DistilleryError:
        tls = {}  # The library for keys belongs to the extra of clusters.
    with _interrupts_held():
        local = LocalCluster(  # type: ignore[no-untyped-call]
            **tls,
            n_workers=workers.count,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            scheduler_kwargs=SHUT,
            memory_limit=None,
            silence_logs=logging.CRITICAL,
            env={CORES: str(workers.cores)},
        )
    with local, Client(local) as client:  # type: ignore[no-untyped-call]
        yield client


@contextlib.contextmanager
def _running(settings: DaskSettings) -> Iterator[Any]:
    """Connect to a running cluster."""
    from distributed import Client

    with contextlib.ExitStack() as stack:
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


def _patient(client: Any, address: str | None) -> Callable[[], None]:
    """Return a function that prints a line while a scheduler has no workers: they may still connect."""
    waiting = Waiting()

    def check() -> None:
        if waiting.due and not client.nthreads():
            waiting.report(f"waiting for workers, the scheduler at {address} has none")

    return check


@contextlib.contextmanager
def _left_in_order() -> Iterator[Callable[[], None]]:
    """Leave the block in order on SIGTERM, SIGHUP and Ctrl-C, so that processes on other machines are ended.

    Yields:
        A function to call when the block is left. After it, or after the first signal, further signals do not interrupt
        the end; only a second Ctrl-C does.
    """
    leaving = 0

    def leave() -> None:
        nonlocal leaving
        leaving = max(leaving, 1)

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal leaving
        if not leaving:
            leaving = 1
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        if number == signal.SIGINT:
            leaving += 1
            if leaving > 2:
                raise KeyboardInterrupt
            log_line("ending the workers; press Ctrl-C again to leave at once")

    if threading.current_thread() is not threading.main_thread():
        yield leave
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    # Ignored signals (by nohup, in the background) stay ignored; None is a handler outside of Python.
    ours = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in ours:
        signal.signal(number, handle)
    try:
        yield leave
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Restore the handler of Ctrl-C after an import: dask_jobqueue replaces it by an exit with status 0."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Deliver Ctrl-C after the block, and never to the processes that are started in it.

    A terminal sends it to all of its processes at once, but workers must end in order.
    """
    # A later start of Python's resource tracker would unblock the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """Silence the log messages of a cluster that starts and ends; errors arrive as results."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
