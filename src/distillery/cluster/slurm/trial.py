"""Test jobs: sent together, waited for with patience, never left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from distillery import files
from distillery.cluster.slurm import commands
from distillery.errors import DistilleryError

NAME = f"{commands.PREFIX}-check"
# The module that a test job runs.
_PROBE = "distillery.cluster.slurm.probe"
_MINUTES = 5
# How often the scheduler is asked about all test jobs together, and how often a waiting job's reason is told; seconds.
_PERIOD = 2.0
_TOLD = 60.0
# How long a result may take to be seen here after its job has ended; seconds.
_LATE = 90.0
# How long killed jobs may take to be gone; seconds.
_GOING = 40.0
# With these reasons a job would wait for ever.
_HOPELESS = (
    "Invalid",
    "BadConstraints",
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "PartitionDown",
    "PartitionConfig",
    "NotAllowed",
)
# Some of them pass while the scheduler takes a job in; seconds.
_CERTAIN = 15.0
# The executor starts a job's command without Slurm's other variables (snakemake-executor-plugin-slurm-jobstep).
_STRIPPED = """\
for name in $(env | sed -n 's/^\\(SLURM_[A-Z0-9_]*\\|SRUN_[A-Z0-9_]*\\|SBATCH_[A-Z0-9_]*\\)=.*/\\1/p'); do
  case $name in SLURM_JOB_ID|SLURM_JOBID|SLURM_CLUSTER_NAME|SLURM_SUBMIT_*) ;; *) unset "$name" ;; esac
