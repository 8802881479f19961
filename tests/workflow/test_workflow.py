"""The workflow itself: plans, refusals, a whole small sweep, interruption and resumption, targeted reruns."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray
import yaml

from distillery.data.trajectories import Trajectories
from distillery.laws.law import read_graph, read_law
from distillery.laws.module import load_module
from distillery.networks.batches import graphs_of
from distillery.workflow.cell import STAGES
from distillery.workflow.outcome import read_outcome
from distillery.workflow.sweep import Sweep, sweep_from
from distillery.workflow.trajectories import read_trajectories
from support.sweeps import (
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
    together = content.get("execution", {}).get("cells_per_job", 1)
    each = -(-len(content["models"]) * len(content["seeds"]) // together)
    stages = ("train", "interpret", "distill", "verify", "replace", "generalise", "picture_cell")
    assert {jobs[stage] for stage in stages} == {each * len(content["experiments"])}
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


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("more.yaml", "models: [l1]\nseeds: [1]\nseeds: [2]\n", "more.yaml, line 3, column 1: "),
        ("more.json", '{"seeds": [1],\n\t"seeds": [2]}', "more.json, line 2, column 2: "),
        ("more.yaml", "seeds: [1\nmodels: [l1]\n", "more.yaml, line 2, column 7: "),
        ("more.yaml", "experiments: [{system: spring}]\nmodels: [l3]\n", "more.yaml: models.0: unknown model 'l3'"),
        ("other.yaml", "", "more.yaml: cannot be read (No such file or directory)"),
    ],
)
def test_every_configuration_file_is_read_by_the_strict_loader(tmp_path: Path, name: str, text: str, line: str) -> None:
    (tmp_path / name).write_text(text)
    done = snakemake(tmp_path, tmp_path / re.split("[,:]", line)[0], check=False)
    assert done.returncode != 0
    assert f"/{line}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ('results="2026_11_30"', None),
        ("results=2026_11_30", None),
        ("training={steps: 1e3}", None),
        ("trainng=3", "--config: trainng: unknown key; see the schema or the README for the known ones"),
        ("results=2026", "--config: results: 2026 is read as a number; put it in quotes if it is text"),
        ("models=l1", "--config: models: 'l1' is no list; write [l1]"),
        ("seeds=[1, 1", "--config seeds, line 1, column 6: not valid YAML"),
    ],
)
def test_values_of_the_command_line_are_read_as_in_a_file_and_blamed_on_it(
    tmp_path: Path, given: str, line: str | None
) -> None:
    done = snakemake(tmp_path, write_config(tmp_path, TINY), "--config", given, "--dry-run", check=False)
    if line is None:
        assert done.returncode == 0, done.stderr
        assert ("2026_11_30/sweep.json" in done.stdout + done.stderr) == given.startswith("results")
    else:
        assert done.returncode != 0
        assert done.stderr.splitlines()[-1].startswith(line)


def test_a_profile_whose_executor_is_missing_names_the_remedy(tmp_path: Path) -> None:
    definition = "from distillery.workflow import launch; launch.check(executor='absent')"
    profile = {"__use_yte__": True, "__definitions__": [definition], "executor": "absent", "absent-key": 3}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(profile))
    config = write_config(tmp_path, TINY)
    done = snakemake(tmp_path, config, "--dry-run", check=False, profile=("--profile", str(tmp_path)))
    assert done.returncode != 0
    assert done.stderr.splitlines()[1:] == [
        "executor: absent is not installed in this environment; run make cluster first"
    ]


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


# A chain of ropes that pull only when they are stretched, in a field of gravity and a medium that brakes.
BUNGEE: dict[str, Any] = {
    "systems": {
        "bungee": {
            "potential": "k*(r - rest_length)**2 if r > rest_length else 0",
            "body_potential": "gravity*m*y",
            "constants": {"k": 3.0, "rest_length": 1.5, "gravity": 1.0},
            "graph": "chain",
            "damping": 0.2,
            "charges": [1],
            "mass_spread": 0.5,
            "time_step": 0.01,
        }
    },
    "experiments": [
        {"system": "bungee", "bodies": 3, "simulations": 64, "test_simulations": 16, "snapshots": 10, "steps": 200}
    ],
    "models": ["bottleneck", "flathgn", "control", "kl", "pruning", "newton"],
    "training": {"hidden": 16, "batch": 16, "steps": 500, "learning_rate": 1e-2},
    "interpretation": {"samples": 300},
    "distillation": {
        "samples": 200,
        "held_out": 200,
        "operators": ["+", "-", "*", "/", ">", "if"],
        "operon": {"population": 40, "generations": 4, "max_length": 8},
    },
    "verification": {"receivers": 10, "senders": 20},
    "replacement": {"samples": 100, "starts": 1},
    "generalisation": {"conditions": {"5 bodies": {"bodies": 5}}, "simulations": 2, "snapshots": 2, "rollouts": 1},
    "execution": {"cells_per_job": 6, "ranks": 1},
}


NETWORKS = [model for model in BUNGEE["models"] if model != "control"]


@dataclasses.dataclass(frozen=True)
class Ran:
    """A sweep that has run to its store.

    Attributes:
        sweep: The sweep; it has one experiment.
        store: Its store.
        held_out: Its test trajectories.
        said: What the run said.
    """

    sweep: Sweep
    store: xarray.DataTree
    held_out: Trajectories
    said: str

    def cells(self, model: str) -> xarray.Dataset:
        return self.store["cells"].to_dataset().squeeze().sel(model=model)

    def file(self, model: str, name: str) -> Path:
        (experiment,) = self.sweep.experiments
        return experiment.folder(self.sweep.results) / f"{model}-s0" / name


@pytest.fixture(scope="module")
def bungee(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("bungee")
    said = snakemake(folder, write_config(folder, BUNGEE), STORE).stdout
    sweep = sweep_from({**BUNGEE, "results": str(folder / "results")}, "given")
    return Ran(sweep, store_of(folder), read_trajectories(sweep, sweep.experiments[0], "test"), said)


@pytest.mark.slow
def test_a_system_of_ones_own_moves_as_its_formulas_say(bungee: Ran) -> None:
    """Cases, what acts on bodies alone, damping, and all of it along the chain only."""
    position, velocity, mass = bungee.held_out.position, bungee.held_out.velocity, bungee.held_out.mass
    along = np.diff(position.astype(float), axis=2)
    distance = np.linalg.norm(along, axis=-1, keepdims=True)
    stretched = np.maximum(distance + 0.01 - 1.5, 0)
    pull = 6 * stretched * along / distance
    force = -0.2 * 2 / 3 * velocity.astype(float)
    force[:, :, :-1] += pull
    force[:, :, 1:] -= pull
    assert 0.1 < (stretched > 0).mean() < 0.9
    expected = force / mass[:, None, :, None] + [0, -1]
    np.testing.assert_allclose(bungee.held_out.acceleration, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_every_kind_of_model_goes_through_every_stage_of_it(bungee: Ran) -> None:
    sweep = bungee.sweep
    ends = {
        (cell.model, stage): read_outcome(cell.outcome(sweep.results, stage), key=sweep.key(stage, cell))
        for cell in sweep.cells
        for stage in STAGES
    }
    assert {place: end.reason for place, end in ends.items() if end.status != "ok"} == {}
    for model in BUNGEE["models"]:
        cell = bungee.cells(model)
        assert re.search(rf"bungee-2d-3b-s0 +{model} ", bungee.said), bungee.said
        assert cell["status"] == "ok"
        assert cell["equation"].values[0]
        assert np.isfinite(cell["complexity"].values[0])
        assert cell["composed_mae"] > 0
        assert cell["recovered"].item() in {0, 1}
    falling = np.abs(bungee.held_out.acceleration - [0, -1]).sum(-1).mean()
    for model in NETWORKS:
        cell = bungee.cells(model)
        # Better than to know gravity alone.
        assert 0 < cell["test_mae"] < 0.9 * falling, model
        assert cell["test_medae"] < cell["test_mae"]
        assert np.isfinite(cell["force_r2"].values).all()
        assert cell["parameters"] > 100
        assert cell["node_equation"].values[0]
        assert np.isfinite(cell["message_std"].values).sum() == (100 if model in {"kl", "pruning"} else 2)
    # What is pruned is as silent as a message can be.
    assert (bungee.cells("pruning")["message_std"].values > 0).sum() == 2
    elsewhere = bungee.store["conditions"].to_dataset().sel(condition="5 bodies")["mae"]
    for predictor in ("network", "clean"):
        filled = elsewhere.sel(predictor=predictor).dropna("cell")["cell"].values.tolist()
        assert sorted(filled) == sorted(f"bungee-2d-3b-s0/{model}-s0" for model in NETWORKS), predictor


@pytest.mark.slow
def test_the_control_of_it_has_expressions_and_neither_messages_nor_network_nor_law(bungee: Ran) -> None:
    cell = bungee.cells("control")
    assert all(cell["equation"].values)
    assert not np.isfinite(cell["message_std"].values).any()
    assert cell["parameters"] == 0
    for empty in ("test_mae", "final_loss", "error_network_mae", "error_clean_mae"):
        assert np.isnan(cell[empty].item())
    assert (cell["law"].item(), cell["replacement"].item()) == ("", "none")
    assert not any(cell["node_equation"].values)
    assert not bungee.file("control", "law.json").exists()
    assert not bungee.file("control", "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("model", NETWORKS)
def test_its_laws_are_modules_that_move_bodies_as_the_store_says(bungee: Ran, model: str) -> None:
    cell, path = bungee.cells(model), bungee.file(model, "law.json")
    assert cell["replacement"] == "whole", cell["replacement_reason"].item()
    true = graphs_of(bungee.held_out)
    found = load_module(path)(torch.from_numpy(true.nodes)).detach().numpy()
    assert found.shape == true.acceleration.shape
    assert np.isfinite(found).all()
    errors = np.abs(found - true.acceleration).sum(-1)
    assert errors.mean() == pytest.approx(cell[f"error_{cell['law_form'].item()}_mae"].item(), rel=1e-3)
    law = read_law(path)
    assert read_graph(path) == "chain"
    # One of a pair and one of a body, and how fast a body moves by them.
    assert (len(law.energies), len(law.velocities)) == ((2, 2) if model == "flathgn" else (0, 0))
    assert cell["law"].item().startswith("H = ") == (model == "flathgn")


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
