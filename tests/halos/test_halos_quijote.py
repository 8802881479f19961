"""Catalogues of Quijote are read in the right units, with the overdensity of the matter around halos."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from distillery.halos import mesh
from distillery.halos.catalogue import read_catalogue, write_catalogue
from distillery.halos.quijote import Quijote, read_quijote
from support.quijote import BOX, Files


@pytest.mark.parametrize("by_type", [True, False])
def test_all_files_of_the_set_are_read_in_the_right_units(files: Files, by_type: bool) -> None:
    files.write_groups(by_type=by_type)
    found = read_quijote(files.quijote())
    np.testing.assert_array_equal(found.particles, files.length)
    np.testing.assert_allclose(found.mass, files.mass.astype(float) * 1e10)
    np.testing.assert_allclose(found.position, files.position.astype(float) / 1e3)
    np.testing.assert_allclose(found.velocity, files.velocity)
    assert (found.box, found.filters, found.attributes["redshift"]) == (BOX, (20.0,), 0.0)
    assert found.attributes["omega_m"] == 0.1755
    write_catalogue(files.folder / "halos.zarr", found)
    np.testing.assert_array_equal(read_catalogue(files.folder / "halos.zarr").overdensity, found.overdensity)


def test_velocities_of_earlier_snapshots_are_stretched(files: Files) -> None:
    files.write_groups(number=2)
    found = read_quijote(files.quijote(snapshot=2))
    np.testing.assert_allclose(found.velocity, files.velocity * 2.0)
    assert found.attributes["redshift"] == 1.0


@pytest.mark.parametrize(("shift", "kind"), [(1.0, "f4"), (0.0, "f4"), (1.0, "f8")])
def test_cubes_of_density_and_of_overdensity_say_the_same(files: Files, shift: float, kind: str) -> None:
    expected = read_quijote(files.quijote(filters=(20.0, 15.0))).overdensity
    np.save(files.cube, (files.contrast + shift).astype(kind))
    found = read_quijote(files.quijote(filters=(20.0, 15.0))).overdensity
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_delta_is_that_of_the_matter_around_a_halo(files: Files) -> None:
    files.matter[:2000] = files.position[3] / 1e3 + np.random.default_rng(0).normal(0, 6, (2000, 3))
    np.save(files.cube, mesh.contrast(files.matter % np.float32(BOX), BOX, 32) + 1)
    found = read_quijote(files.quijote()).smoothed(20.0)
    offset = np.abs(files.matter[None] - files.position[:, None] / 1e3) % BOX
    offset = np.minimum(offset, BOX - offset)
    counted = ((offset**2).sum(-1) < 400).mean(1) * BOX**3 / (4 / 3 * np.pi * 8000) - 1
    assert counted[3] > 5
    np.testing.assert_allclose(found, counted, atol=0.35)


def test_the_upper_edge_of_the_box_is_its_lower_one(files: Files) -> None:
    files.position[2, 1] = BOX * 1e3
    files.write_groups()
    assert read_quijote(files.quijote()).position[2, 1] == 0.0


def test_delta_needs_a_source() -> None:
    with pytest.raises(ValidationError, match="matter"):
        Quijote.model_validate({"groups": "groups_004"})


def test_filters_fit_into_the_box() -> None:
    for filters, complaint in (((60.0,), "half of the box"), ((9.0, 9.0), "twice")):
        with pytest.raises(ValidationError, match=complaint):
            Quijote(groups="groups_004", matter="df_m.npy", box=BOX, filters=filters)
