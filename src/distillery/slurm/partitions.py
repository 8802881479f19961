"""The partitions of a cluster, as ``sinfo`` tells them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from distillery.slurm import commands

_FIELDS = ("%P", "%a", "%l", "%D", "%t", "%G", "%f")  # name, up, time limit, nodes, their state, GPUs, features
_SEPARATOR = "\x1f"
_GONE = ("down", "drain", "drng", "fail", "failg", "maint", "inval", "unk", "npc")


@dataclasses.dataclass(frozen=True)
class Partition:
    """A partition.

    Attributes:
        name: Its name.
        default: Whether jobs go there that name none.
        up: Whether it takes jobs.
        minutes: The longest time limit a job may have; None if there is no limit.
        nodes: How many nodes take jobs.
        gpus: The most GPUs that a node has.
        gpu_types: Names of their types, if Slurm knows any.
        features: What ``constraint`` may name.
    """

    name: str
    default: bool = False
    up: bool = True
    minutes: float | None = None
    nodes: int = 0
    gpus: int = 0
    gpu_types: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()


def partitions(patience: float = commands.PATIENCE) -> dict[str, Partition]:
    """Return the partitions by name, with one call to the scheduler.

    Raises:
        DistilleryError: Slurm is not there or does not answer.
    """
    words = ["sinfo", "--all", "--noheader", f"--format={_SEPARATOR.join(_FIELDS)}"]
    return parse(commands.call(words, patience))


def parse(text: str) -> dict[str, Partition]:
    """Return the partitions in what ``sinfo`` printed: a line for each kind of node in each partition."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(_SEPARATOR)]
        if len(fields) != len(_FIELDS):
            continue
        name, up, limit, nodes, state, gres, features = fields
        before = found.get(name.rstrip("*"), Partition(name.rstrip("*")))
        types = _gpus(gres)
        alive = not state.rstrip("*~#!%$@^-").startswith(_GONE) and not state.endswith("*")
        found[before.name] = Partition(
            before.name,
            default=before.default or name.endswith("*"),
            up=up == "up",
            minutes=minutes(limit),
            nodes=before.nodes + (int(nodes) if nodes.isdigit() and alive else 0),
            gpus=max([before.gpus, *types.values()]),
            gpu_types=before.gpu_types | {kind for kind in types if kind},
            features=before.features | {word for word in features.split(",") if word and word != "(null)"},
        )
    return found


def default_partition(known: Mapping[str, Partition]) -> Partition | None:
    """Return the partition of jobs that name none."""
    return next((partition for partition in known.values() if partition.default), None)


def with_gpus(known: Mapping[str, Partition]) -> list[str]:
    """Return the names of the partitions that have GPUs."""
    return [partition.name for partition in known.values() if partition.gpus]


def minutes(limit: str) -> float | None:
    """Return a time limit in minutes: ``2-12:30:00``, ``1:30:00``, ``30:00``, ``30`` (minutes); None for none.

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


def _gpus(gres: str) -> dict[str, int]:
    """Return the number of GPUs by type in ``gpu:a100:4(S:0-1),gpu:2``; the type may be empty."""
    found: dict[str, int] = {}
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        match = re.fullmatch(r"gpu(?::([^:]+?))??(?::(\d+))?", entry.strip())
        if match:
            kind = match[1] or ""
            found[kind] = found.get(kind, 0) + int(match[2] or 1)
    return found
