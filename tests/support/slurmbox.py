"""A real Slurm of three nodes on this machine, for the tests: ``python tests/support/slurmbox.py start|stop|status``.

Debian's slurm-wlm and munge, as root, without systemd. Everything it writes stands in one scratch folder, munge's key
and socket too; only ``/etc/slurm/slurm.conf`` and ``gres.conf`` are links to it, because jobs look for Slurm there.
Where these are files of a real Slurm, or another Slurm runs, nothing is touched. The nodes have more cores and memory
on paper than the machine, so that several small jobs run at once; GPUs are device files that nobody opens.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

BOX = Path("/tmp/distillery-slurm")
KEPT = BOX / "kept"
ETC = Path("/etc/slurm")
CLUSTER = "distillerybox"
NODES = ("node1", "node2", "node3")
COMMANDS = ("slurmctld", "slurmd", "munged", "munge", "sbatch", "srun", "scontrol", "sinfo", "squeue", "scancel")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Daemons are identified by this variable or, where their title overwrites the environment, by their folder.
DAEMONS = ("slurmctld", "slurmscriptd", "slurmd", "slurmstepd")
MARK = f"DISTILLERY_SLURMBOX={BOX}"
# Processes of jobs are identified by the variable that Slurm sets.
JOB_MARK = f"SLURM_CLUSTER_NAME={CLUSTER}"
PATIENCE = 30.0

SLURM_CONF = """\
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=26817
AuthType=auth/munge
AuthInfo=socket={box}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={box}/state
SlurmdSpoolDir={box}/spool.%n
TmpFS=/tmp
SlurmctldPidFile={box}/run/slurmctld.pid
SlurmdPidFile={box}/run/slurmd.%n.pid
SlurmctldLogFile={box}/log/slurmctld.log
SlurmdLogFile={box}/log/slurmd.%n.log
MailProg=/bin/true
MpiDefault=pmi2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# A job is killed soon after it exceeds its memory.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=60
SlurmdTimeout=60
KillWait=2
# Without accounting the controller must keep ended jobs.
MinJobAge=3600
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={box}/log/jobcomp.txt
NodeName=DEFAULT CPUs=8 Sockets=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=16000
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port=26831
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port=26832 Gres=gpu:2
NodeName=node3 NodeHostname={host} NodeAddr=127.0.0.1 Port=26833
PartitionName=DEFAULT DefaultTime=00:10:00 MaxTime=02:00:00 State=UP
PartitionName=cpu Nodes=node1,node2 Default=YES
PartitionName=gpu Nodes=node2
PartitionName=nogpu Nodes=node1
PartitionName=spare Nodes=node3
"""
GRES_CONF = "NodeName=node2 Name=gpu File={box}/dev/gpu[0-1]\n"


class BoxError(RuntimeError):
    """The box cannot be started or stopped."""


def obstacle() -> str | None:
    """Return why Slurm cannot run on this machine, or None."""
    if os.geteuid() != 0:
        return "only root can start a Slurm"
    missing = [name for name in COMMANDS if shutil.which(name, path=PATH) is None]
    if missing:
        return f"{', '.join(missing)} not installed: apt install slurm-wlm munge"
    for name in ("slurm.conf", "gres.conf"):
        path = ETC / name
        if (path.exists() or path.is_symlink()) and not _is_ours(path):
            return f"{path} is not of this box: a real Slurm is left alone"
    if Path("/run/slurm/conf").exists() or os.environ.get("SLURM_CONF"):
        return "another Slurm is configured here (SLURM_CONF or /run/slurm/conf)"
    if foreign := set(_named("slurmctld", "slurmd")) - set(processes()):
        return f"another Slurm runs here (process {min(foreign)})"
    return None


def processes() -> list[int]:
    """Return the process ids of the box's daemons: munged, slurmctld, slurmd, slurmstepd."""
    inside = [pid for pid in _named(*DAEMONS) if _folder(pid).startswith(str(BOX))]
    return sorted({*_marked(MARK), *inside})


def job_processes(job: str | None = None) -> list[int]:
    """Return the process ids of the tasks of the box's jobs, or of one job, wherever they were started from."""
    marks = [JOB_MARK] if job is None else [JOB_MARK, f"SLURM_JOB_ID={job}"]
    return _marked(*marks)


def answers() -> bool:
    """Return whether all daemons run and the controller answers; nodes may be down or busy."""
    daemons = set(processes())
    alive = len(daemons & set(_named("slurmd"))) >= len(NODES) and daemons & set(_named("slurmctld"))
    return bool(alive) and _is_ours(ETC / "slurm.conf") and set(_states()) == set(NODES)


def start() -> None:
    """Start the box unless it runs, and keep it until it is stopped by hand.

    Raises:
        BoxError: It cannot run here, or does not come up; the message holds the end of the daemons' logs.
    """
    with _locked():
        _begin()
        KEPT.touch()


