"""Whether a cluster does what a profile asks of it: every finding is one line that says what to set."""

from __future__ import annotations

import dataclasses
import getpass
import importlib.util
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import distillery
from distillery.errors import DistilleryError
from distillery.slurm import commands
from distillery.slurm.partitions import Partition, partitions, with_gpus
from distillery.slurm.site import GPU_RULE, Request, Site
from distillery.slurm.trial import Bench, Trial, bench

# Clocks further apart than this order the files of different nodes wrongly; seconds.
_SKEW = 2.0
# Less room than this ends even a small sweep; bytes.
_LITTLE = 5e9
_SHORTEST_LATENCY = 5
_SUBJECTS = {"node": "node", "mpi": "MPI", "gpu": "GPU"}
_TRAINING = f"set-resources: {GPU_RULE}"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        level: ``ok``, ``warning`` (it will work, but …) or ``error`` (a sweep would fail).
        subject: What was looked at.
        text: What is the case, and what to set.
        setting: A key of the profile and the value that mends it, if the check knows.
    """

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    setting: tuple[tuple[str, ...], Any] | None = None

    def __str__(self) -> str:
        return f"{self.level:<8} {self.subject}: {self.text}"


def check(site: Site, directory: Path, patience: float, say: Callable[[str], None]) -> Iterator[Finding]:
    """Look at a cluster, then try it with test jobs.

    Args:
        site: What the profile says about it.
        directory: The working directory of later runs.
        patience: Seconds a test job may wait for its start.
        say: Told why a test job waits.

    Yields:
        Findings, as soon as they are known.

    Raises:
        DistilleryError: Slurm stopped answering.
    """
    yield from (found := list(check_commands()))
    if any(finding.level == "error" for finding in found):
        return
    known = partitions()
    plain = list(check_request("jobs", "default-resources", site.plain, known))
    # Trainings that differ in nothing but the GPU have been asked about.
    same = dataclasses.replace(site.training, gpu=None, gres=None) == site.plain
    training = [] if same else list(check_request("training", _TRAINING, site.training, known))
    size = list(check_size(site, known))
    yield from (*plain, *training, *check_gpu(site, known), *size, *check_status(site))
    refused = {"plain": _failed(plain), "mpi": _failed(plain) or _failed(size), "gpu": _failed(plain + training)}
    with bench(directory) as trials:
        sent = list(_send(site, known, trials, refused))
        trials.wait(patience, say)
        for trial, judge in sent:
            if trial.problem is not None:
                yield Finding("error", _SUBJECTS[trial.name], f"{trial.problem}{_request_of(site, trial, known)}")
            else:
                yield from judge(trial)


def _failed(findings: Sequence[Finding]) -> bool:
    return any(finding.level == "error" for finding in findings)


def _send(
    site: Site, known: Mapping[str, Partition], trials: Bench, refused: Mapping[str, bool]
) -> Iterator[tuple[Trial, Callable[[Trial], Iterator[Finding]]]]:
    """Send the test jobs, all at once so that they wait together."""
    as_step = ["srun", "-n1", "--cpu-bind=q", "--cpus-per-task=1", "--nodes=1"]
    if not refused["plain"]:
        words = [*site.plain.words(), "--ntasks=1", "--mem=1000"]
        yield trials.send("node", words, [*as_step, "--", "look"]), lambda trial: judge_node(site, trial)
    execution = site.execution
    if not refused["mpi"] and execution.ranks > 1:
        size = [f"--ntasks={execution.ranks}", f"--nodes={execution.nodes}", "--mem-per-cpu=500"]
        kinds = [f"--launcher={kind}" for kind in candidates(site)]
        test = ["launchers", *kinds, f"--ranks={execution.ranks}", f"--nodes={execution.nodes}"]
        words = [*site.plain.words(), *size, "--cpus-per-task=1"]
        yield trials.send("mpi", words, test), lambda trial: judge_mpi(site, trial.content)
    place = site.training.where(known)
    if not refused["gpu"] and site.training.wants_gpu and place is not None and place.gpus:
        words = [*site.training.words(), "--mem=4000", "--cpus-per-task=1"]
        step = [*as_step, *([f"--gpus={site.training.gpu}"] if site.training.gpu else []), "--"]
        yield trials.send("gpu", words, [*step, "look", "--gpu"]), lambda trial: judge_gpu(site, trial.content)


def _request_of(site: Site, trial: Trial, known: Mapping[str, Partition]) -> str:
    """Return what a test job asked for when Slurm has refused it, or did not start it."""
    if trial.ran:
        return ""
    if trial.name == "mpi":
        return f" for {site.execution.ranks} ranks on {site.execution.nodes} nodes; lower ranks or nodes"
    partition = site.training.where(known)
    if trial.name == "gpu" and partition is not None:
        types = f"of type {', '.join(sorted(partition.gpu_types))}" if partition.gpu_types else "without a type"
        asked = " ".join(site.training.gpu_words())
        return f" for {asked}; {partition.name} has {partition.gpus} per node, {types}"
    return ""


def check_commands() -> Iterator[Finding]:
    """Say whether Slurm's commands and Snakemake's executor for it are here."""
    if not commands.available():
        yield Finding("error", "Slurm", "sbatch, squeue, scancel or sinfo is missing; run this on a login node")
        return
    try:
        yield Finding("ok", "Slurm", f"{commands.call(['sinfo', '--version']).strip()} answers")
    except DistilleryError as error:
        yield Finding("error", "Slurm", str(error))
    needed = {"snakemake_executor_plugin_slurm": "snakemake-executor-plugin-slurm", "dask_jobqueue": "dask-jobqueue"}
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        yield Finding("error", "packages", f"{', '.join(missing)}: not installed; run pip install 'distillery[slurm]'")


def check_request(subject: str, place: str, asked: Request, known: Mapping[str, Partition]) -> Iterator[Finding]:
    """Say whether Slurm would take such jobs.

    Args:
        subject: What the jobs do.
        place: The section of the profile that says what they ask for.
        asked: What they ask for.
        known: The cluster's partitions.
    """
    names = ", ".join(sorted(known))
    partition = asked.where(known)
    if partition is None:
        problem = "Slurm has no default partition" if asked.partition is None else f"there is no {asked.partition}"
        yield Finding("error", f"partition of {subject}", f"{problem}; set {place}: slurm_partition to one of {names}")
        return
    if not partition.up or not partition.nodes:
        problem = "is closed" if not partition.up else "has no node that takes jobs"
        yield Finding("error", f"partition of {subject}", f"{partition.name} {problem}; others are {names}")
        return
    limit = "no time limit" if partition.minutes is None else f"up to {_hours(partition.minutes)}"
    count = "1 node" if partition.nodes == 1 else f"{partition.nodes} nodes"
    yield Finding("ok", f"partition of {subject}", f"{partition.name}: {count}, {limit}")
    if asked.minutes and partition.minutes and asked.minutes > partition.minutes:
        text = f"{asked.minutes:g} min are more than {partition.name} allows ({limit}); lower {place}: runtime"
        yield Finding("error", f"time limit of {subject}", text)
    yield from _check_account(subject, asked)
    try:
        # Without GPUs: whether there are such is another question.
        words = dataclasses.replace(asked, gpu=None, gres=None).words()
        commands.call(["sbatch", "--test-only", "--time=5", *words, "--wrap=true"])
    except DistilleryError as error:
        yield Finding("error", f"request of {subject}", _refusal(str(error), asked, place, partition))
    else:
        given = [f"{name} {value}" for name in ("constraint", "qos") if (value := getattr(asked, name))]
        if given:
            yield Finding("ok", f"request of {subject}", f"{', '.join(given)}: accepted")


def _refusal(said: str, asked: Request, place: str, partition: Partition) -> str:
    """Return what to set when Slurm refuses a request."""
    said = said.removeprefix("sbatch --test-only: ").removeprefix("allocation failure: ")
    lowered = said.lower()
    if "feature" in lowered or ("configuration" in lowered and asked.constraint):
        known = ", ".join(sorted(partition.features)) or "none"
        return f"Slurm refuses constraint {asked.constraint} ({said}); features of {partition.name}: {known}"
    for word, key, value in (("account", "slurm_account", asked.account), ("qos", "qos", asked.qos)):
        if word in lowered:
            return f"Slurm refuses {word} {value or '(none given)'} ({said}); set {place}: {key}"
    return f"Slurm refuses it: {said}; see {place}"


def _check_account(subject: str, asked: Request) -> Iterator[Finding]:
    """Say whether Snakemake's executor will accept the account: it asks sacctmgr, then sshare, before it submits."""
    if asked.account is None:
        return
    user = getpass.getuser()
    text = ""
    for words in (
        ["sacctmgr", "-n", "-s", "list", "user", user, "format=account%256"],
        ["sshare", "-U", "--format", "Account%256", "--noheader"],
    ):
        if shutil.which(words[0]) is None:
            hint = f"Snakemake's executor asks {words[0]} for accounts, and it is missing here; leave slurm_account out"
            yield Finding("error", f"account of {subject}", f"{hint} and give it as slurm_extra: \"'--account=…'\"")
            return
        try:
            text = commands.call(words)
        except DistilleryError:
            continue
        if text.strip():
            break
    accounts = sorted({line.strip().lower() for line in text.splitlines() if line.strip()})
    if not accounts:
        yield Finding("ok", f"account of {subject}", f"{asked.account}: this Slurm keeps no accounts")
    elif asked.account.lower() in accounts:
        yield Finding("ok", f"account of {subject}", f"{asked.account}: yours")
    else:
        text = f"{asked.account} is not yours; set slurm_account to one of {', '.join(accounts)}"
        yield Finding("error", f"account of {subject}", text)


