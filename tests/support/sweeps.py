"""Sweeps for tests: run Snakemake, interrupt it, read its results."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import xarray
import yaml

from distillery.workflow.cell import STAGES

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SMOKE = yaml.safe_load((ROOT / "workflow/presets/smoke.yaml").read_text())
# Small enough to run several times, large enough to be interrupted in every stage.
TINY = {
    "experiments": [{"system": "spring", "simulations": 2048, "test_simulations": 64, "snapshots": 20}],
    "models": ["bottleneck", "l1"],
    "training": {"hidden": 16, "batch": 16, "steps": 1200},
    "interpretation": {"samples": 1000},
    "distillation": {
        "samples": 300,
        "held_out": 300,
        "operon": {"population": 50, "generations": 10, "max_length": 10},
    },
    "replacement": {"samples": 200, "starts": 1},
    "generalisation": {"conditions": {"as trained": {}}, "simulations": 4, "snapshots": 3, "rollouts": 0},
    "execution": {"checkpoint_every": 100},
}

# Target of the tiny sweep without figures and pages.
STORE = "results/sweep.json"


def write_config(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "given.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


LOG = "snakemake.txt"
LOCAL = ("--profile", "profiles/local")


def command(directory: Path, config: Path, *more: str, profile: Sequence[str] = LOCAL) -> list[str]:
    return [
        str(BIN / "snakemake"),
        *profile,
        *more,
        "--directory",
        str(directory),
        "--configfile",
        str(config),
    ]


def environment() -> dict[str, str]:
    """Return the environment without the virtual environment on the path."""
    kept = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != BIN]
    return {**os.environ, "PATH": os.pathsep.join(kept)}


def snakemake(
    directory: Path, config: Path, *more: str, check: bool = True, profile: Sequence[str] = LOCAL
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(directory, config, *more, profile=profile),
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
    """Return the job counts that a dry run prints."""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE)}


def dry_run(directory: Path, config: Path, *more: str, profile: Sequence[str] = LOCAL) -> dict[str, int]:
    done = snakemake(directory, config, "--dry-run", *more, profile=profile)
    return planned_jobs(done.stdout + done.stderr)


def store_of(directory: Path, results: str = "results") -> xarray.DataTree:
    return xarray.open_datatree(directory / results / "sweep.zarr", engine="zarr").load()


def assert_equal_but_for_timings(one: xarray.DataTree, other: xarray.DataTree) -> None:
    assert set(one.groups) == set(other.groups)
    for group in one.groups:
        a, b = one[group].to_dataset(), other[group].to_dataset()
        timed = [name for name in a.variables if "seconds" in str(name) or name == "commit"]
        xarray.testing.assert_equal(a.drop_vars(timed), b.drop_vars(timed))


CELLS = ("bottleneck-s0", "l1-s0")


def goals(stage: str, cells: Sequence[str] = CELLS) -> list[str]:
    """Return the outputs of a stage of the tiny sweep."""
    experiment = "results/spring-2d-4b-s0"
    if stage == "simulate":
        return [f"{experiment}/train.json"]
    return [f"{experiment}/{cell}/{stage}.json" for cell in cells]


def outcomes(directory: Path, last: str = "verify", cells: Sequence[str] = CELLS) -> dict[str, Any]:
    """Return the results of the stages of the tiny sweep without dates and times.

    Args:
        directory: Where it was run.
        last: The last of the stages.
        cells: The cells.
    """
    paths = [path for stage in STAGES[: STAGES.index(last) + 1] for path in goals(stage, cells)]
    return {path: _timeless(json.loads((directory / path).read_text())) for path in paths}


def _timeless(content: Any) -> Any:
    if isinstance(content, list):
        return [_timeless(part) for part in content]
    if not isinstance(content, dict):
        return content
    timed = {name for name in content if "second" in name or name == "provenance"}
    return {name: _timeless(part) for name, part in content.items() if name not in timed}


def started(directory: Path, config: Path, *more: str, profile: Sequence[str] = LOCAL) -> subprocess.Popen[str]:
    """Start Snakemake in a session of its own, as a terminal would; it writes to ``LOG`` in the directory."""
    with (directory / LOG).open("w") as output:
        return subprocess.Popen(
            # Tests in the background of a shell ignore Ctrl-C; this run must not inherit that.
            ["env", "--default-signal=INT", *command(directory, config, *more, profile=profile)],
            cwd=ROOT,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def resume(directory: Path, config: Path) -> str:
    """Clean up after a killed run; return the output."""
    done = subprocess.run(
        [BIN / "distillery", "resume", "--config", config],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def copy(unbroken: Path, directory: Path) -> None:
    """Copy the files of a run, while other tests may read it and create temporary files."""
    passing = shutil.ignore_patterns(".claim*", "tmp*", "log", "locks", "incomplete")
    for part in ("results", ".snakemake"):
        shutil.copytree(unbroken / part, directory / part, symlinks=True, ignore=passing)


def before(stage: str, unbroken: Path, directory: Path) -> None:
    """Make ``directory`` look like an unbroken run that was stopped before a stage."""
    if stage == "simulate":
        return
    copy(unbroken, directory)
    # Snakemake does not repeat an outcome whose successors exist.
    after = STAGES[STAGES.index(stage) :]
    missing = ["fits", "sweep.json", "report.*", "*/*/*.svg", *(f"*/*/{each}.json" for each in after)]
    if stage == "train":
        missing += ["*/*/checkpoint", "*/*/model.safetensors"]
    for pattern in missing:
        remove(directory / "results", pattern)


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
    return any(results.glob("fits/*.json")) and not any(results.glob("*/*/distill.json"))


# For every stage: a sign that it runs, and the stage finished before it.
MOMENTS: dict[str, tuple[Callable[[Path], bool], tuple[str, ...]]] = {
    "simulate": (in_simulation, ()),
    "train": (in_training, ("*/train.json", "*/test.json")),
    "distill": (in_distillation, ("*/train.json", "*/*/train.json", "*/*/interpret.json")),
}


def remove(results: Path, pattern: str) -> None:
    for path in results.glob(pattern):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def modified(results: Path, patterns: Sequence[str]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for pattern in patterns for path in results.glob(pattern)}


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], log: Path, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, log.read_text()[-8000:]
        assert time.monotonic() < deadline, f"{condition.__name__} did not come true:\n{log.read_text()[-8000:]}"
        time.sleep(0.02)


def ours(directory: Path) -> list[str]:
    """Return the command lines of processes in ``directory`` or for it."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if Path(process.cwd()) == directory.resolve() or str(directory) in words:
                found.append(words)
        except psutil.Error:
            continue
    return found
