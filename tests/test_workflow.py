"""The workflow itself: plans, refusals, a whole small sweep, interruption and resumption, targeted reruns."""

from __future__ import annotations

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import xarray
import yaml

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
SMOKE = yaml.safe_load((ROOT / "workflow/presets/smoke.yaml").read_text())
# Small enough to be run several times, large enough to be caught in the middle of every stage.
TINY = {
    "experiments": [{"system": "spring", "simulations": 2048, "test_simulations": 64, "snapshots": 20}],
    "models": ["bottleneck", "l1"],
    "training": {"hidden": 16, "batch": 16, "steps": 1200},
    "interpretation": {"samples": 1000},
    "distillation": {
        "samples": 300,
        "held_out": 300,
        "operon": {"population": 100, "generations": 30},
    },
    "execution": {"checkpoint_every": 100, "cells_per_job": 1},
}

pytestmark = pytest.mark.workflow


def write_config(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "given.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def command(directory: Path, config: Path, *more: str) -> list[str]:
    return [
        str(BIN / "snakemake"),
        "--profile",
        "profiles/local",
        "--directory",
        str(directory),
        "--configfile",
        str(config),
        *more,
    ]


def environment() -> dict[str, str]:
    """Without the virtual environment on the path: the workflow finds its own commands."""
    kept = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != BIN]
    return {**os.environ, "PATH": os.pathsep.join(kept)}


def snakemake(directory: Path, config: Path, *more: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(directory, config, *more),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return done


def planned_jobs(output: str) -> dict[str, int]:
    """Read the job counts that a dry run prints."""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE)}


def dry_run(directory: Path, config: Path) -> dict[str, int]:
    done = snakemake(directory, config, "--dry-run")
    return planned_jobs(done.stdout + done.stderr)


def store_of(directory: Path, results: str = "results") -> xarray.DataTree:
    return xarray.open_datatree(directory / results / "sweep.zarr", engine="zarr").load()


def assert_equal_but_for_timings(one: xarray.DataTree, other: xarray.DataTree) -> None:
    assert set(one.groups) == set(other.groups)
    for group in one.groups:
        a, b = one[group].to_dataset(), other[group].to_dataset()
        timed = [name for name in a.variables if "seconds" in str(name) or name == "commit"]
        xarray.testing.assert_equal(a.drop_vars(timed), b.drop_vars(timed))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An unbroken run of the tiny sweep, in a folder with a space in its name."""
    directory = tmp_path_factory.mktemp("a sweep")
    config = write_config(directory, TINY)
    done = snakemake(directory, config)
    assert "bottleneck" in done.stdout, done.stdout
    return directory, config


@pytest.mark.parametrize("preset", ["config.yaml", "workflow/presets/smoke.yaml", "workflow/presets/paper.yaml"])
def test_shipped_configurations_plan(tmp_path: Path, preset: str) -> None:
    content = yaml.safe_load((ROOT / preset).read_text())
    jobs = dry_run(tmp_path, ROOT / preset)
    cells = len(content["experiments"]) * len(content["models"]) * len(content["seeds"])
    assert jobs["train"] == jobs["interpret"] == jobs["verify"] == jobs["picture_cell"] == cells
    assert jobs["simulate"] == 2 * len(content["experiments"])
    assert [entry.name for entry in tmp_path.iterdir()] == [".snakemake"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"models": ["l3"]}, "given.yaml: models: unknown model 'l3'"),
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
        ("execution", "device", "cpu", {"simulate", "train", "interpret", "distill", "verify"}),
    ],
)
def test_a_changed_setting_reruns_only_what_depends_on_it(
    tiny: tuple[Path, Path], tmp_path: Path, section: str, key: str, value: Any, spared: set[str]
) -> None:
    content = copy.deepcopy(TINY)
    content.setdefault(section, {})[key] = value  # type: ignore[attr-defined]
    jobs = dry_run(tiny[0], write_config(tmp_path, content))
    stages = {"simulate", "train", "interpret", "distill", "verify"}
    assert stages & set(jobs) == stages - spared


def test_store_holds_every_cell(tiny: tuple[Path, Path]) -> None:
    cells = store_of(tiny[0])["cells"].to_dataset()
    assert set(cells["status"].values.ravel().tolist()) == {"ok"}
    assert set(cells["model"].values.tolist()) == {"bottleneck", "l1"}


@pytest.mark.slow
def test_one_bad_cell_costs_one_cell(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(tiny[0], tmp_path / "copy", symlinks=True)
    directory, results = tmp_path / "copy", tmp_path / "copy" / "results"
    bad = results / "spring-2d-4b-s0" / "l1-s0"
    for pattern in ("*/*/interpret.json", "*/*/distill.json", "*/*/verify.json", "*/distill-*.json", "sweep.json"):
        remove(results, pattern)
    weights = bad / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    broken = snakemake(directory, tiny[1], check=False)
    assert broken.returncode != 0
    assert "model.safetensors: missing or damaged" in broken.stderr + broken.stdout
    cells = store_of(directory)["cells"].to_dataset()["status"]
    assert cells.sel(model="bottleneck").item() == "ok"
    assert cells.sel(model="l1").item() == "failed"
    assert "model.safetensors: missing or damaged" in broken.stdout, "the table gives the reason"
    weights.write_bytes(whole)
    snakemake(directory, tiny[1])
    assert_equal_but_for_timings(store_of(tiny[0]), store_of(directory))


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill a process and all its descendants at once, as a power failure would."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.suspend()
    for member in family:
        member.kill()
    psutil.wait_procs(family[:-1], timeout=30)


def kill_alone(process: subprocess.Popen[str]) -> None:
    """Kill Snakemake and leave its jobs running, as an out-of-memory killer would."""
    process.kill()


def interrupt(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C: the terminal signals the whole foreground process group."""
    os.killpg(process.pid, signal.SIGINT)


