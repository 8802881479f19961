"""The claim on a results folder: only one Snakemake works there at a time.

A run claims the folder before anything else, renews the claim by touching its file, and releases it at its end. A
killed run leaves its claim, and perhaps running jobs: no new run starts until ``distillery resume`` has removed both.
Snakemake's own lock does not suffice: it locks a working directory and does not name its holder.
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
from distillery.workflow.liveness import is_alive

NAME = ".claim.json"
# Environment variable of every process of a run, with the run's token.
RUN = "DISTILLERY_RUN"
# Seconds between two renewals of a claim.
BEAT = 30.0
# Seconds without renewal after which a run counts as dead if its process cannot be checked.
PATIENCE = 300.0
_TRIES = 10
# Seconds until a missing claim is looked for again.
_TWICE = 1.0
# Seconds between two checks that the claim exists, so that a renamed results folder is noticed early.
_LOOK = 2.0


@dataclasses.dataclass(frozen=True)
class Claim:
    """A run that works in a results folder.

    Attributes:
        token: Unique name of the run.
        user: User who started it.
        worker: Its main process.
        since: Start in seconds since the epoch by its own clock.
        directory: Its working directory.
        command: Its command line.
        began: Whether it has started jobs; before that, a killed run leaves nothing to clear up.
        slurm: Name of its Slurm jobs; empty without Slurm.
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
        """Whether the current user started it."""
        return self.user == user_name()

    @property
    def workers(self) -> str:
        """Prefix of the names of the run's Dask worker jobs."""
        return worker_jobs(self.token)

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        process = f"process {self.worker.pid}" + (f", job {self.worker.job}" if self.worker.job else "")
        return f"{self.user} on {self.worker.host} ({process}) since {when} in {self.directory}"


def worker_jobs(token: str | None = None) -> str:
    """Return the prefix of the names of a run's Dask worker jobs; by default of this process's run."""
    token = os.environ.get(RUN, "") if token is None else token
    return f"{commands.PREFIX}-dask-{token[:12] or 'alone'}"


@dataclasses.dataclass(frozen=True)
class Found:
    """A claim on a results folder, and whether its run lives.

    Attributes:
        claim: The claim; None if it cannot be read.
        alive: Whether its run lives.
        quiet: Seconds since its last renewal by the clock of the file system; negative if that clock was set back.
    """

    claim: Claim | None
    alive: bool
    quiet: float


def look(results: Path) -> Found | None:
    """Return the claim on a results folder, or None if there is none.

    The run lives if its process or Slurm job does; if neither can be checked, if its claim was renewed lately by the
    clock of the file system, because the clocks of hosts may differ. A renewal in the future counts as old: a live run
    would have renewed its claim since the clock was set back.
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
    alive = is_alive(claim.worker) if claim is not None else None
    return Found(claim, abs(quiet) < PATIENCE if alive is None else alive, quiet)


def refusal(results: Path, found: Found) -> str:
    """Return the reason why a folder cannot be claimed, and the remedy, in one line."""
    quiet = max(found.quiet, 0.0)
    if found.claim is None:
        return f"{results / NAME}: cannot be read, but was written {quiet:.0f} s ago; wait a minute and try again"
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
        DistilleryError: Another run works there, or was killed there; the message names the run and the remedy.
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
    """Record in this process's claim that jobs are started from now on.

    Args:
        slurm: The name of the run's Slurm jobs; empty where it starts none.
    """
    if _held is not None:
        _held.claim = dataclasses.replace(_held.claim, began=True, slurm=slurm)
        files.write_text(_held.results / NAME, _text(_held.claim))


def jobs_live(live: bool) -> None:
    """Record whether jobs may outlive this process: if so, its claim stays when it ends."""
    if _held is not None:
        _held.jobs_live = live


def release() -> None:
    """Release this process's claim, if it has one, and remove a folder that it made and left empty.

    The claim of a run whose jobs may live stays, as after a kill; ``distillery resume`` removes it.
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
    """Remove a claim if it is still the one on the folder; None stands for an unreadable claim.

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
        # Another run has claimed the folder meanwhile: restore its claim.
        files.create(path, aside.read_text(encoding="utf-8"))
    aside.unlink()
    return removed


class _Held:
    """The claim of this process, and the thread that renews it."""

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
            # A process that removes a dead claim may have renamed this one for a moment and restores it: look twice.
            if not self._touched() and not self.ended.wait(_TWICE) and not self._touched() and not self.ended.is_set():
                self._lost()
                return

    def _touched(self) -> bool:
        """Renew the claim, and return whether it exists."""
        try:
            os.utime(self.results / NAME)
            there = _parse((self.results / NAME).read_text(encoding="utf-8"))
        except FileNotFoundError:
            there = None
        except OSError:
            return True  # The file system is unavailable for a while.
        self.other = there
        return there is not None and there.token == self.claim.token

    def _lost(self) -> None:
        """Stop: the results folder is gone, or another run has taken the claim."""
        by = f" by {self.other}" if self.other else ""
        gone = self.other is None and not (self.results / NAME).exists()
        stolen = (
            f"{self.results}: this run did not renew its claim for long, and its claim was taken away{by}; it stops"
        )
        sys.stderr.write(f"{files.moved(self.results) if gone else stolen}\n")
        sys.stderr.flush()
        # Without a results folder jobs would go on until they fail: cancel them as Ctrl-C does.
        os.kill(os.getpid(), signal.SIGINT if gone else signal.SIGTERM)


_held: _Held | None = None


def _create(results: Path, mine: Claim) -> None:
    """Write the claim file unless there is one; of several simultaneous runs one succeeds."""
    for _ in range(_TRIES):
        if files.create(results / NAME, _text(mine)):
            return
        found = look(results)
        if found is None:
            continue
        if found.alive or (found.claim is not None and found.claim.began):
            raise DistilleryError(refusal(results, found))
        remove(results, found.claim)
    raise DistilleryError(f"{results}: other runs claim and release it repeatedly; find and stop them")


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
