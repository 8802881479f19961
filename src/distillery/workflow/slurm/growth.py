"""Requests of further attempts of a job: more of the resource that ran out, within the limits of the nodes."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from distillery.cluster.slurm.reasons import Lack
from distillery.workflow.resources import Need


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """The largest request of a job of a rule; None if unknown.

    Attributes:
        minutes: Time limit in minutes.
        memory_mb: Memory in MB, of the job or, where it has several tasks, of one of its cores.
    """

    minutes: float | None = None
    memory_mb: float | None = None

    def within(self, other: Ceiling) -> Ceiling:
        """Return the smaller time and the smaller memory of both."""
        return Ceiling(_least(self.minutes, other.minutes), _least(self.memory_mb, other.memory_mb))


class Growth:
    """Counts how often each job ran out of memory or time.

    Jobs are identified by stage and wildcards. A job that ended for another reason repeats its request.
    """

    def __init__(self) -> None:
        self._lacked: Counter[tuple[Lack, str, frozenset[tuple[str, str]]]] = Counter()
        self._ceilings: dict[str, Ceiling] = {}

    def limit(self, ceilings: Mapping[str, Ceiling]) -> None:
        """Set the largest requests of the jobs of each rule."""
        for rule, ceiling in ceilings.items():
            stage = stage_of(rule)
            self._ceilings[stage] = ceiling.within(self._ceilings.get(stage, Ceiling()))

    def lacked(self, rule: str, wildcards: Mapping[str, str], what: Lack) -> None:
        """Count that a job ran out of memory or time."""
        self._lacked[_key(what, stage_of(rule), wildcards.items())] += 1

    def memory(self, stage: str, wildcards: Mapping[str, str], need: Need) -> int:
        """Return the memory in MB that a job requests."""
        times = self._lacked[_key("memory", stage, wildcards.items())]
        return self._capped(need.memory(1 + times), need.memory(), self._ceilings.get(stage, Ceiling()).memory_mb)

    def minutes(self, stage: str, wildcards: Mapping[str, str], need: Need) -> int:
        """Return the time limit in minutes that a job requests."""
        times = self._lacked[_key("time", stage, wildcards.items())]
        return self._capped(need.minutes(1 + times), need.minutes(), self._ceilings.get(stage, Ceiling()).minutes)

    @staticmethod
    def _capped(asked: int, first: int, most: float | None) -> int:
        """Return the request, capped at the most that exists unless the first attempt exceeded it."""
        return asked if most is None or asked == first else max(first, min(asked, math.floor(most)))


def stage_of(rule: str) -> str:
    """Return the stage of a rule: ``picture_cell`` and ``picture_experiment`` share one."""
    return rule.partition("_")[0]


def _key(what: Lack, stage: str, items: Iterable[tuple[str, str]]) -> tuple[Lack, str, frozenset[tuple[str, str]]]:
    return what, stage, frozenset((str(name), str(value)) for name, value in items)


def _least(*values: float | None) -> float | None:
    return min((value for value in values if value is not None), default=None)
