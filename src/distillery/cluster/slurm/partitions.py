"""The partitions of a cluster, from the output of ``sinfo``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from distillery.cluster.slurm import commands

# name, up, time limit, nodes, their state, GPUs, features, CPUs and memory in MB of a node
_FIELDS = ("%P", "%a", "%l", "%D", "%t", "%G", "%f", "%c", "%m")
_SEPARATOR = "\x1f"
_GONE = ("down", "drain", "drng", "fail", "failg", "maint", "inval", "unk", "npc")


@dataclasses.dataclass(frozen=True)
class Nodes:
    """Nodes of equal size.

    Attributes:
        count: Number of nodes that take jobs.
        cpus: CPUs of each.
        memory_mb: Memory of each in MB.
    """

    count: int
    cpus: int
    memory_mb: int


@dataclasses.dataclass(frozen=True)
class Partition:
    """A partition.

    Attributes:
        name: Its name.
        default: Whether it receives jobs that name no partition.
        up: Whether it takes jobs.
        minutes: The longest time limit of a job; None if there is no limit.
        nodes: Number of nodes that take jobs.
        gpus: The largest number of GPUs of a node.
        gpu_types: Names of their types, if Slurm has any.
        features: Names that ``constraint`` may have.
        sizes: The nodes that take jobs, by size.
    """

    name: str
    default: bool = False
    up: bool = True
    minutes: float | None = None
    nodes: int = 0
    gpus: int = 0
    gpu_types: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()
    sizes: tuple[Nodes, ...] = ()


def partitions(patience: float = commands.PATIENCE) -> dict[str, Partition]:
    """Return the partitions by name, with one call to the scheduler.

    Raises:
        DistilleryError: Slurm is not installed or does not answer.
    """
    words = ["sinfo", "--all", "--exact", "--noheader", f"--format={_SEPARATOR.join(_FIELDS)}"]
    return parse(commands.call(words, patience))


def parse(text: str) -> dict[str, Partition]:
    """Return the partitions in the output of ``sinfo``: one line for each kind of node in each partition."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(_SEPARATOR)]
        if len(fields) != len(_FIELDS):
            continue
        name, up, limit, nodes, state, gres, features, cpus, memory = fields
        before = found.get(name.rstrip("*"), Partition(name.rstrip("*")))
        types = _gpus(gres)
        alive = not state.rstrip("*~#!%$@^-").startswith(_GONE) and not state.endswith("*")
        count = int(nodes) if nodes.isdigit() and alive else 0
        size = Nodes(count, _number(cpus), _number(memory))
        found[before.name] = Partition(
            before.name,
            default=before.default or name.endswith("*"),
            up=up == "up",
            minutes=minutes(limit),
            nodes=before.nodes + count,
            gpus=max([before.gpus, *types.values()]),
            gpu_types=before.gpu_types | {kind for kind in types if kind},
            features=before.features | {word for word in features.split(",") if word and word != "(null)"},
            sizes=(*before.sizes, size) if count and size.cpus and size.memory_mb else before.sizes,
        )
    return found


def default_partition(known: Mapping[str, Partition]) -> Partition | None:
    """Return the partition of jobs that name no partition."""
    return next((partition for partition in known.values() if partition.default), None)


def with_gpus(known: Mapping[str, Partition]) -> list[str]:
    """Return the names of the partitions that have GPUs."""
    return [partition.name for partition in known.values() if partition.gpus]


def minutes(limit: str) -> float | None:
    """Return a time limit in minutes: ``2-12:30:00``, ``1:30:00``, ``30:00``, ``30`` (minutes); None for no limit.

    Reference: the manual of sbatch, option --time.
    """
    if not re.fullmatch(r"[\d:-]+", limit):
        return None
    days, dash, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":") if part]
    if dash:
        hours, mins, seconds = (*parts, 0, 0)[:3]
    else:
        hours, mins, seconds = {1: (0, *parts, 0), 2: (0, *parts), 3: tuple(parts)}[len(parts)]
    return int(days or 0) * 1440 + hours * 60 + mins + seconds / 60


def _number(text: str) -> int:
    """Return the leading number of ``16000+``; 0 without one."""
    digits = re.match(r"\d+", text)
    return int(digits[0]) if digits else 0


def _gpus(gres: str) -> dict[str, int]:
    """Return the number of GPUs by type in ``gpu:a100:4(S:0-1),gpu:2``; the type may be empty."""
    found: dict[str, int] = {}
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        match = re.fullmatch(r"gpu(?::([^:]+?))??(?::(\d+))?", entry.strip())
        if match:
            kind = match[1] or ""
            found[kind] = found.get(kind, 0) + int(match[2] or 1)
    return found
