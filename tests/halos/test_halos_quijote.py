"""Quijote's files, written here in exactly their layout: read whole, or refused in one line that names the file."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from distillery.errors import DistilleryError
from distillery.halos import mesh
from distillery.halos.catalogue import read_catalogue, write_catalogue
from distillery.halos.cosmology import Cosmology
from distillery.halos.places import catalogues
from distillery.halos.quijote import Quijote, read_quijote
from distillery.workflow.config import parse_config
from distillery.workflow.plan import plan_text
from distillery.workflow.stages import table as stages
from distillery.workflow.sweep import Sweep

BOX = 100.0
CELLS = 40


class Files:
    """A folder with the files of a small Quijote simulation."""

    def __init__(self, folder: Path) -> None:
        random = np.random.default_rng(11)
        self.folder = folder
        self.groups = folder / "groups_004"
        self.groups.mkdir()
        self.cube = folder / "df_m_CIC_z=0.npy"
        self.counts = (5, 0, 7)
        count = sum(self.counts)
        self.length = random.integers(20, 900, count).astype("<i4")
        self.mass = random.uniform(1e3, 1e5, count).astype("<f4")
        self.position = random.uniform(0, BOX * 1e3, (count, 3)).astype("<f4")
        self.velocity = random.normal(0, 300, (count, 3)).astype("<f4")
        self.matter = random.uniform(0, BOX, (4000, 3)).astype(np.float32)
        self.contrast = mesh.contrast(self.matter, BOX, CELLS)

    def write_groups(
        self, number: int = 4, by_type: bool = True, order: str = "<", total: int | None = None, parts: int = 3
    ) -> None:
        start = 0
        for k, count in enumerate(self.counts):
            own = slice(start, start + count)
            start += count
            content = struct.pack(
                f"{order}iiiQI", count, sum(self.counts) if total is None else total, 0, 10**10, parts
            )
            columns: list[np.ndarray] = [
                self.length[own],
                np.zeros(count, "<i4"),
                self.mass[own],
                self.position[own],
                self.velocity[own],
            ]
            if by_type:
                columns += [np.zeros((count, 6), "<i4"), np.zeros((count, 6), "<f4")]
            for column in columns:
                content += column.astype(column.dtype.newbyteorder(order)).tobytes()
            (self.groups / f"group_tab_{number:03d}.{k}").write_bytes(content)

    def quijote(self, **changes: Any) -> Quijote:
        given = {"groups": str(self.groups), "matter": str(self.cube), "box": BOX}
        return Quijote(**(given | changes))

    def file(self, k: int) -> Path:
        return self.groups / f"group_tab_004.{k}"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.write_groups()
    np.save(made.cube, made.contrast + 1)
    return made


def refused(quijote: Quijote) -> str:
    with pytest.raises(DistilleryError) as caught:
        read_quijote(quijote)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


def harm_big_endian(files: Files) -> None:
    files.write_groups(order=">")


def harm_cut_short(files: Files) -> None:
    files.file(2).write_bytes(files.file(2).read_bytes()[:-5])


def harm_header_cut(files: Files) -> None:
    files.file(2).write_bytes(b"\x01\x02")


def harm_no_group_file(files: Files) -> None:
    files.file(0).write_bytes(b"\xff" * 400)


def harm_missing_member(files: Files) -> None:
    files.file(1).unlink()


def harm_missing_all(files: Files) -> None:
    for k in range(3):
        files.file(k).unlink()


def harm_wrong_total(files: Files) -> None:
    files.write_groups(total=13)


def harm_mixed_sets(files: Files) -> None:
    kept = files.file(2).read_bytes()
    files.write_groups(total=13)
    files.file(2).write_bytes(kept)


def harm_outside(files: Files) -> None:
    files.position[6, 2] = BOX * 1e3 + 1
    files.write_groups()


def harm_not_finite(files: Files) -> None:
    files.velocity[8, 0] = np.nan
    files.write_groups()


def harm_mass_infinite(files: Files) -> None:
    files.mass[3] = np.inf
    files.write_groups()


def harm_units(files: Files) -> None:
    # Positions in Mpc/h, which would be read as kpc/h: all halos in one corner.
    files.counts, count = (200, 0, 200), 400
    random = np.random.default_rng(12)
    files.length, files.mass = np.full(count, 30, "<i4"), np.full(count, 1e3, "<f4")
    files.position = random.uniform(0, BOX, (count, 3)).astype("<f4")
    files.velocity = np.zeros((count, 3), "<f4")
    files.write_groups()


def harm_no_particles(files: Files) -> None:
    files.length[1] = 0
    files.write_groups()


def harm_no_halos(files: Files) -> None:
    files.counts = (0, 0, 0)
    files.write_groups()


def harm_no_cube(files: Files) -> None:
    files.cube.unlink()


def harm_cube_cut(files: Files) -> None:
    files.cube.write_bytes(files.cube.read_bytes()[:-100])


def harm_cube_pickled(files: Files) -> None:
    # Written to be refused: the reader loads no pickle, and this one holds a plain dictionary.
    np.save(files.cube, np.array([{"no": "cube"}], dtype=object), allow_pickle=True)


def harm_cube_snapshot(files: Files) -> None:
    files.cube.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))


def harm_cube_text(files: Files) -> None:
    files.cube.write_text("see the folder beside\n")


def harm_cube_empty(files: Files) -> None:
    files.cube.write_bytes(b"")


def harm_cube_archive(files: Files) -> None:
    with files.cube.open("wb") as file:
        np.savez(file, cube=files.contrast)


def harm_cube_negative(files: Files) -> None:
    np.save(files.cube, 5 * files.contrast)


def harm_cube_flat(files: Files) -> None:
    np.save(files.cube, files.contrast[0])


def harm_cube_counts(files: Files) -> None:
    np.save(files.cube, (files.contrast + 1) * 40)


def harm_cube_holes(files: Files) -> None:
    files.contrast[3, 3, 3] = np.nan
    np.save(files.cube, files.contrast)


def harm_cube_coarse(files: Files) -> None:
    np.save(files.cube, np.ones((24, 24, 24)))


@pytest.mark.parametrize(
    ("harm", "named", "complaint"),
    [
        (harm_big_endian, "group_tab_004.0", "big-endian; Quijote's files are little-endian"),
        (harm_cut_short, "group_tab_004.2", "607 bytes, but 7 groups take 276, or 612 with TLen and TMass"),
        (harm_header_cut, "group_tab_004.2", "2 bytes, a header has 24"),
        (harm_no_group_file, "group_tab_004.0", "no group file"),
        (harm_missing_member, "group_tab_004.1", "missing; group_tab_004.0 says the set has 3 files"),
        (harm_missing_all, "group_tab_004.0", "no such file; fetch the folder groups_004"),
        (harm_wrong_total, "group_tab_004.0", "13 groups expected in 3 files, 12 are there"),
        (harm_mixed_sets, "group_tab_004.2", "of different sets"),
        (harm_outside, "group_tab_004.2", r"halo 1 lies at z = 100.001 Mpc/h, outside of the box of 100"),
        (harm_not_finite, "group_tab_004.2", "velocities that are no numbers to use"),
        (harm_mass_infinite, "group_tab_004.0", "masses that are no numbers to use"),
        (
            harm_units,
            "group_tab_004.0",
            r"of 400 halos none lies beyond 0.09\d+ Mpc/h along any axis, in a box of 100; set",
        ),
        (harm_no_particles, "group_tab_004.0", "0 particles"),
        (harm_no_halos, "group_tab_004.0", "no halos"),
        (harm_no_cube, "df_m_CIC_z=0.npy", "no such file or folder"),
        (harm_cube_cut, "df_m_CIC_z=0.npy", "no NumPy array or cut short"),
        (harm_cube_snapshot, "df_m_CIC_z=0.npy", "is an HDF5 file; .* name the folder .*; expected a density cube"),
        (harm_cube_text, "df_m_CIC_z=0.npy", r"is no NumPy file; expected a density cube \(\.npy\), or the folder"),
        (harm_cube_empty, "df_m_CIC_z=0.npy", "is no NumPy file"),
        (harm_cube_archive, "df_m_CIC_z=0.npy", "is an archive; save the cube alone"),
        (harm_cube_negative, "df_m_CIC_z=0.npy", r"δ falls to -[\d.]+, and matter cannot be less than none"),
        (harm_cube_pickled, "df_m_CIC_z=0.npy", "no NumPy array or cut short"),
        (harm_cube_flat, "df_m_CIC_z=0.npy", "expected a cube"),
        (harm_cube_counts, "df_m_CIC_z=0.npy", r"its mean is 40; expected 1 .* or 0"),
        (harm_cube_holes, "df_m_CIC_z=0.npy", "not finite"),
        (
            harm_cube_coarse,
            "df_m_CIC_z=0.npy",
            "too coarse for a filter of 20 and would lower δ; fetch a cube with 25 cells per side or more",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(
    files: Files, harm: Callable[[Files], None], named: str, complaint: str
) -> None:
    read_quijote(files.quijote())
    harm(files)
    said = refused(files.quijote())
    assert said.split(": ")[0].endswith(named)
    assert re.search(complaint, said), said


def test_delta_needs_a_source() -> None:
    with pytest.raises(ValidationError, match="matter"):
        Quijote.model_validate({"groups": "groups_004"})


def test_filters_fit_into_the_box() -> None:
    for filters, complaint in (((60.0,), "half of the box"), ((9.0, 9.0), "twice")):
        with pytest.raises(ValidationError, match=complaint):
            Quijote(groups="groups_004", matter="df_m.npy", box=BOX, filters=filters)


def test_many_halos_are_read_wherever_they_reach_the_far_side(files: Files) -> None:
    harm_units(files)
    files.position *= np.float32(1e3)
    files.position[:, :2] *= np.float32(0.5)
    files.write_groups()
    assert len(read_quijote(files.quijote()).mass) == 400


# Snapshots in HDF5


def write_snapshot(files: Files, parts: int = 2, **header: Any) -> Path:
    h5py = pytest.importorskip("h5py")
    folder = files.folder / "snapdir_004"
    folder.mkdir(exist_ok=True)
    total = np.zeros(6, "u4")
    total[1] = len(files.matter)
    for k, share in enumerate(np.array_split(files.matter, parts)):
        own = np.zeros(6, "i4")
        own[1] = len(share)
        name = f"snap_004.{k}.hdf5" if parts > 1 else "snap_004.hdf5"
        with h5py.File(folder / name, "w") as content:
            attributes = content.create_group("Header").attrs
            given = {
                "BoxSize": BOX * 1e3, "Redshift": 1e-9, "Omega0": 0.1755, "NumFilesPerSnapshot": parts,
                "NumPart_ThisFile": own, "NumPart_Total": total, "NumPart_Total_HighWord": np.zeros(6, "u4"),
            }  # fmt: skip
            for key, value in (given | header).items():
                attributes[key] = value
            content.create_dataset("PartType1/Coordinates", data=share * np.float32(1e3))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_snapshots_say_the_same_as_cubes(files: Files, parts: int) -> None:
    folder = write_snapshot(files, parts)
    # Ten cells for each radius of 20: a mesh of 50.
    np.save(files.cube, mesh.contrast(files.matter, BOX, 50) + 1)
    expected = read_quijote(files.quijote()).overdensity
    found = read_quijote(files.quijote(matter=str(folder))).overdensity
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_compressed_snapshots_are_read_with_the_plugin_or_ask_for_it(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_snapshot(files, 1)
    expected = read_quijote(files.quijote(matter=str(folder))).overdensity
    # Written where the plugin is loaded, so that here it is not yet.
    pytest.importorskip("h5py")
    if importlib.util.find_spec("hdf5plugin") is None:
        pytest.skip("no hdf5plugin")
    code = (
        "import sys, h5py, hdf5plugin\n"
        "with h5py.File(sys.argv[1], 'r+') as content:\n"
        "    data = content['PartType1/Coordinates'][...]\n"
        "    del content['PartType1/Coordinates']\n"
        "    content.create_dataset('PartType1/Coordinates', data=data, **hdf5plugin.Blosc(cname='zstd'))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder / "snap_004.hdf5")], check=True, timeout=60)
    if "hdf5plugin" not in sys.modules:
        real = importlib.import_module

        def without(name: str) -> Any:
            if name == "hdf5plugin":
                raise ModuleNotFoundError(name)
            return real(name)

        with monkeypatch.context() as patch:
            patch.setattr(importlib, "import_module", without)
            assert "if it is compressed, pip install hdf5plugin" in refused(files.quijote(matter=str(folder)))
    np.testing.assert_array_equal(read_quijote(files.quijote(matter=str(folder))).overdensity, expected)


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ({"BoxSize": 5e4}, "BoxSize is 50, but 100 was expected; correct box"),
        ({"Redshift": 0.5}, "Redshift is 0.5, but 0 was expected; correct snapshot"),
        ({"Omega0": 0.3175}, "Omega0 is 0.3175, but 0.1755 was expected; correct cosmology.omega_m"),
        ({"NumFilesPerSnapshot": 3}, r"snap_004.2.hdf5: missing; snap_004.0.hdf5 says the set has 3 files"),
        (
            {"NumFilesPerSnapshot": 0},
            r"snap_004.0.hdf5: says the set has 0 files .*, expected at least 1; fetch it again",
        ),
        ({"NumPart_Total": np.full(6, 9, "u4")}, "9 particles expected in 2 files, 4000 are there"),
        ({"NumPart_ThisFile": np.full(6, 9, "i4")}, r"has the shape \(2000, 3\), expected \(9, 3\)"),
    ],
)
def test_another_snapshot_is_refused(files: Files, header: dict[str, Any], complaint: str) -> None:
    folder = write_snapshot(files, 2, **header)
    assert re.search(complaint, refused(files.quijote(matter=str(folder))))


def test_a_damaged_snapshot_is_one_line(files: Files) -> None:
    folder = write_snapshot(files)
    file = folder / "snap_004.1.hdf5"
    file.write_bytes(file.read_bytes()[:700])
    assert "snap_004.1.hdf5: no Gadget snapshot or damaged" in refused(files.quijote(matter=str(folder)))
    files.matter[0, 0] = BOX + 5
    write_snapshot(files)
    assert "a particle lies outside of the box" in refused(files.quijote(matter=str(folder)))
    for leftover in folder.iterdir():
        leftover.unlink()
    assert "neither snap_004.hdf5 nor snap_004.0.hdf5" in refused(files.quijote(matter=str(folder)))


def test_cosmology_of_another_simulation_is_accepted_when_told(files: Files) -> None:
    folder = write_snapshot(files, Omega0=0.3175)
    fiducial = Cosmology(omega_m=0.3175, omega_b=0.049)
    assert read_quijote(files.quijote(matter=str(folder), cosmology=fiducial)).attributes["omega_m"] == 0.3175


def test_without_h5py_snapshots_are_refused_in_one_line(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files.folder / "snapdir_004"
    folder.mkdir()
    (folder / "snap_004.0.hdf5").touch()

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert "reading HDF5 needs h5py, which is not installed; pip install h5py" in refused(
        files.quijote(matter=str(folder))
    )


# Files that are replaced


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
        (path,) = catalogues(sweep, sweep.experiments[0], "train")[""]
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
