"""Swap a folder in whole: what readers open is a link, and the link moves only when everything is written.

``sweep.zarr`` is a symbolic link to ``.sweep-<random>.zarr`` beside it. The store it pointed to before
stays until the next swap, so that whoever is reading it can finish.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from distillery import files

_UNFINISHED = ".part"


def followed(link: Path) -> Path:
    """Return the folder that a link leads to, or ``link`` itself if there is none.

    Copies of a results folder often lack links, or have a file in the place of each that holds where it led. The folder
    is found all the same, unless there are two of which either could be meant.
    """
    if link.is_dir():
        return link.resolve()
    found = [path for path in link.parent.glob(f".{link.stem}-*{link.suffix}") if path.is_dir()]
    if link.is_file():
        found = [path for path in found if path.name == link.read_text(encoding="utf-8", errors="replace").strip()]
    return found[0].resolve() if len(found) == 1 else link


@contextlib.contextmanager
def swapping(link: Path) -> Iterator[Path]:
    """Yield an empty folder; when the block ends without error, ``link`` leads to it, at one stroke.

    One process at a time swaps a link; others wait.

    Args:
        link: Where readers look.

    Yields:
        A folder beside ``link``; if the block raises, it is removed and ``link`` stays as it was.
    """
    files.make_folder(link.parent)
    prefix = f".{link.stem}-"
    with _locked(link.parent / f".{link.stem}.lock"):
        unfinished = Path(tempfile.mkdtemp(prefix=prefix, suffix=f"{link.suffix}{_UNFINISHED}", dir=link.parent))
        try:
            yield unfinished
            files.sync_tree(unfinished)
            whole = unfinished.with_name(unfinished.name.removesuffix(_UNFINISHED))
            umask = os.umask(0)
            os.umask(umask)
            unfinished.chmod(0o777 & ~umask)
            unfinished.rename(whole)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        previous = link.resolve() if link.is_symlink() else None
        _point(link, whole)
        _sweep_up(link, prefix, keep={whole.resolve(), previous})


def _point(link: Path, target: Path) -> None:
    if link.is_dir() and not link.is_symlink():
        # A copy that followed links; a folder cannot be replaced at one stroke.
        link.rename(target.with_name(f"{target.name}.copied"))
    pointer = target.with_name(f"{target.name}.link")
    pointer.symlink_to(target.name)
    pointer.replace(link)
    files.sync(link.parent)


def _sweep_up(link: Path, prefix: str, keep: set[Path | None]) -> None:
    for path in link.parent.glob(f"{prefix}*{link.suffix}*"):
        if path.is_symlink():
            path.unlink(missing_ok=True)
        elif path.resolve() not in keep:
            # Renamed before anything in it goes: a reader that still finds the name has read it whole.
            gone = path if path.name.endswith(_UNFINISHED) else path.rename(path.with_name(path.name + _UNFINISHED))
            shutil.rmtree(gone, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        # Some network file systems know no locks; there, two collects at once are the user's to avoid.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
