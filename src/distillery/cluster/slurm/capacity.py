"""Number and largest size of the tasks that fit on the nodes of a partition."""

from __future__ import annotations

from collections.abc import Sequence

from distillery.cluster.slurm.partitions import Nodes


def places(sizes: Sequence[Nodes], cores: int, memory_mb: int) -> int:
    """Return the number of tasks of ``cores`` CPUs and ``memory_mb`` MB that fit on empty nodes at the same time."""
    return sum(size.count * min(size.cpus // cores, size.memory_mb // memory_mb) for size in sizes)


def most_memory(sizes: Sequence[Nodes], tasks: int, cores: int) -> int:
    """Return the largest memory in MB with which ``tasks`` tasks of ``cores`` CPUs fit; 0 if they do not fit.

    On a node of memory M, k tasks have at most M / k each, so that only these quotients are tried.
    """
    quotients = {
        size.memory_mb // share for size in sizes for share in range(1, min(tasks, size.cpus // max(cores, 1)) + 1)
    }
    return max((memory for memory in quotients if memory and places(sizes, cores, memory) >= tasks), default=0)
