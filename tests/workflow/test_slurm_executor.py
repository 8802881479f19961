"""The Slurm executor loses no job: Slurm may be silent, refuse, forget, and be interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distillery.cluster.slurm import reasons
from distillery.workflow.slurm import executor
from support import fakeslurm, sweeps

SNAKEFILE = """
from pathlib import Path

from distillery.workflow import claim
from distillery.workflow.resources import Need
from distillery.workflow.slurm import executor
from distillery.workflow.slurm.growth import Growth

GROWTH = Growth()


class Events:
    def refused(self, rule, wildcards, reason):
        with open("refused.txt", "a") as file:
            print(rule, dict(wildcards), reason, file=file)

    def lacked(self, rule, wildcards, what):
        GROWTH.lacked(rule, wildcards, what)


if workflow.is_main_process:
    claim.take(Path("results"))
    executor.PAUSE = 1.0
    executor._GONE = 3.0
    executor.install(Events())


rule all:
    input: expand("out/{x}", x=config["what"].split())
    localrule: True


rule first:
    output: "out/first"
    group: "pair"
    resources: mem_mb=100, runtime=5
    shell: "touch {output}"


rule second:
    input: "out/first"
    output: "out/second"
    group: "pair"
    resources: mem_mb=100, runtime=5
    shell: "touch {output}"


ruleorder: second > work


rule work:
    output: "out/{x}"
    log: "logs/{x}"
    resources: mem_mb=lambda wildcards: GROWTH.memory("work", wildcards, Need(100.0, 1.0)), runtime=5
    shell: "touch {output}"
