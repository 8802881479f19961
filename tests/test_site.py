"""Setting up a cluster: the profile as a text, what Slurm and test jobs say, what is refused at the start of a run."""

from __future__ import annotations

import dataclasses
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import sweeps
from distillery import workflow
from distillery.errors import DistilleryError
from distillery.slurm import asking, commands, judging, keys, require, setup, trial
from distillery.slurm.findings import Finding
from distillery.slurm.partitions import Partition, minutes, parse
from distillery.slurm.profile import find_profile, shipped, user_profile, with_value
from distillery.slurm.setup import Wishes, changes, misspelt, set_up
from distillery.slurm.site import Request, Site, plain_text, site_of

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


# ---- The profile as a text


def at(content: Any, path: Sequence[str]) -> Any:
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def test_profile_changes_in_nothing_but_what_was_asked_for() -> None:
    text, expected = SHIPPED, yaml.safe_load(SHIPPED)
    for path, value in changes(EVERYTHING):
        text = with_value(text, path, value)
        place = expected
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place.pop(path[-1], None)
        if value is not None:
            place[path[-1]] = repr(value) if at(yaml.safe_load(text), path) != value else value
        assert yaml.safe_load(text) == expected, path
    assert {plain_text(value) for value in at(yaml.safe_load(text), ["default-resources"]).values()} >= {"007", "max"}
    # Only comments that showed how to write a key give way to that key.
    gone = set(re.findall(r"^\s*#.*$", SHIPPED, re.MULTILINE)) - set(re.findall(r"^\s*#.*$", text, re.MULTILINE))
    assert all(re.match(r"\s*# [\w-]+: ", line) for line in gone), gone


def test_section_that_runs_empty_is_taken_out() -> None:
    text = with_value(
        "jobs: 1\nset-resources:\n  train:\n    # one\n    gpu: 1\nretries: 2\n",
        ("set-resources", "train", "gpu"),
        None,
    )
    assert yaml.safe_load(text) == {"jobs": 1, "retries": 2}


def test_missing_sections_are_added() -> None:
    text = with_value("jobs: 1", ("config", "execution", "dask", "workers"), 3)
    assert yaml.safe_load(text) == {"jobs": 1, "config": {"execution": {"dask": {"workers": 3}}}}


@pytest.mark.parametrize(
    "name", ["long", "gpu-a100", "max", "all", "007", "1e5", "a,b", "ib&skylake", "input", "id", "threads"]
)
def test_snakemake_reads_names_as_they_were_given(name: str) -> None:
    from snakemake.resources import Resource

    written = at(yaml.safe_load(with_value(SHIPPED, ("default-resources", "qos"), name)), ["default-resources", "qos"])
    read = Resource.from_cli_expression("qos", str(written))
    if read.is_evaluable():
        read = read.evaluate({}, input=[], attempt=1, threads=1, rulename="train", async_run=None)
    assert read.value == name
    assert plain_text(written) == name


def test_profile_is_found_by_file_folder_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = user_profile("site")
    file.parent.mkdir(parents=True)
    file.write_text("jobs: 1\n")
    assert find_profile("site") == find_profile(str(file)) == find_profile(str(file.parent)) == file
    with pytest.raises(DistilleryError, match="other: no such profile; give the folder"):
        find_profile("other")


# ---- Words that nobody knows


def test_known_resources_are_what_the_executor_reads() -> None:
    packages = ("snakemake_executor_plugin_slurm", "snakemake_executor_plugin_slurm_jobstep")
    folders = [Path(pytest.importorskip(name).__file__).parent for name in packages]
    source = "\n".join(file.read_text() for folder in folders for file in sorted(folder.glob("*.py")))
    read = set(re.findall(r"""resources\.get\(\s*["'](\w+)["']""", source))
    read |= set(re.findall(r"""^ +"(\w+)": self\.limits\.max_""", source, re.MULTILINE))
    assert {"slurm_partition", "gres", "mpi"} <= read
    assert read == keys.OF_SLURM


def test_known_sections_are_what_snakemake_reads() -> None:
    import inspect

    from snakemake import profiles

    source = inspect.getsource(profiles)
    (listed,) = re.findall(r"if key in \((.*?)\)", source, re.DOTALL)
    assert {*re.findall(r'"([\w-]+)"', listed), "set-resources"} == keys.MAPPINGS


def test_shipped_profile_has_no_unknown_word() -> None:
    assert list(misspelt(yaml.safe_load(SHIPPED))) == []


