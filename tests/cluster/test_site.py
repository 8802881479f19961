"""Setting up a cluster: what Slurm and test jobs say, what is refused at the start of a run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery.cluster.dask.options import DaskSettings
from distillery.cluster.slurm import commands, probe
from distillery.cluster.slurm.capacity import most_memory, places
from distillery.cluster.slurm.partitions import Nodes, Partition, minutes, parse
from distillery.errors import DistilleryError
from distillery.workflow import rules as workflow
from distillery.workflow.slurm import job_sizes, queries, require, setup, trial_findings
from distillery.workflow.slurm.findings import Finding
from distillery.workflow.slurm.growth import Ceiling, Growth
from distillery.workflow.slurm.job_sizes import Sample
from distillery.workflow.slurm.profile import shipped
from distillery.workflow.slurm.requested import Wishes, ranks_that_fit, workers_that_fit
from distillery.workflow.slurm.setup import set_up
from distillery.workflow.slurm.site import Request, Site, site_of

SHIPPED = shipped().read_text()
EVERYTHING = Wishes(
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


def site(**execution: Any) -> Site:
    return site_of({"latency-wait": 30, "config": {"execution": execution}}, "test")


def texts(findings: Iterator[Finding]) -> list[str]:
    return [str(finding) for finding in findings]


# ---- What Slurm says


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


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | DistilleryError]:
    """What Slurm's commands answer, by the first word; those that are not given accept everything."""
    known: dict[str, str | DistilleryError] = {}

    def call(words: Sequence[str], patience: float = 1.0, environment: Any = None) -> str:
        answer = known.get(words[0], "")
        if isinstance(answer, DistilleryError):
            raise answer
        return answer

    monkeypatch.setattr(commands, "call", call)
    monkeypatch.setattr(commands, "available", lambda: True)
    monkeypatch.setattr(queries.shutil, "which", lambda name: f"/usr/bin/{name}")
    return known


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


# ---- What test jobs find


def told(**changes: Any) -> dict[str, Any]:
    return {"host": "n1", "round_trip": 0.2, "sent": 1000.0, **changes}


@pytest.mark.parametrize(
    ("found", "answered", "level", "setting"),
    [
        (told(), 1000.1, ["ok", "ok"], None),
        (told(round_trip=40.0), 1020.0, ["warning", "ok"], (("latency-wait",), 120)),
        (told(round_trip=None), 1000.0, ["error"], None),
        (told(), 1012.0, ["ok", "warning"], None),
        (told(), 988.0, ["ok", "warning"], None),
        # What a slow file system may explain is not blamed on the clocks.
        (told(round_trip=8.0), 1000.5, ["ok", "ok"], None),
    ],
)
def test_latency_and_clocks(found: dict[str, Any], answered: float, level: list[str], setting: Any) -> None:
    findings = list(trial_findings.judge_files(site(), found, answered))
    assert [finding.level for finding in findings] == level
    assert findings[0].setting == setting


def test_clock_that_is_ahead_is_called_so() -> None:
    assert "n1 is 10.1 s ahead" in texts(trial_findings.judge_files(site(), told(), 990.0))[1]
    assert "n1 is 9.9 s behind" in texts(trial_findings.judge_files(site(), told(), 1010.0))[1]


def test_launcher_that_does_not_join_ranks_names_one_that_does() -> None:
    chosen = site(ranks=4, nodes=2, launcher="srun --mpi=none")
    failed = {"launcher": "srun --mpi=none", "works": False, "said": "MPI: each believes to be alone"}
    works = {"launcher": "srun --mpi=pmi2", "works": True, "said": "", "hosts": ["a", "b"]}
    (finding,) = trial_findings.judge_mpi(chosen, [failed, works])
    assert finding.level == "error"
    assert "each believes to be alone); set launcher to srun --mpi=pmi2, which does" in finding.text
    (finding,) = trial_findings.judge_mpi(chosen, [failed])
    assert "set ranks to 1" in finding.text
    (finding,) = trial_findings.judge_mpi(chosen, [{**works, "hosts": ["a", "a", "a", "a"]}])
    assert (finding.level, "on 1 of 2 nodes (a)" in finding.text) == ("warning", True)
    (finding,) = trial_findings.judge_mpi(chosen, [{**works, "first_said": "no answer in 60 s"}])
    assert (finding.level, "at the second attempt (at the first: no answer in 60 s)" in finding.text) == (
        "warning",
        True,
    )