"""


def run(folder: Path, what: str, commands: Path, asks: str = "squeue") -> subprocess.Popen[str]:
    (folder / "Snakefile").write_text(SNAKEFILE)
    words = [
        *(str(sweeps.BIN / "snakemake"), "--executor", "slurm", "--jobs", "9", "--retries", "2", "--keep-going"),
        *("--config", f"what={what}", "--slurm-status-command", asks, "--slurm-jobname-prefix", "distillery"),
        *("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "2"),
        *("--seconds-between-status-checks", "1"),
    ]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            ["env", "--default-signal=INT", *words],
            cwd=folder,
            env={**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def left_of(process: subprocess.Popen[str], folder: Path, seconds: float = 300.0) -> str:
    try:
        process.wait(seconds)
    finally:
        process.kill()
    return (folder / "log").read_text()


@pytest.mark.slow
def test_every_job_comes_to_its_end_whatever_slurm_does(tmp_path: Path) -> None:
    slurm = tmp_path / "slurm"
    plan = {
        "away": ["AWAY", "COMPLETED"],
        "large": ["OUT_OF_MEMORY", "OOM_IN_LOG", "COMPLETED"],
        "greedy": ["MEMORY_ERROR", "COMPLETED"],
        "cancelled": ["CANCELLED", "NODE_FAIL", "COMPLETED"],
        "lost": ["FORGOTTEN", "COMPLETED"],
        "failing": ["FAILED", "COMPLETED"],
        "refused": ["REFUSED", "COMPLETED"],
        "unsure": ["UNSURE", "COMPLETED"],
        # The two rules of a group, whose comment ends with the name of the second.
        "second": ["REFUSED", "COMPLETED"],
    }
    # The executor puts one question up to five times.
    commands = fakeslurm.install(slurm, plan, {"question": 5})
    process = run(tmp_path, " ".join([*plan, "plain"]), commands)
    said = left_of(process, tmp_path)
    assert process.returncode == 1, "two jobs were refused"
    assert "Slurm does not give the states of" in said, said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*plan, "plain"} - {"refused", "second"}, said
    memory: dict[str, list[str]] = {}
    for job in fakeslurm.jobs(slurm):
        memory.setdefault(job["comment"].rpartition("_")[2], []).append(job["memory"])
    assert memory["large"] == ["100", "200", "400"]
    assert memory["greedy"] == ["100", "200"]
    assert memory["cancelled"] == ["100", "100", "100"]
    assert memory["failing"] == memory["lost"] == ["100", "100"]
    assert memory["plain"] == ["100"]
    assert memory["unsure"] == ["100"], "Slurm has it, though sbatch lost the answer"
    assert memory["refused"] == memory["second"] == [""], "a refused job is not sent again"
    reason = "Batch job submission failed: Requested node configuration is not available"
    refused = {f"work {{'x': 'refused'}} {reason}", f"first {{}} {reason}", f"second {{}} {reason}"}
    assert set((tmp_path / "refused.txt").read_text().splitlines()) == refused
    assert "Slurm has forgotten job" in said
    assert "work is sent again in 1 s" in said
    assert "SLURM account" not in said, "nothing is guessed where there are no accounts"
    assert "sbatch call" not in said, "one line says why a job is refused"
    assert not (tmp_path / "results" / ".claim.json").exists(), "nothing of the run is left"


@pytest.mark.slow
def test_configuration_that_is_not_answered_once(tmp_path: Path) -> None:
    commands = fakeslurm.install(tmp_path / "slurm", {})
    process = run(tmp_path, "one", commands)
    deadline = time.monotonic() + 120
    while not fakeslurm.jobs(tmp_path / "slurm"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # The plugin then asks sacct, which knows nothing here.
    (tmp_path / "slurm" / "faults" / "scontrol").write_text("1")
    said = left_of(process, tmp_path)
    assert process.returncode == 0, said
    assert "Slurm does not give the states of 1 job," in said


@pytest.mark.slow
def test_job_that_was_cancelled_where_there_is_accounting(tmp_path: Path) -> None:
    slurm = tmp_path / "slurm"
    commands = fakeslurm.install(slurm, {"one": ["CANCELLED", "COMPLETED"]})
    (slurm / "accounting").touch()
    process = run(tmp_path, "one", commands, "sacct")
    said = left_of(process, tmp_path)
    assert process.returncode == 0, said
    assert [job["end"] for job in fakeslurm.jobs(slurm)] == ["CANCELLED", "COMPLETED"]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["question", "submission", "away"])
def test_interrupted_while_slurm_is_slow_to_answer(tmp_path: Path, moment: str) -> None:
    slurm = tmp_path / "slurm"
    commands = fakeslurm.install(slurm, {"long": ["ENDLESS"], "longer": ["ENDLESS"]})
    faults = slurm / "faults"
    deadline = time.monotonic() + 120

    def wait_for(condition: Callable[[], object]) -> None:
        while not condition():
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.02)

    slow = faults / ("slow-sbatch" if moment == "submission" else "slow-squeue")
    if moment == "submission":
        slow.write_text("3")
    process = run(tmp_path, "long longer", commands)
    if moment != "submission":
        wait_for(lambda: len(fakeslurm.jobs(slurm)) == 2)
        slow.write_text("8")
    wait_for(slow.with_name(f"{slow.name}-began").exists)
    slow.unlink()
    if moment == "away":
        (faults / "scancel").write_text("99")
        (faults / "squeue").write_text("99")
    # Not to its group: a sbatch that has reached the controller has a job, whatever becomes of it.
    os.kill(process.pid, signal.SIGINT)
    said = left_of(process, tmp_path)
    ends = [job["end"] for job in fakeslurm.jobs(slurm)]
    claimed = (tmp_path / "results" / ".claim.json").exists()
    if moment == "away":
        assert (ends, claimed) == (["ENDLESS"] * 2, True), said
        assert "run distillery resume before the next run" in said
    else:
        assert set(ends) == {"CANCELLED"}, said
        assert not claimed


@pytest.mark.parametrize(
    ("said", "passes", "unsure"),
    [
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", True, False),
        ("Batch job submission failed: Socket timed out on send/recv operation", True, True),
        ("Batch job submission failed: Zero Bytes were transmitted or received", True, True),
        ("Batch job submission failed: Protocol authentication error", True, False),
        ("If munged is up, restart with --num-threads=10", True, False),
        ("QOSMaxSubmitJobPerUserLimit; Batch job submission failed: Job violates accounting/QOS policy", True, False),
        ("Slurm temporarily unable to accept job, sleeping and retrying", True, False),
        ("Failed to run sinfo for retrieval of cluster partitions: ", True, False),
        ("Batch job submission failed: Requested node configuration is not available", False, False),
        ("Memory specification can not be satisfied", False, False),
        ("invalid partition specified: fast", False, False),
        ("Batch job submission failed: Invalid account or account/partition combination specified", False, False),
        ("Requested time limit is invalid (missing or exceeds some limit)", False, False),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", False, False),
        ("Unable to open file /home/me/x.sh", False, False),
    ],
)
def test_refusals_that_pass_are_told_from_those_that_stay(said: str, passes: bool, unsure: bool) -> None:
    assert (reasons.passing(said), reasons.unsure(said)) == (passes, unsure)


def test_reason_of_a_refusal_is_taken_from_the_executor_s_message() -> None:
    message = (
        "SLURM sbatch failed. The error message was 'sbatch: error: Memory specification can not be satisfied\n"
        "sbatch: error: Batch job submission failed: Requested node configuration is not available'.\n"
        '    sbatch call:\n        sbatch --parsable --wrap="it\'s timed out"\n'
    )
    expected = (
        "Memory specification can not be satisfied; "
        "Batch job submission failed: Requested node configuration is not available"
    )
    assert reasons.refusal(message) == expected
    assert reasons.refusal("Job submission failed with exception: The given account x appears to be invalid") == (
        "The given account x appears to be invalid"
    )


@pytest.mark.parametrize(
    ("state", "log", "expected"),
    [
        ("OUT_OF_MEMORY", "", "memory"),
        ("FAILED", "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of your processes", "memory"),
        ("FAILED", "srun: error: node1: task 0: Out Of Memory", "memory"),
        ("FAILED", "slurmstepd: error: Exceeded job memory limit", "memory"),
        ("FAILED", "numpy: _ArrayMemoryError: Unable\nMemoryError: Unable to allocate 1.2 TiB", "memory"),
        ("FAILED", "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes", "memory"),
        # More memory of the node is no help.
        ("FAILED", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 MiB", None),
        ("FAILED", "distillery: 3 bodies at one place", None),
        ("FAILED", "srun: error: node1: task 0: Killed", None),
        ("CANCELLED", "slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 2026-11-30T20:00:00 ***", None),
        ("CANCELLED", "slurmstepd: error: Exceeded job memory limit", "memory"),
        ("NODE_FAIL", "", None),
        ("TIMEOUT", "", "time"),
        ("DEADLINE", "", "time"),
    ],
)
def test_what_a_job_ran_out_of(state: str, log: str, expected: str | None) -> None:
    assert reasons.lack(f"SLURM-job '7' failed, SLURM status is: '{state}'. Reason: x.", log) == expected


@pytest.mark.parametrize(
    ("line", "keeps"),
    [
        ("AccountingStorageType   = accounting_storage/none", False),
        ("AccountingStorageType   = (null)", False),
        ("AccountingStorageType   = accounting_storage/slurmdbd", True),
        ("", True),
    ],
)
def test_whether_slurm_keeps_accounts(line: str, keeps: bool) -> None:
    assert executor.keeps_accounts(f"Configuration data\n{line}\nMinJobAge = 300 sec\n") is keeps
