"""A local copy of Quijote: its friends-of-friends catalogues, and δ from its density cubes or snapshots.

A catalogue is a set of files ``group_tab_SSS.k``, little-endian: a header of i4 Ngroups, i4 TotNgroups, i4 Nids, u8
TotNids, u4 Nfiles; then whole columns i4 Len, i4 Offset, f4 Mass (1e10 Msun/h), 3 f4 Pos (kpc/h), 3 f4 Vel (km/s over
1 + z), and in some catalogues 6 i4 TLen, 6 f4 TMass (Villaescusa-Navarro et al. 2020; Pylians reads the same).
"""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy import fft

import distillery
from distillery.errors import DistilleryError
from distillery.halos import mesh, overdensity, snapshot
from distillery.halos.catalogue import Catalogue
from distillery.halos.settings import REDSHIFTS, Quijote

_HEADER = struct.Struct("<iiiQI")
_BIG_HEADER = struct.Struct(">iiiQI")
# Bytes of a group, without and with the columns TLen and TMass.
_GROUP = 36
_GROUP_BY_TYPE = 84
# Upper limit of the number of files of a set.
_MOST_FILES = 1 << 16
# How far a cube's mean may be from 1 or 0, and how far its density below 0: windows that were undone overshoot.
_MEAN = 0.01
# So many halos reach beyond this share of the box along one axis at least, wherever they cluster.
_MANY, _REACHED = 300, 0.9
_NUMPY = b"\x93NUMPY"
# Kinds of files that are no cubes, by their first bytes.
_OTHERS = {
    b"\x89HDF": "is an HDF5 file; of a snapshot name the folder that holds its files",
    b"PK\x03\x04": "is an archive; save the cube alone, with numpy.save",
}
# Cells for each radius of the smallest filter: of a cube at least, and of the mesh that snapshots are painted on.
# Windows of painting and reading are not corrected; five cells lower δ by 2 or 3 %, ten by 0.5 % (docs/halos.md).
_LEAST_CELLS_PER_RADIUS, _CELLS_PER_RADIUS = 5, 10


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """The groups of one file, in the file's units.

    Attributes:
        file: Which one.
        total: Groups in all files.
        files: How many files there are.
        length: Particles of each group.
        mass: Masses in 1e10 Msun/h.
        position: Positions in kpc/h.
        velocity: Velocities in km/s over 1 + z.
    """

    file: Path
    total: int
    files: int
    length: Int[np.ndarray, "groups"]
    mass: Float[np.ndarray, "groups"]
    position: Float[np.ndarray, "groups 3"]
    velocity: Float[np.ndarray, "groups 3"]


def read_quijote(quijote: Quijote, workers: int = 1) -> Catalogue:
    """Read a catalogue of Quijote and the overdensity around its halos.

    Args:
        quijote: Where it lies.
        workers: Threads of the Fourier transforms.

    Returns:
        Its halos in the order of the files.

    Raises:
        DistilleryError: A file is missing, damaged, or not what it should be.
    """
    matter = Path(quijote.matter)
    if not matter.exists():
        raise DistilleryError(f"{matter}: no such file or folder; fetch Quijote's density cube or snapshot there")
    parts = _read_parts(Path(quijote.groups), quijote.snapshot)
    redshift = REDSHIFTS[quijote.snapshot]
    position = _placed(parts, quijote)
    velocity = np.concatenate([part.velocity for part in parts]).astype(np.float64)
    field = _cube(matter, quijote) if matter.is_file() else _painted(matter, quijote)
    return Catalogue(
        position=position,
        velocity=velocity * (1.0 + redshift),
        mass=np.concatenate([part.mass for part in parts]).astype(np.float64) * 1e10,
        particles=np.concatenate([part.length for part in parts]).astype(np.int64),
        overdensity=overdensity.smoothed(field, quijote.box, quijote.filters, position, workers),
        filters=quijote.filters,
        box=quijote.box,
        attributes={
            "source": f"Quijote, {quijote.groups}, δ of {quijote.matter}",
            "redshift": redshift,
            **quijote.cosmology.model_dump(),
            "finder": "friends of friends, b = 0.2, as in the files",
            "seed": -1,
            "version": distillery.__version__,
        },
    )


