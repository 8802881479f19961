"""Damaged files of Quijote are refused in one line that names the file."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from distillery.halos.quijote import read_quijote
from support.quijote import BOX, Files, refused


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


def test_many_halos_are_read_wherever_they_reach_the_far_side(files: Files) -> None:
    harm_units(files)
    files.position *= np.float32(1e3)
    files.position[:, :2] *= np.float32(0.5)
    files.write_groups()
    assert len(read_quijote(files.quijote()).mass) == 400


# Snapshots in HDF5
