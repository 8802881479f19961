"""Test jobs on a cluster: submitted together, awaited with a time limit, always removed."""

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
# Seconds between two queries of the scheduler, and between two messages about a waiting job.
_PERIOD = 2.0
_TOLD = 60.0
# Seconds in which a result must arrive after its job has ended.
_LATE = 90.0
# Seconds in which killed jobs must end.
_GOING = 40.0
# Reasons with which a job would never start.
_HOPELESS = (
    "Invalid",
    "BadConstraints",
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "PartitionDown",
    "PartitionConfig",
    "NotAllowed",
)
# Seconds after which these reasons are final; the scheduler shows some for a moment.
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
        name: Subject of the test.
        id: Its number in Slurm; empty before it is submitted.
        result: The file of its result.
        content: Its result; None before it arrives.
        problem: Reason why there is no result; None while one may come.
        answered: Time in seconds at which its file arrived, by this clock; None before.
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
        """Whether its result or its problem is known."""
        return self.content is not None or self.problem is not None


class Bench:
    """Test jobs and their folder in the working directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trials: list[Trial] = []

    def send(self, name: str, words: Sequence[str], test: Sequence[str]) -> Trial:
        """Submit a test job.

        Args:
            name: Subject of the test.
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
            say: Prints the reason why a job waits.
        """
        started = time.monotonic()
        asked = -math.inf
        told: dict[str, float] = {}
        while waiting := [trial for trial in self.trials if not trial.done]:
            for trial in waiting:
                _answer(trial)
            now = time.monotonic()
            # Frequent queries at first, when jobs start and end; rare ones for a job that waits for long.
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
        """Return state and reason of the jobs that wait, run or complete."""
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
        """Return the exit status of an ended job, if the controller still has it."""
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
        """Cancel waiting and running jobs, and remove the folder."""
        sent = [trial for trial in self.trials if trial.id]
        if sent:
            commands.cancel(trial.id for trial in sent if trial.content is None)
            # A job that is ending may still write here.
            deadline = time.monotonic() + _GOING
            while commands.living(trial.id for trial in sent) and time.monotonic() < deadline:
                time.sleep(0.2)
            commands.cancel(trial.id for trial in sent)
        shutil.rmtree(self.folder, ignore_errors=True)


def _answer(trial: Trial) -> None:
    """Answer a node that has written its file, and read its result once it exists."""
    if trial.answered is None and trial.result.with_suffix(".ping").exists():
        trial.answered = time.time()
        files.write_text(trial.result.with_suffix(".pong"), "")
    if trial.result.exists():
        trial.content = json.loads(trial.result.read_text(encoding="utf-8"))


@contextlib.contextmanager
def bench(directory: Path) -> Iterator[Bench]:
    """Yield a folder for test jobs; cancel the jobs and remove the folder at the end, also when interrupted.

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
