"""A catalogue of Quijote in a sweep: its key follows its files, and outlives them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from distillery.errors import DistilleryError
from distillery.halos.catalogue import read_catalogue
from distillery.halos.layout import catalogue_paths
from distillery.workflow.config import parse_config
from distillery.workflow.plan import plan_text
from distillery.workflow.stages import table as stages
from distillery.workflow.sweep import Sweep
from support.quijote import BOX, Files


def sweep_of(files: Files) -> Sweep:
    catalogue = {"groups": str(files.groups), "matter": str(files.cube), "box": BOX, "filters": [12.5]}
    own = {"catalogue": catalogue, "test_realisations": 0, "other_cosmology": None, "radius": 40.0, "smoothing": 12.5}
    return Sweep(
        parse_config({"halos": [{**own, "validation": 0.0, "models": ["constant"]}]}), files.folder / "results"
    )


def key_of(files: Files) -> str:
    sweep = sweep_of(files)
    return sweep.data_key(sweep.experiments[0], "train")


def touched(file: Path) -> None:
    """Give a file a time of modification that it did not have, a nanosecond later."""
    before = file.stat().st_mtime_ns
    os.utime(file, ns=(before, before + 1))


def test_a_file_that_was_replaced_makes_the_catalogue_anew(files: Files) -> None:
    sweep, keys = sweep_of(files), [key_of(files)]
    (cell,) = sweep.cells
    trained = sweep.key("train", cell)
    assert key_of(files) == keys[0]
    for file in (files.cube, files.file(2)):
        touched(file)
        keys.append(key_of(files))
    (files.groups / "group_tab_003.0").touch()
    assert key_of(files) == keys[2]
    assert len(set(keys)) == 3
    after = sweep_of(files)
    assert after.key("train", cell) != trained
    assert after.data_key(cell.experiment, "test") == sweep.data_key(cell.experiment, "test")


def test_a_finished_catalogue_is_made_again_when_its_file_was_replaced(files: Files) -> None:
    def made() -> np.ndarray:
        sweep = sweep_of(files)
        stages.simulate(sweep, sweep.experiments[0], "train", 1)
        (path,) = catalogue_paths(
            sweep.halos[sweep.experiments[0]], sweep.experiments[0].store(sweep.results, "train"), "train"
        )[""]
        return read_catalogue(path).overdensity

    first = made()
    np.save(files.cube, 1 + 0.5 * files.contrast)
    touched(files.cube)
    np.testing.assert_allclose(made(), 0.5 * first, atol=1e-6)


def test_a_finished_catalogue_outlives_its_files(files: Files) -> None:
    sweep = sweep_of(files)
    stages.simulate(sweep, sweep.experiments[0], "train", 1)
    before = key_of(files)
    files.cube.rename(files.folder / "put away")
    assert key_of(files) == before
    (files.folder / "put away").rename(files.cube)
    assert key_of(files) == before
    touched(files.cube)
    assert key_of(files) != before


def test_files_that_are_not_there_are_planned_and_then_asked_for(files: Files) -> None:
    files.cube.unlink()
    sweep = sweep_of(files)
    assert "halos" in plan_text(sweep)
    with pytest.raises(DistilleryError, match=r"df_m_CIC_z=0\.npy: no such file or folder; fetch Quijote's"):
        stages.simulate(sweep, sweep.experiments[0], "train", 1)
