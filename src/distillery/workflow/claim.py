"""The claim on a results folder: one Snakemake at a time works there.

A run claims the folder before anything else, keeps the claim alive by touching it, and gives it up at its
end. What was killed leaves its claim behind, and with it perhaps jobs that go on: ``distillery resume`` clears
up after it, and until then nothing new begins. Snakemake's own lock cannot serve for this: it is one of the
working directory, and does not know who holds it.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from distillery import files
from distillery.cluster.slurm import commands
from distillery.errors import DistilleryError
from distillery.util.process import Worker, this_process, user_name, worker_from

NAME = ".claim.json"
# Every process of a run carries the run's token in its environment under this name.
RUN = "DISTILLERY_RUN"
# A claim is touched this often, in seconds …
BEAT = 30.0
# … and one that was not touched for so long belongs to a dead run, where its process cannot be looked at.
PATIENCE = 300.0
_TRIES = 10
# Seconds until a claim that is not found is looked for again.
_TWICE = 1.0
# The claim is looked for this often, in seconds: a results folder that was renamed must not be missed for long.
_LOOK = 2.0


@dataclasses.dataclass(frozen=True)
class Claim:
    """Who works in a results folder.

    Attributes:
        token: Names the run; no two are equal.
        user: Who started it.
        worker: Its main process.
        since: When it began, in seconds since the epoch by its own clock.
        directory: Its working directory.
        command: What was typed.
        began: Whether it has started jobs; until then it leaves nothing behind.
        slurm: The name of its Slurm jobs; empty where it starts none.
    """

    token: str
    user: str
    worker: Worker
    since: float
    directory: Path
    command: str
    began: bool = False
    slurm: str = ""

    @property
    def own(self) -> bool:
        """Whether it is of the user who asks."""
        return self.user == user_name()

    @property
    def workers(self) -> str:
        """How the names of the Slurm jobs begin in which the run's Dask workers live."""
        return worker_jobs(self.token)

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        process = f"process {self.worker.pid}" + (f", job {self.worker.job}" if self.worker.job else "")
        return f"{self.user} on {self.worker.host} ({process}) since {when} in {self.directory}"


def worker_jobs(token: str | None = None) -> str:
    """Return how the Slurm jobs are named in which a run's Dask workers live; by default this process's run."""
    token = os.environ.get(RUN, "") if token is None else token
    return f"{commands.PREFIX}-dask-{token[:12] or 'alone'}"


@dataclasses.dataclass(frozen=True)
class Found:
    """A claim that was found, and whether its run lives.

    Attributes:
        claim: The claim; None if it cannot be read.
        alive: Whether its run lives.
        quiet: Seconds since it was touched last, by the clock of the file system; below zero if that clock was set
            back since.
    """

    claim: Claim | None
    alive: bool
    quiet: float


def look(results: Path) -> Found | None:
    """Return the claim on a results folder, or None if nobody claims it.

    On this host the process is looked at; elsewhere Slurm is asked if it is a job, and else the time counts since
    the claim was touched. That time is taken by the file system's clock alone: hosts may disagree on theirs. A time
    in the future is no sign of life: a run that lives would have touched its claim since the clock was set back.
    """
    path = results / NAME
    try:
        with path.open(encoding="utf-8") as file:
            text, touched = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DistilleryError(f"{path}: cannot be read ({error.strerror}); ask its owner for permission") from None
    quiet = files.clock(results) - touched
    claim = _parse(text)
    alive = claim.worker.alive() if claim is not None else None
    if alive is None and claim is not None and claim.worker.job is not None:
        alive = _job_alive(claim.worker.job)
    return Found(claim, abs(quiet) < PATIENCE if alive is None else alive, quiet)


def refusal(results: Path, found: Found) -> str:
    """Return the line that tells why a folder cannot be had."""
    quiet = max(found.quiet, 0.0)
    if found.claim is None:
        return f"{results / NAME}: cannot be read, but was written {quiet:.0f} s ago; wait a little, try again"
    claim = found.claim
    if found.alive:
        sign = f" (last sign of life {quiet:.0f} s ago; after {PATIENCE:.0f} s without it counts as dead)"
        sign = "" if claim.worker.here else sign
        return (
            f"{results}: this sweep is run already by {claim}{sign}: {claim.command}; "
            f"wait for its end, or stop it there (Ctrl-C; kill {claim.worker.pid} lets its running jobs end first)"
        )
    return (
        f"{results}: the run of {claim} was killed, and jobs of it may go on; "
        "run distillery resume (with the same --config) first"
    )


def take(results: Path) -> None:
    """Claim a results folder for this process, until it ends or `release`s it.

    Args:
        results: The folder; it is made if it is missing.

    Raises:
        DistilleryError: Another run works there, or was killed there; the line says who and what to do.
    """
    global _held  # noqa: PLW0603 (a process is one run)
    mine = Claim(uuid.uuid4().hex, user_name(), this_process(), time.time(), Path.cwd(), _command()[:300])
    made = not results.exists()
    try:
        results.mkdir(parents=True, exist_ok=True)
        _create(results, mine)
    except OSError as error:
        raise DistilleryError(
            f"{results}: cannot be written to ({error.strerror}); mend that, or choose another results folder"
        ) from None
    os.environ[RUN] = mine.token
    os.environ[files.CLAIM] = str(results.absolute() / NAME)
    _held = _Held(results, mine, made)
    atexit.register(release)


