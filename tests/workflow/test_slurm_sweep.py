"""Whole sweeps on a real Slurm: the shipped profile, every way to die, and the same results as on one machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from distillery.cluster.slurm.commands import Job, call, our_jobs
from distillery.errors import DistilleryError
from support import slurmbox
from support.sweeps import (
    LOG,
    MOMENTS,
    ROOT,
    SMOKE,
    TINY,
    assert_equal_but_for_timings,
    before,
    goals,
    modified,
    ours,
    outcomes,
    resume,
    snakemake,
    started,
    store_of,
    wait_for,
    write_config,
)

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm")]

# The shipped profile, typed as the README says; what follows is what a small cluster without accounting needs.
EXECUTION = "execution={{ranks: 2, nodes: 2, launcher: srun --mpi=pmi2, dask: {{cluster: {kind}, workers: 2}}}}"
SITE = [
    "--slurm-status-command=squeue",
    "--slurm-init-seconds-before-status-checks=2",
    "--latency-wait=10",
    "--show-failed-logs",
]
GPU = ["--set-resources", "train:gpu=1", "train:slurm_partition=gpu"]


def profile(kind: str = "allocation") -> list[str]:
    return ["--profile", "slurm", "--config", EXECUTION.format(kind=kind), *SITE]


def jobs_of(directory: Path) -> list[Job]:
    """Return the waiting and running jobs of these tests: Snakemake's, and the workers of what it runs."""
    return [job for job in our_jobs() if job.directory == directory]


def submitted(name: str, directory: Path) -> list[Job]:
    """Return the waiting and running jobs of a rule."""
    return [job for job in jobs_of(directory) if job.comment.startswith(f"rule_{name}")]


def tasks(job: Job, word: str) -> list[psutil.Process]:
    """Return the processes of a job that run ``distillery <word>``."""
    found = []
    for pid in slurmbox.job_processes(job.id):
        try:
            words = psutil.Process(pid).cmdline()
        except psutil.Error:
            continue
        if any(Path(each).name == "distillery" for each in words[:3]) and word in words:
            found.append(psutil.Process(pid))
    return found


def freeze(directory: Path) -> list[Job]:
    """Stop the processes of all jobs that run; return the jobs."""
    jobs = jobs_of(directory)
    for job in jobs:
        for pid in slurmbox.job_processes(job.id):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
    return jobs


def nothing_left(directory: Path) -> None:
    """Make sure that neither queue nor processes hold anything of ours."""
    deadline = time.monotonic() + 60
    while (left := [*jobs_of(directory), *ours(directory)]) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not left


# Snakemake's first question after its jobs fails, each of the five times that it is put; the second takes 8 seconds.
SQUEUE = """#!/bin/sh
case "$*" in *--states=all*--name*)
  count=$(cat {folder}/count 2>/dev/null || echo 0)
  echo $((count + 1)) > {folder}/count
  if [ $count -lt 5 ]; then
    echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2
    exit 1
  fi
  if [ $count -eq 5 ]; then sleep 8; fi
esac
exec {squeue} "$@"
"""


