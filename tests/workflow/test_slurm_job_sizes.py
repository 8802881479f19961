"""Sizes of the jobs of a run, refusals at its start, and requests of further attempts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from distillery.cluster.slurm.partitions import Nodes
from distillery.errors import DistilleryError
from distillery.workflow import rules as workflow
from distillery.workflow.slurm import job_sizes, require
from distillery.workflow.slurm.growth import Ceiling, Growth
from distillery.workflow.slurm.job_sizes import Sample
from distillery.workflow.slurm.site import site_of
from support.site import CPU, GPU, KNOWN, SHIPPED, TWO_SMALL


def test_slurm_is_asked_for_a_job_of_every_rule(answers: dict[str, Any]) -> None:
    known = {"cpu": dataclasses.replace(CPU, sizes=TWO_SMALL)}
    jobs = [
        sample("train", mem_mb=100),
        sample("train", mem_mb=90_000, runtime=20, gpu=1, slurm_partition="cpu"),
        sample("distill", tasks=8, cpus_per_task=1, mem_mb_per_cpu=5188, mem_mb=2000),
    ]
    of_gpu = ["--partition=cpu", "--gpus=1", "--cpus-per-task=1", "--mem=90000", "--time=20"]
    assert job_sizes.words(jobs[1].resources) == of_gpu
    assert job_sizes.words(jobs[2].resources) == ["--cpus-per-task=1", "--ntasks=8", "--mem-per-cpu=5188"]
    assert not list(job_sizes.refusals(jobs, known))
    answers["sbatch"] = DistilleryError(
        "sbatch --test-only: allocation failure: Requested node configuration is not available"
    )
    (train, why), (distill, why_not) = job_sizes.refusals(jobs, known)
    assert (train, distill) == ("train", "distill")
    assert why == (
        "Slurm refuses such a job (Requested node configuration is not available); it asks for 1 CPU and 90,000 MB, "
        "and the largest node of cpu gives a task 16,000 MB; set mem_mb in set-resources: train, or slurm_partition"
    )
    assert why_not.endswith(
        "it asks for 8 tasks of 1 CPU and 5,188 MB each, and cpu has room for 6 such tasks; "
        "set config: execution: dask: workers to 6 or less"
    )


@pytest.mark.parametrize("said", ["Unable to contact slurm controller (connect failure)", "Slurm did not answer"])
def test_slurm_that_is_away_refuses_nothing(
    answers: dict[str, Any], capsys: pytest.CaptureFixture[str], said: str
) -> None:
    answers["sbatch"] = DistilleryError(f"sbatch --test-only: {said}")
    assert not list(job_sizes.refusals([sample("train", mem_mb=100)], KNOWN))
    assert said in capsys.readouterr().err


def test_profile_is_tried_with_the_sizes_of_its_jobs() -> None:
    content = yaml.safe_load(SHIPPED) | {"default-resources": {"mem_mb": 1, "slurm_partition": "cpu"}}
    content["set-resources"] = {"distill": {"mem_mb_per_cpu": 77}}
    found = {each.rule: each.resources for each in job_sizes.samples_of(site_of(content, "test"))}
    assert set(found) == {"simulate", "train", "distill"}
    assert all(resources["slurm_partition"] == "cpu" for resources in found.values())
    assert job_sizes.shape_of(found["simulate"]) == job_sizes.Shape(8, 1, 700)
    assert job_sizes.shape_of(found["distill"]) == job_sizes.Shape(8, 1, 77)
    assert job_sizes.shape_of(found["train"]).memory_mb > 2000
    content["config"]["execution"]["dask"] = {"cluster": "slurm", "workers": 3, "cores": 2}
    workers = job_sizes.largest(job_sizes.samples_of(site_of(content, "test")))["distill"]
    assert job_sizes.shape_of(workers.resources) == job_sizes.Shape(1, 2, 5000), "a worker is a job of its own"


def sample(rule: str, **resources: Any) -> Sample:
    return Sample(rule, resources)


def test_jobs_that_slurm_would_never_start_are_told_by_rule() -> None:
    jobs = [
        sample("simulate", slurm_partition="fast"),
        sample("verify", slurm_partition="fast"),
        sample("verify", slurm_partition="fast"),
        sample("train", slurm_partition="cpu", gpu=1, tasks=2),
        sample("interpret", slurm_partition="gpu", runtime=90),
        sample("distill", slurm_partition="cpu,gpu", runtime=9000),
        sample("collect", runtime=30),
    ]
    assert require.unable(jobs, KNOWN) == [
        "rules simulate, verify: there is no partition fast; set slurm_partition to one of cpu, gpu",
        "rule train: has gpu or gres, and tasks, which becomes --ntasks-per-gpu; take tasks out",
        "rule train: asks for a GPU, but partition cpu has none; in set-resources: train set slurm_partition to gpu",
        "rule interpret: asks for 90 min, but partition gpu allows 60; "
        "in set-resources: interpret set runtime, or slurm_partition",
    ]


def test_only_what_a_job_ran_out_of_grows_and_not_beyond_the_cluster(
    make_sweep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    growth = Growth()
    monkeypatch.setattr(workflow, "growth", growth)
    sweep = make_sweep(training={"steps": 400_000})
    one = {"experiment": "spring-2d-4b-s0", "member": "bottleneck-s0"}

    def asked(what: str) -> int:
        return getattr(workflow, what)(sweep, "train", **one)

    minutes, memory = asked("minutes"), asked("memory")
    growth.lacked("train", {"experiment": "spring-2d-4b-s0", "member": "another"}, "memory")
    growth.lacked("interpret", one, "memory")
    assert asked("memory") == memory, "another job's memory"
    growth.lacked("train", one, "time")
    assert (asked("minutes"), asked("memory")) == (2 * minutes, memory)
    growth.lacked("train", one, "memory")
    growth.lacked("train", one, "memory")
    assert (asked("minutes"), asked("memory")) == (2 * minutes, workflow.need(sweep, "train", **one).memory(3))
    growth.limit({"train": Ceiling(minutes + 1.5, 3 * memory + 0.5), "picture_cell": Ceiling(1.0)})
    assert (asked("minutes"), asked("memory")) == (minutes + 1, 3 * memory)
    growth.limit({"train": Ceiling(1.0, 1.0)})
    assert asked("memory") == memory, "the first request was accepted"
    growth.lacked("picture_cell", one, "time")
    assert workflow.minutes(sweep, "picture", **one) == workflow.need(sweep, "picture", **one).minutes()


def test_most_that_a_rule_may_ask_for() -> None:
    sizes = (Nodes(2, 8, 16_000), Nodes(1, 4, 64_000))
    known = {"cpu": dataclasses.replace(CPU, sizes=sizes), "gpu": GPU}
    jobs = [
        sample("train", slurm_partition="gpu", gpu=1, mem_mb=100),
        sample("train", mem_mb=100, runtime=5),
        sample("distill", tasks=8, cpus_per_task=2, mem_mb_per_cpu=100),
        sample("collect", slurm_partition="fast"),
    ]
    # Two tasks on the large node leave six for the small ones, which have room for three each.
    most = {"train": Ceiling(60.0, 64_000.0), "distill": Ceiling(120.0, 5333 / 2)}
    assert require.ceilings(jobs, known, {}) == most
    # Each rule of a group of two may have half of what a job may have.
    groups = {"verify": "judge", "replace": "judge"}
    assert require.ceilings([*jobs, sample("verify", mem_mb=100)], known, groups) == most | {
        "verify": Ceiling(60.0, 32_000.0)
    }


def test_resources_of_the_workflow_and_of_the_user_are_known() -> None:
    settings = require.Settings(
        sections={"profile": {"default-resources": {}, "jobs": 1}},
        defaults=("mem_mb", "launch", "licences", "slurm_partiton"),
        of_rules={"train": ("gpu",)},
        named_rules=(("set-resources", "train"), ("groups", "verify")),
        rules={"train": ("launch",), "verify": ()},
        free=("licences",),
    )
    assert [line.split(":")[0] for line in require.misspelt(settings)] == ["default-resources.slurm_partiton"]
