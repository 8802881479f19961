"""Checks of a profile by queries of Slurm, before any job is submitted."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shutil
from collections.abc import Iterator, Mapping

from distillery.cluster.slurm import commands
from distillery.cluster.slurm.partitions import Partition, with_gpus
from distillery.errors import DistilleryError
from distillery.util.process import user_name
from distillery.workflow.slurm.findings import Finding
from distillery.workflow.slurm.site import TRAINING, Request, Site


def check_commands() -> Iterator[Finding]:
    """Check that Slurm's commands and Snakemake's executor for it are installed."""
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
        yield Finding(
            "error",
            "packages",
            f"{', '.join(missing)}: not installed; run make cluster, or pip install 'distillery[slurm]'",
        )


def check_request(subject: str, place: str, asked: Request, known: Mapping[str, Partition]) -> Iterator[Finding]:
    """Check that Slurm accepts the jobs.

    Args:
        subject: Name of the jobs.
        place: Section of the profile with their request.
        asked: Their request.
        known: The cluster's partitions.
    """
    names = ", ".join(sorted(known))
    partition = asked.where(known)
    if partition is None:
        problem = "Slurm has no default partition" if asked.partition is None else f"there is no {asked.partition}"
        yield Finding(
            "error", f"partition of {subject}", f"{problem}; in {place} set slurm_partition to one of {names}"
        )
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
        # Without GPUs, which are checked separately.
        words = dataclasses.replace(asked, gpu=None, gres=None).words()
        commands.call(["sbatch", "--test-only", "--time=5", *words, "--wrap=true"])
    except DistilleryError as error:
        yield Finding("error", f"request of {subject}", _refusal(str(error), asked, place, partition))
    else:
        given = [f"{name} {value}" for name in ("constraint", "qos") if (value := getattr(asked, name))]
        if given:
            yield Finding("ok", f"request of {subject}", f"{', '.join(given)}: accepted")


def _refusal(said: str, asked: Request, place: str, partition: Partition) -> str:
    """Return the setting to change after a refused request."""
    said = said.removeprefix("sbatch --test-only: ").removeprefix("allocation failure: ")
    lowered = said.lower()
    if "feature" in lowered or ("configuration" in lowered and asked.constraint):
        known = ", ".join(sorted(partition.features)) or "none"
        return f"Slurm refuses constraint {asked.constraint} ({said}); features of {partition.name}: {known}"
    for word, key, value in (("account", "slurm_account", asked.account), ("qos", "qos", asked.qos)):
        if word in lowered:
            return f"Slurm refuses {word} {value or '(none given)'} ({said}); in {place} set {key}"
    return f"Slurm refuses it: {said}; see {place}"


def _check_account(subject: str, asked: Request) -> Iterator[Finding]:
    """Check the account as Snakemake's executor does before it submits: with sacctmgr, then sshare."""
    if asked.account is None:
        return
    user = user_name()
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
    """Check that the partition of trainings has the requested GPUs."""
    asked, partition = site.training, site.training.where(known)
    if partition is None:
        return
    elsewhere = ", ".join(with_gpus(known))
    if not asked.wants_gpu:
        hint = f"; GPUs are in {elsewhere}: give --gpu-partition" if elsewhere else ""
        yield Finding("ok", "GPU", f"none is asked for, networks train on CPUs{hint}")
        return
    if asked.gpu is not None and asked.gres is not None and "gpu" in asked.gres:
        yield Finding("error", "GPU", f"{TRAINING} has gpu and gres; keep one of them")
    if not partition.gpus:
        hint = f"in {TRAINING} set slurm_partition to one of {elsewhere}" if elsewhere else "no partition has any"
        text = f"partition {partition.name} has no GPUs; {hint}, or set gpu to 0 to train on CPUs"
        yield Finding("error", "GPU", text)
        return
    kind = _kind(asked)
    if kind and partition.gpu_types and kind not in partition.gpu_types:
        text = f"{partition.name} has no GPU of type {kind}; its types are {', '.join(sorted(partition.gpu_types))}"
        yield Finding("error", "GPU", text)


def _kind(asked: Request) -> str | None:
    """Return the requested type of GPU."""
    match = re.match(r"gpu:([A-Za-z]\w*)", asked.gres or "") or re.match(r"([A-Za-z]\w*):", asked.gpu or "")
    return match[1] if match else None


def check_size(site: Site, known: Mapping[str, Partition]) -> Iterator[Finding]:
    """Check the number of nodes for an MPI job, and the time limit of Dask worker jobs."""
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
    """Check the command from which Snakemake gets the states of jobs."""
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
        # Older versions print the list to standard error.
        said = commands.call(["sh", "-c", "srun --mpi=list 2>&1"])
        kinds = re.findall(r"^\s+([a-z0-9_]+)\s*$", said, re.MULTILINE)
    except DistilleryError:
        pass
    preferred = sorted(kinds, key=lambda kind: (not kind.startswith("pmi"), kind))
    others = [*(f"srun --mpi={kind}" for kind in preferred if kind != "none"), "srun"]
    if site.execution.nodes == 1:
        others.append("mpiexec")
    return [site.execution.launcher, *(kind for kind in others if kind != site.execution.launcher)]


def _hours(minutes: float) -> str:
    return f"{minutes / 60:g} h" if minutes >= 60 else f"{minutes:g} min"
