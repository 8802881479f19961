"""The container of trajectories: shapes, splits, datasets and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import distillery as ds


def made(simulations: int = 6, times: int = 10, kind: str = "f4", **more: Any) -> ds.Trajectories:
    draws = np.random.default_rng(0)
    path = draws.normal(size=(simulations, times, 3, 2)).astype(kind)
    options = {"velocity": path + 1, "acceleration": path - 1, "mass": np.arange(1.0, 4.0), "charge": [1, -1, 1]}
    return ds.Trajectories(path, np.linspace(0.0, 0.9, times), **{**options, **more})


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_a_dataset_gives_back_every_column_bit_for_bit(kind: str) -> None:
    given = made(kind=kind, units={"position": "m"}, mask=np.ones((6, 10, 3), bool), graph="chain")
    back = ds.Trajectories.from_dataset(given.to_dataset())
    for name in ("position", "velocity", "acceleration", "mass", "charge", "time", "mask"):
        one, other = getattr(given, name), getattr(back, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert (back.units, back.graph, back.acceleration_source) == ({"position": "m"}, "chain", "given")


def test_missing_columns_are_filled_and_unknown_accelerations_stay_unknown() -> None:
    time = np.array([0.0, 0.1, 0.3, 0.6])
    path = np.stack([np.stack([time**2, 3 * time], axis=-1)] * 2, axis=1)
    found = ds.Trajectories(path, time)
    assert found.position.shape == (1, 4, 2, 2), "one simulation"
    assert (found.mass == 1).all()
    assert (found.charge == 0).all()
    np.testing.assert_allclose(found.velocity[0, 1:-1, 0], np.stack([2 * time[1:-1], np.full(2, 3.0)], axis=-1))
    assert found.acceleration_source == "none"
    assert np.isnan(found.acceleration).all()
    with pytest.raises(ds.DistilleryError, match=r"^train: the trajectories have no accelerations"):
        ds.train(found, ds.models["bottleneck"])
    with pytest.raises(ds.DistilleryError, match=r"^train: some particles are missing"):
        ds.train(made(mask=np.arange(3) < 2), ds.models["bottleneck"])


def test_many_simulations_are_split_whole_and_few_along_time() -> None:
    many = made(10)
    train, test = many.split(last=0.2)
    assert (train.simulations, test.simulations) == (8, 2)
    np.testing.assert_array_equal(np.concatenate([train.mass, test.mass]), many.mass)
    train, test = made(2).split(last=0.3)
    assert (train.simulations, test.simulations) == (2, 2)
    assert train.time[-1] < test.time[0]
    assert len(test.time) == 3
    for last in (0.0, 1.0):
        with pytest.raises(ds.DistilleryError, match="leaves one side empty"):
            many.split(last=last)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"velocity": np.zeros((6, 10, 3, 3))}, r"^velocity: has shape"),
        ({"mass": [1.0, 2.0]}, r"^mass: has shape \(2,\); give one value for each of 3 particles"),
        ({"mass": ["heavy"] * 3}, r"^mass: is no array of numbers"),
    ],
)
def test_columns_that_do_not_fit_are_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ds.DistilleryError, match=reason):
        made(**changes)


def test_times_that_do_not_increase_and_flat_positions_are_refused() -> None:
    with pytest.raises(ds.DistilleryError, match=r"^time: .* 3 times that increase"):
        ds.Trajectories(np.zeros((3, 2, 2)), [0.0, 0.2, 0.1])
    with pytest.raises(ds.DistilleryError, match=r"^position: has shape \(3, 4\)"):
        ds.Trajectories(np.zeros((3, 4)), [0.0, 0.1, 0.2])


def test_files_of_the_own_layout_are_read_and_others_refused_by_name(tmp_path: Path) -> None:
    given = made()
    given.to_dataset().drop_vars("space").to_zarr(tmp_path / "a.zarr", consolidated=False, zarr_format=3)
    given.to_dataset().drop_vars("space").to_netcdf(tmp_path / "a.nc", engine="scipy")
    for name in ("a.zarr", "a.nc"):
        found = ds.read(tmp_path / name)
        np.testing.assert_array_equal(found.position, given.position)
        np.testing.assert_array_equal(found.mass, given.mass)
        assert found.acceleration_source == "given"
    xr.Dataset({"position": ("time", np.zeros(3)), "time": np.arange(3.0)}).to_netcdf(tmp_path / "b.nc", engine="scipy")
    (tmp_path / "c.nc").write_text("x,y\n")
    for name, reason in (
        ("b.nc", r"b\.nc: position: has dimensions"),
        ("c.nc", r"c\.nc: cannot be read as Zarr or NetCDF"),
        ("d.nc", r"d\.nc: no such file"),
    ):
        with pytest.raises(ds.DistilleryError, match=reason):
            ds.read(tmp_path / name)


def test_trajectories_show_themselves() -> None:
    given = made(mass=[1, 2, 3], units={"position": "<m>"})
    assert "3 in 2D" in repr(given)
    assert "&lt;m&gt;" in given._repr_html_()
    assert len(given.plot().axes) == 4