def check_gpu(site: Site, known: Mapping[str, Partition]) -> Iterator[Finding]:
    """Say whether the partition of trainings has the GPUs that they ask for."""
    asked, partition = site.training, site.training.where(known)
    if partition is None:
        return
    elsewhere = ", ".join(with_gpus(known))
    if not asked.wants_gpu:
        hint = f"; GPUs are in {elsewhere}: give --gpu-partition" if elsewhere else ""
        yield Finding("ok", "GPU", f"none is asked for, networks train on CPUs{hint}")
        return
    if asked.gpu is not None and asked.gres is not None and "gpu" in asked.gres:
        yield Finding("error", "GPU", f"{_TRAINING} has gpu and gres; keep one of them")
    if not partition.gpus:
        hint = f"set {_TRAINING}: slurm_partition to one of {elsewhere}" if elsewhere else "no partition has any"
        text = f"partition {partition.name} has no GPUs; {hint}, or set gpu to 0 to train on CPUs"
        yield Finding("error", "GPU", text)
        return
    kind = _kind(asked)
    if kind and partition.gpu_types and kind not in partition.gpu_types:
        text = f"{partition.name} has no GPU of type {kind}; its types are {', '.join(sorted(partition.gpu_types))}"
        yield Finding("error", "GPU", text)


