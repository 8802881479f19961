"""Findings from the results of test jobs, with the settings to change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import distillery
from distillery.cluster.slurm.trial import Trial
from distillery.workflow.slurm.findings import Finding
from distillery.workflow.slurm.site import Site

# Clocks further apart than this order the files of different nodes wrongly; seconds.
_SKEW = 2.0
# Less room than this ends even a small sweep; bytes.
_LITTLE = 5e9
_SHORTEST_LATENCY = 5


def judge_node(site: Site, trial: Trial) -> Iterator[Finding]:
    """Check a node's installation, files, disk and network."""
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
    """Check the time in which files reach other nodes, and the difference of the clocks.

    Args:
        site: The cluster as the profile describes it.
        found: Result of the node: time of its file in seconds, and seconds until the answer arrived.
        answered: Time in seconds at which its file arrived here.
    """
    trip = found["round_trip"]
    if trip is None:
        text = "a file written here was not seen on the node within 60 s; ask about the file system's caches"
        yield Finding("error", "shared files", text)
        return
    # A file arrives within a round trip; the factor is a margin.
    needed = max(_SHORTEST_LATENCY, math.ceil(3 * trip))
    text = f"there and back in {trip:.2f} s"
    if needed > site.latency_wait:
        text = f"{text}, latency-wait is {site.latency_wait:g}; set it to {needed}"
        yield Finding("warning", "shared files", text, (("latency-wait",), needed))
    else:
        yield Finding("ok", "shared files", f"{text}; latency-wait {site.latency_wait:g} is enough")
    if answered is not None:
        # The file arrived between its writing and the arrival of the answer: the middle errs by half the round trip.
        skew = answered - (found["sent"] + trip / 2)
        if abs(skew) - trip / 2 > _SKEW:
            text = f"{found['host']} is {abs(skew):.1f} s {'behind' if skew > 0 else 'ahead'}; have NTP set up there"
            yield Finding("warning", "clocks", f"{text}: Snakemake compares times of files, and would repeat jobs")
        else:
            yield Finding("ok", "clocks", f"{abs(skew):.2f} s apart (± {trip / 2:.2f})")


def judge_mpi(site: Site, tried: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Check that the launcher joins the ranks, or name one that does."""
    chosen, last = tried[0], tried[-1]
    ranks = site.execution.ranks
    if chosen["works"]:
        hosts = chosen["hosts"]
        names = sorted(set(hosts))
        if len(names) != site.execution.nodes:
            where = f"on {len(names)} of {site.execution.nodes} nodes ({', '.join(names)})"
            text = f"{chosen['launcher']}: {ranks} ranks, but {where}; set ranks to a multiple of nodes"
            yield Finding("warning", "MPI", text)
            return
        text = f"{chosen['launcher']}: {len(hosts)} ranks on {', '.join(names)}"
        if "first_said" in chosen:
            text = f"{text}, but at the second attempt (at the first: {chosen['first_said']}); such jobs are sent again"
            yield Finding("warning", "MPI", text)
        else:
            yield Finding("ok", "MPI", text)
        return
    text = f"{chosen['launcher']} does not join {ranks} ranks ({chosen['said'].removeprefix('MPI: ')})"
    if last["works"]:
        yield Finding("error", "MPI", f"{text}; set launcher to {last['launcher']}, which does")
    else:
        others = ", ".join(entry["launcher"] for entry in tried[1:])
        yield Finding("error", "MPI", f"{text}; nor do {others}: build mpi4py for the cluster's MPI, or set ranks to 1")


def judge_gpu(site: Site, found: Mapping[str, Any]) -> Iterator[Finding]:
    """Check the GPU of a training job with Slurm, the driver and PyTorch."""
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
