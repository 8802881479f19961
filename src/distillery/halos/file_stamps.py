"""Sizes and modification times of the files of a Quijote catalogue, which identify their content."""

from __future__ import annotations

from pathlib import Path

from distillery.halos.settings import Quijote

FileStamps = dict[str, list[int]]


def file_stamps(quijote: Quijote) -> FileStamps | None:
    """Return size in bytes and modification time in ns of each file that is read, by path.

    Args:
        quijote: Paths of the halos and of the matter.

    Returns:
        None if the halos or the matter are missing: a finished catalogue outlives its files.
    """
    matter = Path(quijote.matter)
    groups = sorted(Path(quijote.groups).glob(f"group_tab_{quijote.snapshot:03d}.*"))
    of_matter = sorted(matter.glob(f"snap_{quijote.snapshot:03d}*.hdf5")) if matter.is_dir() else [matter]
    try:
        stats = {file: file.stat() for file in (*groups, *of_matter)}
    except OSError:
        return None
    if not groups or not of_matter:
        return None
    return {str(file): [stat.st_size, stat.st_mtime_ns] for file, stat in stats.items()}
