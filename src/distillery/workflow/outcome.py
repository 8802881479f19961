"""The outcome of a stage for one cell: one JSON file, written last, that says how it went.

While a stage runs, a note beside the outcome says where, since when and how often it was tried; when it
breaks, another note says why. ``distillery status`` reads these.
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

Status = Literal["ok", "diverged", "failed"]
# Seconds between two questions to Slurm about a job that is waited for: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0
# So often in a row Slurm may leave such a question unanswered.
_UNANSWERED = 3
# The key stands at the beginning of what stages write; in a text before it these quotes would be escaped.
_HEAD = 2048
_KEY = re.compile(r'"key": "([^"\\]*)"')


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
        provenance={**provenance(device), "attempts": _attempts(path)},
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
    """Hold the lock of an outcome, so that no two processes make it at once.

    A job that outlived its workflow is thereby waited for, not doubled. Some shared file systems keep
    locks to each machine, or know none (then the block runs without); so a running note of a Slurm job
    on another machine is believed as long as Slurm says that the job lives.

    Args:
        path: The outcome file that the block will write.
    """
    files.make_folder(path.parent)
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
        _await_elsewhere(path)
        yield


def _await_elsewhere(path: Path) -> None:
    """Wait for a Slurm job on another machine that works on an outcome; its time limit bounds it, and ours us."""
    note = _read_note(notes(path)[0])
    other = worker_from(note) if note is not None else None
    if other is None or other.here or other.job in (None, this_process().job) or not commands.available():
        return
    pause, unanswered = _FIRST_PAUSE, 0
    while unanswered < _UNANSWERED:
        try:
            if other.job not in commands.living([other.job]):
                return
            unanswered = 0
        except DistilleryError:
            unanswered += 1
        if pause == _FIRST_PAUSE:
            sys.stderr.write(f"waiting for {other}, which works on {path}\n")
            sys.stderr.flush()
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    sys.stderr.write(f"Slurm does not say whether {other} lives, which worked on {path}; taken for dead\n")


def key_of(path: Path) -> str | None:
    """Return the key in an outcome or marker: empty if it is damaged, None if there is none that can be read.

    Only the beginning of the file is read where that will do.
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
    """Tell whether an outcome is there already: whole, made with these settings, and not a failure.

    One that Snakemake has removed only to make it again counts too, and is put back.
    """

    def done(file: Path) -> bool:
        try:
            return read_outcome(file, key=key).status != "failed"
        except DistilleryError:
            return False

    return done(path) if path.exists() else earlier.take_back(path, done)


def is_whole(path: Path) -> bool:
    """Tell whether a file that a stage wrote is undamaged, and so are the files whose checksums it has."""
    if path.suffix != ".json":
        return True
    try:
        content = files.read_json(path, "")
        if not isinstance(content, dict):
            return False
        if "result" in content:
            read_outcome(path, key=str(content.get("key")))
        elif content.get("files"):
            # Zarr takes long to import, and is here where trajectories were about to be made again.
            from distillery.data.store import first_change

            return first_change(path.with_suffix(".zarr"), content["files"]) is None
    except DistilleryError:
        return False
    return True


def failed(path: Path) -> bool:
    """Tell whether an outcome is there that says that its stage, or one before it, could give nothing."""
    try:
        return read_outcome(path).status == "failed"
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
    attempt = 1 + _remember(path)
    files.write_json(running_note, {**dataclasses.asdict(this_process()), "since": time.time(), "attempt": attempt})
    try:
        yield time.monotonic()
    except BaseException as error:
        if isinstance(error, Exception):
            # On a full disk there is no room for the note either; the error itself says more.
            with contextlib.suppress(OSError):
                files.write_json(failure_note, {"reason": explain(error), "when": time.time(), "attempt": attempt})
        raise
    else:
        failure_note.unlink(missing_ok=True)
    finally:
        running_note.unlink(missing_ok=True)


def note_failure(path: Path, reason: str) -> None:
    """Note next to an outcome why its stage could not begin."""
    running_note, failure_note = notes(path)
    attempt = max(attempts_of(_read_note(running_note)), attempts_of(_read_note(failure_note)))
    files.write_json(failure_note, {"reason": reason, "when": time.time(), "attempt": attempt})


def _remember(path: Path) -> int:
    """Return how often an outcome was tried before; a killed attempt leaves what a broken one leaves."""
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
    """Return the number of the attempt that a note tells of; 0 without a note."""
    number = (note or {}).get("attempt", 1 if note else 0)
    return number if isinstance(number, int) else 1


def notes(path: Path) -> tuple[Path, Path]:
    """Return where the running note and the failure note of an outcome stand."""
    return path.with_suffix(".running"), path.with_suffix(".failure")


def running_notes(results: Path) -> list[tuple[Path, Worker]]:
    """Return every running note under a results folder with the process it names; damaged ones are left out."""
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
