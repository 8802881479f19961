"""The command ``setup-cluster``: a tested profile for this cluster."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from distillery import files
from distillery.cluster.slurm import commands
from distillery.cluster.slurm.partitions import Partition, default_partition, partitions
from distillery.errors import DistilleryError
from distillery.workflow.slurm import profile_keys
from distillery.workflow.slurm.checks import check
from distillery.workflow.slurm.findings import Finding
from distillery.workflow.slurm.profile import find_profile, read_profile, section, shipped, user_profile, with_value
from distillery.workflow.slurm.requested import Requested, fitted
from distillery.workflow.slurm.site import GPU_RULE, site_of

_PLAIN, _TRAIN, _EXECUTION = ("default-resources",), ("set-resources", GPU_RULE), ("config", "execution")
_RULE = re.compile(r"^(?:rule|checkpoint) (\w+):", re.MULTILINE)


def set_up(
    requested: Requested, target: Path, directory: Path, patience: float, force: bool, say: Callable[[str], None]
) -> None:
    """Test a cluster, and write a profile for it.

    Args:
        requested: Requests of the user.
        target: File of the profile.
        directory: The working directory of later runs.
        patience: Seconds a test job may wait for its start.
        force: Write the profile in spite of errors.
        say: Prints a finding.

    Raises:
        DistilleryError: A sweep with the profile would fail; no profile was written.
    """
    source = shipped()
    text = source.read_text(encoding="utf-8")
    known = _partitions()
    for path, value in changes(_completed(requested, known)):
        text = with_value(text, path, value)
    findings: list[Finding] = []
    site = site_of(yaml.safe_load(text), "setup-cluster")
    place = site.plain.where(known)
    for finding in () if place is None else fitted(site.execution, requested, place):
        say(str(finding))
        if finding.setting is not None:
            text = with_value(text, *finding.setting)
    for finding in check(site_of(yaml.safe_load(text), "setup-cluster"), directory, patience, say):
        findings.append(finding)
        say(str(finding))
        # Measured settings replace those of the shipped profile, except after an error.
        if finding.setting is not None and finding.level != "error":
            text = with_value(text, *finding.setting)
    errors = _errors(findings)
    if errors and not force:
        raise DistilleryError(f"{errors}; no profile was written (--force writes it all the same)")
    words = shlex.join(f"--{name.replace('_', '-')}={value}" for name, value in _given(requested))
    head = f"# Written by: distillery setup-cluster {words}\n"
    head += "# Edit it as you like; distillery check-cluster tries it.\n\n"
    files.write_text(target, head + text)
    say(f"wrote {target}")


def check_profile(name: str, directory: Path, patience: float, say: Callable[[str], None]) -> None:
    """Test the cluster of an existing profile.

    Args:
        name: Its name, folder or file.
        directory: The working directory of later runs.
        patience: Seconds a test job may wait for its start.
        say: Prints a finding.

    Raises:
        DistilleryError: A sweep with it would fail.
    """
    path = find_profile(name)
    content = read_profile(path)
    findings = [Finding("error", str(path), line) for line in misspelt(content)]
    for finding in findings:
        say(str(finding))
    for finding in check(site_of(content, str(path)), directory, patience, say):
        findings.append(finding)
        say(str(finding))
    if errors := _errors(findings):
        raise DistilleryError(f"{path}: {errors}; correct that first")


def misspelt(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each unknown key, resource and rule of a profile."""
    options = _options()
    for key, value in content.items():
        if not isinstance(value, Mapping) and key not in options and not key.startswith("__"):
            yield f"{key}: Snakemake knows no such key{profile_keys.nearest(key, options)}"
    yield from profile_keys.unknown_sections(content)
    rules = _rules()
    for name in section(content, "default-resources"):
        if line := profile_keys.unknown_resource("default-resources", name, ()):
            yield line
    for rule, resources in section(content, "set-resources").items():
        if line := profile_keys.unknown_rule("set-resources", rule, rules):
            yield line
        for name in resources if isinstance(resources, Mapping) else ():
            if line := profile_keys.unknown_resource(f"set-resources.{rule}", name, ()):
                yield line
    for place in ("groups", "set-threads"):
        for rule in section(content, place):
            if line := profile_keys.unknown_rule(place, rule, rules):
                yield line


