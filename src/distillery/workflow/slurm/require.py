"""Refusals at the start of a run on Slurm: misspelt keys of the profile, and requests that the cluster cannot meet.

Snakemake accepts any name of a resource and drops unknown sections; Slurm keeps a job waiting that can never start.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distillery.cluster.slurm import commands
from distillery.cluster.slurm.capacity import most_memory
from distillery.cluster.slurm.partitions import Partition, partitions, with_gpus
from distillery.errors import DistilleryError
from distillery.workflow.slurm import profile_keys
from distillery.workflow.slurm.growth import Ceiling
from distillery.workflow.slurm.job_sizes import Sample, refusals, shape_of
from distillery.workflow.slurm.profile import read_profile
from distillery.workflow.slurm.site import request


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of profiles and of the command line.

    Attributes:
        sections: The profiles, by name.
        defaults: Names of default resources.
        of_rules: Names of resources that were set for a rule.
        named_rules: Sections and the rules that they name.
        rules: Rules of the workflow, each with the names of its own resources.
        free: Names of resources that the user has defined as limits.
    """

    sections: Mapping[str, Mapping[str, Any]]
    defaults: tuple[str, ...]
    of_rules: Mapping[str, tuple[str, ...]]
    named_rules: tuple[tuple[str, str], ...]
    rules: Mapping[str, tuple[str, ...]]
    free: tuple[str, ...] = ()


def require_site(snakemake: Any, words: Sequence[str] | None = None) -> dict[str, Ceiling]:
    """Raise if a run on Slurm would fail.

    Args:
        snakemake: Snakemake's object ``workflow``, when a run begins.
        words: Snakemake's command line; this process's by default.

    Returns:
        The largest request of a job in the partition of each rule.

    Raises:
        DistilleryError: One line for each problem.
    """
    limits: dict[str, Ceiling] = {}
    on_slurm = getattr(snakemake.executor_plugin, "name", "") == "slurm"
    problems = list(misspelt(_settings(snakemake, sys.argv[1:] if words is None else words)))
    if on_slurm and not commands.available():
        problems.append(
            "executor: slurm, but Slurm's commands are not here; run this on a login node, or use profiles/local"
        )
    elif on_slurm:
        samples, known = _samples(snakemake), partitions()
        given = snakemake.executor_settings
        wrong = unable(samples, known)
        # Slurm's answer about a job with a known problem would repeat that problem.
        wrong = wrong or [f"rule {rule}: {what}" for rule, what in refusals(samples, known)]
        problems += [*wrong, *status_problem(given.status_command), *prefix_problem(given.jobname_prefix)]
        limits = ceilings(samples, known, snakemake.group_settings.overwrite_groups or {})
    if problems:
        raise DistilleryError("\n".join(problems))
    return limits


def status_problem(status_command: str | None) -> Iterator[str]:
    """Yield a line if the command for the states of jobs does not answer: Snakemake would wait without end.

    Args:
        status_command: That command, ``sacct`` or ``squeue``.
    """
    if status_command != "sacct":
        return
    try:
        commands.call(["sacct", "--noheader", "--allocations", "--starttime=now"])
    except DistilleryError as error:
        yield (
            f"slurm-status-command: sacct does not answer here ({str(error).removeprefix('sacct --noheader: ')}); "
            "set it to squeue in the profile, or run distillery setup-cluster, which does"
        )


def prefix_problem(prefix: str | None) -> Iterator[str]:
    """Yield a line if the names of Snakemake's jobs lack the prefix by which they are found after a crash.

    Args:
        prefix: Prefix of their names.
    """
    if not (prefix or "").startswith(commands.PREFIX):
        yield (
            f"slurm-jobname-prefix: set it to {commands.PREFIX} in the profile, or distillery resume and status do not "
            "find the jobs of this run"
        )


def ceilings(
    samples: Sequence[Sample], known: Mapping[str, Partition], groups: Mapping[str, str]
) -> dict[str, Ceiling]:
    """Return the largest request of a job of each rule.

    Args:
        samples: Jobs that will be submitted.
        known: The cluster's partitions.
        groups: The group of each rule that has one. Jobs of a group are one job, whose request is at most their sum.
    """
    sizes = Counter(groups.values())
    found: dict[str, Ceiling] = {}
    for sample in samples:
        partition, shape = request(sample.resources).where(known), shape_of(sample.resources)
        if partition is not None:
            memory = most_memory(partition.sizes, shape.tasks, shape.cores) if partition.sizes else 0
            members = sizes.get(groups.get(sample.rule, ""), 1)
            share = shape.cores if sample.resources.get("mem_mb_per_cpu") else 1
            minutes = None if partition.minutes is None else partition.minutes / members
            ceiling = Ceiling(minutes, memory / (members * share) or None)
            found[sample.rule] = ceiling.within(found.get(sample.rule, Ceiling()))
    return found


