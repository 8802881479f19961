"""Stages of halos refuse missing, damaged and outdated inputs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from torch import Tensor

from distillery.errors import DistilleryError
from distillery.halos.catalogue import Catalogue, path_of, write_catalogue
from distillery.halos.layout import catalogue_paths
from distillery.halos.settings import Universe
from distillery.simulate.ranks import Ranks
from distillery.workflow.cell import STAGES, Cell, Job, Stage
from distillery.workflow.stages import table as stages
from distillery.workflow.stages.halos.inputs import regions_of
from distillery.workflow.sweep import Sweep
from support.halo_stages import (
    CONSTANT,
    FORMULA,
    NETWORK,
    carry_out,
    cell_of,
    halos_of,
    made,
    ruled,
    sweep_in,
    with_weights,
)


def _missing(path: Path) -> None:
    path.unlink()


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _of_other_settings(path: Path) -> None:
    path.write_text(path.read_text().replace('"key": "', '"key": "0'))


@pytest.mark.parametrize("damage", [_missing, _cut_short, _of_other_settings])
@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_refuses_a_damaged_outcome_before_it(
    replaced: Sweep, stage: Stage, damage: Callable[[Path], None]
) -> None:
    sweep = replaced
    cell = cell_of(sweep, FORMULA)
    path = cell.outcome(sweep.results, STAGES[STAGES.index(stage) - 1])
    cell.outcome(sweep.results, stage).unlink(missing_ok=True)
    damage(path)
    refused(sweep, cell, stage, path)


def refused(sweep: Sweep, cell: Cell, stage: Stage, path: Path) -> None:
    """Hold a stage to an error of one line that names a file, and to nothing written."""
    with pytest.raises(DistilleryError) as raised:
        carry_out(sweep, cell, stage)
    assert str(raised.value).startswith(f"{path}: "), raised.value
    assert "\n" not in str(raised.value)
    assert not cell.outcome(sweep.results, stage).exists()


@pytest.mark.parametrize("damage", [_missing, _cut_short])
def test_damaged_weights_are_refused(sweep: Sweep, damage: Callable[[Path], None]) -> None:
    cell = cell_of(sweep, NETWORK)
    damage(cell.weights(sweep.results))
    refused(sweep, cell, "interpret", cell.weights(sweep.results))


@pytest.mark.parametrize("change", [lambda tensors: tensors.clear(), lambda tensors: tensors.popitem()])
def test_weights_of_another_network_are_refused(sweep: Sweep, change: Callable[[dict[str, Tensor]], None]) -> None:
    cell = cell_of(sweep, NETWORK)
    with_weights(sweep, cell, change)
    refused(sweep, cell, "interpret", cell.weights(sweep.results))


@pytest.mark.parametrize("damage", [_missing, _cut_short])
def test_damaged_samples_and_laws_are_refused(replaced: Sweep, damage: Callable[[Path], None]) -> None:
    sweep = replaced
    cell = cell_of(sweep, FORMULA)
    damage(cell.law(sweep.results, "json"))
    refused(sweep, cell, "generalise", cell.law(sweep.results, "json"))
    cell.outcome(sweep.results, "distill").unlink()
    damage(cell.messages(sweep.results))
    refused(sweep, cell, "distill", cell.messages(sweep.results))


def test_halos_that_are_missing_or_damaged_are_refused(sweep: Sweep) -> None:
    network, formula = cell_of(sweep, NETWORK), cell_of(sweep, FORMULA)
    (catalogue,) = catalogue_paths(
        sweep.halos[formula.experiment], formula.experiment.store(sweep.results, "train"), "train"
    )[""]
    formula.outcome(sweep.results, "train").unlink()
    chunk = catalogue / "mass" / "c.0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-1])
    refused(sweep, formula, "train", chunk)
    refused(sweep, network, "interpret", chunk)
    shutil.rmtree(catalogue)
    with pytest.raises(DistilleryError, match=rf"^{catalogue}/\S+: missing or damaged; delete \S+train\.json"):
        carry_out(sweep, formula, "train")
    marker = formula.experiment.marker(sweep.results, "train")
    marker.unlink()
    refused(sweep, formula, "train", marker)


def test_halos_that_are_too_few_are_named_with_their_file_or_data_set(tmp_path: Path) -> None:
    def few(count: int) -> Sweep:
        def grow(universe: Universe, seeds: Sequence[int], folder: Path, crew: Ranks) -> None:
            own = ruled(0)
            kept = {name: getattr(own, name)[:count] for name in ("position", "velocity", "mass", "particles")}
            halos = Catalogue(**{**vars(own), **kept, "overdensity": own.overdensity[:, :count]})
            crew.first(lambda: [write_catalogue(path_of(folder, seed), halos) for seed in seeds])

        return made(tmp_path / str(count), grow)

    with pytest.raises(DistilleryError, match=r"halos-s\d+\.zarr: has 1 halos, too few for a graph"):
        halos_of(few(1))
    sweep = few(2)
    with pytest.raises(DistilleryError, match=r"halos-3d-s0/\S+: \w+: no halo in its slab"):
        regions_of(sweep, sweep.cells[0], halos_of(sweep))


def test_halos_of_other_settings_are_refused(sweep: Sweep) -> None:
    other = sweep_in(sweep.results, realisations=2)
    cell = cell_of(other, CONSTANT)
    with pytest.raises(DistilleryError, match=r"train\.zarr: made with other settings"):
        stages.carry_out(other, "train", Job((cell,)))
