"""Matter of Quijote is read from snapshots as from density cubes."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distillery.halos import mesh
from distillery.halos.cosmology import Cosmology
from distillery.halos.quijote import read_quijote
from support.quijote import BOX, Files, refused


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