def hinder_squeue(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a squeue that fails at first and then is slow before the real one; return where its calls are counted."""
    squeue = shutil.which("squeue")
    folder.mkdir()
    (folder / "squeue").write_text(SQUEUE.format(folder=folder, squeue=squeue))
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "count"


def test_a_sweep_gives_the_same_results_as_on_one_machine(
    tiny: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = hinder_squeue(tmp_path / "bin", monkeypatch)
    process = started(tmp_path, tiny[1], *GPU, profile=profile("slurm"))
    seen: dict[str, Job] = {}

    def over() -> bool:
        for job in jobs_of(tmp_path):
            if job.state == "RUNNING":
                seen[f"{job.comment} {job.name}"] = job
        time.sleep(0.3)
        return process.poll() is not None

    deadline = time.monotonic() + 900
    while not over():
        assert time.monotonic() < deadline, (tmp_path / LOG).read_text()[-8000:]
    said = (tmp_path / LOG).read_text()
    assert process.returncode == 0, said[-8000:]
    assert "Slurm does not give the states of" in said
    assert int(asked.read_text()) > 6
    assert "SLURM account" not in said, "no account is guessed where there are none"
    assert_equal_but_for_timings(store_of(tiny[0]), store_of(tmp_path))
    nodes = {name.split()[0]: job.nodes for name, job in seen.items()}
    assert "node[1-2]" in {where for name, where in nodes.items() if name.startswith("rule_simulate")}, nodes
    assert {where for name, where in nodes.items() if name.startswith("rule_train")} == {"node2"}, "where the GPUs are"
    assert any("distillery-dask" in name for name in seen), "workers are Slurm jobs"
    marker = json.loads((tmp_path / "results" / "spring-2d-4b-s0" / "train.json").read_text())
    assert marker["ranks"] == 2
    nothing_left(tmp_path)


def test_a_slurm_without_accounting_is_not_waited_for_in_vain(tmp_path: Path) -> None:
    preset = ROOT / "workflow/presets/smoke.yaml"
    refused = snakemake(tmp_path, preset, check=False, profile=["--profile", "slurm"])
    assert refused.returncode != 0
    assert "slurm-status-command: sacct does not answer here" in refused.stderr
    assert "set it to squeue" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / SMOKE["results"] / "resolved.yaml").exists()
    nothing_left(tmp_path)


def test_a_killed_snakemake_leaves_jobs_that_resume_ends(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    # Where jobs have most beneath them: a scheduler, its workers, and their fits. Of other stages there are fewer.
    stage = "distill"
    before(stage, tiny[0], tmp_path)
    in_the_middle, finished = MOMENTS[stage]
    process = started(tmp_path, tiny[1], profile=profile())
    wait_for(lambda: in_the_middle(tmp_path / "results"), process, tmp_path / LOG)
    spared = modified(tmp_path / "results", finished)
    # Held, so that the jobs do not end before they can be found.
    orphans = freeze(tmp_path)
    assert orphans, "its jobs outlive it"
    process.kill()
    process.wait(30)
    said = resume(tmp_path, tiny[1])
    assert re.search(rf"cancelled {len(orphans)} Slurm jobs? of the killed run", said), said
    nothing_left(tmp_path)

    # The jobs that were cut short go to Slurm again; what follows them may as well be done here.
    snakemake(tmp_path, tiny[1], *goals(stage), profile=profile())
    snakemake(tmp_path, tiny[1], *goals("verify"))
    assert outcomes(tmp_path) == outcomes(tiny[0])
    assert modified(tmp_path / "results", finished) == spared
    nothing_left(tmp_path)


def test_one_sweep_survives_all_that_can_be_cancelled_killed_and_switched_off(
    tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    more = [*goals("distill"), "--set-resources", "train:slurm_partition=spare"]
    process = started(tmp_path, tiny[1], *more, profile=profile())
    results, log = tmp_path / "results", tmp_path / LOG

    def stricken(rule: str, ready: Callable[[], bool], blow: Callable[[Job], None]) -> None:
        """Wait until a job of a rule is in the middle of its work, break it, and wait until it was sent again."""
        hit: list[Job] = []

        def hits() -> bool:
            hit[:] = [job for job in submitted(rule, tmp_path) if job.state == "RUNNING"] if ready() else []
            return bool(hit)

        wait_for(hits, process, log)
        known = {job.id for job in submitted(rule, tmp_path)}
        blow(hit[0])
        wait_for(lambda: any(job.id not in known for job in submitted(rule, tmp_path)), process, log)

    def kill_one_rank(job: Job) -> None:
        ranks = tasks(job, "simulate")
        assert len(ranks) == 2, ranks
        ranks[1].kill()

    def cancel(job: Job) -> None:
        call(["scancel", job.id])

    def lose_node(job: Job) -> None:
        call(["scontrol", "update", f"nodename={job.nodes}", "state=down", "reason=test"])
        # What ran on it is gone with it, also what was just being started.
        while pids := slurmbox.job_processes(job.id):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
        # Its daemon lives, so it may have come back by itself.
        with contextlib.suppress(DistilleryError):
            call(["scontrol", "update", f"nodename={job.nodes}", "state=resume"])

    def kill_scheduler(job: Job) -> None:
        tasks(job, "distill")[0].send_signal(signal.SIGKILL)

    try:
        stricken("simulate", lambda: MOMENTS["simulate"][0](results), kill_one_rank)
        stricken("train", lambda: MOMENTS["train"][0](results), cancel)
        stricken("train", lambda: MOMENTS["train"][0](results), lose_node)
        stricken("distill", lambda: any(results.glob("fits/*.json")), kill_scheduler)
        assert process.wait(600) == 0, log.read_text()[-8000:]
    finally:
        process.kill()
    for stage in ("train", "distill"):
        made = [json.loads(path.read_text()) for path in results.glob(f"*/*/{stage}.json")]
        assert max(outcome["provenance"]["attempts"] for outcome in made) > 1, f"{stage} was never cut short"
    snakemake(tmp_path, tiny[1], *goals("verify"))
    assert outcomes(tmp_path) == outcomes(tiny[0])
    nothing_left(tmp_path)


def test_a_results_folder_that_is_renamed_is_not_made_anew(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    before("train", tiny[0], tmp_path)
    config = write_config(tmp_path, {**TINY, "training": {**TINY["training"], "steps": 200_000}})
    results = tmp_path / "results"
    process = started(tmp_path, config, *goals("train"), profile=profile())
    wait_for(lambda: MOMENTS["train"][0](results), process, tmp_path / LOG)
    results.rename(tmp_path / "renamed")
    process.wait(120)
    said = (tmp_path / LOG).read_text()
    assert f"{results}: this results folder was renamed or removed while its run works in it" in said, said[-8000:]
    assert "taken away" not in said
    nothing_left(tmp_path)
    assert not results.exists()


def asked(job: Job) -> tuple[int, int]:
    """Return the minutes and megabytes that a job asked for."""
    text = call(["scontrol", "show", "job", job.id])
    hours, minutes, _ = re.findall(r"TimeLimit=(\d+):(\d+):(\d+)", text)[0]
    memory, unit = re.findall(r"TRES=\S*mem=([\d.]+)([MG])", text)[0]
    return 60 * int(hours) + int(minutes), round(float(memory) * (1024 if unit == "G" else 1))


def test_a_job_that_hits_its_limit_is_sent_again_with_more(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    before("train", tiny[0], tmp_path)
    # Slurm looks at time limits every 30 seconds; the training must last longer.
    long = {"training": {**TINY["training"], "steps": 20_000}, "execution": {"checkpoint_every": 500}}
    config = write_config(tmp_path, {**TINY, **long})
    # One cell has too little time, the other too little memory.
    runtime = "train:runtime=1 * attempt if 'bottleneck' in wildcards.member else 10"
    memory = "train:mem_mb=150 * 30 ** (attempt - 1) if 'l1' in wildcards.member else 4500"
    process = started(tmp_path, config, *goals("train"), "--set-resources", runtime, memory, profile=profile())
    limits: dict[str, dict[str, tuple[int, int]]] = {"bottleneck": {}, "l1": {}}
    cut: list[str] = []

    def over() -> bool:
        for job in submitted("train", tmp_path):
            model = "l1" if "l1-s0" in job.comment else "bottleneck"
            limits[model].setdefault(job.id, asked(job))
            if model == "bottleneck" and not cut and job.state == "RUNNING":
                # Rather than wait for its whole minute.
                call(["scontrol", "update", f"jobid={job.id}", "EndTime=now+1"])
                cut.append(job.id)
        return process.poll() is not None

    deadline = time.monotonic() + 400
    while not over():
        assert time.monotonic() < deadline, (tmp_path / LOG).read_text()[-8000:]
        time.sleep(0.1)
    assert process.returncode == 0, (tmp_path / LOG).read_text()[-8000:]
    (minutes, _), (more_minutes, _) = limits["bottleneck"].values()
    (_, memory_mb), (_, more_memory_mb) = limits["l1"].values()
    assert (more_minutes, more_memory_mb) == (2 * minutes, 30 * memory_mb)
    assert all((tmp_path / goal).exists() for goal in goals("train"))
    nothing_left(tmp_path)