done
"""
_MISSING = {
    91: "the working directory does not exist on the node; work in a folder that all nodes share",
    92: "this Python does not exist on the node; install Distillery in a folder that all nodes share",
    93: "the package cannot be imported on the node; install Distillery in a folder that all nodes share",
}


@dataclasses.dataclass
class Trial:
    """A test job.

    Attributes:
        name: What it tests.
        id: Its number in Slurm; empty while it has none.
        result: The file with what it found.
        content: What it found; None until then.
        problem: Why there is no result; None until that is sure.
        answered: When its file was seen here, by this clock; None until then.
        ran: Whether it started.
    """

    name: str
    id: str
    result: Path
    content: Any = None
    problem: str | None = None
    answered: float | None = None
    ran: bool = False
    _ended: float | None = None

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self.content is not None or self.problem is not None


class Bench:
    """Where test jobs are sent from: a folder in the working directory, gone afterwards with all jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trials: list[Trial] = []

    def send(self, name: str, words: Sequence[str], test: Sequence[str]) -> Trial:
        """Send a test job.

        Args:
            name: What it tests.
            words: Its options for sbatch.
            test: Arguments of ``distillery.cluster.slurm.probe``, without the result; a leading launcher before ``--``.
        """
        result = self.folder / f"{name}.json"
        split = test.index("--") + 1 if "--" in test else 0
        launcher, arguments = test[: max(split - 1, 0)], test[split:]
        python = shlex.quote(sys.executable)
        program = shlex.join(
            [*launcher, sys.executable, "-m", "distillery.cluster.slurm.probe", arguments[0], str(result)]
        )
        script = (
            "#!/bin/sh\n"
            f"cd {shlex.quote(str(self.folder))} || exit 91\n"
            f"[ -x {python} ] || exit 92\n"
            f"{python} -c 'import distillery.cluster.slurm.probe' || exit 93\n"
            f"{_STRIPPED}exec {program} {shlex.join(arguments[1:])}\n"
        )
        file = self.folder / f"{name}.sh"
        files.write_text(file, script)
        log = self.folder / f"{name}.log"
        fixed = [f"--job-name={NAME}-{name}", f"--time={_MINUTES}", f"--output={log}", "--no-requeue"]
        trial = Trial(name, "", result)
        try:
            answer = commands.call(["sbatch", "--parsable", *fixed, *words, str(file)])
            trial.id = answer.strip().splitlines()[-1].split(";")[0]
        except DistilleryError as error:
            trial.problem = str(error)
        self.trials.append(trial)
        return trial

    def wait(self, patience: float, say: Callable[[str], None]) -> None:
        """Wait until every test job has a result or cannot have one.

        Args:
            patience: Seconds a job may wait for its start.
            say: Told why a job waits.
        """
        started = time.monotonic()
        asked = -math.inf
        told: dict[str, float] = {}
        while waiting := [trial for trial in self.trials if not trial.done]:
            for trial in waiting:
                _answer(trial)
            now = time.monotonic()
            # Often at first, when jobs start and end; a job that waits for long is asked about rarely.
            if now - asked >= max(_PERIOD, (now - started) / 30):
                asked = now
                states = self._states(waiting)
                for trial in waiting:
                    state, reason = states.get(trial.id, ("", ""))
                    self._judge(trial, state, reason, now - started, patience)
                    if state == "PENDING" and not trial.done and now - told.get(trial.id, started - _TOLD + 5) >= _TOLD:
                        told[trial.id] = now
                        say(f"the test job {trial.name} ({trial.id}) waits for its start: {reason}")
            time.sleep(0.02)

    def _judge(self, trial: Trial, state: str, reason: str, waited: float, patience: float) -> None:
        if trial.done:
            return
        trial.ran = trial.ran or state != "PENDING"
        if state == "PENDING":
            hopeless = waited > _CERTAIN and any(word in reason for word in _HOPELESS)
            if waited > patience or hopeless:
                commands.cancel([trial.id])
                trial.problem = f"the test job did not start in {waited:.0f} s: {reason}"
        elif not state:
            trial._ended = trial._ended or time.monotonic()
            end = self._end(trial)
            if end not in (None, 0) or time.monotonic() - trial._ended > _LATE:
                trial.problem = self._explain(trial, end)

    def _states(self, waiting: Sequence[Trial]) -> dict[str, tuple[str, str]]:
        """Return state and reason of the jobs that wait, run or are about to be gone."""
        ids = ",".join(trial.id for trial in waiting)
        try:
            text = commands.call(["squeue", "--noheader", f"--jobs={ids}", "--format=%A %T %r"])
        except DistilleryError as error:
            if "Invalid job id" not in str(error):
                raise
            return {}
        lines = [line.split(maxsplit=2) for line in text.splitlines()]
        return {line[0]: (line[1], line[2] if len(line) > 2 else "") for line in lines if len(line) > 1}

    def _end(self, trial: Trial) -> int | None:
        """Return the exit status of an ended job, if the controller remembers it."""
        with contextlib.suppress(DistilleryError):
            for word in commands.call(["scontrol", "--oneliner", "show", "job", trial.id]).split():
                if word.startswith("ExitCode="):
                    status, _, killed_by = word.removeprefix("ExitCode=").partition(":")
                    return int(status) or int(killed_by or 0)
        return None

    def _explain(self, trial: Trial, end: int | None) -> str:
        if end in _MISSING:
            return _MISSING[end]
        log = self.folder / f"{trial.name}.log"
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
        if end in (None, 0) and not trial.result.exists():
            return (
                f"the test job ended, but its files did not arrive here in {_LATE:.0f} s; "
                "work in a folder that all nodes share"
            )
        return f"the test job failed with status {end}: {said[-1] if said else 'it wrote nothing; see slurmd’s log'}"

    def close(self) -> None:
        """Cancel what still waits or runs, and remove the folder."""
        sent = [trial for trial in self.trials if trial.id]
        if sent:
            commands.cancel(trial.id for trial in sent if trial.content is None)
            # A job that ends or is being killed could still write here.
            deadline = time.monotonic() + _GOING
            while commands.living(trial.id for trial in sent) and time.monotonic() < deadline:
                time.sleep(0.2)
            commands.cancel(trial.id for trial in sent)
        shutil.rmtree(self.folder, ignore_errors=True)


def _answer(trial: Trial) -> None:
    """Answer a node that has written its file, and take its result when it is there."""
    if trial.answered is None and trial.result.with_suffix(".ping").exists():
        trial.answered = time.time()
        files.write_text(trial.result.with_suffix(".pong"), "")
    if trial.result.exists():
        trial.content = json.loads(trial.result.read_text(encoding="utf-8"))


@contextlib.contextmanager
def bench(directory: Path) -> Iterator[Bench]:
    """Yield a place to send test jobs from; nothing of it is left afterwards, not even when it is interrupted.

    Args:
        directory: The working directory of later runs.

    Raises:
        DistilleryError: It is not writable.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=".distillery-check-", dir=directory)).resolve()
    except OSError as error:
        raise DistilleryError(f"{directory}: cannot be written to ({error.strerror}); work elsewhere") from None
    found = Bench(folder)

    def stop(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield found
    finally:
        signal.signal(signal.SIGTERM, before)
        found.close()
