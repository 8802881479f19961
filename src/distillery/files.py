"""Whole files or none: write under a temporary name, sync, rename; checksum what was written."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from distillery.errors import DistilleryError, no_room

# Every process of a run finds the run's claim under this name in its environment.
CLAIM = "DISTILLERY_CLAIM"
# A claim that is not found is looked for so often, with pauses of so many seconds.
_LOOKS, _MOMENT = 5, 1.0


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` that replaces it when the block ends without error.

    Args:
        path: The file to be written. Its folder is created.

    Yields:
        A path in the same folder; what is written there is synced and renamed to ``path``.

    Raises:
        OSError: The disk is full, by whatever error the block's library reports it; it names ``path``.
    """
    make_folder(path.parent)
    try:
        with _replacing(path) as temporary:
            yield temporary
    except Exception as error:
        if no_room(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; not in a results folder that was renamed or removed while a run uses it.

    Raises:
        DistilleryError: The results folder of the run that this process belongs to is not where it was.
    """
    if not folder.is_dir():
        require_claim(folder)
        folder.mkdir(parents=True, exist_ok=True)


def require_claim(folder: Path) -> None:
    """Refuse to work in a results folder whose run has lost it; a folder outside of the results is of no concern.

    Raises:
        DistilleryError: The claim of the run that this process belongs to is gone.
    """
    named = os.environ.get(CLAIM)
    if not named or not folder.absolute().is_relative_to(Path(named).parent):
        return
    results = Path(named).parent
    for _ in range(_LOOKS):
        # Reading the folder makes a network file system forget that the claim was not there a while ago.
        with contextlib.suppress(OSError):
            os.listdir(results)  # noqa: PTH208 (Path.iterdir reads when it is asked for an entry)
        if Path(named).exists():
            return
        # A process that removes a dead claim may rename a valid one for a moment.
        time.sleep(_MOMENT)
    raise DistilleryError(moved(results))


def moved(results: Path) -> str:
    """Return the line that says that a results folder is not where its run has left it."""
    return (
        f"{results}: this results folder was renamed or removed while its run works in it, and none is made anew; "
        "move it back, or name the new place in the configuration, then run distillery resume"
    )


def remove_hollow(folder: Path) -> None:
    """Remove a folder in which there is nothing but folders and empty files; any other stays."""
    if folder.is_dir() and not any(
        path.is_symlink() or not (path.is_dir() or (path.is_file() and path.stat().st_size == 0))
        for path in folder.rglob("*")
    ):
        shutil.rmtree(folder)


def sync_tree(folder: Path) -> None:
    """Put everything under a folder on the disk; many at a time, because each one mostly waits."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(sync, [folder, *folder.rglob("*")]))


def sync(path: Path) -> None:
    """Put one file or folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` to ``path`` as indented JSON, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def create(path: Path, text: str) -> bool:
    """Write a file that is not there yet, whole at one stroke; of several processes that do so at once, one succeeds.

    Args:
        path: The file.
        text: What it holds.

    Returns:
        Whether this process has written it; False if it was there.
    """
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        try:
            os.link(temporary, path)
        except FileExistsError:
            # Over NFS an answer may be lost and the link be made twice; two names tell the truth.
            return temporary.stat().st_nlink == 2
        except OSError:
            return _create_without_links(path, text)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _create_without_links(path: Path, text: str) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return True


def clock(folder: Path) -> float:
    """Return the time by the clock of a folder's file system, in seconds; by ours where nothing can be written."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".clock.", dir=folder) as file:
            os.utime(file.name)
            return Path(file.name).stat().st_mtime
    except OSError:
        return time.time()


def read_json(path: Path, remedy: str) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        remedy: What the user should do when it is missing or damaged.

    Raises:
        DistilleryError: The file is missing, cut short or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DistilleryError(f"{path}: no such file; {remedy}") from None
    except (ValueError, OSError) as error:
        raise DistilleryError(f"{path}: damaged ({error}); {remedy}") from None


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    """Return a short hash (16 hexadecimal digits) of JSON-like content, the same on every machine."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