def _kind(asked: Request) -> str | None:
    """Return the type of GPU that is asked for."""
    match = re.match(r"gpu:([A-Za-z]\w*)", asked.gres or "") or re.match(r"([A-Za-z]\w*):", asked.gpu or "")
    return match[1] if match else None


def check_size(site: Site, known: Mapping[str, Partition]) -> Iterator[Finding]:
    """Say whether the partition has the nodes of an MPI job, and allows the time limit of Dask worker jobs."""
    execution, dask, partition = site.execution, site.execution.dask, site.plain.where(known)
    if partition is None:
        return
    if 0 < partition.nodes < execution.nodes:
        text = f"nodes {execution.nodes} are more than {partition.name} has ({partition.nodes}); set nodes lower"
        yield Finding("error", "MPI", text)
    longest = partition.minutes
    if dask.cluster == "slurm" and longest and dask.walltime_minutes > longest:
        key = ("config", "execution", "dask", "walltime_minutes")
        text = f"walltime_minutes {dask.walltime_minutes} is more than the partition's limit; set it to {longest:.0f}"
        yield Finding("warning", "Dask", text, (key, int(longest)))


def check_status(site: Site) -> Iterator[Finding]:
    """Say how Snakemake will learn what became of a job."""
    if site.status_command == "squeue":
        return
    try:
        commands.call(["sacct", "--noheader", "--allocations", "--starttime=now"])
        yield Finding("ok", "job states", "sacct answers")
    except DistilleryError:
        age = re.search(r"MinJobAge\s*=\s*(\d+)", commands.call(["scontrol", "show", "config"]))
        key = ("slurm-status-command",)
        if site.status_command == "sacct":
            text = "sacct does not answer; set slurm-status-command to squeue"
            yield Finding("warning", "job states", text, (key, "squeue"))
        elif age and int(age[1]) < 120:
            text = f"no sacct, and squeue forgets jobs after {age[1]} s (MinJobAge); ask for 300 s or more"
            yield Finding("warning", "job states", text, (key, "squeue"))
        else:
            yield Finding("ok", "job states", "no sacct here, so squeue is asked", (key, "squeue"))


def candidates(site: Site) -> list[str]:
    """Return the launchers to try: the chosen one, then what Slurm and this Python have."""
    kinds: list[str] = []
    try:
        # Older versions print the list to standard error, which is part of the answer to sh.
        said = commands.call(["sh", "-c", "srun --mpi=list 2>&1"])
        kinds = re.findall(r"^\s+([a-z0-9_]+)\s*$", said, re.MULTILINE)
    except DistilleryError:
        pass
    preferred = sorted(kinds, key=lambda kind: (not kind.startswith("pmi"), kind))
    others = [*(f"srun --mpi={kind}" for kind in preferred if kind != "none"), "srun"]
    if site.execution.nodes == 1:
        others.append("mpiexec")
    return [site.execution.launcher, *(kind for kind in others if kind != site.execution.launcher)]


