"""A killed Snakemake's lock is removed; a living one's is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distillery import files
from distillery.errors import DistilleryError
from distillery.lock import note_holder, unlock


def lock(directory: Path) -> Path:
    held = directory / ".snakemake" / "locks" / "0.input.lock"
    held.parent.mkdir(parents=True)
    held.write_text("a file")
    return held


def test_nothing_to_unlock(tmp_path: Path) -> None:
    assert unlock(tmp_path) is False


def test_lock_of_a_killed_run_is_removed(tmp_path: Path) -> None:
    held = lock(tmp_path)
    note_holder(tmp_path)
    assert unlock(tmp_path) is True
    assert not held.exists()


def test_lock_of_a_living_run_is_kept(tmp_path: Path) -> None:
    held = lock(tmp_path)
    stand_in = tmp_path / "snakemake"
    stand_in.write_text("print('up', flush=True); input()")
    process = subprocess.Popen(
        [sys.executable, str(stand_in)], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(DistilleryError, match=f"runs there already .process {process.pid}"):
        unlock(tmp_path)
    process.communicate("\n", timeout=10)
    assert held.exists()


def test_lock_of_another_host_is_kept(tmp_path: Path) -> None:
    held = lock(tmp_path)
    files.write_json(tmp_path / ".snakemake" / "distillery-run.json", {"host": "elsewhere"})
    with pytest.raises(DistilleryError, match="by a Snakemake on elsewhere; make sure that it is gone"):
        unlock(tmp_path)
    assert held.exists()