@pytest.mark.parametrize("recovers", [True, False])
def test_launcher_that_was_silent_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recovers: bool
) -> None:
    started: list[str] = []

    def launch(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
        started.append(words[0])
        if words[0] == "first" and (len(started) == 1 or not recovers):
            return {"status": None, "silent": True, "said": "no answer"}
        told = next(word for word in words if ".ranks-" in word)
        Path(told).write_text('["a", "b"]')
        return {"status": 0, "silent": False, "said": ""}

    monkeypatch.setattr(probe, "_launch", launch)
    tried = probe.launchers(tmp_path / "mpi.json", ["first", "second", "third"], nodes=2, ranks=2)
    assert started == ["first", "second", "first"]
    assert [(entry["launcher"], entry["works"]) for entry in tried] == (
        [("first", True)] if recovers else [("first", False), ("second", True)]
    )
    assert (tried[0].get("first_said") == "no answer") is recovers


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        ({"given": "0", "driver": ["A100, 40 GB"], "torch": ["A100"], "works": True}, "ok", "A100 on n1"),
        ({"given": None, "driver": None, "torch": []}, "error", "Slurm gave none on n1 for --gpus=1; try --gpu gres"),
        ({"given": "NoDevFiles", "driver": None, "torch": []}, "error", "Slurm gave none"),
        ({"given": "0", "driver": None, "torch": []}, "warning", "PyTorch sees none: there is no nvidia-smi"),
        ({"given": "0", "driver": ["A100"], "torch": [], "torch_version": "2.1+cpu"}, "warning", "without CUDA"),
        ({"given": "0", "driver": ["A100"], "torch": ["A100"], "reason": "no kernel"}, "warning", "no kernel"),
    ],
)  # fmt: skip
def test_gpu_of_a_training_job(found: dict[str, Any], level: str, words: str) -> None:
    asked = site_of({"set-resources": {"train": {"gpu": 1}}}, "test")
    (finding,) = trial_findings.judge_gpu(asked, {"host": "n1", "torch_version": "2.1", **found})
    assert (finding.level, words in finding.text) == (level, True), finding


# ---- Writing the profile


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
    target, wishes = tmp_path / "site" / "config.yaml", Wishes(gpu="none")
    lines: list[str] = []
    with pytest.raises(DistilleryError, match="1 error; no profile was written"):
        set_up(wishes, target, tmp_path, 1.0, False, lines.append)
    assert not target.parent.exists()
    assert lines == ["ok       Slurm: answers", "error    MPI: does not work"]
    set_up(wishes, target, tmp_path, 1.0, True, lines.append)
    assert yaml.safe_load(target.read_text())["set-resources"]["train"]["gpu"] == 0


def test_what_a_check_measured_is_written(tmp_path: Path, found_by_checks: Callable[..., None]) -> None:
    found_by_checks(Finding("warning", "shared files", "slow", (("latency-wait",), 120)))
    set_up(Wishes(gpu="none"), tmp_path / "config.yaml", tmp_path, 1.0, False, lambda line: None)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["latency-wait"] == 120


def test_wishes_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    wishes = Wishes(gpu="none", launcher="mpiexec", nodes=2)
    with pytest.raises(DistilleryError, match="setup-cluster: config: execution: launcher mpiexec stays on one node"):
        set_up(wishes, tmp_path / "config.yaml", tmp_path, 1.0, False, lambda line: None)


# ---- The size of jobs


TWO_SMALL = (Nodes(2, 8, 16_000),)


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

    def written(**wishes: Any) -> tuple[dict[str, Any], list[str]]:
        lines: list[str] = []
        set_up(Wishes(gpu="none", **wishes), tmp_path / "config.yaml", tmp_path, 1.0, True, lines.append)
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


# ---- The start of a run


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
    monkeypatch.setattr(workflow, "_growth", growth)
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