def _read_parts(folder: Path, number: int) -> list[_Part]:
    """Read all files of a set."""
    stem = f"group_tab_{number:03d}"
    first = folder / f"{stem}.0"
    if not first.is_file():
        raise DistilleryError(
            f"{first}: no such file; fetch the folder groups_{number:03d} of Quijote's FoF catalogues"
        )
    parts = [_read_part(first)]
    for k in range(1, parts[0].files):
        file = folder / f"{stem}.{k}"
        if not file.is_file():
            raise DistilleryError(f"{file}: missing; {first.name} says the set has {parts[0].files} files, fetch all")
        part = _read_part(file)
        if (part.files, part.total) != (parts[0].files, parts[0].total):
            raise DistilleryError(
                f"{file}: declares {part.total} groups in {part.files} files, {first.name} of {parts[0].total} in "
                f"{parts[0].files}; they are of different sets, fetch all again"
            )
        parts.append(part)
    found = sum(len(part.length) for part in parts)
    if found != parts[0].total:
        raise DistilleryError(
            f"{first}: {parts[0].total} groups expected in {parts[0].files} files, {found} are there; fetch all again"
        )
    if not found:
        raise DistilleryError(f"{first}: the catalogue has no halos; fetch one that has some")
    return parts


def _read_part(file: Path) -> _Part:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DistilleryError(f"{file}: cannot be read ({error.strerror or error}); fetch it again") from None
    if len(content) < _HEADER.size:
        raise DistilleryError(f"{file}: {len(content)} bytes, a header has {_HEADER.size}; cut short, fetch it again")
    count, total, _, _, parts = _HEADER.unpack_from(content)
    if not _plausible(count, total, parts):
        swapped = _BIG_HEADER.unpack_from(content)
        if _plausible(swapped[0], swapped[1], swapped[4]):
            raise DistilleryError(f"{file}: big-endian; Quijote's files are little-endian, fetch it again")
        raise DistilleryError(
            f"{file}: no group file (its header says {count} of {total} groups in {parts} files); expected "
            "group_tab_SSS.k of Quijote"
        )
    sizes = [_HEADER.size + count * group for group in (_GROUP, _GROUP_BY_TYPE)]
    if len(content) not in sizes:
        raise DistilleryError(
            f"{file}: {len(content)} bytes, but {count} groups take {sizes[0]}, or {sizes[1]} with TLen and TMass; "
            "cut short or of another layout, fetch it again"
        )
    columns: list[np.ndarray] = []
    offset = _HEADER.size
    for kind, width in (("<i4", 1), ("<i4", 1), ("<f4", 1), ("<f4", 3), ("<f4", 3)):
        column = np.frombuffer(content, dtype=kind, count=count * width, offset=offset)
        columns.append(column.reshape(count, 3) if width == 3 else column)
        offset += column.nbytes
    length, _, mass, position, velocity = columns
    if np.any(length < 1):
        raise DistilleryError(f"{file}: a group has {length.min()} particles, expected at least 1; fetch it again")
    usable = {
        "masses": np.isfinite(mass) & (mass > 0),
        "positions": np.isfinite(position),
        "velocities": np.isfinite(velocity),
    }
    for name, good in usable.items():
        if not np.all(good):
            raise DistilleryError(f"{file}: {name} that are no numbers to use (not finite, or no mass); fetch it again")
    return _Part(file, total, parts, length, mass, position, velocity)


def _plausible(count: int, total: int, parts: int) -> bool:
    return 0 <= count <= total and 1 <= parts <= _MOST_FILES


def _placed(parts: list[_Part], quijote: Quijote) -> Float[np.ndarray, "halos 3"]:
    """Return positions in Mpc/h; check that they lie in the box and fill it."""
    box = quijote.box
    position = np.concatenate([_inside(part, box) for part in parts])
    largest = float(position.max())
    if len(position) > _MANY and largest < _REACHED * box:
        raise DistilleryError(
            f"{parts[0].file}: of {len(position)} halos none lies beyond {largest:g} Mpc/h along any axis, in a box of "
            f"{box:g}; set box to that of the simulation, or fetch files with positions in kpc/h"
        )
    return mesh.wrapped(position, box)


