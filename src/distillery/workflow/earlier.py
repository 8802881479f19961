"""Keep what Snakemake removes before it makes it again, until the new one is whole.

Snakemake deletes the outputs of a job before the job begins. A job that is killed or fails would thereby cost the
result of the run before. So a run gives each of these files a second, hidden name first; at the end of the
run, or in ``distillery resume``, a file whose successor was not written gets its name back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

# A file that the stage may take back as it is if it answers to the stage's key after all …
_SAME = ".earlier"
# … and one whose repetition the user requested.
_FORCED = ".earlier-forced"


def keep(paths: Iterable[Path], *, forced: bool) -> list[Path]:
    """Give files a second name that outlives their removal.

    Args:
        paths: The files; those that are not there are left out.
        forced: Whether they shall be made again even if nothing they depend on has changed.

    Returns:
        The files that were kept.
    """
    kept = []
    for path in paths:
        for aside in _names(path):
            aside.unlink(missing_ok=True)
        aside = path.with_name(f".{path.name}{_FORCED if forced else _SAME}")
        if not path.exists():
            continue
        try:
            os.link(path, aside)
        except OSError:
            # A file system without links. A copy is written under the name at once: it is worth nothing half-written,
            # and `restore` looks whether it is whole.
            shutil.copy2(path, aside)
        kept.append(path)
    return kept


def take_back(path: Path, whole: Callable[[Path], bool]) -> bool:
    """Give a file its name back that need not be made again.

    Args:
        path: The file, which is missing.
        whole: Whether the file under the name it is given is what is wanted.
    """
    aside = path.with_name(f".{path.name}{_SAME}")
    if not aside.exists() or not whole(aside):
        return False
    aside.replace(path)
    return True


def restore(paths: Iterable[Path], whole: Callable[[Path], bool]) -> list[Path]:
    """End the keeping of files: give their names back to those without a successor.

    Args:
        paths: The files, as ``keep`` took them.
        whole: Whether a file that got its name back is whole; one that is not is removed.

    Returns:
        The files that got their names back.
    """
    restored = []
    for path in paths:
        for aside in _names(path):
            with contextlib.suppress(FileNotFoundError):
                if path.exists():
                    aside.unlink()
                    continue
                aside.replace(path)
                if whole(path):
                    restored.append(path)
                else:
                    path.unlink()
    return restored


def kept(results: Path) -> list[Path]:
    """Return the files under a results folder that a killed run has kept."""
    suffixes = (_SAME, _FORCED)
    found = [path for depth in ("", "*/", "*/*/") for path in results.glob(f"{depth}.*{_SAME}*")]
    return sorted(
        {
            path.with_name(path.name[1:].removesuffix(suffix))
            for path in found
            for suffix in suffixes
            if path.name.endswith(suffix)
        }
    )


def _names(path: Path) -> tuple[Path, Path]:
    return path.with_name(f".{path.name}{_SAME}"), path.with_name(f".{path.name}{_FORCED}")
