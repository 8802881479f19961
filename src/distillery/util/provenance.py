"""Provenance of a result: commit, versions, device, time."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import distillery

RECORDED = ("numpy", "heyoka", "torch", "torch-geometric", "pyoperon", "pysr", "sympy", "dask", "zarr", "xarray")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of this package, Python and the installed libraries that shape results."""
    found = {"distillery": distillery.__version__, "python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def commit() -> str:
    """Return the git commit of the source tree, with ``-dirty`` if it was changed, or ``unknown``."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip() or "unknown"


def provenance(device: str = "cpu") -> dict[str, Any]:
    """Return the record that stands in every result.

    Args:
        device: What the work ran on, such as ``cpu`` or ``cuda (NVIDIA H100)``.
    """
    return {
        "commit": commit(),
        "versions": versions(),
        "device": device,
        "machine": platform.machine(),
        "host": platform.node(),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
