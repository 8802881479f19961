"""What a profile says about a cluster: where jobs go, how GPUs are asked for, what starts ranks."""

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
# Where a profile says what trainings ask for.
TRAINING = f"set-resources: {GPU_RULE}"

# A configuration needs an experiment and a model to be one; a profile knows only the section execution.
MINIMAL = {"experiments": [{"system": "spring"}], "models": ["bottleneck"]}


@dataclasses.dataclass(frozen=True)
class Request:
    """What a kind of job asks Slurm for, as Snakemake's executor passes it on.

    Attributes:
        partition: Where it goes; None for Slurm's default.
        account: Who pays; None for Slurm's default.
        constraint: Features that its nodes must have.
        qos: Quality of service.
        gpu: GPUs asked for by ``--gpus``.
        gres: What is asked for by ``--gres``.
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
        """Whether it asks for a GPU."""
        return self.gpu is not None or "gpu" in (self.gres or "")

    def gpu_words(self) -> list[str]:
        """Return the words that ask for GPUs."""
        return [f"--gpus={self.gpu}"] * (self.gpu is not None) + [f"--gres={self.gres}"] * (self.gres is not None)

    def words(self) -> list[str]:
        """Return the words for sbatch."""
        given = (("partition", self.partition), ("account", self.account), ("constraint", self.constraint))
        words = [f"--{name}={value}" for name, value in (*given, ("qos", self.qos)) if value is not None]
        return [*words, *self.gpu_words(), *(self.extra or "").split()]

    def where(self, known: Mapping[str, Partition]) -> Partition | None:
        """Return the partition it goes to, if there is one of that name."""
        return default_partition(known) if self.partition is None else known.get(self.partition)


@dataclasses.dataclass(frozen=True)
class Site:
    """A cluster as a profile describes it.

    Attributes:
        plain: What jobs ask for.
        training: What training jobs ask for.
        execution: How work is spread.
        latency_wait: Seconds that Snakemake waits for a file to be seen.
        status_command: What Snakemake asks after jobs with; None for its own choice.
        resources: What the profile asks for: by rule, and for all rules under the empty name.
    """

    plain: Request
    training: Request
    execution: ExecutionSettings
    latency_wait: float
    status_command: str | None
    resources: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def site_of(content: Mapping[str, Any], source: str) -> Site:
    """Return what a profile says about its cluster.

    Args:
        content: The profile.
        source: What to call it in errors.

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
    """Return what a job with these resources asks Slurm for."""
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
