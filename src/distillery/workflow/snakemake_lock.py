"""Snakemake's lock on a working directory and its marks of incomplete files, for one results folder.

A killed Snakemake leaves its lock, files that list its inputs and outputs, and a mark for each output of a running job,
named after the output.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Collection
from pathlib import Path

import psutil

_LOCKS = Path(".snakemake") / "locks"
_INCOMPLETE = Path(".snakemake") / "incomplete"


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


def locks(directory: Path, results: Path) -> list[Path]:
    """Return the lock files in a working directory that concern a results folder.

    Args:
        directory: Snakemake's working directory.
        results: The results folder, as the configuration names it.
    """
    folder = (directory / results).resolve()
    return [path for path in sorted((directory / _LOCKS).glob("*.lock")) if _concerns(path, directory, folder)]


def _concerns(path: Path, directory: Path, folder: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return any(folder in (directory / line.strip()).resolve().parents for line in file)
    except OSError:
        return False


def unlock(directory: Path, results: Path) -> int:
    """Remove the lock files that concern a results folder, and return how many there were.

    The caller ensures that no Snakemake works on it.
    """
    found = locks(directory, results)
    for path in found:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (directory / _LOCKS).rmdir()  # Empty only if no other sweep runs in this directory.
    return len(found)


def mark_complete(directory: Path, paths: Collection[Path]) -> None:
    """Remove Snakemake's marks that files are incomplete; with them it makes the files again or refuses to start.

    Args:
        directory: Snakemake's working directory.
        paths: Files that are whole.
    """
    whole = {path.resolve() for path in paths}
    for mark in (directory / _INCOMPLETE).rglob("*") if whole else ():
        # A name in base 64; a long one is cut into folders, each with an @ before it.
        code = "".join(part.removeprefix("@") for part in mark.relative_to(directory / _INCOMPLETE).parts)
        with contextlib.suppress(ValueError, OSError):
            if mark.is_file() and (directory / base64.urlsafe_b64decode(code).decode()).resolve() in whole:
                mark.unlink()
