"""Requests of a user for a profile, and further settings with which jobs fit on the cluster."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from distillery.cluster.dask.options import DaskSettings
from distillery.cluster.slurm.capacity import most_memory, places
from distillery.cluster.slurm.partitions import Nodes, Partition
from distillery.symbolic.settings import DistillationSettings
from distillery.workflow.resources import SCHEDULER, WORKER
from distillery.workflow.settings import ExecutionSettings
from distillery.workflow.slurm.findings import Finding
from distillery.workflow.sources.body_estimates import SIMULATING_MB

_EXECUTION = ("config", "execution")


@dataclasses.dataclass(frozen=True)
class Requested:
    """Requests of a user for a cluster; None keeps the value of the shipped profile.

    Attributes:
        partition: Partition of the jobs.
        account: Account of the jobs.
        gpu_partition: Partition of the trainings.
        gpu: ``gpu`` (--gpus=1), ``gres`` or ``gres:<type>`` (--gres=gpu:<type>:1), or ``none``.
        constraint: Features that nodes must have.
        qos: Quality of service.
        launcher: Command that starts MPI ranks.
        ranks: MPI ranks of a simulation.
        nodes: Nodes to spread them over.
        cluster: Kind of Dask cluster.
        workers: Dask workers of a distilling job.
        modules: Environment modules that jobs load.
    """

    partition: str | None = None
    account: str | None = None
    gpu_partition: str | None = None
    gpu: str | None = None
    constraint: str | None = None
    qos: str | None = None
    launcher: str | None = None
    ranks: int | None = None
    nodes: int | None = None
    cluster: str | None = None
    workers: int | None = None
    modules: tuple[str, ...] = ()


def fitted(execution: ExecutionSettings, requested: Requested, place: Partition) -> Iterator[Finding]:
    """Yield settings with which simulations and fits fit on the nodes; those of the user are kept.

    Args:
        execution: Settings of the profile.
        requested: Requests of the user.
        place: The partition of these jobs.
    """
    if not place.sizes:
        return
    if requested.ranks is None and requested.nodes is None and execution.launcher != "mpiexec":
        nodes, ranks = ranks_that_fit(place.sizes, execution.nodes, execution.ranks)
        if (nodes, ranks) != (execution.nodes, execution.ranks):
            text = f"{ranks} on {nodes} node{'s' * (nodes > 1)}, for that is what {place.name} has room for"
            yield Finding("ok", "ranks", text, ((*_EXECUTION, "ranks"), ranks))
            yield Finding("ok", "nodes", f"{nodes} for a simulation", ((*_EXECUTION, "nodes"), nodes))
    if requested.workers is not None or execution.dask.cluster == "address":
        return
    memory = execution.dask.memory_mb or DistillationSettings().memory_mb + WORKER
    workers = workers_that_fit(place.sizes, execution.dask, memory)
    if workers == 0:
        memory = max(most_memory(place.sizes, 1, execution.dask.cores) - SCHEDULER, 256)
        workers = max(workers_that_fit(place.sizes, execution.dask, memory), 1)
        text = f"{memory:,} MB for a worker, which is all that a node of {place.name} has"
        text = f"{text}; set distillation: memory_mb to {max(memory - WORKER, 256):,} or less in your configuration"
        yield Finding("warning", "memory", text, ((*_EXECUTION, "dask", "memory_mb"), memory))
    if workers != execution.dask.workers:
        text = f"{workers} of {memory:,} MB at the same time, for that is what {place.name} has room for"
        yield Finding("ok", "Dask workers", text, ((*_EXECUTION, "dask", "workers"), workers))


def ranks_that_fit(sizes: Sequence[Nodes], nodes: int, ranks: int) -> tuple[int, int]:
    """Return the nodes and ranks of a simulation, at most those given: equally many ranks on every node."""
    # There are at most as many used nodes of a size as ranks.
    single = [dataclasses.replace(size, count=1) for size in sizes for _ in range(min(size.count, ranks))]
    room = sorted((places([node], 1, SIMULATING_MB) for node in single), reverse=True)
    used = min(nodes, ranks, len(room))
    while used > 1 and not room[used - 1]:
        used -= 1
    return used, max(min(ranks // used, room[used - 1]), 1) * used


def workers_that_fit(sizes: Sequence[Nodes], dask: DaskSettings, memory_mb: int) -> int:
    """Return how many workers a distilling job can have, at most those given; 0 where none fits.

    Args:
        sizes: The nodes.
        dask: Kind of cluster, workers, and cores of a worker.
        memory_mb: Memory of a worker in MB.
    """
    for workers in range(dask.workers, 0, -1):
        match dask.cluster:
            case "allocation":
                fits = places(sizes, dask.cores, memory_mb + math.ceil(SCHEDULER / workers)) >= workers
            case "local":
                fits = places(sizes, workers * dask.cores, SCHEDULER + workers * memory_mb) >= 1
            case _:
                # Workers are separate jobs; those without room wait in the queue.
                fits = places(sizes, dask.cores, memory_mb) >= 1
        if fits:
            return workers
    return 0
