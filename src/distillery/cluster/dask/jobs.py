"""Workers that are Slurm jobs of their own: submitted, counted, replaced, cancelled.

Calls to Slurm: one for this machine's address and, inside a job, one for its placement; one ``sbatch`` per worker job,
one after the other; one ``squeue`` per check (three a minute) while a worker is absent, none while all are connected;
one ``scancel`` at the end, by name, so that jobs of unknown number are cancelled too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Client, SchedulerPlugin
from distributed.core import Status
from distributed.deploy.adaptive import Adaptive

from distillery.cluster.dask.submission import Submission, queue_of
from distillery.cluster.dask.worker import (
    QUIET,
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

# Slurm's reasons of waits that only a change of the job or of the site ends.
_ENDLESS = {
    "AccountNotAllowed",
    "BadConstraints",
    "InvalidAccount",
    "InvalidQOS",
    "PartitionConfig",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSNotAllowed",
}
# Number of checks with such a reason, and least number of jobs that end without reaching the scheduler, before the
# work is given up.
_OFTEN = 3
_LONGEST_PAUSE = 600.0


class _WorkerJob(SLURMJob):
    """A Slurm job with one worker."""

    # The worker replaces the shell, so that Slurm's signals reach it.
    _script_template = SLURMJob._script_template.replace("%(worker_command)s", "exec %(worker_command)s")

    def __init__(
        self, scheduler: Any = None, name: Any = None, submission: Submission | None = None, **options: Any
    ) -> None:
        super().__init__(scheduler=scheduler, name=name, **options)  # type: ignore[no-untyped-call]
        assert submission is not None
        self.submission = submission
        self.reported = False

    @property
    def worker_process_memory(self) -> str:
        # Slurm limits the memory of the job, and the parent of a fit that of the fit.
        return "0"

    async def start(self) -> None:
        with self.job_file() as script:
            self.job_id = await self.submission.submit(Path(script))
        self.status = Status.running

    async def close(self) -> None:
        if self.job_id is not None:
            await self.submission.cancel(self.job_id)
        self.status = Status.closed


class _WorkerCluster(SLURMCluster):
    job_cls = _WorkerJob  # type: ignore[assignment]

    def _get_worker_security(self, security: Any) -> None:
        """Write no keys to files: the workers get them in their environment."""


class _Arrivals(SchedulerPlugin):
    """Records which workers have connected."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission

    def add_worker(self, scheduler: Any, worker: str) -> None:
        self.submission.came.add(str(scheduler.workers[worker].name))
        self.submission.present = len(scheduler.workers)

    def remove_worker(self, scheduler: Any, worker: str, **details: Any) -> None:
        self.submission.present = len(scheduler.workers)


class _Keeper(Adaptive):
    """Keeps as many workers as there are open fits, up to the requested number, and replaces lost ones.

    Dask replaces a worker that was connected and lost. A job that ends before its worker connects, is cancelled while
    it waits, or was refused is found by a query of Slurm.
    """

    def __init__(self, cluster: Any, submission: Submission, unfinished: Callable[[], int], **options: Any) -> None:
        self.submission = submission
        self.unfinished = unfinished
        self._rounds = 0
        self._fruitless = 0
        self._stuck = 0
        self._not_before = 0.0
        super().__init__(cluster, **options)
        self.cluster: Any = cluster

    async def target(self) -> int:
        return self.unfinished()

    async def workers_to_close(self, target: int) -> list[str]:
        idle = [worker.name for worker in self.cluster.scheduler.workers.values() if not worker.processing]
        return idle[: max(len(self.plan) - target, 0)]

    async def recommendations(self, target: int) -> dict[str, Any]:
        await self._look()
        return await super().recommendations(target)

    def _absent(self) -> dict[str, _WorkerJob]:
        there = {worker.name for worker in self.cluster.scheduler.workers.values()}
        return {name: job for name, job in self.cluster.workers.items() if name not in there}

    async def _look(self) -> None:
        """Find ended jobs and make room for new ones."""
        absent = self._absent()
        if not absent:
            self._rounds = self._fruitless = 0
            return
        try:
            self.submission.queue = await asyncio.to_thread(queue_of, self.submission.workers.name)
        except DistilleryError:
            return
        still = self._absent()
        gone = [
            (name, job) for name, job in absent.items() if name in still and job.job_id not in self.submission.queue
        ]
        for name, job in gone:
            self._note(name, job)
        self._judge(gone)
        if not gone or time.monotonic() < self._not_before:
            return
        if self.submission.refusal or self._fruitless:
            pause = min(self.submission.workers.interval * 2**self._rounds, _LONGEST_PAUSE)
            self._rounds, self._not_before = self._rounds + 1, time.monotonic() + pause
        for name, _ in gone:
            del self.cluster.workers[name]
            self.submission.came.discard(name)
        self.submission.refusal = ""

    def _judge(self, gone: list[tuple[str, _WorkerJob]]) -> None:
        """Set the error if no worker is connected and none will connect."""
        submission = self.submission
        reasons = {state.partition("(")[2].rstrip(")") for state in submission.queue.values()}
        self._stuck = self._stuck + 1 if reasons and reasons <= _ENDLESS else 0
        if submission.present:
            return
        if self._stuck >= _OFTEN:
            submission.error = DistilleryError(
                f"the worker jobs will never start ({', '.join(sorted(reasons))}); set memory_mb, cores and "
                "walltime_minutes in execution.dask, and partition and account in the profile, to what the site allows"
            )
        numbers = [job.job_id for _, job in gone if job.job_id is not None]
        if numbers and self._fruitless >= max(_OFTEN, submission.workers.count):
            log = submission.log(numbers[-1])
            submission.error = DistilleryError(
                f"{self._fruitless} worker jobs ended before they reached the scheduler at "
                f"{self.cluster.scheduler_address}; {log} ends with: {last_line(log)}"
            )

    def _note(self, name: str, job: _WorkerJob) -> None:
        if job.reported or job.job_id is None:
            return
        job.reported = self.submission.trouble = True
        log = self.submission.log(job.job_id)
        if name in self.submission.came:
            self._fruitless = self._rounds = 0
            log_line(f"worker job {job.job_id} ended; another takes its place")
        elif log.exists():
            self._fruitless += 1
            log_line(f"worker job {job.job_id} ended before it reached the scheduler: {last_line(log)}")
        else:
            log_line(f"worker job {job.job_id} ended before it began; another takes its place")


