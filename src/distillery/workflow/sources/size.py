"""Memory and time of a job, with the setting that has the largest influence on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

# MB of a process that has loaded PyTorch on a CPU.
TORCH_MB = 305.0


@dataclasses.dataclass(frozen=True)
class Size:
    """Time and memory of a job.

    Attributes:
        job: Description of the job.
        key: The setting that exceeds its default most.
        value: Its value.
        megabytes: Expected peak of the memory on one machine in MB.
        seconds: Expected time of one core in seconds.
    """

    job: str
    key: str
    value: float | int
    megabytes: float
    seconds: float


# Value and default of each setting, by key.
Drivers = Mapping[str, tuple[float | int, float]]


def size_of(job: str, drivers: Drivers, megabytes: float, seconds: float = 0.0) -> Size:
    """Return the size of a job.

    Args:
        job: Description of the job.
        drivers: Value and default of the settings on which the size depends.
        megabytes: Expected peak of the memory in MB.
        seconds: Expected time of one core in seconds.
    """
    key = max(drivers, key=lambda name: drivers[name][0] / max(drivers[name][1], 1e-300))
    return Size(job, key, drivers[key][0], megabytes, seconds)


def default(section: type, name: str) -> float:
    """Return the default of a numeric setting of a section."""
    return float(section.model_fields[name].default)  # type: ignore[attr-defined]
