"""The trajectory store: content, detection of damage, resumption of an interrupted simulation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from distillery.data import store
from distillery.errors import DistilleryError
from distillery.physics import formula
from distillery.simulate.initial import Bodies, draw
from distillery.simulate.integrator import Integrator, Motion
from distillery.workflow.cell import SPLITS, Split
from distillery.workflow.stages import simulate as run
from distillery.workflow.stages.simulate import simulate
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import estimate_bytes, read_trajectories

# Two complete blocks and a part of a third.
SPRING = {"system": "spring", "simulations": 20, "test_simulations": 5, "snapshots": 10, "steps": 100}
BLOCK = {"simulation": {"block": 8}}
DAMAGED = ("", "[]", "{}", '{"format": 0}', '"text"')


@pytest.fixture
def sweep(make_sweep: Callable[..., Sweep]) -> Sweep:
    return make_sweep(experiments=[SPRING], **BLOCK)


@pytest.fixture
def complete(sweep: Sweep) -> Sweep:
    simulate(sweep, sweep.experiments[0], "train", 1)
    return sweep


def paths(sweep: Sweep, split: Split = "train") -> tuple[Path, Path]:
    experiment = sweep.experiments[0]
    return experiment.store(sweep.results, split), experiment.marker(sweep.results, split)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refusal(sweep: Sweep) -> str:
    with pytest.raises(DistilleryError) as caught:
        read_trajectories(sweep, sweep.experiments[0], "train")
    line = str(caught.value)
    assert "\n" not in line
    assert "delete" in line
    assert "run again" in line
    return line


def test_stored_trajectories_equal_the_integrated_ones(complete: Sweep) -> None:
    experiment = complete.experiments[0]
    system = complete.system(experiment)
    found = read_trajectories(complete, experiment, "train")
    bodies = draw(system, experiment.dim, experiment.bodies, experiment.seed, "train", range(20), [0] * 20)
    motion = Integrator(system, 2, 4, 1.4e-8).propagate(bodies, found.time)
    np.testing.assert_allclose(found.time, np.arange(10) * 10 * 0.01, rtol=1e-15)
    np.testing.assert_array_equal(found.mass, bodies.mass)
    np.testing.assert_array_equal(found.charge, bodies.charge)
    np.testing.assert_array_equal(found.position, motion.position.astype("f4"))
    np.testing.assert_array_equal(found.velocity, motion.velocity.astype("f4"))
    np.testing.assert_array_equal(found.acceleration, motion.acceleration.astype("f4"))


@pytest.mark.slow
def test_xarray_reads_the_store_without_warnings(complete: Sweep) -> None:
    path, marker = paths(complete)
    data = xr.open_zarr(path, chunks=None)
    assert data.position.dims == ("simulation", "time", "particle", "space")
    assert data.velocity.dims == data.acceleration.dims == data.position.dims
    assert data.mass.dims == data.charge.dims == ("simulation", "particle")
    assert dict(data.sizes) == {"simulation": 20, "time": 10, "particle": 4, "space": 2}
    assert all(variable.attrs["units"] == "dimensionless" for variable in data.variables.values())
    assert all(bool(np.isfinite(variable).all()) for variable in data.variables.values())
    assert data.attrs["formula"] == "(r - rest_length)**2"
    assert json.loads(data.attrs["constants"]) == {"rest_length": 1.0}
    assert data.attrs["softening"] == 0.01
    assert data.attrs["dt"] == 0.01
    assert data.attrs["seed"] == 0
    assert data.attrs["version"]
    assert data.attrs["units"] == "dimensionless"
    assert formula.parse(data.attrs["formula"], ("r", "rest_length"))
    record = json.loads(marker.read_text())
    assert record["key"] == complete.data_key(complete.experiments[0], "train")
    assert record["redraws"] == int(data.redraws.sum()) == 0
    assert set(record["files"]) == set(contents(path))
    assert record["provenance"]["versions"]["heyoka"]


@pytest.mark.slow
def test_splits_have_different_trajectories(sweep: Sweep) -> None:
    for split in SPLITS:
        simulate(sweep, sweep.experiments[0], split, 1)
    train, test = (read_trajectories(sweep, sweep.experiments[0], split) for split in SPLITS)
    assert len(test.mass) == 5
    assert not np.isin(test.mass, train.mass).any()


@pytest.mark.parametrize(
    "experiment",
    [
        {"system": "spring", "simulations": 1, "snapshots": 1, "steps": 1},
        {"system": "spring", "simulations": 9, "snapshots": 1, "steps": 10},
        {"system": "r^-1", "dim": 3, "bodies": 2, "simulations": 8, "snapshots": 2, "steps": 2},
    ],
)
def test_smallest_stores(make_sweep: Callable[..., Sweep], experiment: dict[str, Any]) -> None:
    sweep = make_sweep(experiments=[experiment], **BLOCK)
    simulate(sweep, sweep.experiments[0], "train", 1)
    found = read_trajectories(sweep, sweep.experiments[0], "train")
    assert found.position.shape[:2] == (experiment["simulations"], experiment["snapshots"])
    assert np.isfinite(found.acceleration).all()


def test_the_estimate_bounds_the_size(complete: Sweep) -> None:
    path, _ = paths(complete)
    size = sum(len(content) for name, content in contents(path).items() if not name.endswith("zarr.json"))
    estimate = estimate_bytes(complete, complete.experiments[0], "train")
    assert 0.5 * size < estimate < 2 * size


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove", "lengthen"])
def test_damage_to_any_file_is_found(complete: Sweep, damage: str) -> None:
    path, _ = paths(complete)
    clean = contents(path)
    random = np.random.default_rng(0)
    for name, content in clean.items():
        file = path / name
        match damage:
            case "flip":
                position = int(random.integers(len(content)))
                file.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
            case "truncate":
                file.write_bytes(content[: int(random.integers(1, len(content)))])
            case "empty":
                file.write_bytes(b"")
            case "remove":
                file.unlink()
            case "lengthen":
                file.write_bytes(content + b"\0")
        assert str(path) in refusal(complete)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    read_trajectories(complete, complete.experiments[0], "train")


@pytest.mark.parametrize("offset", [0, 4, 16, 40, 100, -5, -1])
def test_every_byte_of_a_chunk_is_checked(complete: Sweep, offset: int) -> None:
    path, _ = paths(complete)
    file = path / "position" / "c.1.0.0.0"
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)
    assert "position" in refusal(complete)


def test_the_remedy_in_the_error_repairs_a_damaged_store(complete: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    path, marker = paths(complete)
    clean = contents(path)
    (path / "velocity" / "c.1.0.0.0").write_bytes(clean["velocity/c.1.0.0.0"][:-9])
    (path / "mass" / "c.2.0").unlink()
    flipped = bytearray(clean["position/c.0.0.0.0"])
    flipped[50] ^= 4
    (path / "position" / "c.0.0.0.0").write_bytes(flipped)
    assert f"delete {marker}" in refusal(complete)
    marker.unlink()
    simulate(complete, complete.experiments[0], "train", 1)
    assert contents(path) == clean
    read_trajectories(complete, complete.experiments[0], "train")


def test_an_experiment_not_simulated_is_refused(sweep: Sweep) -> None:
    assert "no such file" in refusal(sweep)


@pytest.mark.parametrize("content", ["{", *(pytest.param(other, marks=pytest.mark.slow) for other in DAMAGED)])
def test_a_damaged_marker_is_refused(complete: Sweep, content: str) -> None:
    _, marker = paths(complete)
    marker.write_text(content)
    refusal(complete)
    simulate(complete, complete.experiments[0], "train", 1)
    read_trajectories(complete, complete.experiments[0], "train")


def test_a_store_of_another_version_is_refused(complete: Sweep) -> None:
    _, marker = paths(complete)
    record = json.loads(marker.read_text())
    marker.write_text(json.dumps({**record, "format": record["format"] + 1}))
    assert "another version" in refusal(complete)


def test_a_store_of_other_settings_is_refused_and_replaced(complete: Sweep, make_sweep: Callable[..., Sweep]) -> None:
    other = make_sweep(experiments=[{**SPRING, "snapshots": 20}], **BLOCK)
    assert "other settings" in refusal(other)
    simulate(other, other.experiments[0], "train", 1)
    assert read_trajectories(other, other.experiments[0], "train").time.shape == (20,)
    assert "other settings" in refusal(complete)


class Counted:
    """Count the integrated blocks; interrupt after a given number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> None:
        self.blocks: list[range] = []
        original = run.integrated

        def counted(integrator: Any, experiment: Any, split: Any, simulations: range, *more: Any) -> Any:
            if len(self.blocks) == stop_at:
                raise KeyboardInterrupt
            self.blocks.append(simulations)
            return original(integrator, experiment, split, simulations, *more)

        monkeypatch.setattr(run, "integrated", counted)