def judge_node(site: Site, trial: Trial) -> Iterator[Finding]:
    """Say what a node of the cluster is like."""
    found = trial.content
    if found["package"] != str(Path(distillery.__file__).parent):
        text = f"{found['host']} imports another copy of the package: {found['package']}; unset PYTHONPATH"
        yield Finding("error", "node", text)
        return
    yield Finding("ok", "node", f"{found['host']} runs this Python and this package")
    yield from judge_files(site, found, trial.answered)
    yield Finding("ok" if found["free"] > _LITTLE else "warning", "disk", f"{found['free'] / 1e9:.0f} GB free")
    text = "compute nodes reach the internet" if found["network"] else "compute nodes do not reach the internet"
    yield Finding("ok", "network", f"{text}; Julia, if PySR is chosen, is prepared where Snakemake runs")


def judge_files(site: Site, found: Mapping[str, Any], answered: float | None) -> Iterator[Finding]:
    """Say how fast files cross between nodes, and how far clocks are apart.

    Args:
        site: What the profile says.
        found: What the node told: when it wrote its file, and how long it waited for the answer.
        answered: When its file was seen here.
    """
    trip = found["round_trip"]
    if trip is None:
        text = "a file written here was not seen on the node within 60 s; ask about the file system's caches"
        yield Finding("error", "shared files", text)
        return
    # A file was seen after at most a round trip; Snakemake asks rarely, so leave room.
    needed = max(_SHORTEST_LATENCY, math.ceil(3 * trip))
    text = f"there and back in {trip:.2f} s"
    if needed > site.latency_wait:
        text = f"{text}, latency-wait is {site.latency_wait:g}; set it to {needed}"
        yield Finding("warning", "shared files", text, (("latency-wait",), needed))
    else:
        yield Finding("ok", "shared files", f"{text}; latency-wait {site.latency_wait:g} is enough")
    if answered is not None:
        # The file was seen here between its writing and the answer's arrival: the middle errs by half the trip.
        skew = answered - (found["sent"] + trip / 2)
        if abs(skew) - trip / 2 > _SKEW:
            text = f"{found['host']} is {abs(skew):.1f} s {'behind' if skew > 0 else 'ahead'}; have NTP set up there"
            yield Finding("warning", "clocks", f"{text}: Snakemake compares times of files, and would repeat jobs")
        else:
            yield Finding("ok", "clocks", f"{abs(skew):.2f} s apart (± {trip / 2:.2f})")


def judge_mpi(site: Site, tried: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Say whether the launcher joins the ranks, and which one does if not."""
    chosen, last = tried[0], tried[-1]
    ranks = site.execution.ranks
    if chosen["works"]:
        hosts = chosen["hosts"]
        names = sorted(set(hosts))
        if len(names) != site.execution.nodes:
            where = f"on {len(names)} of {site.execution.nodes} nodes ({', '.join(names)})"
            text = f"{chosen['launcher']}: {ranks} ranks, but {where}; set ranks to a multiple of nodes"
            yield Finding("warning", "MPI", text)
        else:
            yield Finding("ok", "MPI", f"{chosen['launcher']}: {len(hosts)} ranks on {', '.join(names)}")
        return
    text = f"{chosen['launcher']} does not join {ranks} ranks ({chosen['said'].removeprefix('MPI: ')})"
    if last["works"]:
        yield Finding("error", "MPI", f"{text}; set launcher to {last['launcher']}, which does")
    else:
        others = ", ".join(entry["launcher"] for entry in tried[1:])
        yield Finding("error", "MPI", f"{text}; nor do {others}: build mpi4py for the cluster's MPI, or set ranks to 1")


def judge_gpu(site: Site, found: Mapping[str, Any]) -> Iterator[Finding]:
    """Say what Slurm, the driver and PyTorch say about the GPU of a training job."""
    given, seen, driver = found["given"], found["torch"], found["driver"]
    where = f"on {found['host']}"
    if not given or given == "NoDevFiles":
        other = "gres" if site.training.gpu is not None else "gpu"
        text = f"Slurm gave none {where} for {' '.join(site.training.gpu_words())}; try --gpu {other}"
        yield Finding("error", "GPU", text)
    elif found.get("works"):
        yield Finding("ok", "GPU", f"{seen[0]} {where} (Slurm gave {given}, PyTorch {found['torch_version']})")
    else:
        if driver is None:
            why = "there is no nvidia-smi, so no driver"
        elif "+cpu" in found.get("torch_version", ""):
            why = f"PyTorch {found['torch_version']} is built without CUDA; install the CUDA build"
        else:
            why = found.get("reason") or f"nvidia-smi sees {', '.join(driver) or 'none'}"
        text = f"Slurm gave GPU {given} {where}, but PyTorch sees none: {why}"
        yield Finding("warning", "GPU", f"{text}; networks would train on CPUs")


def _hours(minutes: float) -> str:
    return f"{minutes / 60:g} h" if minutes >= 60 else f"{minutes:g} min"
