"""The outcome of a stage for one cell: one JSON file with status and results, written last.

While a stage runs, a note next to the outcome holds its process, start and number of attempts; after a failure another
note holds the reason. ``distillery status`` reads both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from distillery import files
from distillery.cluster.slurm import commands
from distillery.errors import DistilleryError, explain
from distillery.util.process import Worker, this_process, worker_from
from distillery.util.provenance import provenance
from distillery.workflow import earlier
from distillery.workflow.liveness import is_alive

Status = Literal["ok", "diverged", "failed"]
# Seconds between two queries of Slurm about a job: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0
# Unanswered queries in a row after which the job counts as dead.
_UNANSWERED = 3
# The key stands at the beginning of an outcome; in a text before it these quotes would be escaped.
_HEAD = 2048
_KEY = re.compile(r'"key": "([^"\\]*)"')


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Status and results of a stage.

    Attributes:
        status: ``ok``; ``diverged`` when training exploded; ``failed`` when the stage has no result.
        reason: Reason of a status other than ``ok``.
        key: Key of the settings and inputs (see ``sweep``).
        result: The results; JSON-like, NaN written as ``None``.
        files: Checksums of the files that belong to it, by name relative to the outcome's folder.
        seconds: Wall time of the stage.
        provenance: Commit, versions, device, time, attempts.
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
    """Write a stage's outcome atomically.

    Args:
        path: The outcome file.
        key: Key of the settings and inputs.
        started: ``time.monotonic()`` when the stage began.
        result: The results, without NaN and infinity.
        status: Status of the stage.
        reason: Reason of a status other than ``ok``.
        belongings: Files in the same folder whose checksums are recorded.
        device: Device of the computation.
    """
    outcome = Outcome(
        status=status,
        reason=reason,
        key=key,
        result=dict(result),
        files={str(file.relative_to(path.parent)): files.checksum(file) for file in belongings},
        seconds=round(time.monotonic() - started, 3),
        provenance={**provenance(device), "attempts": _attempts(path)},
    )
    files.write_json(path, dataclasses.asdict(outcome))
    return outcome


def read_outcome(path: Path, *, key: str | None = None) -> Outcome:
    """Read an outcome and check that it is complete and has the key ``key``.

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
    """Hold the lock of an outcome, so that only one process makes it at a time.

    It also waits for a job that outlived its workflow. Some shared file systems have locks within one machine only, or
    none (then the block runs without a lock); therefore a running note of a Slurm job on another machine is respected
    while that job lives. (``flock`` is used directly, because the library filelock polls and fails without locks.)

    Args:
        path: The outcome file that the block will write.
    """
    files.make_folder(path.parent)
    with (path.parent / f".{path.stem}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"waiting for another process that makes {path}\n")
            sys.stderr.flush()
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        _await_elsewhere(path)
        yield


def _await_elsewhere(path: Path) -> None:
    """Wait for a Slurm job on another machine that makes an outcome; the time limits of both jobs bound the wait."""
    note = _read_note(notes(path)[0])
    other = worker_from(note) if note is not None else None
    if other is None or other.here or other.job in (None, this_process().job) or not commands.available():
        return
    pause, unanswered = _FIRST_PAUSE, 0
    while unanswered < _UNANSWERED:
        alive = is_alive(other)
        if alive is False:
            return
        unanswered = unanswered + 1 if alive is None else 0
        if pause == _FIRST_PAUSE:
            sys.stderr.write(f"waiting for {other}, which makes {path}\n")
            sys.stderr.flush()
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    sys.stderr.write(f"Slurm does not answer whether {other} lives, which made {path}; it counts as dead\n")


def key_of(path: Path) -> str | None:
    """Return the key in an outcome or marker: empty if it is damaged, None if it is missing or unreadable.

    Only the beginning of the file is read if it holds the key.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD).decode(errors="replace").partition('"result"')[0]
        found = _KEY.search(head)
        if found is None:
            content = files.read_json(path, "")
            return str(content.get("key", "")) if isinstance(content, dict) else ""
        return found[1]
    except DistilleryError:
        return ""
    except OSError:
        return None


def finished(path: Path, key: str) -> bool:
    """Return whether a complete outcome with these settings exists that is no failure.

    An outcome that Snakemake has removed in order to make it again counts too, and is restored.
    """

    def done(file: Path) -> bool:
        try:
            return read_outcome(file, key=key).status != "failed"
        except DistilleryError:
            return False

    return done(path) if path.exists() else earlier.take_back(path, done)


def is_whole(path: Path) -> bool:
    """Return whether a file of a stage and the files whose checksums it has are undamaged."""
    if path.suffix != ".json":
        return True
    try:
        content = files.read_json(path, "")
        if not isinstance(content, dict):
            return False
        if "result" in content:
            read_outcome(path, key=str(content.get("key")))
        elif content.get("files"):
            # Zarr takes long to import.
            from distillery.data.store import first_change

            return first_change(path.with_suffix(".zarr"), content["files"]) is None
    except DistilleryError:
        return False
    return True


def failed(path: Path) -> bool:
    """Return whether an outcome exists with the status ``failed``."""
    try:
        return read_outcome(path).status == "failed"
    except DistilleryError:
        return False


@contextlib.contextmanager
def running(path: Path) -> Iterator[float]:
    """Hold the lock of an outcome, and write notes that its stage runs and why it failed; yield the starting time.

    Check whether it is ``finished`` within the block, where the lock is held.

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
    attempt = 1 + _remember(path)
    files.write_json(running_note, {**dataclasses.asdict(this_process()), "since": time.time(), "attempt": attempt})
    try:
        yield time.monotonic()
    except BaseException as error:
        if isinstance(error, Exception):
            # On a full disk the note fails too; the error itself is raised.
            with contextlib.suppress(OSError):
                files.write_json(failure_note, {"reason": explain(error), "when": time.time(), "attempt": attempt})
        raise
    else:
        failure_note.unlink(missing_ok=True)
    finally:
        running_note.unlink(missing_ok=True)


def note_failure(path: Path, reason: str) -> None:
    """Write the note why a stage could not start."""
    running_note, failure_note = notes(path)
    attempt = max(attempts_of(_read_note(running_note)), attempts_of(_read_note(failure_note)))
    files.write_json(failure_note, {"reason": reason, "when": time.time(), "attempt": attempt})


def _remember(path: Path) -> int:
    """Return the number of earlier attempts; turn the note of a killed attempt into that of a failed one."""
    running_note, failure_note = notes(path)
    killed, broken = _read_note(running_note), _read_note(failure_note)
    before = max(attempts_of(killed), attempts_of(broken))
    if killed is not None:
        where = worker_from(killed)
        reason = f"attempt {before} was killed" + (f" ({where})" if where is not None else "")
        files.write_json(failure_note, {"reason": reason, "when": time.time(), "attempt": before})
    return before


def _attempts(path: Path) -> int:
    return max(attempts_of(_read_note(notes(path)[0])), 1)


def attempts_of(note: Mapping[str, Any] | None) -> int:
    """Return the number of the attempt in a note; 0 without a note."""
    number = (note or {}).get("attempt", 1 if note else 0)
    return number if isinstance(number, int) else 1


def notes(path: Path) -> tuple[Path, Path]:
    """Return the paths of the running note and the failure note of an outcome."""
    return path.with_suffix(".running"), path.with_suffix(".failure")


def running_notes(results: Path) -> list[tuple[Path, Worker]]:
    """Return every readable running note under a results folder with its process."""
    found = []
    for depth in ("*", "*/*"):
        for path in results.glob(f"{depth}/*.running"):
            note = _read_note(path)
            worker = worker_from(note) if note is not None else None
            if worker is not None:
                found.append((path, worker))
    return found


def _read_note(path: Path) -> dict[str, Any] | None:
    try:
        content = files.read_json(path, "")
    except DistilleryError:
        return None
    return content if isinstance(content, dict) else None