def _options() -> set[str]:
    """Return the keys that a profile may have: Snakemake's options."""
    from snakemake.cli import get_argument_parser  # type: ignore[import-untyped]

    words = get_argument_parser()._option_string_actions
    return {word.removeprefix("--") for word in words if word.startswith("--")}


def _rules() -> list[str]:
    folder = shipped().parents[2] / "workflow" / "rules"
    return [name for file in sorted(folder.glob("*.smk")) for name in _RULE.findall(file.read_text(encoding="utf-8"))]


def _errors(findings: Sequence[Finding]) -> str:
    count = sum(finding.level == "error" for finding in findings)
    return "" if not count else "1 error" if count == 1 else f"{count} errors"


def _partitions() -> dict[str, Partition]:
    """Return the cluster's partitions; none if Slurm does not answer, which the checks report."""
    try:
        return partitions() if commands.available() else {}
    except DistilleryError:
        return {}


def _completed(requested: Requested, known: Mapping[str, Partition]) -> Requested:
    """Return the requested with a decision about GPUs: without a word, they are used where the partition has some."""
    if requested.gpu is not None:
        return requested
    if requested.gpu_partition is not None:
        return dataclasses.replace(requested, gpu="gpu")
    place = default_partition(known) if requested.partition is None else known.get(requested.partition)
    return dataclasses.replace(requested, gpu="gpu" if place and place.gpus else "none")


def changes(requested: Requested) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the keys of the profile that follow from the requested, with their values; None takes a key out."""
    plain = {
        "slurm_partition": requested.partition,
        "slurm_account": requested.account,
        "constraint": requested.constraint,
        "qos": requested.qos,
    }
    yield from (((*_PLAIN, key), value) for key, value in plain.items() if value is not None)
    if requested.gpu_partition is not None:
        yield (*_TRAIN, "slurm_partition"), requested.gpu_partition
    kind, _, model = (requested.gpu or "").partition(":")
    if kind == "gres":
        # In this order the section is never empty, so that its comments stay.
        yield (*_TRAIN, "gres"), f"gpu:{model}:1" if model else "gpu:1"
        yield (*_TRAIN, "gpu"), None
    elif kind in ("gpu", "none"):
        yield (*_TRAIN, "gpu"), int(kind == "gpu")
        if model:
            yield (*_TRAIN, "gpu_model"), model
    execution = {"launcher": requested.launcher, "ranks": requested.ranks, "nodes": requested.nodes}
    yield from (((*_EXECUTION, key), value) for key, value in execution.items() if value is not None)
    dask = {"cluster": requested.cluster, "workers": requested.workers}
    yield from (((*_EXECUTION, "dask", key), value) for key, value in dask.items() if value is not None)
    if requested.modules:
        yield (*_EXECUTION, "modules"), list(requested.modules)
        yield ("use-envmodules",), True


def _given(requested: Requested) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(requested):
        value = getattr(requested, field.name)
        if field.name == "modules":
            yield from (("module", module) for module in value)
        elif value is not None:
            yield field.name, value


def target_of(name: str, output: Path | None) -> Path:
    """Return the file of the profile, in a given folder or among the user's profiles.

    Args:
        name: The profile's name.
        output: A folder of the user's choice.

    Raises:
        DistilleryError: The name is a path.
    """
    if output is not None:
        return output / "config.yaml"
    if not re.fullmatch(r"[\w.-]+", name):
        raise DistilleryError(f"--name {name}: is no plain name; give a folder with --output")
    return user_profile(name)