def in_simulation(results: Path) -> bool:
    return any(results.glob("*/train.zarr/zarr.json")) and not any(results.glob("*/train.json"))


def in_training(results: Path) -> bool:
    return any(results.glob("*/*/checkpoint/*.json"))


def in_distillation(results: Path) -> bool:
    return any(results.glob("fits/*.json")) and not any(results.glob("*/distill-*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", [in_simulation, in_training, in_distillation], ids=lambda f: f.__name__)
@pytest.mark.parametrize("blow", [kill_tree, kill_alone, interrupt], ids=lambda f: f.__name__)
def test_an_interrupted_sweep_resumes_to_the_same_store(
    tiny: tuple[Path, Path],
    tmp_path: Path,
    stage: Callable[[Path], bool],
    blow: Callable[[subprocess.Popen[str]], None],
) -> None:
    done_before = {"in_simulation": None, "in_training": "train.json", "in_distillation": "*/interpret.json"}
    if stage is not in_simulation:  # start from the simulations of the unbroken run, or from all before distilling
        shutil.copytree(tiny[0] / "results", tmp_path / "results", symlinks=True)
        shutil.copytree(tiny[0] / ".snakemake", tmp_path / ".snakemake", symlinks=True)
        for pattern in ("fits", "sweep.json", "*/distill-*.json", "*/*/distill.json", "*/*/verify.json", "*/*/*.svg"):
            remove(tmp_path / "results", pattern)
    if stage is in_training:
        for pattern in ("*/*/train.json", "*/*/interpret.json", "*/*/checkpoint", "*/*/model.safetensors"):
            remove(tmp_path / "results", pattern)
    process = subprocess.Popen(
        # A shell that runs the tests in the background makes them ignore Ctrl-C; this run must not inherit that.
        ["env", "--default-signal=INT", *command(tmp_path, tiny[1])],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: stage(tmp_path / "results"), process)
    before = modified(tmp_path / "results", done_before[stage.__name__])
    blow(process)
    process.communicate(timeout=120)
    assert process.returncode != 0, "the sweep ended before it could be interrupted"

    subprocess.run([BIN / "distillery", "resume", "--config", tiny[1]], cwd=tmp_path, check=True, timeout=120)
    snakemake(tmp_path, tiny[1])
    assert_equal_but_for_timings(store_of(tiny[0]), store_of(tmp_path))
    assert modified(tmp_path / "results", done_before[stage.__name__]) == before
    assert not ours(tmp_path), "processes of the sweep were left behind"


def remove(results: Path, pattern: str) -> None:
    for path in results.glob(pattern):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def modified(results: Path, pattern: str | None) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in results.glob(f"*/{pattern}")} if pattern else {}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline, "the stage did not begin"
        time.sleep(0.02)


def ours(directory: Path) -> list[str]:
    """Return the command lines of processes that work in ``directory``."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == directory.resolve():
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_smoke_preset_runs_to_its_table(tmp_path: Path) -> None:
    done = snakemake(tmp_path, ROOT / "workflow/presets/smoke.yaml")
    for model in SMOKE["models"]:
        assert re.search(rf"spring-2d-4b-s0.*{model}", done.stdout), done.stdout
    cells = store_of(tmp_path, SMOKE["results"])["cells"].to_dataset()
    assert set(cells["status"].values.ravel().tolist()) == {"ok"}
    assert float(cells["force_r2_robust"].sel(model="bottleneck").min()) > 0.5


@pytest.mark.slow
def test_the_spring_law_of_the_default_sweep_is_recovered_on_three_seeds(tmp_path: Path) -> None:
    default = yaml.safe_load((ROOT / "config.yaml").read_text())
    spring = [experiment for experiment in default["experiments"] if experiment["system"] == "spring"]
    config = write_config(tmp_path, {**default, "experiments": spring, "models": ["bottleneck"], "seeds": [0, 1, 2]})
    done = snakemake(tmp_path, config)
    cells = store_of(tmp_path)["cells"].to_dataset()
    assert cells["recovered"].values.ravel().tolist() == [1.0, 1.0, 1.0], done.stdout
