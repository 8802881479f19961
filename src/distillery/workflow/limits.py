"""Limits of a machine or a cluster, and the refusal of a sweep that exceeds them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distillery.workflow.config import Config
from distillery.workflow.sizes import sizes
from distillery.workflow.sources.body_estimates import USUAL_STEP
from distillery.workflow.sources.size import Size
from distillery.workflow.sweep import Sweep

# Days of one core that a job may be expected to take. The largest jobs of published sweeps take some hours.
MOST_DAYS = 90.0
# Memory in MB of the largest nodes of clusters.
LARGEST_NODE = 4e6
# Products of such numbers still fit in floats.
_LARGEST_NUMBER = 10**40
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def refusal_of_numbers(config: Config) -> str | None:
    """Return a refusal of the first number of a configuration that exceeds every possible size, or None."""
    for place, value in _numbers(config.model_dump(), ""):
        if abs(value) > _LARGEST_NUMBER:
            return f"{place}: {_short(value)} is more than any machine can do; lower it"
    return None


def _numbers(content: Any, place: str) -> Iterator[tuple[str, int]]:
    if isinstance(content, bool):
        return
    if isinstance(content, int):
        yield place, content
    elif isinstance(content, dict):
        for name, value in content.items():
            yield from _numbers(value, f"{place}.{name}" if place else str(name))
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from _numbers(value, place)


def refusal_of_sizes(sweep: Sweep, shown: Callable[[float], str], *, cluster: bool = False) -> str | None:
    """Return a refusal of the job that exceeds memory or time most, or None if all jobs can end.

    Args:
        sweep: The sweep.
        shown: Formats seconds.
        cluster: Whether jobs run on a cluster, regardless of the configuration.
    """
    cluster = cluster or is_for_cluster(sweep.config)
    most = LARGEST_NODE if cluster else machine_mb()
    where = "the largest nodes of a cluster have" if cluster else "this machine has"
    worst: tuple[float, str] | None = None
    for size in sizes(sweep):
        for beyond, need in (
            (size.megabytes / most, f"needs about {_memory(size.megabytes)} of memory; {where} {_memory(most)}"),
            (
                size.seconds / 86400 / MOST_DAYS,
                f"would take about {shown(size.seconds)} of one core; a job may take {MOST_DAYS:.0f} days"
                if math.isfinite(size.seconds)
                else "does not come to its end in the most steps that the integrator makes",
            ),
        ):
            if beyond > 1 and (worst is None or beyond > worst[0]):
                worst = beyond, f"{_setting(sweep, size)}: {size.job} {need}; lower {size.key}"
    return None if worst is None else worst[1]


def _setting(sweep: Sweep, size: Size) -> str:
    if size.key.endswith(".time_step"):
        step = sweep.config.known_systems[size.key.split(".", 1)[1].removesuffix(".time_step")].time_step
        times = _short(USUAL_STEP * size.value)
        return f"{size.key} {step:g} ({times} times the time in which bodies cross the system)"
    return f"{size.key} {_short(size.value)}"


def is_for_cluster(config: Config) -> bool:
    """Return whether a configuration is for a cluster: its ranks or Dask workers run on other machines."""
    return config.execution.launcher != "mpiexec" or config.execution.dask.cluster in ("allocation", "slurm")


def machine_mb() -> float:
    """Return the memory of this machine, or of this process's control group, in MB."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    try:
        allowed = float(_CGROUP.read_text())
    except (OSError, ValueError):
        # There is no control group, or it has no limit ("max").
        return installed
    return min(installed, allowed / 1e6)


def _short(value: float | int) -> str:
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else f"about 1e{math.floor(math.log10(abs(value)))}"
    return f"{value:.3g}"


def _memory(megabytes: float) -> str:
    for unit in ("MB", "GB", "TB"):
        if megabytes < 1000 or unit == "TB":
            break
        megabytes /= 1000
    return f"{megabytes:,.0f} {unit}" if math.isfinite(megabytes) else f"no end of {unit}"
