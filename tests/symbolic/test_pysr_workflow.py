"""A sweep with PySR through Snakemake, with replacements for PySR and Julia."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from support.fakepysr import FakePysr, prepared
from support.sweeps import STORE, copy, snakemake, write_config

pytestmark = pytest.mark.workflow


def test_a_sweep_in_which_every_fit_fails_ends_with_the_reason_and_a_failure(
    tiny: tuple[Path, Path], tmp_path: Path, fake: FakePysr, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sweep"
    copy(tiny[0], folder)
    prepared(tmp_path / "depot")
    content = yaml.safe_load(tiny[1].read_text())
    content["distillation"] |= {"engine": "pysr", "functions": ["message"]}
    content["execution"] |= {"julia_depot": str(tmp_path / "depot")}
    config = write_config(folder, content)
    monkeypatch.setenv("FAKE_ERROR", "DomainError with -1.0")
    done = snakemake(folder, config, STORE, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("every cell failed (component 0: JuliaError: DomainError with -1.0;")
    assert "distillery resume" in last
    monkeypatch.delenv("FAKE_ERROR")
    again = snakemake(folder, config, STORE, "--forcerun", "distill", check=False)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "every cell failed" not in again.stderr
