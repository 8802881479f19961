"""Snakemake's lock on a working directory: who holds it, and whether it may be taken away.

A Snakemake that was killed leaves its lock behind. It is safe to remove when no Snakemake works in
the directory any more; jobs that outlived it hold locks of their own (see ``outcome.alone``).
"""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

import psutil

from distillery import files
from distillery.errors import DistilleryError

_LOCKS = Path(".snakemake") / "locks"
_HOLDER = Path(".snakemake") / "distillery-run.json"


def note_holder(directory: Path) -> None:
    """Note which host runs Snakemake in ``directory``; called when a run begins."""
    files.write_json(directory / _HOLDER, {"host": platform.node()})


def snakemakes(directory: Path) -> list[int]:
    """Return the ids of this machine's processes that run Snakemake in ``directory``, jobs not included."""
    found = []
    for process in psutil.process_iter():
        try:
            words, folder = process.cmdline(), process.cwd()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        is_snakemake = any(Path(word).name == "snakemake" for word in words[:3])
        if is_snakemake and Path(folder) == directory.resolve():
            found.append(process.pid)
    return found


def unlock(directory: Path) -> bool:
    """Remove a lock that a killed Snakemake left behind.

    Args:
        directory: Snakemake's working directory.

    Returns:
        Whether there was one.

    Raises:
        DistilleryError: A Snakemake still works there, or worked there from another host last.
    """
    locks = directory / _LOCKS
    if not locks.is_dir() or not any(locks.iterdir()):
        return False
    alive = snakemakes(directory)
    if alive:
        raise DistilleryError(f"{directory}: Snakemake runs there already (process {alive[0]}); wait for it or stop it")
    note = directory / _HOLDER
    content: Any = files.read_json(note, "delete it") if note.exists() else {}
    host = content.get("host", platform.node())
    if host != platform.node():
        raise DistilleryError(
            f"{directory}: is locked by a Snakemake on {host}; make sure that it is gone, then run: snakemake --unlock"
        )
    shutil.rmtree(locks)
    return True
