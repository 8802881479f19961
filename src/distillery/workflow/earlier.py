"""Earlier outputs of jobs, kept until the new outputs are complete.

Snakemake deletes the outputs of a job before the job starts, so that a killed or failed job would lose the result of an
earlier run. A run therefore gives each of these files a second, hidden name first; at the end of the run, or in
``distillery resume``, a file without a new version gets its name back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

# Suffix of a file that the stage may restore if it has the stage's key …
_SAME = ".earlier"
# … and of one that the user wants to be made again.
_FORCED = ".earlier-forced"


def keep(paths: Iterable[Path], *, forced: bool) -> list[Path]:
    """Give files a second name that outlives their removal.

    Args:
        paths: The files; missing ones are ignored.
        forced: Whether they are made again even if nothing they depend on has changed.

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
            # Without links, copy; `restore` checks whether the copy is complete.
            shutil.copy2(path, aside)
        kept.append(path)
    return kept


def take_back(path: Path, whole: Callable[[Path], bool]) -> bool:
    """Restore a file that need not be made again.

    Args:
        path: The file, which is missing.
        whole: Returns whether the kept file is valid.
    """
    aside = path.with_name(f".{path.name}{_SAME}")
    if not aside.exists() or not whole(aside):
        return False
    aside.replace(path)
    return True


def restore(paths: Iterable[Path], whole: Callable[[Path], bool]) -> list[Path]:
    """Restore the kept files without a new version, and remove the others.

    Args:
        paths: The files, as given to ``keep``.
        whole: Returns whether a restored file is complete; an incomplete one is removed.

    Returns:
        The restored files.
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
