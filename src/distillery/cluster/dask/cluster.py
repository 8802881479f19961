"""The Dask cluster that fits run on: processes here, Slurm jobs, tasks of an allocation, or one that runs already."""

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
from distillery.cluster.dask.worker import SHUT, Waiting, Workers, missing, security, tell
from distillery.errors import DistilleryError
from distillery.util.environment import CORES

# A fit whose worker or process dies is tried again this often, on any worker that is free.
RETRIES = 3
_CONNECT_SECONDS = 30
_TICK = 0.5
_SETTINGS = {
    "distributed.scheduler.allowed-failures": RETRIES,
    # A fit waits at the scheduler, not behind another on a worker.
    "distributed.scheduler.worker-saturation": 1.0,
    # A nanny that restarts its worker on a slow file system is given the time for it.
    "distributed.deploy.lost-worker-timeout": "120s",
    "distributed.admin.system-monitor.gil.enabled": False,
}


class Cluster:
    """A cluster that can be given work.

    Attributes:
        client: A ``distributed.Client``.
    """

    def __init__(self, client: Any, left: _Left, check: Callable[[], None], ended_by_slurm: bool) -> None:
        self.client = client
        self._left = left
        self._check = check
        self._ended_by_slurm = ended_by_slurm

    def results(self, function: Callable[[Any], Any], tasks: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Call a function with every task on some worker; yields results as they come, in any order.

        What has been yielded is done: it is not repeated when the worker that did it dies.

        Args:
            function: A function of one argument.
            tasks: Its arguments, by key.

        Yields:
            A key, and the result or the exception that its task came to.

        Raises:
            DistilleryError: There are no workers and none will come, or the scheduler is gone.
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
                # Nothing is known then of what the task might have come to: that is no result.
                if future.cancelled():
                    raise DistilleryError(
                        "the Dask scheduler was lost, or has cancelled the fits; finished ones are kept, see what "
                        "became of it and run this again"
                    )
                result = future.exception()
                if result is None:
                    try:
                        result = future.result()
                    except Exception as error:  # its worker is gone, and the result with it
                        result = error
                key = keys.pop(future)
                future.release()
                self._left.count = len(keys)
                yield key, result
        finally:
            self.client.cancel(list(keys), force=True)

    def everywhere(self, function: Callable[[], None]) -> None:
        """Run a function on every worker that answers; workers that Slurm started are ended by Slurm, at once."""
        if not self._ended_by_slurm:
            with contextlib.suppress(Exception):
                self.client.run(function, on_error="ignore")


class _Left:
    """The number of tasks that are not done."""

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
    """Start workers that are processes of this one."""
    from distributed import Client, LocalCluster

    try:
        # On a node that others use too, they reach this machine's own ports.
        tls: dict[str, Any] = {"protocol": "tls://", "security": security()}
    except DistilleryError:
        tls = {}  # Keys come with what a cluster needs.
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
    """Connect to a cluster that runs already."""
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
    """Return a function that tells what is waited for where a scheduler has no workers: they may still come."""
    waiting = Waiting()

    def check() -> None:
        if waiting.due and not client.nthreads():
            waiting.say(f"waiting for workers, the scheduler at {address} has none")

    return check


@contextlib.contextmanager
def _left_in_order() -> Iterator[Callable[[], None]]:
    """Leave the block in order on SIGTERM and SIGHUP as on Ctrl-C: what was started elsewhere must be ended.

    Yields:
        A function to be called when the block is being left; from then on, or after one of these signals, a further
        one does not interrupt that. The second Ctrl-C does.
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
            tell("ending the workers; press Ctrl-C again to leave at once")

    if threading.current_thread() is not threading.main_thread():
        yield leave
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    # What is ignored (by nohup, in the background) stays ignored; None is a handler that is not Python's.
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
    """Take back what a library does to Ctrl-C when it is imported: dask_jobqueue makes it a success."""
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