def test_a_complete_store_is_not_changed(complete: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    path, marker = paths(complete)
    before = contents(path), marker.read_bytes()
    counted = Counted(monkeypatch)
    simulate(complete, complete.experiments[0], "train", 1)
    assert counted.blocks == []
    assert (contents(path), marker.read_bytes()) == before


@pytest.mark.slow
def test_an_interrupted_simulation_integrates_only_missing_blocks(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, marker = paths(sweep)
    with monkeypatch.context() as patch:
        stopped = Counted(patch, stop_at=2)
        with pytest.raises(KeyboardInterrupt):
            simulate(sweep, sweep.experiments[0], "train", 1)
        assert len(stopped.blocks) == 2
    assert not marker.exists()
    # Files after a kill: a chunk under its temporary name, and a block with missing chunks.
    (path / "position" / "c.2.0.0.0.abc.partial").write_bytes(b"half")
    (path / "velocity" / "c.1.0.0.0").unlink()
    with monkeypatch.context() as patch:
        resumed = Counted(patch)
        simulate(sweep, sweep.experiments[0], "train", 1)
        assert resumed.blocks == [range(8, 16), range(16, 20)]
    unbroken = Sweep(sweep.config, tmp_path / "unbroken")
    simulate(unbroken, unbroken.experiments[0], "train", 1)
    assert contents(path) == contents(paths(unbroken)[0])
    read_trajectories(sweep, sweep.experiments[0], "train")


def test_a_partial_store_of_other_settings_is_not_continued(
    sweep: Sweep, make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Counted(patch, stop_at=2)
        with pytest.raises(KeyboardInterrupt):
            simulate(sweep, sweep.experiments[0], "train", 1)
    other = make_sweep(experiments=[{**SPRING, "seed": 0}], simulation={"block": 8, "tolerance": 1e-9})
    counted = Counted(monkeypatch)
    simulate(other, other.experiments[0], "train", 1)
    assert len(counted.blocks) == 3


def test_a_simulation_that_fails_is_drawn_again_and_counted(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = sweep.experiments[0]
    original = Integrator.propagate
    identity = (experiment.dim, experiment.bodies, experiment.seed)
    unlucky = draw(sweep.system(experiment), *identity, "train", [3, 11], [0, 0]).mass

    def propagate(self: Integrator, bodies: Bodies, times: Any, kind: Any) -> Motion:
        motion = original(self, bodies, times, kind)
        motion.reached[[any((mass == bad).all() for bad in unlucky) for mass in bodies.mass]] = False
        return motion

    monkeypatch.setattr(Integrator, "propagate", propagate)
    simulate(sweep, experiment, "train", 1)
    path, marker = paths(sweep)
    assert json.loads(marker.read_text())["redraws"] == 2
    redraws = xr.open_zarr(path, chunks=None).redraws.values
    assert list(np.flatnonzero(redraws)) == [3, 11]
    again = draw(sweep.system(experiment), *identity, "train", [3, 11], [1, 1])
    found = read_trajectories(sweep, experiment, "train")
    np.testing.assert_array_equal(found.mass[[3, 11]], again.mass)
    np.testing.assert_array_equal(found.position[[3, 11], 0], again.position.astype("f4"))


def test_a_system_that_never_reaches_its_end_is_refused(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def propagate(_: Integrator, bodies: Bodies, times: Any, __: Any) -> Motion:
        empty = np.zeros((len(bodies.mass), len(times), 4, 2))
        return Motion(empty, empty, empty, np.zeros(len(bodies.mass), dtype=bool))

    monkeypatch.setattr(Integrator, "propagate", propagate)
    with pytest.raises(DistilleryError, match=r"simulation 0 \(train\) did not reach its end"):
        simulate(sweep, sweep.experiments[0], "train", 1)
    assert paths(sweep)[1].with_suffix(".failure").exists()
    assert not paths(sweep)[1].exists()


def test_too_small_a_disk_is_refused_before_anything_is_written(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(DistilleryError, match=r"needs up to .* are free") as caught:
        simulate(sweep, sweep.experiments[0], "train", 1)
    assert "\n" not in str(caught.value)
    assert not sweep.results.exists()


def test_a_complete_store_needs_no_disk_space(complete: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    paths(complete)[1].unlink()
    simulate(complete, complete.experiments[0], "train", 1)


def test_stored_accelerations_match_stored_positions(complete: Sweep) -> None:
    experiment = complete.experiments[0]
    found = read_trajectories(complete, experiment, "train")
    state = [array.reshape(-1, 4, 2).astype(float) for array in (found.position, found.velocity)]
    each = [np.repeat(array, 10, axis=0) for array in (found.mass, found.charge)]
    again = Integrator(complete.system(experiment), 2, 4, 1.4e-8).acceleration(
        Bodies(each[0], each[1], state[0], state[1])
    )
    error = np.abs(again - found.acceleration.reshape(again.shape)) / (1 + np.abs(again))
    assert np.median(error) < 1e-6
    assert store._VARIABLES["position"][1] == "float32"


def test_trajectories_of_other_settings_stay_until_new_ones_are_complete(
    complete: Sweep, make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, marker = paths(complete)
    old, mark = contents(folder), marker.read_bytes()
    changed = make_sweep(experiments=[{**SPRING, "snapshots": 5}], **BLOCK)
    written: list[int] = []
    write = store.Store.write

    def break_off(self: store.Store, block: int, **variables: np.ndarray) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(block)
        write(self, block, **variables)

    with monkeypatch.context() as patch:
        patch.setattr(store.Store, "write", break_off)
        with pytest.raises(KeyboardInterrupt):
            simulate(changed, changed.experiments[0], "train", 1)
    assert contents(folder) == old
    assert marker.read_bytes() == mark
    assert len(read_trajectories(complete, complete.experiments[0], "train").time) == 10

    monkeypatch.setattr(store.Store, "write", lambda self, block, **v: (written.append(block), write(self, block, **v)))
    simulate(changed, changed.experiments[0], "train", 1)
    assert sorted(written) == [0, 1, 2], "it goes on where it was"
    assert len(read_trajectories(changed, changed.experiments[0], "train").time) == 5
    assert {path.name for path in folder.parent.iterdir()} == {"train.zarr", "train.json", ".train.lock"}


def test_trajectories_can_be_written_as_netcdf(complete: Sweep, tmp_path: Path) -> None:
    opened = xr.open_zarr(paths(complete)[0], chunks=None)
    opened.to_netcdf(tmp_path / "train.nc", engine="scipy")
    read = xr.load_dataset(tmp_path / "train.nc", engine="scipy")
    np.testing.assert_array_equal(read["position"], opened["position"])
    assert json.loads(read.attrs["constants"]) == json.loads(opened.attrs["constants"])