def misspelt(settings: Settings) -> Iterator[str]:
    """Yield a line for each unknown section, rule and resource."""
    for name, content in settings.sections.items():
        yield from (f"{name}: {line}" for line in profile_keys.unknown_sections(content))
    own = {*settings.free, *(resource for resources in settings.rules.values() for resource in resources)}
    places = [("default-resources", settings.defaults)]
    places += [(f"set-resources.{rule}", resources) for rule, resources in settings.of_rules.items()]
    for place, resources in places:
        for resource in resources:
            if line := profile_keys.unknown_resource(place, resource, own):
                yield line
    for place, rule in settings.named_rules:
        if line := profile_keys.unknown_rule(place, rule, settings.rules):
            yield line


def unable(samples: Sequence[Sample], known: Mapping[str, Partition]) -> list[str]:
    """Return a line for each kind of job that Slurm would refuse, or never start.

    Args:
        samples: Jobs that will be submitted.
        known: The cluster's partitions.
    """
    rules: dict[str, list[str]] = {}
    for sample in samples:
        for problem in _unable(sample, known):
            named = rules.setdefault(problem, [])
            if sample.rule not in named:
                named.append(sample.rule)
    return [f"{'rule' if len(named) == 1 else 'rules'} {', '.join(named)}: {what}" for what, named in rules.items()]


def _unable(sample: Sample, known: Mapping[str, Partition]) -> Iterator[str]:
    asked = request(sample.resources)
    if asked.wants_gpu:
        if sample.resources.get("tasks"):
            yield "has gpu or gres, and tasks, which becomes --ntasks-per-gpu; take tasks out"
        if asked.gpu is not None and "gpu" in (asked.gres or ""):
            yield "has gpu and gres; keep the one that your cluster knows"
    partition = asked.where(known)
    if partition is None:
        if asked.partition is not None and "," not in asked.partition:
            names = ", ".join(sorted(known))
            yield f"there is no partition {asked.partition}; set slurm_partition to one of {names}"
        return
    if not partition.up:
        yield f"partition {partition.name} is closed (sinfo); set slurm_partition to another one"
    if asked.wants_gpu and not partition.gpus:
        where = ", ".join(with_gpus(known))
        hint = f"in set-resources: {sample.rule} set slurm_partition to {where}" if where else "set gpu to 0"
        yield f"asks for a GPU, but partition {partition.name} has none; {hint}"
    if asked.minutes and partition.minutes and asked.minutes > partition.minutes:
        yield (
            f"asks for {asked.minutes:g} min, but partition {partition.name} allows {partition.minutes:g}; "
            f"in set-resources: {sample.rule} set runtime, or slurm_partition"
        )


def _settings(snakemake: Any, words: Sequence[str]) -> Settings:
    given, groups = snakemake.resource_settings, snakemake.group_settings
    named = [("set-resources", rule) for rule in given.overwrite_resources or {}]
    named += [("set-threads", rule) for rule in given.overwrite_threads or {}]
    named += [("groups", rule) for rule in groups.overwrite_groups or {}]
    return Settings(
        sections={str(path): read_profile(path) for path in profiles(words)},
        defaults=tuple(given.default_resources or ()),
        of_rules={rule: tuple(resources) for rule, resources in (given.overwrite_resources or {}).items()},
        named_rules=tuple(named),
        rules={rule.name: _own(rule, given) for rule in snakemake.rules},
        free=tuple(given.resources or ()),
    )


def _own(rule: Any, given: Any) -> tuple[str, ...]:
    """Return the resources of a rule in the workflow, without those that were set by a profile or option."""
    merged = {*(given.default_resources or ()), *(given.overwrite_resources or {}).get(rule.name, ())}
    return tuple(name for name in rule.resources if name not in merged)


def profiles(words: Sequence[str]) -> list[Path]:
    """Return the files of the profiles that a command line names, as Snakemake finds them."""
    from snakemake.cli import get_profile_dir  # type: ignore[import-untyped]

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--profile", action="append")
    parser.add_argument("--workflow-profile", action="append")
    named, _ = parser.parse_known_args(list(words))
    own = os.environ.get("SNAKEMAKE_PROFILE")
    names = [*(named.profile or ([own] if own else [])), *(named.workflow_profile or [])]
    return [found[1] for name in names if name != "none" and (found := get_profile_dir(name)) is not None]


def _samples(snakemake: Any) -> list[Sample]:
    """Return one job of each rule and experiment that needs to run; all jobs would take long in a large sweep."""
    found: dict[tuple[str, str], Sample] = {}
    for job in snakemake.dag.needrun_jobs():
        place = (job.rule.name, str(getattr(job.wildcards, "experiment", "")))
        if place not in found and not job.is_local:
            found[place] = Sample(job.rule.name, dict(job.resources.items()))
    return list(found.values())