@contextlib.contextmanager
def job_cluster(workers: Workers, unfinished: Callable[[], int]) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Start workers as Slurm jobs; they live as long as the block.

    Inside a Slurm job they get its partition, account, QOS, features and reservation, otherwise Slurm's defaults. If
    this process is killed, they end by themselves.

    Args:
        workers: The requested workers.
        unfinished: Returns the number of open fits; more workers than that are released.

    Yields:
        A ``distributed.Client``, and a function to call repeatedly, which prints the reason of a wait.

    Raises:
        DistilleryError: Slurm refuses the jobs or does not answer; the function raises it too.
    """
    job = nested.job_id()
    placement = nested.allocation(job).placement if job else ()
    keys = security()
    submission = Submission(workers, environment(workers, keys))
    workers.logs.mkdir(parents=True, exist_ok=True)
    cluster: Any = _WorkerCluster(
        name=workers.name,
        job_name=workers.name,
        cores=1,
        processes=1,
        memory=f"{workers.memory_mb} MB",
        job_cpu=workers.cores,
        job_mem=f"{workers.memory_mb}M",
        walltime=str(workers.minutes),
        death_timeout=workers.death_seconds,
        worker_extra_args=QUIET,
        job_extra_directives=[
            *placement,
            "--no-requeue",
            "--export=ALL",
            f"--output={shlex.quote(str(workers.logs / '%x-%j.log'))}",
        ],
        log_directory=None,
        protocol="tls://",
        security=keys,
        scheduler_options={"host": scheduler_host(), **SHUT},
        silence_logs=logging.CRITICAL,
        submission=submission,
    )
    whole = False
    try:
        cluster.scheduler.add_plugin(_Arrivals(submission))
        cluster.scale(workers.count)
        cluster.adapt(
            Adaptive=_Keeper,
            minimum=0,
            maximum=workers.count,
            interval=workers.interval,
            wait_count=1,
            submission=submission,
            unfinished=unfinished,
        )
        with Client(cluster) as client:  # type: ignore[no-untyped-call]
            yield client, _checker(submission)
        whole = not submission.trouble
    finally:
        cluster.sync(submission.close)
        cluster.close()
        if whole:
            for log in workers.logs.glob(f"{workers.name}-*.log"):
                log.unlink(missing_ok=True)


def _checker(submission: Submission) -> Callable[[], None]:
    waiting = Waiting()

    def check() -> None:
        submission.check()
        if submission.present:
            waiting.over()
            return
        job = next(iter(sorted(submission.queue.items(), key=lambda item: "pending" in item[1])), None)
        about = f"job {job[0]} {job[1]}" if job else submission.words or "no job in the queue"
        waiting.report(f"waiting for workers, 0 of {submission.workers.count}; {about}")

    return check
