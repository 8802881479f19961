"""The command `resume`: remove the remains of a killed run, so that the next run can start.

Jobs of the killed run are ended, for Snakemake cannot take over jobs that it did not start. This costs little:
simulations continue block by block, trainings from their last checkpoint, and finished fits are kept. With ``wait``,
running jobs are awaited instead.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import psutil

from distillery.cluster.slurm import commands
from distillery.cluster.slurm.commands import Job
from distillery.errors import DistilleryError
from distillery.util.text import counted
from distillery.workflow import claim, earlier
from distillery.workflow.claim import Claim
from distillery.workflow.outcome import is_whole, running_notes
from distillery.workflow.reopen import reopen
from distillery.workflow.snakemake_lock import mark_complete, snakemakes, unlock
from distillery.workflow.sweep import Sweep, as_run

# Seconds in which cancelled Slurm jobs must end; a node flushes files and kills stubborn processes.
GONE_SECONDS = 180.0
# Seconds in which a process must end by itself.
_END_SECONDS = 20.0
_POLL_SECONDS = 2.0
# Seconds between two queries about running jobs, which may take hours.
_WAIT_SECONDS = 30.0
_TOLD = 5

Say = Callable[[str], None]


def resume(sweep: Sweep, say: Say, *, wait: bool = False, host_is_gone: bool = False) -> bool:
    """End the jobs and processes of a killed run, and remove its locks and claim.

    Args:
        sweep: The sweep.
        say: Prints a line for each action.
        wait: Wait for running jobs and processes; cancel only jobs that have not started.
        host_is_gone: Do not require a check of processes on the host of the killed run.

    Returns:
        Whether there was anything to do.

    Raises:
        DistilleryError: The run lives, or a process of it cannot be ended from here.
    """
    results = sweep.results
    found = claim.look(results)
    if found is not None and found.alive:
        raise DistilleryError(claim.refusal(results, found))
    dead = found.claim if found is not None else None
    with contextlib.nullcontext() if found is not None else _nobody_starts(results):
        said = 0
        for line in _clear(sweep, dead, say, wait=wait, host_is_gone=host_is_gone):
            say(line)
            said += 1
        # Last, because the claim keeps other runs from starting.
        if found is not None:
            claim.remove(results, dead)
            say(f"gave up the claim of {dead}" if dead is not None else "removed a claim that cannot be read")
    return bool(said) or found is not None


@contextlib.contextmanager
def _nobody_starts(results: Path) -> Iterator[None]:
    """Hold an own claim, which keeps other runs from starting."""
    if not results.is_dir():
        yield
        return
    claim.take(results)
    try:
        yield
    finally:
        claim.release()


def _clear(sweep: Sweep, dead: Claim | None, say: Say, *, wait: bool, host_is_gone: bool) -> Iterator[str]:
    """Clear up, and yield a line for each action."""
    if dead is None:
        here = snakemakes(Path.cwd())
        if here:
            raise DistilleryError(f"Snakemake runs in this folder (process {here[0]}); wait for it or stop it")
    else:
        _refuse_elsewhere(sweep, dead, host_is_gone)
        if dead.slurm:
            yield from _end_jobs(dead, say, wait=wait)
        yield from _end_processes(dead, say, wait=wait)
        _refuse_others(sweep, dead)
        if dead.slurm:
            # One of these processes may have submitted a job meanwhile.
            yield from _end_jobs(dead, say, wait=wait)
    restored = earlier.restore(earlier.kept(sweep.results), is_whole)
    for directory in {Path.cwd(), dead.directory if dead is not None else Path.cwd()}:
        if unlock(directory, sweep.results.resolve()):
            yield f"removed Snakemake's lock in {directory}"
        mark_complete(directory, restored)
    if restored:
        yield f"put back {counted(len(restored), 'outcome')} that the killed run was about to make again"
    reopened = reopen(as_run(sweep))
    if reopened:
        yield f"opened again {counted(len(reopened), 'stage')} of jobs in which a cell failed or lost its outcome"


def _refuse_elsewhere(sweep: Sweep, dead: Claim, host_is_gone: bool) -> None:
    """Raise if processes may live on the killed run's host, where they cannot be checked from here."""
    if dead.worker.here or host_is_gone:
        return
    left = [
        path for path, worker in running_notes(sweep.results) if worker.host == dead.worker.host and worker.job is None
    ]
    if left:
        raise DistilleryError(
            f"{left[0]}: runs on {dead.worker.host}, as far as is known; run distillery resume there, or here with "
            "--host-is-gone if that machine is down"
        )


