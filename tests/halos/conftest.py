"""Fixtures of halos: trained sweeps, and files of Quijote."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from distillery.workflow.cell import STAGES
from distillery.workflow.sweep import Sweep
from support.halo_stages import FORMULA, carry_out, cell_of, made, sweep_in
from support.quijote import Files


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sweep = made(tmp_path_factory.mktemp("halos") / "results")
    for cell in sweep.cells:
        carry_out(sweep, cell, "train")
    return sweep.results


@pytest.fixture
def sweep(_trained: Path, tmp_path: Path) -> Sweep:
    """A sweep of a constant, a formula and a network, all trained, in a folder of its own."""
    shutil.copytree(_trained, tmp_path / "results")
    return sweep_in(tmp_path / "results")


@pytest.fixture(scope="module")
def _replaced(_trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("replaced") / "results"
    shutil.copytree(_trained, results)
    sweep = sweep_in(results)
    carry_out(sweep, cell_of(sweep, FORMULA), *STAGES[1:5])
    return results


@pytest.fixture
def replaced(_replaced: Path, tmp_path: Path) -> Sweep:
    """The same whose formula has gone through all stages but the last."""
    shutil.copytree(_replaced, tmp_path / "replaced")
    return sweep_in(tmp_path / "replaced")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.write_groups()
    np.save(made.cube, made.contrast + 1)
    return made
