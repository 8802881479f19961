"""A cluster as a profile describes it: partitions, requests of GPUs, launcher of ranks."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any

from distillery.cluster.slurm.partitions import Partition, default_partition
from distillery.errors import DistilleryError
from distillery.workflow.config import parse_config
from distillery.workflow.settings import ExecutionSettings
from distillery.workflow.slurm.profile import section

GPU_RULE = "train"
# Section of a profile with the request of trainings.
TRAINING = f"set-resources: {GPU_RULE}"

# The smallest valid configuration, for the section execution of a profile.
MINIMAL = {"experiments": [{"system": "spring"}], "models": ["bottleneck"]}


@dataclasses.dataclass(frozen=True)
class Request:
    """The request of a kind of job to Slurm, as Snakemake's executor submits it.

    Attributes:
        partition: Its partition; None for Slurm's default.
        account: Its account; None for Slurm's default.
        constraint: Features that its nodes must have.
        qos: Quality of service.
        gpu: Value of ``--gpus``.
        gres: Value of ``--gres``.
        extra: Further words for sbatch.
        minutes: Its time limit, if the profile gives one as a number.
    """

    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    qos: str | None = None
    gpu: str | None = None
    gres: str | None = None
    extra: str | None = None
    minutes: float | None = None

    @property
    def wants_gpu(self) -> bool:
        """Whether it includes a GPU."""
        return self.gpu is not None or "gpu" in (self.gres or "")

    def gpu_words(self) -> list[str]:
        """Return the options of sbatch for GPUs."""
        return [f"--gpus={self.gpu}"] * (self.gpu is not None) + [f"--gres={self.gres}"] * (self.gres is not None)

    def words(self) -> list[str]:
        """Return the options of sbatch."""
        given = (("partition", self.partition), ("account", self.account), ("constraint", self.constraint))
        words = [f"--{name}={value}" for name, value in (*given, ("qos", self.qos)) if value is not None]
        return [*words, *self.gpu_words(), *(self.extra or "").split()]

    def where(self, known: Mapping[str, Partition]) -> Partition | None:
        """Return its partition, if the cluster has it."""
        return default_partition(known) if self.partition is None else known.get(self.partition)


@dataclasses.dataclass(frozen=True)
class Site:
    """A cluster as a profile describes it.

    Attributes:
        plain: Request of jobs.
        training: Request of training jobs.
        execution: Settings of the section ``execution``.
        latency_wait: Seconds that Snakemake waits for a file to appear.
        status_command: Snakemake's command for the states of jobs; None for its own choice.
        resources: Resources of the profile by rule, and of all rules under the empty name.
    """

    plain: Request
    training: Request
    execution: ExecutionSettings
    latency_wait: float
    status_command: str | None
    resources: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def site_of(content: Mapping[str, Any], source: str) -> Site:
    """Return the cluster that a profile describes.

    Args:
        content: The profile.
        source: Its name in errors.

    Raises:
        DistilleryError: Its section ``config: execution`` is wrong, one line per finding; or ``latency-wait`` is.
    """
    defaults = section(content, "default-resources")
    overridden = section(content, "set-resources")
    execution = parse_config({**MINIMAL, "execution": section(content, "config", "execution")}, f"{source}: config")
    latency = content.get("latency-wait", 5)
    if isinstance(latency, bool) or not isinstance(latency, (int, float)):
        raise DistilleryError(f"{source}: latency-wait: {latency!r} is no number; give seconds")
    return Site(
        plain=request(defaults),
        training=request({**defaults, **section(content, "set-resources", GPU_RULE)}),
        execution=execution.execution,
        latency_wait=float(latency),
        status_command=content.get("slurm-status-command"),
        resources={"": defaults, **{rule: section(content, "set-resources", rule) for rule in overridden}},
    )


def request(resources: Mapping[str, Any]) -> Request:
    """Return the request of a job with these resources."""
    runtime, count = resources.get("runtime"), plain_text(resources.get("gpu"))
    model = plain_text(resources.get("gpu_model"))
    gpu = count if count not in (None, "0") else None
    if model:
        gpu = f"{model}:{gpu or 1}"
    return Request(
        partition=plain_text(resources.get("slurm_partition")),
        account=plain_text(resources.get("slurm_account")),
        constraint=plain_text(resources.get("constraint")),
        qos=plain_text(resources.get("qos")),
        gpu=gpu,
        gres=plain_text(resources.get("gres")),
        extra=plain_text(resources.get("slurm_extra")),
        minutes=float(runtime) if isinstance(runtime, (int, float)) else None,
    )


def plain_text(value: Any) -> str | None:
    """Return a resource's value as Slurm sees it: a text that Snakemake reads as Python loses its inner quotes."""
    if value is None or value == "":
        return None
    text = str(value)
    if text[:1] in "'\"":
        try:
            return str(ast.literal_eval(text))
        except (SyntaxError, ValueError):
            return text
    return text
