"""Checks of a profile by questions to Slurm, before any job is sent."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from distillery.cluster.slurm.partitions import Nodes, Partition, minutes, parse
from distillery.errors import DistilleryError
from distillery.workflow.slurm import queries
from distillery.workflow.slurm.site import Request, site_of
from support.site import CPU, KNOWN, site, texts


def test_partitions_of_a_large_cluster() -> None:
    lines = (
        ("batch*", "up", "7-00:00:00", "300", "alloc", "(null)", "skylake,ib", "48", "192000"),
        ("batch*", "up", "7-00:00:00", "4", "down*", "(null)", "skylake", "64", "512000"),
        ("gpu", "up", "1-12:00:00", "8", "mix", "gpu:a100:4(S:0-1),gpu:h100:2", "(null)", "64+", "500000+"),
        ("gpu", "up", "1-12:00:00", "2", "drain", "gpu:v100:8", "(null)", "32", "250000"),
        ("old", "inact", "infinite", "5", "idle~", "(null)", "(null)", "16", "64000"),
    )
    found = parse("\n".join("\x1f".join(line) for line in lines) + "\ngarbage\n")
    assert found["batch"] == Partition(
        "batch",
        True,
        True,
        7 * 1440.0,
        300,
        0,
        frozenset(),
        frozenset({"skylake", "ib"}),
        sizes=(Nodes(300, 48, 192_000),),
    )
    gpus = frozenset({"a100", "h100", "v100"})
    assert found["gpu"] == Partition("gpu", False, True, 2160.0, 8, 8, gpus, sizes=(Nodes(8, 64, 500_000),))
    assert found["old"] == Partition("old", False, False, None, 5, sizes=(Nodes(5, 16, 64_000),))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("30", 30), ("30:30", 30.5), ("2:00:00", 120), ("1-0", 1440), ("2-12:30", 3630), ("infinite", None)],
)
def test_time_limits(limit: str, expected: float | None) -> None:
    assert minutes(limit) == expected


@pytest.mark.parametrize(
    ("said", "asked", "expected"),
    [
        ("Invalid account or account/partition combination", {"account": "me"}, "me .*in default-resources set slurm"),
        ("Invalid account or account/partition combination", {}, r"account \(none given\)"),
        ("Invalid qos specification", {"qos": "fast"}, "qos fast .*in default-resources set qos"),
        ("Invalid feature specification", {"constraint": "opa"}, "constraint opa .*features of cpu: ib"),
        ("Something new", {}, "Something new; see default-resources"),
    ],
)  # fmt: skip
def test_refusals_name_what_to_set(answers: dict[str, Any], said: str, asked: dict[str, str], expected: str) -> None:
    answers["sbatch"] = DistilleryError(f"sbatch --test-only: allocation failure: {said}")
    found = texts(queries.check_request("jobs", "default-resources", Request(**asked), KNOWN))
    assert re.search(expected, found[-1]), found
    assert found[-1].startswith("error")


def test_partition_that_is_not_there_names_those_that_are(answers: dict[str, Any]) -> None:
    found = texts(queries.check_request("jobs", "default-resources", Request("fast"), KNOWN))
    assert found == [
        "error    partition of jobs: there is no fast; in default-resources set slurm_partition to one of cpu, gpu"
    ]
    closed = {"cpu": dataclasses.replace(CPU, up=False)}
    assert "cpu is closed" in texts(queries.check_request("jobs", "x", Request("cpu"), closed))[0]
    empty = {"cpu": dataclasses.replace(CPU, nodes=0)}
    assert "no node that takes jobs" in texts(queries.check_request("jobs", "x", Request("cpu"), empty))[0]


def test_account_is_looked_up_as_the_executor_does(answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def of(account: str) -> str:
        return texts(queries.check_request("jobs", "default-resources", Request("cpu", account), KNOWN))[1]

    answers["sacctmgr"] = "  Physics \n astro\n"
    assert of("physics").startswith("ok ")
    assert of("biology").startswith("error")
    assert "one of astro, physics" in of("biology")
    answers["sacctmgr"] = DistilleryError("no accounting")
    assert "keeps no accounts" in of("biology")
    answers["sshare"] = "astro\n"
    assert of("biology").startswith("error")
    monkeypatch.setattr(queries.shutil, "which", lambda name: None)
    assert "asks sacctmgr" in of("astro")


def test_time_limit_longer_than_the_partition_allows(answers: dict[str, Any]) -> None:
    found = texts(queries.check_request("jobs", "default-resources", Request("gpu", minutes=90.0), KNOWN))
    assert (
        found[1]
        == "error    time limit of jobs: 90 min are more than gpu allows (up to 1 h); lower default-resources: runtime"
    )


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"gpu": 1}, "error .* cpu has no GPUs; in set-resources: train set slurm_partition to one of gpu"),
        ({"gpu": 1, "slurm_partition": "gpu"}, ""),
        ({"gres": "gpu:h100:1", "slurm_partition": "gpu"}, "error .*no GPU of type h100; its types are a100"),
        ({"gres": "'gpu:a100:1'", "slurm_partition": "gpu"}, ""),
        ({"gpu": 1, "gres": "gpu:1", "slurm_partition": "gpu"}, "error .*gpu and gres"),
        ({"gpu": 0}, "ok .*train on CPUs; GPUs are in gpu"),
    ],
)
def test_gpus_that_are_not_there(resources: dict[str, Any], expected: str) -> None:
    asked = site_of({"set-resources": {"train": resources}}, "test")
    found = texts(queries.check_gpu(asked, KNOWN))
    assert re.search(expected, found[0]) if expected else not found


def test_sizes_that_the_partition_does_not_have() -> None:
    found = texts(queries.check_size(site(ranks=8, nodes=3, launcher="srun"), KNOWN))
    assert found == ["error    MPI: nodes 3 are more than cpu has (2); set nodes lower"]
    (finding,) = queries.check_size(site(dask={"cluster": "slurm", "walltime_minutes": 240}), KNOWN)
    assert finding.setting == (("config", "execution", "dask", "walltime_minutes"), 120)


def test_without_accounting_jobs_are_asked_about_with_squeue(answers: dict[str, Any]) -> None:
    answers["sacct"] = DistilleryError("accounting is disabled")
    answers["scontrol"] = "MinJobAge               = 30 sec\n"
    (finding,) = queries.check_status(site())
    assert (finding.level, finding.setting) == ("warning", (("slurm-status-command",), "squeue"))
    answers["scontrol"] = "MinJobAge               = 300 sec\n"
    (finding,) = queries.check_status(site())
    assert (finding.level, finding.setting) == ("ok", (("slurm-status-command",), "squeue"))


def test_other_launchers_are_those_that_slurm_has(answers: dict[str, Any]) -> None:
    answers["sh"] = (
        "MPI plugin types are...\n\tpmix\n\tnone\n\tcray_shasta\n\tpmi2\nspecific pmix plugin versions available: v4\n"
    )
    chosen = site(ranks=4, nodes=2, launcher="srun --mpi=pmix")
    assert queries.candidates(chosen) == ["srun --mpi=pmix", "srun --mpi=pmi2", "srun --mpi=cray_shasta", "srun"]
