"""The profile as a text: only what is asked for changes in it, and words that nobody knows are told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery.errors import DistilleryError
from distillery.workflow.slurm import profile_keys
from distillery.workflow.slurm.profile import find_profile, shipped, user_profile, with_value
from distillery.workflow.slurm.requested import Requested
from distillery.workflow.slurm.setup import changes, misspelt
from distillery.workflow.slurm.site import plain_text

SHIPPED = shipped().read_text()
EVERYTHING = Requested(
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
    assert read == profile_keys.OF_SLURM


def test_known_sections_are_what_snakemake_reads() -> None:
    import inspect

    from snakemake import profiles

    source = inspect.getsource(profiles)
    (listed,) = re.findall(r"if key in \((.*?)\)", source, re.DOTALL)
    assert {*re.findall(r'"([\w-]+)"', listed), "set-resources"} == profile_keys.MAPPINGS


@pytest.mark.slow
def test_shipped_profile_has_no_unknown_word() -> None:
    assert list(misspelt(yaml.safe_load(SHIPPED))) == []


@pytest.mark.slow
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