def test_every_misspelt_word_is_told() -> None:
    wrong = {
        "jobz": 3,
        "default-resourcs": {"slurm_partition": "cpu"},
        "default-resources": {"slurm_partiton": "cpu", "mem_mb": 1, "account": "me"},
        "set-resources": {"trian": {"gpu": 1}, "train": {"gpus": 1}},
        "groups": {"verfy": "judge"},
    }
    assert list(misspelt(wrong)) == [
        "jobz: Snakemake knows no such key; did you mean jobs?",
        "default-resourcs: Snakemake knows no such section; did you mean default-resources?",
        "default-resources.slurm_partiton: neither Snakemake nor its Slurm executor knows this resource; "
        "did you mean slurm_partition?",
        "default-resources.account: neither Snakemake nor its Slurm executor knows this resource; "
        "did you mean slurm_account?",
        "set-resources.trian: the workflow has no rule of this name; did you mean train?",
        "set-resources.train.gpus: neither Snakemake nor its Slurm executor knows this resource; did you mean gpu?",
        "groups.verfy: the workflow has no rule of this name; did you mean verify?",
    ]


# ---- What Slurm says


def test_partitions_of_a_large_cluster() -> None:
    lines = (
        ("batch*", "up", "7-00:00:00", "300", "alloc", "(null)", "skylake,ib"),
        ("batch*", "up", "7-00:00:00", "4", "down*", "(null)", "skylake"),
        ("gpu", "up", "1-12:00:00", "8", "mix", "gpu:a100:4(S:0-1),gpu:h100:2", "(null)"),
        ("gpu", "up", "1-12:00:00", "2", "drain", "gpu:v100:8", "(null)"),
        ("old", "inact", "infinite", "5", "idle~", "(null)", "(null)"),
    )
    found = parse("\n".join("\x1f".join(line) for line in lines) + "\ngarbage\n")
    assert found["batch"] == Partition(
        "batch", True, True, 7 * 1440.0, 300, 0, frozenset(), frozenset({"skylake", "ib"})
    )
    assert found["gpu"] == Partition("gpu", False, True, 2160.0, 8, 8, frozenset({"a100", "h100", "v100"}))
    assert found["old"] == Partition("old", False, False, None, 5)


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
    monkeypatch.setattr(asking.shutil, "which", lambda name: f"/usr/bin/{name}")
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
    found = texts(asking.check_request("jobs", "default-resources", Request(**asked), KNOWN))
    assert re.search(expected, found[-1]), found
    assert found[-1].startswith("error")


def test_partition_that_is_not_there_names_those_that_are(answers: dict[str, Any]) -> None:
    found = texts(asking.check_request("jobs", "default-resources", Request("fast"), KNOWN))
    assert found == [
        "error    partition of jobs: there is no fast; in default-resources set slurm_partition to one of cpu, gpu"
    ]
    closed = {"cpu": dataclasses.replace(CPU, up=False)}
    assert "cpu is closed" in texts(asking.check_request("jobs", "x", Request("cpu"), closed))[0]
    empty = {"cpu": dataclasses.replace(CPU, nodes=0)}
    assert "no node that takes jobs" in texts(asking.check_request("jobs", "x", Request("cpu"), empty))[0]


