"""Sizes of the jobs of each rule, and refusals by ``sbatch --test-only``."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distillery.cluster.slurm import commands, reasons
from distillery.cluster.slurm.capacity import most_memory, places
from distillery.cluster.slurm.partitions import Partition
from distillery.errors import DistilleryError
from distillery.workflow.config import parse_config
from distillery.workflow.slurm.site import MINIMAL, Site, request
from distillery.workflow.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class Sample:
    """A job that stands for all jobs of its rule and experiment.

    Attributes:
        rule: Its rule.
        resources: Its resources, evaluated.
    """

    rule: str
    resources: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Shape:
    """The size of a job.

    Attributes:
        tasks: Number of tasks.
        cores: CPUs of a task.
        memory_mb: Memory of a task in MB; 0 if none is requested.
    """

    tasks: int
    cores: int
    memory_mb: int

    def __str__(self) -> str:
        one = f"{self.cores} CPU{'s' * (self.cores > 1)} and {self.memory_mb:,.0f} MB"
        return f"{self.tasks} tasks of {one} each" if self.tasks > 1 else one


def shape_of(resources: Mapping[str, Any]) -> Shape:
    """Return the size of a job with these resources."""
    cores = _whole(resources.get("cpus_per_task")) or _whole(resources.get("_cores")) or 1
    tasks = _whole(resources.get("tasks")) or 1
    of_core = _whole(resources.get("mem_mb_per_cpu"))
    return Shape(tasks, cores, of_core * cores if of_core else math.ceil(_whole(resources.get("mem_mb")) / tasks))


def words(resources: Mapping[str, Any]) -> list[str]:
    """Return the options of sbatch for a job with these resources, as the executor writes them."""
    asked, shape = request(resources), shape_of(resources)
    found = [*asked.words(), f"--cpus-per-task={shape.cores}"]
    if not asked.wants_gpu:
        found.append(f"--ntasks={shape.tasks}")
    if nodes := _whole(resources.get("nodes")):
        found.append(f"--nodes={nodes}")
    if of_core := _whole(resources.get("mem_mb_per_cpu")):
        found.append(f"--mem-per-cpu={of_core}")
    elif memory := _whole(resources.get("mem_mb")):
        found.append(f"--mem={memory}")
    if runtime := _whole(resources.get("runtime")):
        found.append(f"--time={runtime}")
    return found


def samples_of(site: Site) -> list[Sample]:
    """Return one job of each rule of a default sweep with a profile, and one of Dask's worker jobs."""
    from distillery.workflow import resources
    from distillery.workflow import rules as workflow

    sweep = Sweep(parse_config({**MINIMAL, "execution": site.execution.model_dump()}), Path("results"))
    (experiment,), (job,) = sweep.experiments, sweep.jobs.values()
    simulate, train, distill = (
        resources.simulate(sweep, experiment, "train"),
        resources.train(sweep, job),
        resources.distill(sweep, job),
    )
    asked: dict[str, dict[str, Any]] = {
        "simulate": {**workflow.simulate_tasks(sweep), "mem_mb_per_cpu": simulate.memory()},
        "train": {"mem_mb": train.memory()},
        "distill": workflow.distill_tasks(sweep, distill.memory()),
    }
    asked["distill"].setdefault("cpus_per_task", workflow.distill_threads(sweep))
    everywhere = site.resources.get("", {})
    found = [Sample(rule, {**everywhere, **own, **site.resources.get(rule, {})}) for rule, own in asked.items()]
    dask = site.execution.dask
    if dask.cluster == "slurm":
        worker = {"mem_mb": resources.worker_mb(sweep.config), "cpus_per_task": dask.cores}
        found.append(Sample("distill", {**everywhere, **worker, "runtime": dask.walltime_minutes}))
    return found


def largest(samples: Iterable[Sample]) -> dict[str, Sample]:
    """Return the largest job of each rule, by memory."""
    found: dict[str, Sample] = {}
    for sample in samples:
        before = found.get(sample.rule)
        if before is None or _total(sample) > _total(before):
            found[sample.rule] = sample
    return found


def refusals(samples: Iterable[Sample], known: Mapping[str, Partition]) -> Iterator[tuple[str, str]]:
    """Query whether Slurm accepts a job of each rule; yield rule and reason if not.

    If Slurm does not answer, nothing is refused, because that may be temporary.

    Args:
        samples: Jobs that will be submitted.
        known: The cluster's partitions.
    """
    for rule, sample in largest(samples).items():
        try:
            commands.call(["sbatch", "--test-only", *words(sample.resources), "--wrap=true"])
        except DistilleryError as error:
            said = str(error).removeprefix("sbatch --test-only: ").removeprefix("allocation failure: ")
            if reasons.passing(said):
                sys.stderr.write(f"warning: rule {rule}: whether Slurm takes such jobs is not known ({said})\n")
                continue
            shape = shape_of(sample.resources)
            yield rule, f"Slurm refuses such a job ({said}); it asks for {shape}{too_large(sample, known)}"


def too_large(sample: Sample, known: Mapping[str, Partition]) -> str:
    """Return the setting to change if a job is larger than its partition; empty if it fits, or that is unknown."""
    partition, shape = request(sample.resources).where(known), shape_of(sample.resources)
    if partition is None or not partition.sizes:
        return ""
    room = places(partition.sizes, shape.cores, max(shape.memory_mb, 1))
    if room >= shape.tasks:
        return ""
    if room:
        key = {"simulate": "config: execution: ranks", "distill": "config: execution: dask: workers"}.get(sample.rule)
        hint = f"set {key} to {room} or less" if key else "ask for less"
        return f", and {partition.name} has room for {room} such task{'s' * (room > 1)}; {hint}"
    most = most_memory(partition.sizes, 1, shape.cores)
    if not most:
        cpus = max(size.cpus for size in partition.sizes)
        return f", and the largest node of {partition.name} has {cpus} CPUs; ask for fewer, or set slurm_partition"
    key = {"distill": "config: execution: dask: memory_mb"}.get(sample.rule, f"mem_mb in set-resources: {sample.rule}")
    return f", and the largest node of {partition.name} gives a task {most:,} MB; set {key}, or slurm_partition"


def _total(sample: Sample) -> int:
    shape = shape_of(sample.resources)
    return shape.tasks * shape.memory_mb


def _whole(value: Any) -> int:
    """Return a numeric resource; 0 if it is missing, text or not evaluated yet."""
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0
