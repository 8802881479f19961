"""A profile from a user's requests, fitted to the nodes of a cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery.cluster.dask.options import DaskSettings
from distillery.cluster.slurm import commands
from distillery.cluster.slurm.capacity import most_memory, places
from distillery.cluster.slurm.partitions import Nodes
from distillery.errors import DistilleryError
from distillery.workflow.slurm import setup
from distillery.workflow.slurm.findings import Finding
from distillery.workflow.slurm.requested import Requested, ranks_that_fit, workers_that_fit
from distillery.workflow.slurm.setup import set_up
from support.site import CPU, TWO_SMALL


@pytest.fixture
def found_by_checks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def are(*findings: Finding) -> None:
        monkeypatch.setattr(setup, "check", lambda *_: iter(findings))
        monkeypatch.setattr(setup, "partitions", dict)

    return are


def test_no_profile_is_written_for_a_cluster_that_lacks_something(
    tmp_path: Path, found_by_checks: Callable[..., None]
) -> None:
    found_by_checks(Finding("ok", "Slurm", "answers"), Finding("error", "MPI", "does not work"))
    target, requested = tmp_path / "site" / "config.yaml", Requested(gpu="none")
    lines: list[str] = []
    with pytest.raises(DistilleryError, match="1 error; no profile was written"):
        set_up(requested, target, tmp_path, 1.0, False, lines.append)
    assert not target.parent.exists()
    assert lines == ["ok       Slurm: answers", "error    MPI: does not work"]
    set_up(requested, target, tmp_path, 1.0, True, lines.append)
    assert yaml.safe_load(target.read_text())["set-resources"]["train"]["gpu"] == 0


def test_what_a_check_measured_is_written(tmp_path: Path, found_by_checks: Callable[..., None]) -> None:
    found_by_checks(Finding("warning", "shared files", "slow", (("latency-wait",), 120)))
    set_up(Requested(gpu="none"), tmp_path / "config.yaml", tmp_path, 1.0, False, lambda line: None)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["latency-wait"] == 120


def test_requested_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    requested = Requested(gpu="none", launcher="mpiexec", nodes=2)
    with pytest.raises(DistilleryError, match="setup-cluster: config: execution: launcher mpiexec stays on one node"):
        set_up(requested, tmp_path / "config.yaml", tmp_path, 1.0, False, lambda line: None)


@pytest.mark.parametrize(
    ("nodes", "cores", "memory", "expected"),
    [
        (TWO_SMALL, 1, 5188, 6),
        (TWO_SMALL, 4, 5188, 4),
        (TWO_SMALL, 9, 100, 0),
        (TWO_SMALL, 1, 16_001, 0),
        ((Nodes(1, 2, 4000), Nodes(3, 64, 512_000)), 1, 5188, 192),
        ((), 1, 1, 0),
    ],
)
def test_how_many_tasks_fit(nodes: tuple[Nodes, ...], cores: int, memory: int, expected: int) -> None:
    assert places(nodes, cores, memory) == expected


@pytest.mark.parametrize("tasks", range(1, 25))
def test_most_memory_fits_and_one_megabyte_more_does_not(tasks: int) -> None:
    sizes = (Nodes(2, 8, 16_000), Nodes(1, 3, 64_001), Nodes(4, 2, 3_333))
    most = most_memory(sizes, tasks, 1)
    assert places(sizes, 1, most) >= tasks
    assert places(sizes, 1, most + 1) < tasks
    assert most_memory(sizes, 28, 1) == 0


@pytest.mark.parametrize(
    ("sizes", "dask", "workers"),
    [
        # A worker holds a fit of 4,000 MB; the scheduler stands beside the first.
        (TWO_SMALL, {"cluster": "allocation", "workers": 8}, 6),
        (TWO_SMALL, {"cluster": "allocation", "workers": 8, "cores": 8}, 2),
        (TWO_SMALL, {"cluster": "local", "workers": 8}, 2),
        (TWO_SMALL, {"cluster": "slurm", "workers": 8}, 8),
        ((Nodes(1, 2, 8_000),), {"cluster": "allocation", "workers": 8}, 1),
        ((Nodes(9, 64, 4_000),), {"cluster": "allocation", "workers": 8}, 0),
        ((Nodes(9, 64, 4_000),), {"cluster": "slurm", "workers": 8}, 0),
        ((Nodes(300, 48, 192_000),), {"cluster": "allocation", "workers": 8}, 8),
    ],
)
def test_workers_that_a_partition_has_room_for(sizes: tuple[Nodes, ...], dask: dict[str, Any], workers: int) -> None:
    assert workers_that_fit(sizes, DaskSettings(**dask), 5000) == workers


@pytest.mark.parametrize(
    ("sizes", "nodes", "ranks"),
    [
        (TWO_SMALL, 2, 8),
        ((Nodes(1, 8, 16_000),), 1, 8),
        ((Nodes(1, 4, 16_000),), 1, 4),
        ((Nodes(2, 2, 16_000),), 2, 4),
        ((Nodes(2, 8, 1_500),), 2, 4),
        ((Nodes(1, 8, 16_000), Nodes(1, 3, 16_000)), 2, 6),
        ((Nodes(5000, 128, 512_000),), 2, 8),
    ],
)
def test_ranks_that_a_partition_has_room_for(sizes: tuple[Nodes, ...], nodes: int, ranks: int) -> None:
    assert ranks_that_fit(sizes, 2, 8) == (nodes, ranks)


def test_profile_asks_for_what_the_cluster_has(
    tmp_path: Path, found_by_checks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    found_by_checks()
    monkeypatch.setattr(commands, "available", lambda: True)
    small = {"cpu": dataclasses.replace(CPU, nodes=1, sizes=(Nodes(1, 4, 16_000),))}
    monkeypatch.setattr(setup, "partitions", lambda: small)

    def written(**requested: Any) -> tuple[dict[str, Any], list[str]]:
        lines: list[str] = []
        set_up(Requested(gpu="none", **requested), tmp_path / "config.yaml", tmp_path, 1.0, True, lines.append)
        return yaml.safe_load((tmp_path / "config.yaml").read_text())["config"]["execution"], lines

    execution, lines = written()
    assert (execution["ranks"], execution["nodes"], execution["dask"]["workers"]) == (4, 1, 2)
    assert "ok       Dask workers: 2 of 5,000 MB at the same time, for that is what cpu has room for" in lines
    execution, _ = written(ranks=2, nodes=1, workers=7)
    assert (execution["ranks"], execution["nodes"], execution["dask"]["workers"]) == (2, 1, 7), "what was asked for"
    small["cpu"] = dataclasses.replace(CPU, nodes=1, sizes=(Nodes(1, 4, 4_000),))
    execution, lines = written()
    assert (execution["dask"]["workers"], execution["dask"]["memory_mb"]) == (1, 2500)
    assert any("set distillation: memory_mb to 1,500 or less in your configuration" in line for line in lines)
