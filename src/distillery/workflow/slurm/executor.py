"""Snakemake's Slurm executor that loses no job when Slurm does not answer.

snakemake-executor-plugin-slurm 2.8 drops all jobs when one query about them fails, cancels none while a query is
running, and gives up a job when sbatch fails once. This subclass overrides what the executor interface documents:
the check of active jobs, cancelling, shutting down, and the reports of submissions and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import snakemake_executor_plugin_slurm as plugin  # type: ignore[import-untyped]
from snakemake_executor_plugin_slurm.job_status_query import query_job_status  # type: ignore[import-untyped]
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo  # type: ignore[import-untyped]
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry  # type: ignore[import-untyped]

from distillery.cluster.slurm import commands, reasons
from distillery.cluster.slurm.commands import Job
from distillery.cluster.slurm.queue import comment
from distillery.cluster.slurm.reasons import Lack
from distillery.errors import DistilleryError
from distillery.util.text import counted
from distillery.workflow import claim

# Pause in seconds before a job that Slurm does not accept is submitted again, and number of attempts.
PAUSE, TRIES = 30.0, 120
# Number of answers of squeue in a row in which a lost job is missing.
_TWICE = 2
# Seconds for which the end of the run waits for cancelled jobs.
_GONE = 60.0
# Seconds in which the thread that checks jobs notices the end of the run.
_STEP = 0.5
_AT_ONCE = 2
# Length in characters of the end of a log, which holds the reason of a failure.
_END = 20_000


class Events(Protocol):
    """Receives events of the jobs of a sweep."""

    def refused(self, rule: str, wildcards: Mapping[str, str], reason: str) -> None:
        """Slurm refuses a job for good."""

    def lacked(self, rule: str, wildcards: Mapping[str, str], what: Lack) -> None:
        """A job was ended because it ran out of memory or time."""


def install(events: Events) -> None:
    """Replace the plugin's executor by this one, before Snakemake makes its executor.

    Args:
        events: Receives refusals, and jobs that ran out of memory or time.
    """
    registry = ExecutorPluginRegistry()
    if registry.is_installed("slurm"):
        registry.get_plugin("slurm").executor = type("Executor", (PatientExecutor,), {"events": events})


class PatientExecutor(plugin.Executor):
    """The Slurm executor, which repeats queries about jobs until Slurm answers."""

    events: Events

    def __post_init__(self, test_mode: bool = False) -> None:
        """Prepare the state of the overridden methods before the thread that checks jobs uses it."""
        # Jobs that were submitted and whose end was not reported.
        self._open: dict[str, SubmittedJobInfo] = {}
        self._ending = threading.Event()
        self._sending = threading.Semaphore(_AT_ONCE)
        self._late: list[threading.Thread] = []
        self._tries: dict[Any, int] = {}
        # States in the latest answer, whether it is from squeue, and number of answers in a row that lack a job.
        self._answer: dict[str, str] | None = None
        self._asked_squeue = False
        self._missing: Counter[str] = Counter()
        self._silent = False
        plugin.query_job_status = self._ask
        super().__post_init__(test_mode)

    # ---- Submission

    def run_job(self, job: Any) -> None:
        """Submit a job, unless the run ends."""
        if not self._ending.is_set():
            claim.jobs_live(True)
            super().run_job(job)

    def report_job_submission(self, job_info: Any, register_job: bool = True) -> None:
        """Record a job that Slurm has accepted."""
        self._open[job_info.external_jobid] = job_info
        super().report_job_submission(job_info, register_job=register_job)

    def get_account_arg(self, job: Any) -> Iterator[str]:
        """Yield the account of a job; none if Slurm keeps no accounts."""
        if job.resources.get("slurm_account") or self._keeps_accounts:
            yield from super().get_account_arg(job)
        else:
            yield ""

    @functools.cached_property
    def _keeps_accounts(self) -> bool:
        try:
            return keeps_accounts(commands.call(["scontrol", "show", "config"]))
        except DistilleryError:
            return True

    def _send_later(self, job: Any, said: str) -> None:
        if self._tries[job] == 1:
            self.logger.warning(f"Slurm does not take jobs now ({said}); {job.name} is sent again in {PAUSE:.0f} s")
        thread = threading.Thread(target=self._send_again, args=(job, reasons.unsure(said)), daemon=True)
        self._late = [*(each for each in self._late if each.is_alive()), thread]
        thread.start()

    def _send_again(self, job: Any, unsure: bool) -> None:
        """Submit a job again after a pause, unless Slurm has it."""
        while not self._ending.wait(PAUSE):
            try:
                taken = self._taken(job) if unsure else None
            except DistilleryError:
                continue
            if taken is not None:
                self.report_job_submission(taken)
                return
            with self._sending:
                self.run_job(job)
            return

    def _taken(self, job: Any) -> SubmittedJobInfo | None:
        """Return a job that Slurm has accepted although sbatch lost the answer."""
        kind, wildcards = ("group", ()) if job.is_group() else ("rule", tuple(job.wildcards))
        words = comment(job.name, *wildcards)
        for found in commands.our_jobs():
            if found.name == self.run_uuid and found.comment == words and found.id not in self._open:
                folder = Path(self.slurm_logdir) / f"{kind}_{job.name}" / "_".join(wildcards).replace("/", "_")
                return SubmittedJobInfo(job, external_jobid=found.id, aux={"slurm_logfile": folder / f"{found.id}.log"})
        return None

    # ---- Reports

    def report_job_success(self, job_info: Any) -> None:
        """Record that a job has ended."""
        self._open.pop(job_info.external_jobid, None)
        super().report_job_success(job_info)

    def report_job_error(self, job_info: Any, msg: str | None = None, **kwargs: Any) -> None:
        """Record that a job has failed; submit it again after a temporary refusal, not after a permanent one."""
        job, text = job_info.job, msg or ""
        if job_info.external_jobid is None:
            said = reasons.refusal(text)
            self._tries[job] = self._tries.get(job, 0) + 1
            if reasons.passing(said) and self._tries[job] < TRIES and not self._ending.is_set():
                self._send_later(job, said)
                return
            # Prevents a further attempt with the same request.
            job.attempt = job.restart_times + 1
            for rule, wildcards in _parts(job):
                self.events.refused(rule, wildcards, said)
            msg = f"Slurm refuses the job: {said}. It is not sent again. "
        else:
            self._open.pop(job_info.external_jobid, None)
            what = reasons.lack(text, _logs(job_info))
            for rule, wildcards in _parts(job) if what is not None else ():
                self.events.lacked(rule, wildcards, what)  # type: ignore[arg-type]
        super().report_job_error(job_info, msg=msg, **kwargs)

    # ---- Queries

    async def check_active_jobs(self, active_jobs: Sequence[Any]) -> AsyncIterator[Any]:
        """Yield the jobs that have not ended, and those whose state could not be learned."""
        self._answer, running = None, []
        try:
            async for job_info in super().check_active_jobs(active_jobs):
                running.append(job_info)  # noqa: PERF401 (what came before an error counts)
        except Exception as error:
            self.logger.warning(f"the states of jobs could not be read ({type(error).__name__}: {error})")
        known = {id(job_info) for job_info in running}
        unanswered = [each for each in active_jobs if each.external_jobid in self._open and id(each) not in known]
        if unanswered and not self._silent:
            self.logger.warning(
                f"Slurm does not give the states of {counted(len(unanswered), 'job')}, "
                "which go on; the query is repeated"
            )
        self._silent = bool(unanswered)
        for job_info in (*running, *unanswered):
            if self._forgotten(job_info.external_jobid):
                number = job_info.external_jobid
                text = f"Slurm has forgotten job {number}; it is sent again, and does what is missing. "
                self.report_job_error(job_info, msg=text)
            else:
                yield job_info

    async def _ask(self, command: str, logger: Any) -> tuple[dict[str, str] | None, float | None]:
        """Query the states of jobs, one word each: the plugin does not understand sacct's ``CANCELLED by 1000``."""
        states, seconds = await query_job_status(command, logger)
        if states is not None:
            states = {job: state.split(maxsplit=1)[0] for job, state in states.items() if state}
        self._answer, self._asked_squeue = states, command.startswith("squeue")
        return states, seconds

    def _forgotten(self, number: str) -> bool:
        """Return whether a job is missing in two answers in a row.

        squeue lists neither a job that ended long ago nor one that a restarted controller has lost: the plugin would
        wait for it without end. Not decided from sacct, which may lack a recent job, and not for other clusters.
        """
        if self._answer is None or not self._asked_squeue or self._submitted_job_clusters:
            return False
        self._missing[number] = 0 if number in self._answer else self._missing[number] + 1
        return self._missing[number] >= _TWICE

    async def sleep(self) -> None:
        """Wait until the next check, or until the run ends."""
        until = time.monotonic() + float(self.next_seconds_between_status_checks)
        while self.wait and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(_STEP, left))

    # ---- The end

    def cancel(self) -> None:
        """Cancel the run's jobs and end; nothing is submitted from now on."""
        self._ending.set()
        super().cancel()

    def cancel_jobs(self, active_jobs: Sequence[Any]) -> None:
        """Cancel all jobs of the run by name: while a query runs, ``active_jobs`` is empty."""
        with contextlib.suppress(DistilleryError):
            commands.cancel_named(self.run_uuid)
        if self._submitted_job_clusters:
            super().cancel_jobs(active_jobs)

    def shutdown(self) -> None:
        """End: cancel the remaining jobs of the run, and keep the claim while any may live."""
        self._ending.set()
        for thread in self._late:
            thread.join()
        super().shutdown()
        if not self.workflow.remote_execution_settings.immediate_submit:
            self._settle()

    def _settle(self) -> None:
        began, announced = time.monotonic(), False
        try:
            while left := self._left():
                if time.monotonic() - began > _GONE:
                    raise DistilleryError(f"jobs {', '.join(job.id for job in left[:5])} do not end")
                if not announced:
                    self.logger.info(
                        f"Cancelling {counted(len(left), 'job')} of this run in Slurm, and waiting for the end."
                    )
                    announced = True
                commands.cancel(job.id for job in left)
                time.sleep(1.0)
        except DistilleryError as error:
            self.logger.error(
                f"Jobs of this run may still be in Slurm ({error}); run distillery resume before the next run."
            )
        else:
            claim.jobs_live(False)

    def _left(self) -> list[Job]:
        """Return the live jobs of the run, without jobs whose end was reported and that Slurm still completes."""
        workers = claim.worker_jobs()
        return [
            job
            for job in commands.our_jobs()
            if job.name == self.run_uuid or job.name.startswith(workers)
            if job.state != "COMPLETING" or job.number in self._open
        ]


def keeps_accounts(config: str) -> bool:
    """Return whether Slurm keeps accounts, from the output of ``scontrol show config``."""
    found = re.search(r"^AccountingStorageType\s*=\s*(\S+)", config, re.MULTILINE)
    return found is None or not found[1].endswith(("none", "(null)"))


def _members(job: Any) -> tuple[Any, ...]:
    """Return the jobs of a group, or the job itself."""
    return tuple(job.jobs) if job.is_group() else (job,)


def _parts(job: Any) -> list[tuple[str, dict[str, str]]]:
    """Return rule and wildcards of a job, or of each member of a group."""
    return [(member.rule.name, dict(member.wildcards.items())) for member in _members(job)]


def _logs(job_info: Any) -> str:
    """Return the ends of Slurm's log of a job and of its stages' logs."""
    slurm = (job_info.aux or {}).get("slurm_logfile")
    paths = [*([slurm] if slurm else []), *(str(log) for member in _members(job_info.job) for log in member.log)]
    ends = []
    for path in paths:
        with contextlib.suppress(OSError):
            ends.append(Path(path).read_text(encoding="utf-8", errors="replace")[-_END:])
    return "\n".join(ends)