def _inside(part: _Part, box: float) -> Float[np.ndarray, "halos 3"]:
    """Return the positions of a file in Mpc/h; values rounded to the upper edge of the box are allowed."""
    position = part.position.astype(np.float64) / 1e3
    # A unit in the last place of single precision, the accuracy of the box's edge in the files.
    outside = (position < 0) | (position > box * (1 + 2.0**-23))
    if np.any(outside):
        halo, axis = (int(index) for index in np.argwhere(outside)[0])
        raise DistilleryError(
            f"{part.file}: halo {halo} lies at {'xyz'[axis]} = {position[halo, axis]:g} Mpc/h, outside of the box of "
            f"{box:g}; set box to that of the simulation"
        )
    return position


def _cube(file: Path, quijote: Quijote) -> Float[np.ndarray, "cells cells cells"]:
    """Read a density cube, of density over its mean or of δ, and return δ."""
    _require_numpy(file)
    try:
        cube = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DistilleryError(f"{file}: no NumPy array or cut short ({reason}); fetch it again") from None
    if not isinstance(cube, np.ndarray) or cube.ndim != 3 or len(set(cube.shape)) != 1 or cube.dtype.kind != "f":
        what = f"{cube.dtype} of shape {cube.shape}" if isinstance(cube, np.ndarray) else "several arrays"
        raise DistilleryError(f"{file}: holds {what}; expected a cube of floating-point numbers, equal on all sides")
    smallest = min(quijote.filters)
    if _LEAST_CELLS_PER_RADIUS * quijote.box > smallest * len(cube):
        least = int(np.ceil(_LEAST_CELLS_PER_RADIUS * quijote.box / smallest))
        raise DistilleryError(
            f"{file}: its cells of {quijote.box / len(cube):g} Mpc/h are too coarse for a filter of {smallest:g} and "
            f"would lower δ; fetch a cube with {least} cells per side or more"
        )
    mean = float(np.mean([plane.mean(dtype=np.float64) for plane in cube]))
    if not np.isfinite(mean):
        raise DistilleryError(f"{file}: holds values that are not finite; fetch it again")
    if abs(mean - 1.0) <= _MEAN:
        shift = 1.0
    elif abs(mean) <= _MEAN:
        shift = 0.0
    else:
        raise DistilleryError(
            f"{file}: its mean is {mean:.4g}; expected 1 (density over its mean) or 0 (overdensity), so divide it by "
            "its mean"
        )
    field = np.array(cube, dtype=np.float32)
    field -= np.float32(shift)
    lowest = float(field.min())
    if lowest < -1.0 - _MEAN:
        raise DistilleryError(
            f"{file}: δ falls to {lowest:.4g}, and matter cannot be less than none, δ = -1; expected a density over "
            "its mean, or its overdensity"
        )
    return field


def _require_numpy(file: Path) -> None:
    """Raise if a file is no array of NumPy, whose reader would report a pickle."""
    try:
        with file.open("rb") as content:
            start = content.read(len(_NUMPY))
    except OSError as error:
        raise DistilleryError(f"{file}: cannot be read ({error.strerror or error}); fetch it again") from None
    if start != _NUMPY:
        what = next((words for begin, words in _OTHERS.items() if start.startswith(begin)), "is no NumPy file")
        raise DistilleryError(
            f"{file}: {what}; expected a density cube (.npy), or the folder of the files snap_SSS.k.hdf5"
        )


def _painted(folder: Path, quijote: Quijote) -> Float[np.ndarray, "cells cells cells"]:
    """Return δ of the matter of a snapshot."""
    redshift = REDSHIFTS[quijote.snapshot]
    cells = int(fft.next_fast_len(int(np.ceil(_CELLS_PER_RADIUS * quijote.box / min(quijote.filters))), real=True))
    field = np.zeros((cells, cells, cells), dtype=np.float32)
    total = 0
    for position in snapshot.positions(
        folder, quijote.snapshot, quijote.box, redshift=redshift, omega_m=quijote.cosmology.omega_m
    ):
        mesh.paint(position, quijote.box, cells, out=field)
        total += len(position)
    field *= np.float32(cells**3 / total)
    field -= np.float32(1.0)
    return field