def stop() -> None:
    """Cancel every job, end every process of the box, and remove it.

    Raises:
        BoxError: A process survives.
    """
    with _locked():
        KEPT.unlink(missing_ok=True)
        _end()


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Keep the box running; the last user stops it, unless it was started by hand.

    Raises:
        BoxError: As :func:`start` and :func:`stop` do.
    """
    with contextlib.ExitStack() as stack:
        with _locked():
            _begin()
            users = stack.enter_context((BOX / "users").open("w"))
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with _locked():
                if not KEPT.exists() and _try_lock(users):
                    _end()


def _is_ours(path: Path) -> bool:
    return path.is_symlink() and path.readlink() == BOX / path.name


def _run(words: Sequence[str], patience: float) -> str:
    """Run one of Slurm's commands and return its output for any exit status."""
    return subprocess.run(
        words,
        env={"PATH": PATH, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    ).stdout


def _daemon(*words: str) -> None:
    """Start a daemon, which detaches itself and must not inherit a pipe."""
    with (BOX / "log" / "start.log").open("a") as log:
        done = subprocess.run(
            words,
            env={"PATH": PATH, "LC_ALL": "C.UTF-8", "DISTILLERY_SLURMBOX": str(BOX)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            timeout=PATIENCE,
            check=False,
        )
    if done.returncode != 0:
        raise BoxError(f"{words[0]} ended with {done.returncode}")


def _begin() -> None:
    """Start the box unless it runs; remove the remains of a killed one first.

    Slurm needs an address besides loopback's, though it uses only that one: without any network it does not come up.
    """
    if (reason := obstacle()) is not None:
        raise BoxError(reason)
    if answers():
        return
    _end()
    try:
        _lay_out()
        _launch()
    except (BoxError, OSError, subprocess.SubprocessError) as error:
        logs = "\n".join(_tail(path) for path in sorted((BOX / "log").glob("*.log")))
        _end()
        raise BoxError(f"the box does not come up: {error}\n{logs}") from error


def _lay_out() -> None:
    """Create the folders, files and devices of the box."""
    for folder in ("state", "run", "log", "dev", "munge", *(f"spool.{node}" for node in NODES)):
        (BOX / folder).mkdir(mode=0o755)
    key = BOX / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    for number in range(2):
        os.mknod(BOX / "dev" / f"gpu{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    values = {"box": BOX, "cluster": CLUSTER, "host": socket.gethostname().split(".")[0]}
    for name, text in (("slurm.conf", SLURM_CONF), ("gres.conf", GRES_CONF)):
        (BOX / name).write_text(text.format(**values))
        ETC.mkdir(exist_ok=True)
        (ETC / name).symlink_to(BOX / name)


def _launch() -> None:
    munge = BOX / "munge"
    options = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
    words = [f"--{option}={munge / name}" for option, name in options.items()]
    _daemon("munged", f"--log-file={BOX / 'log' / 'munged.log'}", *words)
    _daemon("slurmctld")
    for node in NODES:
        _daemon("slurmd", "-N", node)
    _wait(lambda: _states() == dict.fromkeys(NODES, "idle"), 30, "the nodes do not register")


def _states() -> dict[str, str]:
    """Return the state of each node; none if the controller does not answer three times."""
    for _ in range(3):
        with contextlib.suppress(subprocess.TimeoutExpired):
            lines = _run(["sinfo", "--noheader", "--Node", "--format=%N %t"], 10).splitlines()
            return {node: state for node, _, state in (line.partition(" ") for line in lines)}
    return {}


def _end() -> None:
    """End all processes of the box, by SIGTERM first, and remove its files."""
    if _is_ours(ETC / "slurm.conf") and _named("slurmctld"):
        with contextlib.suppress(subprocess.TimeoutExpired, FileNotFoundError):
            _run(["scancel", "--user=root"], 10)
            _run(["scancel", "--user=root", "--signal=KILL", "--full"], 10)
            with contextlib.suppress(BoxError):
                _wait(lambda: not job_processes(), 4, "jobs do not end")
    for how, patience in ((signal.SIGTERM, 8), (signal.SIGKILL, 8)):
        for pid in [*job_processes(), *processes()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        with contextlib.suppress(BoxError):
            _wait(lambda: not (processes() or job_processes()), patience, "")
            break
    if left := [*processes(), *job_processes()]:
        raise BoxError(f"processes of the box survive: {left}")
    for name in ("slurm.conf", "gres.conf"):
        if _is_ours(ETC / name):
            (ETC / name).unlink()
    for path in BOX.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name.endswith(".conf"):
            path.unlink()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Lock the box, so that two test runs do not start or stop it at once."""
    if os.geteuid() != 0:
        raise BoxError("only root can start a Slurm")
    BOX.mkdir(mode=0o755, exist_ok=True)
    found = BOX.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0:
        raise BoxError(f"{BOX} is not a folder of root")
    with (BOX / "lock").open("w") as lock:
        _wait(lambda: _try_lock(lock), 90, "another process starts or stops the box for more than 90 s")
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(done: Callable[[], bool], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise BoxError(complaint)
        time.sleep(0.1)


def _marked(*marks: str) -> list[int]:
    """Return the processes, except this one and its parents, with all these variables in their environment."""
    wanted = {mark.encode() for mark in marks}
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted <= set((path / "environ").read_bytes().split(b"\0")) and int(path.name) != os.getpid():
                found.append(int(path.name))
    return sorted(found)


def _named(*names: str) -> list[int]:
    """Return the processes of programs with these names, without those that ended and wait for their parent."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "comm").read_text().strip() in names and (path / "exe").readlink():
                found.append(int(path.name))
    return found


def _folder(pid: int) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115 (of a folder that may be gone)
    return ""


def _tail(path: Path) -> str:
    return "\n".join([f"{path}:", *path.read_text(errors="replace").splitlines()[-5:]])


def main() -> None:
    """Start, stop or show the box."""
    match sys.argv[1:]:
        case ["start"]:
            start()
            print(f"up; {BOX}")
        case ["stop"]:
            stop()
            print("stopped; no process is left")
        case ["status"]:
            up = answers()
            print(f"{'up' if up else 'not up'}; {BOX}; daemons {processes()}, tasks of jobs {job_processes()}")
            if up:
                print(_run(["sinfo"], 10), _run(["squeue"], 10), sep="\n", end="")
            sys.exit(0 if up else 3)
        case _:
            sys.exit("python tests/support/slurmbox.py start|stop|status")


if __name__ == "__main__":
    try:
        main()
    except BoxError as error:
        sys.exit(f"slurmbox: {error}")
