"""Jobs and steps started inside a Slurm job: clean environment, same placement, reachable address."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping

from distillery.cluster.slurm.commands import call
from distillery.errors import DistilleryError

# Variables that become options of sbatch and srun. A user's choice of a partition is kept outside of jobs only:
# inside a job, the variables come from the parent job.
_LEAKING = ("SLURM_", "SBATCH_", "SRUN_", "SCANCEL_", "SQUEUE_")
_ALWAYS = ("SLURM_CONF", "SLURM_CLUSTERS")
_PLACES = ("SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_RESERVATION", "SBATCH_CONSTRAINT")
# Fields of `scontrol show job`, and the corresponding options of sbatch.
_PLACEMENT = {
    "Partition": "--partition",
    "Account": "--account",
    "QOS": "--qos",
    "Features": "--constraint",
    "Reservation": "--reservation",
}
_NOTHING = ("", "(null)", "N/A", "none")


@dataclasses.dataclass(frozen=True)
class Allocation:
    """The Slurm job that this process runs in.

    Attributes:
        job: Its id.
        nodes: Number of its nodes.
        cpus: Number of its CPUs over all nodes.
        placement: Options of sbatch for the same partition, account, QOS, features and reservation.
    """

    job: str
    nodes: int
    cpus: int
    placement: tuple[str, ...]


def job_id() -> str | None:
    """Return the id of the Slurm job that this process runs in; None outside of jobs."""
    return os.environ.get("SLURM_JOB_ID") or os.environ.get("SLURM_JOBID") or None


def allocation(job: str) -> Allocation:
    """Return the Slurm job that this process runs in; one call.

    Raises:
        DistilleryError: Slurm has no such job, or does not answer.
    """
    try:
        fields = _fields(call(["scontrol", "--oneliner", "show", "job", job], environment=clean(os.environ)))
    except DistilleryError as error:
        raise DistilleryError(
            f"SLURM_JOB_ID: job {job} cannot be queried ({error}); run this in a job, or unset it"
        ) from None
    return Allocation(
        job=job,
        nodes=_count(fields.get("NumNodes", "1")),
        cpus=_count(fields.get("NumCPUs", "1")),
        placement=tuple(
            f"{option}={fields[name]}" for name, option in _PLACEMENT.items() if fields.get(name, "") not in _NOTHING
        ),
    )


def controller() -> str:
    """Return the host or address of Slurm's controller, which is on the cluster's own network; one call.

    Raises:
        DistilleryError: Slurm does not answer.
    """
    text = call(["scontrol", "show", "config"], environment=clean(os.environ))
    match = re.search(r"^SlurmctldHost\[0\]\s*=\s*(?P<name>[^\s(]+)(\((?P<address>[^)]+)\))?", text, re.MULTILINE)
    return (match["address"] or match["name"]) if match else ""


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for sbatch and srun without variables of the job that this process runs in.

    Slurm reads these variables as options: a nested job would request the parent's tasks, memory per CPU or GPUs.

    Args:
        environment: The variables of this process.
    """
    inside = "SLURM_JOB_ID" in environment or "SLURM_JOBID" in environment
    kept = _ALWAYS if inside else _ALWAYS + _PLACES
    return {
        name: value
        for name, value in environment.items()
        # The temporary folder of a job is removed at its end.
        if (name in kept or not name.startswith(_LEAKING)) and not (inside and name == "TMPDIR")
    }


def _fields(line: str) -> dict[str, str]:
    """Read ``Key=value`` words; a value's further words (a command's arguments) are left out."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def _count(text: str) -> int:
    digits = re.match(r"\d+", text)
    return int(digits[0]) if digits else 1
