"""What tells the files of a catalogue from others under the same names: their sizes and times of modification."""

from __future__ import annotations

from pathlib import Path

from distillery import files
from distillery.errors import DistilleryError
from distillery.halos.settings import Quijote

Sources = dict[str, list[int]]


def present(quijote: Quijote) -> Sources | None:
    """Return size in bytes and time of modification in ns of each file that is read, by its path.

    Args:
        quijote: Where the files lie.

    Returns:
        None where the halos or the matter are not there: a finished catalogue outlives its files.
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


def sources(quijote: Quijote, marker: Path) -> Sources:
    """Return the same, or what a finished catalogue was made from where its files are gone.

    So results that were moved, or whose raw files were put away, stay what they are.

    Args:
        quijote: Where the files lie.
        marker: Of the split, written last; it keeps what it was made from.

    Returns:
        Nothing where neither is there.
    """
    found = present(quijote)
    if found is not None:
        return found
    try:
        content = files.read_json(marker, "")
    except DistilleryError:
        return {}
    recorded = content.get("sources") if isinstance(content, dict) else None
    return recorded if isinstance(recorded, dict) else {}