def test_account_is_looked_up_as_the_executor_does(answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def of(account: str) -> str:
        return texts(asking.check_request("jobs", "default-resources", Request("cpu", account), KNOWN))[1]

    answers["sacctmgr"] = "  Physics \n astro\n"
    assert of("physics").startswith("ok ")
    assert of("biology").startswith("error")
    assert "one of astro, physics" in of("biology")
    answers["sacctmgr"] = DistilleryError("no accounting")
    assert "keeps no accounts" in of("biology")
    answers["sshare"] = "astro\n"
    assert of("biology").startswith("error")
    monkeypatch.setattr(asking.shutil, "which", lambda name: None)
    assert "asks sacctmgr" in of("astro")


def test_time_limit_longer_than_the_partition_allows(answers: dict[str, Any]) -> None:
    found = texts(asking.check_request("jobs", "default-resources", Request("gpu", minutes=90.0), KNOWN))
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
    found = texts(asking.check_gpu(asked, KNOWN))
    assert re.search(expected, found[0]) if expected else not found


def test_sizes_that_the_partition_does_not_have() -> None:
    found = texts(asking.check_size(site(ranks=8, nodes=3, launcher="srun"), KNOWN))
    assert found == ["error    MPI: nodes 3 are more than cpu has (2); set nodes lower"]
    (finding,) = asking.check_size(site(dask={"cluster": "slurm", "walltime_minutes": 240}), KNOWN)
    assert finding.setting == (("config", "execution", "dask", "walltime_minutes"), 120)


def test_without_accounting_jobs_are_asked_about_with_squeue(answers: dict[str, Any]) -> None:
    answers["sacct"] = DistilleryError("accounting is disabled")
    answers["scontrol"] = "MinJobAge               = 30 sec\n"
    (finding,) = asking.check_status(site())
    assert (finding.level, finding.setting) == ("warning", (("slurm-status-command",), "squeue"))
    answers["scontrol"] = "MinJobAge               = 300 sec\n"
    (finding,) = asking.check_status(site())
    assert (finding.level, finding.setting) == ("ok", (("slurm-status-command",), "squeue"))


def test_other_launchers_are_those_that_slurm_has(answers: dict[str, Any]) -> None:
    answers["sh"] = (
        "MPI plugin types are...\n\tpmix\n\tnone\n\tcray_shasta\n\tpmi2\nspecific pmix plugin versions available: v4\n"
    )
    chosen = site(ranks=4, nodes=2, launcher="srun --mpi=pmix")
    assert asking.candidates(chosen) == ["srun --mpi=pmix", "srun --mpi=pmi2", "srun --mpi=cray_shasta", "srun"]


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
    findings = list(judging.judge_files(site(), found, answered))
    assert [finding.level for finding in findings] == level
    assert findings[0].setting == setting


def test_clock_that_is_ahead_is_called_so() -> None:
    assert "n1 is 10.1 s ahead" in texts(judging.judge_files(site(), told(), 990.0))[1]
    assert "n1 is 9.9 s behind" in texts(judging.judge_files(site(), told(), 1010.0))[1]


def test_launcher_that_does_not_join_ranks_names_one_that_does() -> None:
    chosen = site(ranks=4, nodes=2, launcher="srun --mpi=none")
    failed = {"launcher": "srun --mpi=none", "works": False, "said": "MPI: each believes to be alone"}
    works = {"launcher": "srun --mpi=pmi2", "works": True, "said": "", "hosts": ["a", "b"]}
    (finding,) = judging.judge_mpi(chosen, [failed, works])
    assert finding.level == "error"
    assert "each believes to be alone); set launcher to srun --mpi=pmi2, which does" in finding.text
    (finding,) = judging.judge_mpi(chosen, [failed])
    assert "set ranks to 1" in finding.text
    (finding,) = judging.judge_mpi(chosen, [{**works, "hosts": ["a", "a", "a", "a"]}])
    assert (finding.level, "on 1 of 2 nodes (a)" in finding.text) == ("warning", True)


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
    (finding,) = judging.judge_gpu(asked, {"host": "n1", "torch_version": "2.1", **found})
    assert (finding.level, words in finding.text) == (level, True), finding


# ---- Writing the profile


@pytest.fixture
def found_by_checks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def are(*findings: Finding) -> None:
        monkeypatch.setattr(setup, "check", lambda *_: iter(findings))

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


# ---- The start of a run


def sample(rule: str, **resources: Any) -> require.Sample:
    return require.Sample(rule, resources)


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


def test_further_attempts_ask_for_no_more_than_the_partition_allows(
    make_sweep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [sample("train", slurm_partition="gpu", gpu=1), sample("collect"), sample("train", slurm_partition="cpu")]
    assert require.longest(jobs, KNOWN) == {"train": 60.0, "collect": 120.0}
    sweep = make_sweep(training={"steps": 400_000})
    wildcards = {"experiment": "spring-2d-4b-s0", "member": "bottleneck-s0"}
    asked = [workflow.minutes(sweep, "train", attempt, **wildcards) for attempt in (1, 2, 3)]
    assert asked[0] * 4 == asked[1] * 2 == asked[2]
    limit = asked[0] + 1.5
    monkeypatch.setattr(workflow, "_longest", {"train": limit, "picture_cell": 1.0})
    capped = [workflow.minutes(sweep, "train", attempt, **wildcards) for attempt in (1, 2, 3)]
    assert capped == [asked[0], int(limit), int(limit)]
    assert workflow.minutes(sweep, "picture", 3, **wildcards) == 1


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


# ---- On a real Slurm

# A test job that will not start soon.
LATE = """
default-resources: {slurm_partition: cpu, slurm_extra: "'--begin=now+1hour'"}
config: {execution: {ranks: 1}}
"""


def said_by(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(sweeps.BIN / "distillery"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def left(folder: Path) -> tuple[list[Path], str]:
    """Return what a check has left in its folder, and of its jobs in the queue."""
    listed = commands.call(
        [
            "squeue",
            "--noheader",
            f"--name={','.join(f'{trial.NAME}-{kind}' for kind in ('node', 'mpi', 'gpu'))}",
            "--format=%Z %i %T",
        ]
    )
    return list(folder.glob(".distillery-check*")), "\n".join(
        line for line in listed.splitlines() if str(folder) in line
    )


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_cluster_that_works_gets_its_profile(tmp_path: Path) -> None:
    words = ("--partition", "cpu", "--gpu-partition", "gpu", "--ranks", "4", "--nodes", "2")
    done = said_by("setup-cluster", *words, "--output", "site", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok       MPI: srun --mpi=pmi2: 4 ranks on node1, node2" in done.stdout
    # The GPUs of this Slurm are device files that nobody can compute on: said, not passed over.
    assert re.search(r"warning  GPU: Slurm gave GPU \d on node2, but PyTorch sees none", done.stdout), done.stdout
    profile = yaml.safe_load((tmp_path / "site" / "config.yaml").read_text())
    assert profile["default-resources"]["slurm_partition"] == "cpu"
    assert profile["set-resources"]["train"] == {"gpu": 1, "slurm_partition": "gpu"}
    assert profile["slurm-status-command"] == "squeue"
    assert left(tmp_path) == ([], "")


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_cluster_that_lacks_what_is_asked_for_gets_none(tmp_path: Path) -> None:
    words = (
        "--partition",
        "cpu",
        "--gpu-partition",
        "nogpu",
        "--ranks",
        "3",
        "--nodes",
        "2",
        "--launcher",
        "srun --mpi=none",
    )
    done = said_by("setup-cluster", *words, "--output", "site", folder=tmp_path)
    assert done.returncode == 1
    assert (
        "error    GPU: partition nogpu has no GPUs; in set-resources: train set slurm_partition to one of cpu, gpu"
        in done.stdout
    )
    assert re.search(
        r"error    MPI: srun --mpi=none does not join 3 ranks .*; set launcher to srun --mpi=pmi2, which does",
        done.stdout,
    )
    assert done.stderr == "distillery: 2 errors; no profile was written (--force writes it all the same)\n"
    assert not (tmp_path / "site").exists()
    assert left(tmp_path) == ([], "")


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_test_job_that_does_not_start_is_cancelled_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "late.yaml").write_text(LATE)
    done = said_by("check-cluster", "late.yaml", "--patience", "0.1", folder=tmp_path)
    assert done.returncode == 1
    assert re.search(r"error    node: the test job did not start in \d+ s: BeginTime", done.stdout), done.stdout
    assert left(tmp_path) == ([], "")


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_python_that_nodes_do_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial.sys, "executable", "/only/here/python")
    with trial.bench(tmp_path) as bench:
        sent = bench.send("node", ["--partition=cpu", "--mem=200"], ["look"])
        bench.wait(120.0, lambda line: None)
    assert sent.problem is not None
    assert sent.problem.startswith("this Python does not exist on the node; install Distillery in a folder that all")
    assert left(tmp_path) == ([], "")


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_check_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "late.yaml").write_text(LATE)
    command = [str(sweeps.BIN / "distillery"), "check-cluster", "late.yaml"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while "PENDING" not in left(tmp_path)[1]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(number)
    assert process.wait(timeout=60) != 0
    assert left(tmp_path) == ([], "")


@pytest.mark.slurm
@pytest.mark.workflow
@pytest.mark.usefixtures("slurm")
def test_run_with_a_wrong_profile_ends_before_any_job_is_sent(tmp_path: Path) -> None:
    text = SHIPPED
    for path, value in (
        (("default-resources", "slurm_partition"), "fast"),
        (("set-resources", "train", "slurm_partition"), "nogpu"),
        (("set-resources", "trian", "mem_mb"), 1),
        (("default-resources", "slurm_acount"), "me"),
    ):
        text = with_value(text, path, value)
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "config.yaml").write_text(text + "default-resourcs:\n  mem_mb: 1\n")
    config = sweeps.write_config(tmp_path, sweeps.TINY)
    done = sweeps.snakemake(tmp_path, config, check=False, profile=("--profile", str(folder)))
    assert done.returncode != 0
    for line in (
        "default-resourcs: Snakemake knows no such section; did you mean default-resources?",
        "default-resources.slurm_acount: neither Snakemake nor its Slurm executor knows this resource",
        "set-resources.trian: the workflow has no rule of this name; did you mean train?",
        "there is no partition fast; set slurm_partition to one of cpu, gpu, nogpu",
        "rule train: asks for a GPU, but partition nogpu has none",
    ):
        assert line in done.stderr, done.stderr[-3000:]
    assert "has been submitted" not in done.stderr


def test_latency_that_is_no_number_is_one_line() -> None:
    with pytest.raises(DistilleryError, match=r"^mine: latency-wait: 'soon' is no number; give seconds$"):
        site_of({"latency-wait": "soon"}, "mine")


@pytest.mark.parametrize(
    ("prefix", "found"), [("distillery", True), ("distillery-mine", True), ("", False), (None, False)]
)
def test_jobs_that_resume_would_not_find_are_refused(prefix: str | None, found: bool) -> None:
    assert [line.split(":")[0] for line in require.nameless(prefix)] == ([] if found else ["slurm-jobname-prefix"])
