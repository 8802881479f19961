"""Values of the Snakemake rules: paths with wildcards, keys, inputs, priorities and requested resources.

Rules hold no logic; each of their lines that depends on the sweep is a call into this module, or into ``run``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

from distillery.workflow import outcome, resources
from distillery.workflow.cell import (
    BENCHMARK,
    CELL_PICTURE,
    EXPERIMENT_PICTURE,
    EXPERIMENT_WILDCARD,
    LOG,
    MARKER,
    MEMBER_WILDCARD,
    OUTCOME,
    PICTURES,
    REPORT_HTML,
    REPORT_LOG,
    REPORT_MARKDOWN,
    STAGES,
    STORE_MARKER,
    SWEEP_LOG,
    Experiment,
    Split,
    Stage,
)
from distillery.workflow.reopen import is_stale
from distillery.workflow.resources import Need
from distillery.workflow.run import growth
from distillery.workflow.sweep import Sweep

__all__ = [
    "BENCHMARK",
    "CELL_PICTURE",
    "EXPERIMENT_PICTURE",
    "EXPERIMENT_WILDCARD",
    "LOG",
    "MARKER",
    "MEMBER_WILDCARD",
    "OUTCOME",
    "REPORT_HTML",
    "REPORT_LOG",
    "REPORT_MARKDOWN",
    "STORE_MARKER",
    "SWEEP_LOG",
]


class _Wildcards(dict[str, str]):
    """Values of wildcards; a missing one stays a wildcard: ``{experiment}``."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def path(sweep: Sweep, pattern: str, **values: str) -> str:
    """Return a path pattern under the results folder, with ``values`` inserted and other wildcards left."""
    return str(sweep.results / pattern.format_map(_Wildcards(values)))


def folder(path: str) -> str:
    """Return the folder of a file."""
    return str(Path(path).parent)


def pictures(sweep: Sweep) -> list[str]:
    """Return the pictures of all experiments and jobs."""
    of_experiments = [experiment.picture(sweep.results) for experiment in sweep.experiments]
    of_jobs = [job.picture(sweep.results, name) for job in sweep.jobs.values() for name in PICTURES]
    return [str(file) for file in of_experiments + of_jobs]


def category(sweep: Sweep, experiment: str) -> str:
    """Return the heading of an experiment's picture in Snakemake's report."""
    return sweep.source(Experiment.parse(experiment)).heading


def ended(sweep: Sweep) -> list[str]:
    """Return the last outcomes of all jobs."""
    return [str(job.outcome(sweep.results, STAGES[-1])) for job in sweep.jobs.values()]


def data_key(sweep: Sweep, experiment: str, split: Split) -> str:
    """Return the key of a split of an experiment's data."""
    return sweep.data_key(Experiment.parse(experiment), split)


def force_stale(
    sweep: Sweep, snakemake: Any, rule: str, experiment: str = "", member: str = "", split: Split = "train"
) -> list[str]:
    """Make Snakemake run a job whose outcome exists but is damaged or was made with other settings.

    Snakemake calls it for each job that it considers, also in dry runs and for single targets. The outcome stays on
    disk.

    Args:
        sweep: The sweep.
        snakemake: Snakemake's object ``workflow``.
        rule: The job's rule: ``simulate``, a stage, or ``collect``.
        experiment: Wildcard of the job.
        member: Wildcard of the job.
        split: Wildcard of the job.

    Returns:
        An empty list, which adds no file to the inputs of a rule.
    """
    if not snakemake.is_main_process:
        return []
    if rule == "collect":
        file = sweep.results / STORE_MARKER
        stale = outcome.key_of(file) not in (None, sweep.collect_key)
    elif rule == "simulate":
        data = Experiment.parse(experiment)
        file = data.marker(sweep.results, split)
        stale = outcome.key_of(file) not in (None, sweep.data_key(data, split))
    else:
        stage, job = cast("Stage", rule), sweep.find_job(f"{experiment}/{member}")
        file = job.outcome(sweep.results, stage)
        stale = is_stale(sweep, stage, job)
    if stale:
        snakemake.dag.forcefiles.add(str(file))
    return []


