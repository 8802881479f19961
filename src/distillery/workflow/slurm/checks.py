"""Checks of a cluster against a profile: queries of Slurm first, then test jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from distillery.cluster.slurm.partitions import Partition, partitions
from distillery.cluster.slurm.trial import Bench, Trial, bench
from distillery.workflow.slurm.findings import Finding
from distillery.workflow.slurm.job_sizes import refusals, samples_of
from distillery.workflow.slurm.queries import (
    candidates,
    check_commands,
    check_gpu,
    check_request,
    check_size,
    check_status,
)
from distillery.workflow.slurm.site import GPU_RULE, TRAINING, Site
from distillery.workflow.slurm.trial_findings import judge_gpu, judge_mpi, judge_node

_SUBJECTS = {"node": "node", "mpi": "MPI", "gpu": "GPU"}


def check(site: Site, directory: Path, patience: float, say: Callable[[str], None]) -> Iterator[Finding]:
    """Check a cluster by queries and test jobs.

    Args:
        site: The cluster as the profile describes it.
        directory: The working directory of later runs.
        patience: Seconds a test job may wait for its start.
        say: Prints the reason why a test job waits.

    Yields:
        Findings as they arise.

    Raises:
        DistilleryError: Slurm stopped answering.
    """
    yield from (found := list(check_commands()))
    if any(finding.level == "error" for finding in found):
        return
    known = partitions()
    plain = list(check_request("jobs", "default-resources", site.plain, known))
    # Trainings that differ from other jobs only in the GPU need no second query.
    same = dataclasses.replace(site.training, gpu=None, gres=None) == site.plain
    training = [] if same else list(check_request("training", TRAINING, site.training, known))
    size = list(check_size(site, known))
    gpu = list(check_gpu(site, known))
    yield from (*plain, *training, *gpu, *size, *check_status(site))
    if not _failed([*plain, *training, *size]):
        # A training whose GPUs do not exist would be refused for the reason reported above.
        asked = [sample for sample in samples_of(site) if sample.rule != GPU_RULE or not _failed(gpu)]
        for rule, reason in refusals(asked, known):
            yield Finding("error", f"jobs of {rule}", reason)
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
    """Submit all test jobs at once, so that they wait together."""
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
    """Return the request of a test job that Slurm refused or did not start."""
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
