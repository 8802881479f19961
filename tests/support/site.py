"""A small cluster and its profile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distillery.cluster.slurm.partitions import Nodes, Partition
from distillery.workflow.slurm.findings import Finding
from distillery.workflow.slurm.profile import shipped
from distillery.workflow.slurm.requested import Requested
from distillery.workflow.slurm.site import Site, site_of

SHIPPED = shipped().read_text()
EVERYTHING = Requested(
    partition="long",
    account="007",
    gpu_partition="gpu-a100",
    gpu="gres:a100",
    constraint="ib&skylake",
    qos="max",
    launcher="srun --mpi=pmix",
    ranks=16,
    nodes=4,
    cluster="slurm",
    workers=5,
    modules=("julia/1.11", "gcc"),
)
CPU = Partition("cpu", default=True, minutes=120.0, nodes=2, features=frozenset({"ib"}))
GPU = Partition("gpu", minutes=60.0, nodes=1, gpus=4, gpu_types=frozenset({"a100"}))
KNOWN = {"cpu": CPU, "gpu": GPU}
TWO_SMALL = (Nodes(2, 8, 16_000),)


def site(**execution: Any) -> Site:
    return site_of({"latency-wait": 30, "config": {"execution": execution}}, "test")


def texts(findings: Iterator[Finding]) -> list[str]:
    return [str(finding) for finding in findings]
