"""Workers that are tasks of one step over all nodes of this process's own Slurm allocation.

Calls to Slurm: one for this machine's address, one about the allocation, and one ``srun``, which runs as long as the
cluster.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from distributed import Client, LocalCluster

from distillery.cluster.dask.worker import (
    SHUT,
    Waiting,
    Workers,
    environment,
    last_line,
    log_line,
    scheduler_host,
    security,
)
from distillery.cluster.slurm import nested
from distillery.errors import DistilleryError

_GRACE = 10.0
# A worker's nanny replaces a killed worker; this shell replaces a nanny that was killed by a signal, and only then:
# one that ends by itself was stopped, or has lost its scheduler.
_REPLACING = 'while :; do "$0" "$@"; code=$?; [ "$code" -gt 128 ] || exit "$code"; sleep 1; done'
# Number of starts of the step while there is work.
_STARTS = 3


class _Step:
    """The step that holds the workers."""

    def __init__(self, workers: Workers, words: list[str], keys: Any) -> None:
        self.workers = workers
        self.log = workers.logs / f"{workers.name}.log"
        self._words = words
        self._environment = environment(workers, keys)
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                # Ctrl-C in a terminal must not reach the step, which this process ends.
                start_new_session=True,
            )

    def check(self, present: int) -> None:
        """Start the step again if it ended; raise if it never had a worker, or ended too often."""
        assert self._process is not None
        if self._process.poll() is None:
            return
        words = last_line(self.log) or f"exit status {self._process.returncode}"
        if self._starts >= _STARTS or not present:
            raise DistilleryError(
                f"srun: the workers' step ended ({words}); the allocation needs execution.dask's workers × cores CPUs"
            )
        log_line(f"the workers' step ended ({words}); it is started again")
        self.start()

    def end(self) -> None:
        process = self._process
        if process is None:
            return
        # SIGTERM makes srun end all tasks of the step.
        for stop in (process.terminate, process.terminate, process.kill):
            if process.poll() is None:
                stop()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE)


@contextlib.contextmanager
def allocation_cluster(workers: Workers) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Start the scheduler here and workers over all nodes of this job's allocation; they live as long as the block.

    Args:
        workers: The requested workers.

    Yields:
        A ``distributed.Client``, and a function to call repeatedly, which prints the reason of a wait.

    Raises:
        DistilleryError: This is no Slurm job, or its allocation is too small; the function raises it too.
    """
    job = nested.job_id()
    if job is None:
        raise DistilleryError(
            "execution.dask.cluster: allocation takes the nodes of the Slurm job it runs in, and this is none "
            "(SLURM_JOB_ID is not set); use --profile slurm, or set it to slurm or local"
        )
    allocation = nested.allocation(job)
    if workers.count * workers.cores > allocation.cpus:
        raise DistilleryError(
            f"execution.dask: {workers.count} workers of {workers.cores} cores are more than the {allocation.cpus} "
            f"CPUs of job {job}; ask for more in the profile, or lower workers"
        )
    workers.logs.mkdir(parents=True, exist_ok=True)
    keys = security()
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=0,
        processes=True,
        host=scheduler_host(),
        protocol="tls://",
        security=keys,
        dashboard_address=None,
        scheduler_kwargs=SHUT,
        silence_logs=logging.CRITICAL,
    ) as cluster:
        nodes = min(allocation.nodes, workers.count)
        step = _Step(
            workers,
            [
                "srun",
                f"--jobid={job}",
                f"--job-name={workers.name}",
                f"--nodes={nodes}",
                f"--ntasks={workers.count}",
                f"--cpus-per-task={workers.cores}",
                # Share the CPUs of a step that this process may run in, and keep tasks when one ends.
                "--overlap",
                "--kill-on-bad-exit=0",
                "--wait=0",
                "--mpi=none",
                "--input=none",
                "--label",
                "--export=ALL",
                "sh",
                "-c",
                _REPLACING,
                *workers.command(cluster.scheduler_address),
            ],
            keys,
        )
        whole = False
        try:
            with Client(cluster) as client:  # type: ignore[no-untyped-call]
                yield client, _checker(step, cluster.scheduler)
            whole = True
        finally:
            step.end()
            if whole:
                step.log.unlink(missing_ok=True)


def _checker(step: _Step, scheduler: Any) -> Callable[[], None]:
    waiting = Waiting()
    came = False

    def check() -> None:
        nonlocal came
        present = len(scheduler.workers)
        came = came or present > 0
        step.check(came)
        if present:
            waiting.over()
        else:
            waiting.report(f"waiting for workers, 0 of {step.workers.count}; {last_line(step.log) or 'srun has begun'}")

    return check
