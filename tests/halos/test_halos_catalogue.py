"""Catalogues of halos: what is written is read, by xarray too, and damage is one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from distillery.errors import DistilleryError
from distillery.halos.catalogue import Catalogue, read_catalogue, write_catalogue


def catalogue(count: int = 7, **changes: Any) -> Catalogue:
    random = np.random.default_rng(5)
    given: dict[str, Any] = {
        "position": random.uniform(0, 125, (count, 3)),
        "velocity": random.normal(0, 300, (count, 3)),
        "mass": random.uniform(1e13, 1e15, count),
        "particles": random.integers(20, 1000, count),
        "overdensity": random.normal(size=(2, count)),
        "filters": (10.0, 20.0),
        "box": 125.0,
        "attributes": {"redshift": 0.0, "omega_m": 0.1755, "seed": 3, "finder": "friends of friends"},
    }
    return Catalogue(**(given | changes))


@pytest.mark.parametrize("count", [1, 7])
def test_what_is_written_is_read(tmp_path: Path, count: int) -> None:
    written, path = catalogue(count), tmp_path / "a folder" / "halos.zarr"
    write_catalogue(path, written)
    found = read_catalogue(path)
    for name in ("position", "velocity", "mass", "particles", "overdensity"):
        np.testing.assert_array_equal(getattr(found, name), getattr(written, name))
    assert (found.filters, found.box) == (written.filters, written.box)
    assert {name: found.attributes[name] for name in written.attributes} == written.attributes
    assert [entry.name for entry in path.parent.iterdir()] == ["halos.zarr"]


def test_xarray_opens_it_with_units(tmp_path: Path) -> None:
    write_catalogue(tmp_path / "halos.zarr", catalogue())
    with xarray.open_zarr(tmp_path / "halos.zarr") as data:
        assert data.position.dims == ("halo", "space")
        assert data.overdensity.dims == ("filter", "halo")
        assert {name: data[name].attrs["units"] for name in ("position", "velocity", "mass", "overdensity")} == {
            "position": "Mpc/h",
            "velocity": "km/s",
            "mass": "Msun/h",
            "overdensity": "1",
        }
        np.testing.assert_array_equal(data.overdensity.sel(filter=20.0), catalogue().overdensity[1])


def test_the_box_has_a_unit_and_catalogues_without_are_read(tmp_path: Path) -> None:
    write_catalogue(tmp_path / "halos.zarr", catalogue())
    with xarray.open_zarr(tmp_path / "halos.zarr") as data:
        assert (data.attrs["box"], data.attrs["box_units"]) == (125.0, "Mpc/h")
    group = zarr.open_group(str(tmp_path / "halos.zarr"), mode="r+", zarr_format=3)
    before = read_catalogue(tmp_path / "halos.zarr").attributes
    del group.attrs["box_units"]
    assert read_catalogue(tmp_path / "halos.zarr").attributes == before


def test_zeros_are_kept(tmp_path: Path) -> None:
    written = catalogue(3, velocity=np.zeros((3, 3)), overdensity=np.zeros((2, 3)))
    write_catalogue(tmp_path / "halos.zarr", written)
    np.testing.assert_array_equal(read_catalogue(tmp_path / "halos.zarr").velocity, written.velocity)


def test_a_new_one_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "halos.zarr"
    write_catalogue(path, catalogue(7))
    write_catalogue(path, catalogue(4))
    assert len(read_catalogue(path).mass) == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["halos.zarr"]


def test_the_filter_is_chosen_by_its_radius() -> None:
    np.testing.assert_array_equal(catalogue().smoothed(10.0), catalogue().overdensity[0])
    with pytest.raises(DistilleryError, match=r"filter 15 Mpc/h: not in the catalogue; choose from 10, 20"):
        catalogue().smoothed(15.0)


def test_what_cannot_be_is_not_written(tmp_path: Path) -> None:
    good = catalogue()
    far = good.position.copy()
    far[2, 1] = 125.0
    holes = good.overdensity.copy()
    holes[0, 0] = np.nan
    for changes, complaint in (({"position": far}, "outside of the box"), ({"overdensity": holes}, "not finite")):
        with pytest.raises(DistilleryError, match=complaint):
            write_catalogue(tmp_path / "halos.zarr", dataclasses.replace(good, **changes))
    assert list(tmp_path.iterdir()) == []


def test_missing_foreign_and_other_versions_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "halos.zarr"
    with pytest.raises(DistilleryError, match="no such catalogue"):
        read_catalogue(path)
    path.mkdir()
    with pytest.raises(DistilleryError, match="no catalogue or damaged"):
        read_catalogue(path)
    write_catalogue(path, catalogue())
    zarr.open_group(str(path), mode="r+").attrs["format"] = 999
    with pytest.raises(DistilleryError, match="written by another version"):
        read_catalogue(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["position", "velocity", "mass", "particles", "overdensity", "filter"])
def test_any_damage_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / "halos.zarr"
    for harm in ("flip", "cut", "chunk gone", "array gone"):
        write_catalogue(path, catalogue())
        (chunk,) = [file for file in (path / name).iterdir() if file.name != "zarr.json"]
        content = bytearray(chunk.read_bytes())
        if harm == "flip":
            content[len(content) // 2] ^= 1
            chunk.write_bytes(content)
        elif harm == "cut":
            chunk.write_bytes(content[:-3])
        elif harm == "chunk gone":
            chunk.unlink()
        else:
            (path / name / "zarr.json").unlink()
        with pytest.raises(DistilleryError, match=rf"{name}.*(damaged|not finite|lengths|length)") as caught:
            read_catalogue(path)
        assert "\n" not in str(caught.value)