def _refuse_others(sweep: Sweep, dead: Claim) -> None:
    """Raise if processes of another user's run live here, which only that user can end."""
    if dead.own:
        return
    left = [worker for _, worker in running_notes(sweep.results) if worker.job is None and worker.alive()]
    if left:
        raise DistilleryError(
            f"{left[0]} of the killed run belongs to {dead.user}, who alone can end it: "
            f"let {dead.user} run distillery resume"
        )


def _end_jobs(dead: Claim, say: Say, *, wait: bool) -> Iterator[str]:
    """Cancel a dead run's Slurm jobs and wait until they are gone."""
    user = None if dead.own else dead.user

    def left() -> list[Job]:
        return [
            job for job in commands.our_jobs(user=user) if job.name == dead.slurm or job.name.startswith(dead.workers)
        ]

    jobs = left()
    if jobs and user is not None:
        raise DistilleryError(
            f"{counted(len(jobs), 'Slurm job')} of the killed run ({_some(job.id for job in jobs)}) belong to {user}; "
            f"only {user} can cancel them: let {user} run distillery resume"
        )
    if wait:
        yield from _cancel([job for job in jobs if job.waits and job.name == dead.slurm])
        _await(lambda: [job for job in left() if job.name == dead.slurm], say, _WAIT_SECONDS)
        jobs = left()  # Includes Dask workers whose scheduler has ended.
    yield from _cancel(jobs)
    if jobs:
        _await(left, say, _POLL_SECONDS, GONE_SECONDS)


def _cancel(jobs: Collection[Job]) -> Iterator[str]:
    if jobs:
        commands.cancel(job.id for job in jobs)
        waited = sum(job.waits for job in jobs)
        kinds = f"{waited} waiting, {len(jobs) - waited} running"
        yield f"cancelled {counted(len(jobs), 'Slurm job')} of the killed run ({kinds}): {_some(j.id for j in jobs)}"


def _await(left: Callable[[], list[Job]], say: Say, period: float, limit: float = float("inf")) -> None:
    """Wait until no job is left; raise DistilleryError if that takes longer than ``limit`` seconds."""
    started, told = time.monotonic(), -1
    while jobs := left():
        if len(jobs) != told:
            say(f"waiting for {counted(len(jobs), 'Slurm job')} to end: {_some(job.id for job in jobs)}")
            told = len(jobs)
        if time.monotonic() - started > limit:
            places = _some({f"{job.id} ({job.state} on {job.nodes or 'no node'})" for job in jobs})
            raise DistilleryError(f"Slurm jobs do not end: {places}; see to these nodes, then run this again")
        time.sleep(period)


def _end_processes(dead: Claim, say: Say, *, wait: bool) -> Iterator[str]:
    """End the processes of a dead run on this machine: those that carry its token in their environment."""
    processes = _processes(dead.token)
    if not processes:
        return
    if wait:
        say(f"waiting for {_processes_counted(len(processes))} to end: {_some(str(p.pid) for p in processes)}")
        psutil.wait_procs(processes)
        return
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
            process.resume()  # A suspended process receives the signal only after this.
    _, stubborn = psutil.wait_procs(processes, timeout=_END_SECONDS)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=_END_SECONDS)
    alive = _processes(dead.token)
    if alive:
        raise DistilleryError(f"process {alive[0].pid} of the killed run does not end; see what holds it (ps, kill -9)")
    yield f"ended {_processes_counted(len(processes))} of the killed run: {_some(str(p.pid) for p in processes)}"


def _processes(token: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(claim.RUN) == token:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _processes_counted(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _some(names: Collection[str] | Iterator[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_TOLD]) + (f" and {len(ordered) - _TOLD} more" if len(ordered) > _TOLD else "")