def begin(slurm: str = "") -> None:
    """Say in this process's claim that jobs are started now.

    Args:
        slurm: The name of the run's Slurm jobs; empty where it starts none.
    """
    if _held is not None:
        _held.claim = dataclasses.replace(_held.claim, began=True, slurm=slurm)
        files.write_text(_held.results / NAME, _text(_held.claim))


def jobs_live(live: bool) -> None:
    """Note whether jobs may outlive this process: as long as they may, its claim stays behind when it ends."""
    if _held is not None:
        _held.jobs_live = live


def release() -> None:
    """Give up this process's claim, if it has one; a folder that it made and left empty goes too.

    The claim of a run whose jobs may live stays, as if the run had been killed: ``distillery resume`` clears up.
    """
    global _held
    held, _held = _held, None
    if held is None or held.claim.worker.pid != os.getpid():
        return
    held.ended.set()
    os.environ.pop(files.CLAIM, None)
    if held.jobs_live:
        return
    with contextlib.suppress(OSError):
        remove(held.results, held.claim)
        if held.made:
            held.results.rmdir()


def remove(results: Path, claim: Claim | None) -> bool:
    """Remove a claim, if it is still the one on the folder; one that cannot be read is given as None.

    Returns:
        Whether it was there.
    """
    path = results / NAME
    aside = results / f"{NAME}.{uuid.uuid4().hex}"
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    caught = _parse(aside.read_text(encoding="utf-8"))
    removed = (caught and caught.token) == (claim and claim.token)
    if not removed:
        # Another one has come meanwhile: put it back.
        files.create(path, aside.read_text(encoding="utf-8"))
    aside.unlink()
    return removed


class _Held:
    """The claim of this process, and the thread that keeps it alive."""

    def __init__(self, results: Path, claim: Claim, made: bool) -> None:
        self.results = results.absolute()
        self.claim = claim
        self.made = made
        self.other: Claim | None = None
        self.jobs_live = False
        self.ended = threading.Event()
        threading.Thread(target=self._beat, name="claim", daemon=True).start()

    def _beat(self) -> None:
        touched = time.monotonic()
        while not self.ended.wait(min(BEAT, _LOOK)):
            if time.monotonic() - touched < BEAT and (self.results / NAME).exists():
                continue
            touched = time.monotonic()
            # Somebody who removes a dead claim may have taken up ours for a moment, and puts it back: look twice.
            if not self._touched() and not self.ended.wait(_TWICE) and not self._touched() and not self.ended.is_set():
                self._lost()
                return

    def _touched(self) -> bool:
        """Keep the claim alive, and tell whether it is there."""
        try:
            os.utime(self.results / NAME)
            there = _parse((self.results / NAME).read_text(encoding="utf-8"))
        except FileNotFoundError:
            there = None
        except OSError:
            return True  # A file system that is away for a while.
        self.other = there
        return there is not None and there.token == self.claim.token

    def _lost(self) -> None:
        """Stop: the results folder is gone, or this run was taken for dead and another one may work there."""
        by = f" by {self.other}" if self.other else ""
        gone = self.other is None and not (self.results / NAME).exists()
        stolen = f"{self.results}: this run was silent for long and its claim was taken away{by}; it stops"
        sys.stderr.write(f"{files.moved(self.results) if gone else stolen}\n")
        sys.stderr.flush()
        # Jobs that find no results folder must not go on until they fail: they are cancelled, as by Ctrl-C.
        os.kill(os.getpid(), signal.SIGINT if gone else signal.SIGTERM)


_held: _Held | None = None


def _create(results: Path, mine: Claim) -> None:
    """Write the claim file unless there is one; of several at once, one wins."""
    for _ in range(_TRIES):
        if files.create(results / NAME, _text(mine)):
            return
        found = look(results)
        if found is None:
            continue
        if found.alive or (found.claim is not None and found.claim.began):
            raise DistilleryError(refusal(results, found))
        remove(results, found.claim)
    raise DistilleryError(f"{results}: others claim and leave it all the time; see who runs this sweep")


def _job_alive(job: str) -> bool | None:
    if not commands.available():
        return None
    try:
        return job in commands.living([job])
    except DistilleryError:
        return None


def _command() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _text(claim: Claim) -> str:
    content: dict[str, Any] = {**dataclasses.asdict(claim), "directory": str(claim.directory)}
    return json.dumps({**content.pop("worker"), **content}, indent=1) + "\n"


def _parse(text: str) -> Claim | None:
    try:
        content = json.loads(text)
        worker = worker_from(content)
        if worker is None:
            return None
        return Claim(
            token=str(content["token"]),
            user=str(content["user"]),
            worker=worker,
            since=float(content["since"]),
            directory=Path(content["directory"]),
            command=str(content["command"]),
            began=bool(content["began"]),
            slurm=str(content["slurm"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
