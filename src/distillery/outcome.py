"""The outcome of a stage for one cell: one JSON file, written last, that says how it went.

While a stage runs, a note beside the outcome says where and since when; when it breaks, the note says
why. ``distillery status`` reads these.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from distillery import files
from distillery.errors import DistilleryError
from distillery.provenance import provenance

Status = Literal["ok", "diverged", "failed"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a stage found.

    Attributes:
        status: ``ok``; ``diverged`` when training exploded; ``failed`` when this stage could give nothing.
        reason: Why, where the status is not ``ok``.
        key: Key of the settings and inputs that led here (see ``sweep``).
        result: The findings; JSON-like, NaN written as ``None``.
        files: Checksums of the files that belong to it, by name relative to the outcome's folder.
        seconds: Wall time of the stage.
        provenance: Commit, versions, device, time.
    """

    status: Status
    reason: str
    key: str
    result: dict[str, Any]
    files: dict[str, str]
    seconds: float
    provenance: dict[str, Any]


def write_outcome(
    path: Path,
    *,
    key: str,
    started: float,
    result: Mapping[str, Any],
    status: Status = "ok",
    reason: str = "",
    belongings: tuple[Path, ...] = (),
    device: str = "cpu",
) -> Outcome:
    """Write a stage's outcome, whole or not at all.

    Args:
        path: The outcome file.
        key: Key of the settings and inputs.
        started: ``time.monotonic()`` when the stage began.
        result: The findings; must not hold NaN or infinity.
        status: How it went.
        reason: Why, where the status is not ``ok``.
        belongings: Files in the same folder whose checksums are recorded.
        device: What the work ran on.
    """
    outcome = Outcome(
        status=status,
        reason=reason,
        key=key,
        result=dict(result),
        files={str(file.relative_to(path.parent)): files.checksum(file) for file in belongings},
        seconds=round(time.monotonic() - started, 3),
        provenance=provenance(device),
    )
    files.write_json(path, dataclasses.asdict(outcome))
    return outcome


def read_outcome(path: Path, *, key: str | None = None) -> Outcome:
    """Read an outcome and check that it is whole and answers to ``key``.

    Raises:
        DistilleryError: It is missing, damaged, made with other settings, or a file of it has changed.
    """
    remedy = "delete it and run the sweep again; only this stage and what follows it is repeated"
    content = files.read_json(path, remedy)
    try:
        outcome = Outcome(**content)
    except TypeError:
        raise DistilleryError(f"{path}: written by another version of distillery; {remedy}") from None
    if key is not None and outcome.key != key:
        raise DistilleryError(f"{path}: made with other settings ({outcome.key} is not {key}); {remedy}")
    if key is not None:
        for name, expected in outcome.files.items():
            file = path.parent / name
            if not file.exists() or files.checksum(file) != expected:
                raise DistilleryError(f"{file}: missing or damaged (checksum); {remedy}")
    return outcome


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of an outcome, so that no two processes of a machine make it at once.

    A job that outlived its workflow is thereby waited for, not doubled. Where the file system knows
    no locks the block runs without one.

    Args:
        path: The outcome file that the block will write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.stem}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"waiting for another process that works on {path}\n")
            sys.stderr.flush()
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        yield


def finished(path: Path, key: str) -> bool:
    """Tell whether an outcome is there already: whole, made with these settings, and not a failure."""
    if not path.exists():
        return False
    try:
        return read_outcome(path, key=key).status != "failed"
    except DistilleryError:
        return False


@contextlib.contextmanager
def running(path: Path) -> Iterator[float]:
    """Note beside an outcome that its stage runs, and why if it breaks; yields the starting time.

    The outcome's lock is held meanwhile, so a look whether it is ``finished`` belongs into the block.

    Args:
        path: The outcome file that the block will write.

    Yields:
        ``time.monotonic()`` at the start.
    """
    with alone(path), _noted(path) as started:
        yield started


@contextlib.contextmanager
def _noted(path: Path) -> Iterator[float]:
    running_note, failure_note = notes(path)
    files.write_json(
        running_note,
        {
            "host": platform.node(),
            "pid": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "since": time.time(),
        },
    )
    try:
        yield time.monotonic()
    except BaseException as error:
        if isinstance(error, Exception):
            lines = str(error).splitlines() or [""]
            reason = lines[0] if isinstance(error, DistilleryError) else f"{type(error).__name__}: {lines[0]}"
            files.write_json(failure_note, {"reason": reason, "when": time.time()})
        raise
    else:
        failure_note.unlink(missing_ok=True)
    finally:
        running_note.unlink(missing_ok=True)


def notes(path: Path) -> tuple[Path, Path]:
    """Return where the running note and the failure note of an outcome stand."""
    return path.with_suffix(".running"), path.with_suffix(".failure")
