"""A disk that is full: nothing is half-written, what was there stays, and one line says so."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sweeps import BIN, assert_equal_but_for_timings, copy, remove, snakemake, store_of, write_config

ROOM = 120_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, of ``ROOM`` bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, timeout=30, check=False).returncode != 0:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], timeout=30, check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_while_a_network_trains_is_one_line(small_disk: Path) -> None:
    content = {
        "results": "results",
        "experiments": [{"system": "spring", "simulations": 64, "test_simulations": 16, "snapshots": 10}],
        "models": ["l1"],
        "training": {"steps": 200, "hidden": 64},
        "execution": {"checkpoint_every": 50},
    }
    config = write_config(small_disk, content)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [BIN / "distillery", *words, "--config", config]
        return subprocess.run(command, cwd=small_disk, capture_output=True, text=True, timeout=300, check=False)

    assert run("simulate", "spring-2d-4b-s0", "--split", "train").returncode == 0
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        file.write(b"\0" * (shutil.disk_usage(small_disk).free - 100_000))
    broken = run("train", "spring-2d-4b-s0/l1-s0")
    assert broken.returncode == 1
    assert broken.stderr.splitlines()[-1].startswith("distillery: results/spring-2d-4b-s0/l1-s0/checkpoint/step-")
    assert broken.stderr.splitlines()[-1].endswith(
        "cannot be written (no space left on device); what was there is untouched; make room, run again"
    )
    assert "Traceback" not in broken.stderr
    filler.unlink()
    again = run("train", "spring-2d-4b-s0/l1-s0")
    assert again.returncode == 0, again.stderr
    assert not list(small_disk.glob("results/*/*/.*.part"))


@pytest.mark.workflow
@pytest.mark.slow
def test_a_disk_that_is_full_costs_nothing_but_time(tiny: tuple[Path, Path], small_disk: Path) -> None:
    copy(tiny[0], small_disk)
    remove(small_disk / "results", "sweep.json")
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        file.write(b"\0" * (shutil.disk_usage(small_disk).free - 100_000))
    broken = snakemake(small_disk, tiny[1], check=False)
    assert broken.returncode != 0
    assert "no space left on device" in (broken.stdout + broken.stderr).lower()
    assert not (small_disk / "results/sweep.json").exists()
    assert_equal_but_for_timings(store_of(tiny[0]), store_of(small_disk))
    filler.unlink()

    again = snakemake(small_disk, tiny[1])
    assert "Traceback" not in broken.stderr + again.stderr
    assert (small_disk / "results/sweep.json").exists()
    assert_equal_but_for_timings(store_of(tiny[0]), store_of(small_disk))
    assert not list(small_disk.glob("results/.*.part"))
