"""The workflow itself: plans, refusals, a whole small sweep, interruption and resumption, targeted reruns."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery.cell import STAGES
from sweeps import (
    BIN,
    LOG,
    MOMENTS,
    ROOT,
    SMOKE,
    STORE,
    TINY,
    assert_equal_but_for_timings,
    before,
    copy,
    dry_run,
    goals,
    interrupt,
    kill_alone,
    kill_tree,
    modified,
    ours,
    outcomes,
    planned_jobs,
    remove,
    resume,
    snakemake,
    started,
    store_of,
    wait_for,
    write_config,
)

pytestmark = pytest.mark.workflow


PRESETS = [f"workflow/presets/{name}.yaml" for name in ("smoke", "paper", "paper-smooth")]


@pytest.mark.parametrize("preset", ["config.yaml", *PRESETS])
def test_shipped_configurations_plan(tmp_path: Path, preset: str) -> None:
    content = yaml.safe_load((ROOT / preset).read_text())
    jobs = dry_run(tmp_path, ROOT / preset)
    cells = len(content["experiments"]) * len(content["models"]) * len(content["seeds"])
    assert (
        jobs["train"]
        == jobs["interpret"]
        == jobs["verify"]
        == jobs["replace"]
        == jobs["generalise"]
        == jobs["picture_cell"]
        == cells
    )
    assert jobs["simulate"] == 2 * len(content["experiments"])
    assert [entry.name for entry in tmp_path.iterdir()] == [".snakemake"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"models": ["l3"]}, "given.yaml: models.0: unknown model 'l3'"),
        ({"training": {"steps": 0}}, "given.yaml: training.steps: input should be greater"),
        ({"typo": 1}, "given.yaml: typo: unknown key"),
    ],
)
def test_bad_configuration_ends_in_a_line_before_anything_starts(
    tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    config = write_config(tmp_path, {**TINY, **changes})
    done = snakemake(tmp_path, config, check=False)
    assert done.returncode != 0
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_default_configuration_with_a_syntax_error_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("experiments:\n  - {system: spring\nmodels: [l1]\n")
    done = subprocess.run(
        [BIN / "snakemake", "--profile", "profiles/local", "--directory", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "config.yaml, line 3, column 7: not valid YAML" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_call_does_nothing(tiny: tuple[Path, Path]) -> None:
    done = snakemake(*tiny)
    assert "Nothing to be done" in done.stdout + done.stderr
    assert planned_jobs(done.stdout + done.stderr) == {}


@pytest.mark.parametrize(
    ("section", "key", "value", "spared"),
    [
        ("distillation", "samples", 299, {"simulate", "train"}),
        ("distillation", "seconds", 17.0, {"simulate", "train", "interpret"}),
        ("verification", "receivers", 50, {"simulate", "train", "interpret", "distill"}),
        ("training", "steps", 1201, {"simulate"}),
        (
            "execution",
            "device",
            "cpu",
            {"simulate", "train", "interpret", "distill", "verify", "replace", "generalise"},
        ),
    ],
)
def test_a_changed_setting_reruns_only_what_depends_on_it(
    tiny: tuple[Path, Path], tmp_path: Path, section: str, key: str, value: Any, spared: set[str]
) -> None:
    content = deepcopy(TINY)
    content.setdefault(section, {})[key] = value  # type: ignore[attr-defined]
    jobs = dry_run(tiny[0], write_config(tmp_path, content))
    stages = {"simulate", "train", "interpret", "distill", "verify", "replace", "generalise"}
    assert stages & set(jobs) == stages - spared


def test_store_holds_every_cell(tiny: tuple[Path, Path]) -> None:
    cells = store_of(tiny[0])["cells"].to_dataset()
    assert set(cells["status"].values.ravel().tolist()) == {"ok"}
    assert set(cells["model"].values.tolist()) == {"bottleneck", "l1"}


@pytest.mark.slow
def test_settings_and_jobs_may_change_and_change_back(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    copy(tiny[0], tmp_path)
    other = deepcopy(TINY)
    other["verification"], other["execution"] = {"median_residual": 0.5}, {"checkpoint_every": 100, "cells_per_job": 2}
    snakemake(tmp_path, write_config(tmp_path, other), STORE)
    done = snakemake(tmp_path, tiny[1], STORE)
    assert "train" not in planned_jobs(done.stdout + done.stderr)
    assert_equal_but_for_timings(store_of(tiny[0]), store_of(tmp_path))


@pytest.mark.slow
def test_one_bad_cell_costs_one_cell(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    copy(tiny[0], tmp_path / "copy")
    directory, results = tmp_path / "copy", tmp_path / "copy" / "results"
    bad = results / "spring-2d-4b-s0" / "l1-s0"
    # Snakemake does not miss an outcome as long as those that were made of it are there.
    for stage in STAGES[STAGES.index("interpret") :]:
        remove(results, f"*/*/{stage}.json")
    remove(results, "sweep.json")
    weights = bad / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    broken = snakemake(directory, tiny[1], STORE, check=False)
    assert broken.returncode != 0
    assert "model.safetensors: missing or damaged" in broken.stderr + broken.stdout
    cells = store_of(directory)["cells"].to_dataset()["status"]
    assert cells.sel(model="bottleneck").item() == "ok"
    assert cells.sel(model="l1").item() == "failed"
    assert "model.safetensors: missing or damaged" in broken.stdout, "the table gives the reason"
    weights.write_bytes(whole)
    snakemake(directory, tiny[1], STORE)
    assert_equal_but_for_timings(store_of(tiny[0]), store_of(directory))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("blow", "stage"),
    # In every stage Snakemake dies; what else dies with it differs.
    [
        (kill_tree, "simulate"),
        (kill_alone, "train"),
        (interrupt, "train"),
        (kill_tree, "distill"),
        (kill_alone, "distill"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_interrupted_sweep_resumes_to_the_same_results(
    tiny: tuple[Path, Path], tmp_path: Path, stage: str, blow: Callable[[subprocess.Popen[str]], None]
) -> None:
    before(stage, tiny[0], tmp_path)
    process = started(tmp_path, tiny[1])
    in_the_middle, finished = MOMENTS[stage]
    wait_for(lambda: in_the_middle(tmp_path / "results"), process, tmp_path / LOG)
    spared = modified(tmp_path / "results", finished)
    blow(process)
    process.wait(timeout=120)
    assert process.returncode != 0, "the sweep ended before it could be interrupted"

    resume(tmp_path, tiny[1])
    if blow is kill_tree and stage == "distill":
        snakemake(tmp_path, tiny[1])
        assert (tmp_path / "results" / "report.html").exists()
        assert_equal_but_for_timings(store_of(tiny[0]), store_of(tmp_path))
    else:
        # What is made of these is made as in any sweep.
        snakemake(tmp_path, tiny[1], *goals("verify"))
        assert outcomes(tmp_path) == outcomes(tiny[0])
    assert modified(tmp_path / "results", finished) == spared
    assert not ours(tmp_path), "processes of the sweep were left behind"


@pytest.mark.slow
def test_smoke_preset_runs_to_its_table(smoke: tuple[Path, str]) -> None:
    directory, said = smoke
    for model in SMOKE["models"]:
        assert re.search(rf"spring-2d-4b-s0.*{model}", said), said
    cells = store_of(directory, SMOKE["results"])["cells"].to_dataset()
    assert set(cells["status"].values.ravel().tolist()) == {"ok"}
    assert float(cells["force_r2_robust"].sel(model="bottleneck").min()) > 0.5


@pytest.mark.slow
def test_the_spring_law_of_the_default_sweep_is_recovered_on_three_seeds(tmp_path: Path) -> None:
    default = yaml.safe_load((ROOT / "config.yaml").read_text())
    spring = [experiment for experiment in default["experiments"] if experiment["system"] == "spring"]
    more = {"models": ["bottleneck"], "seeds": [0, 1, 2], "generalisation": TINY["generalisation"]}
    # They train side by side, which is faster.
    more["execution"] = {**default.get("execution", {}), "stacked": True, "cells_per_job": 3}
    config = write_config(tmp_path, {**default, "experiments": spring, **more})
    done = snakemake(tmp_path, config, STORE)
    cells = store_of(tmp_path)["cells"].to_dataset()
    assert cells["recovered"].values.ravel().tolist() == [1.0, 1.0, 1.0], done.stdout
    # U = (r + 0.01 - 1)²: the softening makes 1.98 of the 2.
    assert set(cells["law"].values.ravel().tolist()) == {"a = Σ Δ*(-2 + 1.980/r)/m1"}
    assert float((cells["error_clean_medae"] / cells["error_network_medae"]).max()) < 1e-3