def job_key(sweep: Sweep, stage: Stage, experiment: str, member: str) -> str:
    """Return the key of a stage of a job."""
    return sweep.job_key(stage, sweep.find_job(f"{experiment}/{member}"))


def need(sweep: Sweep, stage: str, experiment: str = "", member: str = "", split: Split = "train") -> Need:
    """Return memory and time that a job of a rule needs.

    Args:
        sweep: The sweep.
        stage: The rule's stage.
        experiment: Wildcard of the job.
        member: Wildcard of the job.
        split: Wildcard of the job.
    """
    if stage == "collect":
        return resources.collect(sweep)
    if stage == "report":
        return resources.report(sweep)
    if stage == "simulate":
        return resources.simulate(sweep, Experiment.parse(experiment), split)
    if not member:
        return resources.picture(sweep, Experiment.parse(experiment))
    of_job = {
        "train": resources.train,
        "interpret": resources.interpret,
        "distill": resources.distill,
        "verify": resources.verify,
        "replace": resources.replace,
        "generalise": resources.generalise,
        "picture": resources.picture,
    }
    return of_job[stage](sweep, sweep.find_job(f"{experiment}/{member}"))


def memory(sweep: Sweep, stage: str, **wildcards: Any) -> int:
    """Return the memory in MB that a job of a rule requests: more after it ran out of memory."""
    return growth.memory(stage, wildcards, need(sweep, stage, **wildcards))


def minutes(sweep: Sweep, stage: str, **wildcards: Any) -> int:
    """Return the time limit in minutes that a job of a rule requests: more after it ran out of time."""
    return growth.minutes(stage, wildcards, need(sweep, stage, **wildcards))


def simulate_threads(sweep: Sweep) -> int:
    """Return the number of cores that a simulation takes on the machine of its launcher."""
    return sweep.config.execution.ranks if sweep.config.execution.launcher == "mpiexec" else 1


def simulate_tasks(sweep: Sweep) -> dict[str, Any]:
    """Return the MPI resources of a simulation: with ``mpi`` the Slurm executor does not start the job as one task."""
    execution = sweep.config.execution
    # With --kill-on-bad-exit, other ranks do not wait for a killed rank until the time limit of the job.
    spread = f" --kill-on-bad-exit=1 -N {execution.nodes}" if execution.launcher != "mpiexec" else ""
    return {
        "mpi": execution.launcher if execution.ranks > 1 else "",
        "launch": f"{execution.launcher}{spread} -n {execution.ranks}" if execution.ranks > 1 else "",
        "tasks": execution.ranks,
        "nodes": execution.nodes,
        "cpus_per_task": 1,
    }


def priority(stage: Stage | Literal["simulate"]) -> int:
    """Return the priority of a stage's jobs: later stages first, so that the first laws are complete early.

    Simulations have the highest priority. They are short and take several cores at once: after a training they would
    wait for its end, while all of these cores but one are idle.
    """
    return len(STAGES) if stage == "simulate" else STAGES.index(stage)


def distill_threads(sweep: Sweep) -> int:
    """Return the number of cores that a distilling job takes on its machine."""
    dask = sweep.config.execution.dask
    return dask.workers * dask.cores if dask.cluster == "local" else 1


def distill_tasks(sweep: Sweep, memory: Callable[..., int] | int) -> dict[str, Any]:
    """Return the resources of a distilling job: memory, and one task per worker if its workers are its tasks.

    Args:
        sweep: The sweep.
        memory: The rule's memory in MB, of the job or of a core.
    """
    dask = sweep.config.execution.dask
    if dask.cluster != "allocation":
        return {"mem_mb": memory}
    return {
        "mem_mb_per_cpu": memory,
        "mpi": "srun" if dask.workers > 1 else "",
        "tasks": dask.workers,
        "cpus_per_task": dask.cores,
    }
