"""Replace a folder atomically: readers open a link, which is replaced only when the new folder is complete.

``sweep.zarr`` is a symbolic link to ``.sweep-<random>.zarr`` in the same folder. The previous store remains until the
next replacement, so that its readers can finish.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from distillery import files
from distillery.errors import DistilleryError

# Name of the result store within a results folder.
STORE = "sweep.zarr"
_UNFINISHED = ".part"
_ATTEMPTS = 5
_T = TypeVar("_T")


def followed(link: Path) -> Path:
    """Return the folder that a link refers to, or ``link`` itself if there is none.

    Copies of a results folder often lack links, or have a file with the target instead of each. The folder is found in
    both cases, unless several folders match.
    """
    if link.is_dir():
        return link.resolve()
    found = [path for path in link.parent.glob(f".{link.stem}-*{link.suffix}") if path.is_dir()]
    if link.is_file():
        found = [path for path in found if path.name == link.read_text(encoding="utf-8", errors="replace").strip()]
    return found[0].resolve() if len(found) == 1 else link


def pinned(results: Path, read: Callable[[Path], _T]) -> _T:
    """Return what ``read`` makes of the current result store; repeat if the store is deleted meanwhile.

    Args:
        results: A results folder, or a result store.
        read: Takes the folder of a store, without symbolic links; all files are read from the same store.

    Raises:
        DistilleryError: There is no store, or ``read`` raises.
    """
    link = store_of(results)
    for _ in range(_ATTEMPTS):
        store = followed(link)
        problem: DistilleryError | None = None
        try:
            found = read(store)
        except DistilleryError as error:
            problem = error
        if link.is_dir() and not store.exists():
            continue  # Two collects have deleted it meanwhile.
        if not store.is_dir():
            raise DistilleryError(
                f"{link}: there is no result store yet; run `distillery collect` (or the sweep) first"
            )
        if problem is not None:
            raise DistilleryError(str(problem).replace(str(store), str(link)))
        return found
    raise DistilleryError(f"{link}: is being replaced faster than it can be read; try again")


def store_of(results: Path) -> Path:
    """Return the path of the store of a results folder; a path that ends in ``.zarr`` is a store itself."""
    return results if results.suffix == ".zarr" else results / STORE


@contextlib.contextmanager
def swapping(link: Path) -> Iterator[Path]:
    """Yield an empty folder to which ``link`` refers, in one step, once the block ends without error.

    A lock makes processes that replace the same link wait for each other.

    Args:
        link: Path that readers open.

    Yields:
        A folder next to ``link``; if the block raises, it is removed and ``link`` is unchanged.
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
        _remove_old(link, prefix, keep={whole.resolve(), previous})


def _point(link: Path, target: Path) -> None:
    if link.is_dir() and not link.is_symlink():
        # A folder, which a copy with followed links contains, cannot be replaced atomically.
        link.rename(target.with_name(f"{target.name}.copied"))
    pointer = target.with_name(f"{target.name}.link")
    pointer.symlink_to(target.name)
    pointer.replace(link)
    files.sync(link.parent)


def _remove_old(link: Path, prefix: str, keep: set[Path | None]) -> None:
    for path in link.parent.glob(f"{prefix}*{link.suffix}*"):
        if path.is_symlink():
            path.unlink(missing_ok=True)
        elif path.resolve() not in keep:
            # Rename before deletion: a reader that still finds the name after reading has read a complete store.
            gone = path if path.name.endswith(_UNFINISHED) else path.rename(path.with_name(path.name + _UNFINISHED))
            shutil.rmtree(gone, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        # Some network file systems have no locks; there the user must not collect twice at the same time.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
