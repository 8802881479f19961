"""Findings from the results of test jobs on a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from distillery.cluster.slurm import probe
from distillery.workflow.slurm import trial_findings
from distillery.workflow.slurm.site import site_of
from support.site import site, texts


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
