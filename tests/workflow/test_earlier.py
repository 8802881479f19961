"""What stands in the results stays until its successor is whole, whatever Snakemake is asked to do."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery import files
from distillery.errors import DistilleryError
from distillery.workflow import earlier
from distillery.workflow.cell import SPLITS, STAGES
from distillery.workflow.outcome import finished, is_whole, key_of, write_outcome
from distillery.workflow.reopen import is_stale
from distillery.workflow.stages.collect import collect
from distillery.workflow.sweep import Sweep, as_run, load_sweep, write_resolved
from support.fabricate import fabricate
from support.sweeps import dry_run, snakemake


def made(path: Path, key: str = "k", **more: Any) -> Path:
    write_outcome(path, key=key, started=time.monotonic(), result={"a": 1}, **more)
    return path


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("forced", [True, False])
def test_a_file_that_is_removed_and_not_made_again_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, forced: bool
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(1, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path, again = made(tmp_path / "train.json"), made(tmp_path / "verify.json")
    before = path.read_bytes()
    kept = earlier.keep([path, again, tmp_path / "missing.json"], forced=forced)
    assert kept == [path, again]
    path.unlink()
    again.unlink()
    made(again, "other")
    assert earlier.kept(tmp_path) == [path, again]
    assert earlier.restore(kept, is_whole) == [path]
    assert path.read_bytes() == before
    assert key_of(again) == "other"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["train.json", "verify.json"]


def test_what_has_lost_a_file_of_its_own_does_not_come_back(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"old")
    path = made(tmp_path / "train.json", belongings=(weights,))
    kept = earlier.keep([path], forced=False)
    path.unlink()
    weights.write_bytes(b"new")
    assert earlier.restore(kept, is_whole) == []
    assert list(tmp_path.iterdir()) == [weights]


def test_an_outcome_that_is_valid_after_all_is_taken_back_but_not_where_it_was_asked_for_anew(tmp_path: Path) -> None:
    path = made(tmp_path / "train.json")
    for key, forced, back in (("k", True, False), ("other", False, False), ("k", False, True)):
        if not path.exists():
            made(path)
        earlier.keep([path], forced=forced)
        path.unlink()
        assert finished(path, key) is back
        assert path.exists() is back


def test_a_failure_is_not_taken_back(tmp_path: Path) -> None:
    path = made(tmp_path / "distill.json", status="failed", reason="no front")
    earlier.keep([path], forced=False)
    path.unlink()
    assert not finished(path, "k")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{\n "key": "abc",\n "cells": 3\n}\n', "abc"),
        ('{"key": "abc"}', "abc"),
        ('{"key":"abc"}', "abc"),
        ('{"status": "ok", "result": {"key": "no"}}', ""),
        ("[]", ""),
        ("{", ""),
        ("", ""),
        ('{\n "status": "ok",\n "reason": "' + "x" * 5000 + '",\n "key": "abc",\n "result": {}\n}\n', "abc"),
        ('{\n "status": "ok",\n "reason": "\\n \\"key\\": \\"no\\"",\n "key": "abc",\n "result": {}\n}\n', "abc"),
    ],
)
def test_keys_are_read_from_the_head_of_a_file(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert key_of(tmp_path / "x.json") == key
    assert key_of(tmp_path / "none.json") is None


def test_a_job_of_several_cells_is_stale_by_each_of_them(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(seeds=[0, 1], execution={"cells_per_job": 2})
    (job,) = sweep.jobs.values()
    marker = job.outcome(sweep.results, "train")
    assert not is_stale(sweep, "train", job)
    outcomes = [made(cell.outcome(sweep.results, "train"), sweep.key("train", cell)) for cell in job.cells]
    assert not is_stale(sweep, "train", job), "without a marker Snakemake knows by itself"
    files.write_json(marker, {"key": sweep.job_key("train", job), "cells": [], "failed": []})
    assert not is_stale(sweep, "train", job)
    made(outcomes[1], "other")
    assert is_stale(sweep, "train", job)
    outcomes[1].unlink()
    assert is_stale(sweep, "train", job)
    made(outcomes[1], sweep.key("train", job.cells[1]))
    files.write_json(marker, {"key": "other"})
    assert is_stale(sweep, "train", job)


def test_the_configuration_of_a_run_never_replaces_a_file_of_the_users(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(execution={"ranks": 1})
    own = sweep.results / "config.yaml"
    files.write_text(own, "experiments: []\n")
    path = write_resolved(sweep)
    assert write_resolved(sweep) == path
    assert load_sweep(path).config == sweep.config
    assert own.read_text() == "experiments: []\n"
    assert as_run(make_sweep()).config.execution.ranks == 1
    path.write_text("mine: true\n")
    with pytest.raises(DistilleryError, match=r"resolved\.yaml: was not written by distillery.*rename or move"):
        write_resolved(sweep)
    assert path.read_text() == "mine: true\n"


CONFIG: dict[str, Any] = {
    "experiments": [{"system": "spring", "simulations": 64, "test_simulations": 16, "snapshots": 10}],
    "models": ["bottleneck", "l1"],
    "training": {"steps": 300},
    "execution": {"ranks": 1},
}
LONGER = {**CONFIG, "training": {"steps": 500}}


@pytest.fixture
def finished_sweep(tmp_path: Path) -> Path:
    """A folder with a finished sweep of ``CONFIG``, without any notes of Snakemake; pictures and pages are empty."""
    config = tmp_path / "given.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "results": str(tmp_path / "results")}))
    sweep = load_sweep(config)
    (experiment,) = sweep.experiments
    for split in SPLITS:
        experiment.store(sweep.results, split).mkdir(parents=True)
        files.write_json(experiment.marker(sweep.results, split), {"key": sweep.data_key(experiment, split)})
    for cell in sweep.cells:
        fabricate(sweep, cell)
    collect(sweep)
    pictures = [experiment.picture(sweep.results)]
    pictures += [cell.picture(sweep.results, name) for cell in sweep.cells for name in ("messages", "front")]
    for path in (*pictures, sweep.results / "report.html", sweep.results / "report.md"):
        path.write_text("drawn")
    return tmp_path


def change(folder: Path, content: dict[str, Any]) -> Path:
    config = folder / "given.yaml"
    config.write_text(yaml.safe_dump({**content, "results": str(folder / "results")}))
    return config


def contents(folder: Path) -> dict[str, bytes]:
    """Everything under the results but logs, and what a run keeps for itself."""
    results = folder / "results"
    found = {str(path.relative_to(results)): path for path in results.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(("logs/", "resolved."))}


EXPERIMENT = "results/spring-2d-4b-s0"


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        *("--unlock", "--touch", "-t", "--delete-temp-output", "--archive {folder}/archive.tar", "-lt", "--summ"),
        *("--rulegr", "--until simulate", "--omit-from train", "--touch --rerun-triggers mtime"),
        *("--cleanup-metadata {folder}/results/sweep.json", "{folder}/" + f"{EXPERIMENT}/train.json"),
    ],
)
def test_what_runs_nothing_deletes_nothing(finished_sweep: Path, words: str) -> None:
    before = contents(finished_sweep)
    config = change(finished_sweep, LONGER)
    given = shlex.split(words.format(folder=finished_sweep))
    # Some of these need what is not here (conda, notes of an earlier run): then they fail, and delete nothing either.
    done = snakemake(finished_sweep, config, "--cores", "1", *given, check=False)
    assert contents(finished_sweep) == before, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.parametrize("profile", [["--profile", "profiles/local"], ["--cores", "1"]], ids=["profile", "none"])
def test_keys_alone_decide_what_is_made_again(finished_sweep: Path, profile: list[str]) -> None:
    def planned(content: dict[str, Any], *more: str) -> set[str]:
        jobs = dry_run(finished_sweep, change(finished_sweep, content), *more, profile=profile)
        return set(jobs) - {"all", "total", "picture_cell", "picture_experiment", "report_sweep"}

    stages, all_stages = {*STAGES, "collect"}, {"simulate", *STAGES, "collect"}
    assert planned(CONFIG) == set()
    assert planned(LONGER) == stages
    assert planned(LONGER, "--rerun-triggers", "mtime") == stages
    assert planned({**CONFIG, "verification": {"receivers": 50}}) == {"verify", "replace", "generalise", "collect"}
    assert planned({**CONFIG, "simulation": {"tolerance": 1e-9}}) == all_stages
    assert planned(LONGER, "--until", "train") == {"train"}
    assert planned({**CONFIG, "execution": {"ranks": 1, "device": "cpu", "modules": ["julia/1.11"]}}) <= {"collect"}


@pytest.mark.workflow
@pytest.mark.slow
def test_a_raised_format_throws_nothing_away(finished_sweep: Path) -> None:
    marker = finished_sweep / EXPERIMENT / "bottleneck-s0/verify.json"
    # As an outcome of another format is: it has another key.
    files.write_text(marker, marker.read_text().replace(f'"{key_of(marker)}"', '"0123456789abcdef"'))
    before = contents(finished_sweep)
    config = finished_sweep / "given.yaml"
    snakemake(finished_sweep, config, "--touch")
    assert contents(finished_sweep) == before
    assert dry_run(finished_sweep, config)["verify"] == 1, "touched or not, it is made again"


@pytest.mark.workflow
@pytest.mark.slow
def test_a_run_that_fails_leaves_what_was_there_and_names_its_remedy(finished_sweep: Path) -> None:
    before = contents(finished_sweep)
    config = change(finished_sweep, {**LONGER, "execution": {"ranks": 1, "device": "cuda"}})
    failed = snakemake(finished_sweep, config, check=False)
    assert failed.returncode != 0
    assert "cuda is wanted" in failed.stdout + failed.stderr
    after = contents(finished_sweep)
    # The store is made anew, of what has not failed; the marker of a whole one has gone with the old one.
    kept = [name for name in before if "sweep" not in name]
    assert len(kept) > 20
    assert {name: after.get(name) for name in kept} == {name: before[name] for name in kept}
    last = failed.stderr.splitlines()[-1]
    assert f"`distillery resume --config {config}`" in last
    assert last.startswith("2 of 2 cells are not done")
    change(finished_sweep, CONFIG)
    remaining = dry_run(finished_sweep, config)
    assert set(remaining) <= {"collect", "report_sweep", "all", "total"}, "the old settings find their results"
