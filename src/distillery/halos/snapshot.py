"""Positions of matter in Gadget's HDF5 snapshots: snap_SSS.hdf5, or a set of snap_SSS.k.hdf5.

Quijote's snapshots are compressed with Blosc since 2023, which h5py can read once hdf5plugin is imported; both are used
if they are there.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.errors import DistilleryError

# Particles read at a time.
_CHUNK = 1 << 20
# Particle type of dark matter, which is all matter in Quijote's simulations without neutrinos.
_MATTER = 1
# Errors caused by a damaged file or another layout.
_DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, IndexError, AttributeError)


def positions(
    folder: Path, number: int, box: float, redshift: float, omega_m: float
) -> Iterator[Float[np.ndarray, "particles 3"]]:
    """Yield the positions of all matter of a snapshot in chunks.

    Args:
        folder: Where its files are.
        number: Number of the snapshot.
        box: Side of the box in Mpc/h; the files must say the same.
        redshift: Redshift, likewise.
        omega_m: Density of matter, likewise.

    Yields:
        Comoving positions in Mpc/h, in [0, box], as single precision.

    Raises:
        DistilleryError: h5py is not installed, a file is missing or damaged, or the snapshot is another one.
    """
    first = _first(folder, number)
    try:
        h5py: Any = importlib.import_module("h5py")
    except ModuleNotFoundError:
        raise DistilleryError(
            f"{first}: reading HDF5 needs h5py, which is not installed; pip install h5py hdf5plugin, or name a "
            "density cube"
        ) from None
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("hdf5plugin")
    files = _header(h5py, first, "NumFilesPerSnapshot")
    if not files >= 1:
        raise DistilleryError(
            f"{first}: says the set has {files:g} files (NumFilesPerSnapshot), expected at least 1; fetch it again"
        )
    wanted = int(_header(h5py, first, "NumPart_Total", _MATTER))
    wanted += int(_header(h5py, first, "NumPart_Total_HighWord", _MATTER, default=0.0)) << 32
    total = 0
    for k in range(int(files)):
        file = first if k == 0 else folder / f"snap_{number:03d}.{k}.hdf5"
        if not file.is_file():
            raise DistilleryError(f"{file}: missing; {first.name} says the set has {int(files)} files, fetch all")
        _compare(file, "BoxSize", _header(h5py, file, "BoxSize") / 1e3, box, 1e-5, "box")
        _compare(file, "Redshift", _header(h5py, file, "Redshift"), redshift, 1e-2, "snapshot")
        _compare(file, "Omega0", _header(h5py, file, "Omega0"), omega_m, 1e-3, "cosmology.omega_m")
        expected = int(_header(h5py, file, "NumPart_ThisFile", _MATTER))
        total += expected
        if expected:
            yield from _positions(h5py, file, expected, box)
    if total != wanted:
        raise DistilleryError(f"{first}: {wanted} particles expected in {int(files)} files, {total} are there")
    if not total:
        raise DistilleryError(f"{first}: the snapshot has no matter (PartType{_MATTER}); fetch one that has some")


def _first(folder: Path, number: int) -> Path:
    names = (f"snap_{number:03d}.hdf5", f"snap_{number:03d}.0.hdf5")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DistilleryError(f"{folder}: neither {names[0]} nor {names[1]} is there; fetch the snapshot, or name a cube")


def _header(h5py: Any, file: Path, name: str, kind: int | None = None, default: float | None = None) -> float:
    """Return a number of a file's header, for one type of particles if there are several."""
    try:
        with h5py.File(file, "r") as content:
            attributes = content["Header"].attrs
            if name not in attributes and default is not None:
                return default
            value = attributes[name]
            return float(value if kind is None else value[kind])
    except _DAMAGE as error:
        raise DistilleryError(
            f"{file}: no Gadget snapshot or damaged (Header/{name}: {_reason(error)}); fetch it again"
        ) from None


def _compare(file: Path, name: str, found: float, expected: float, tolerance: float, setting: str) -> None:
    if abs(found - expected) > tolerance * max(1.0, abs(expected)):
        raise DistilleryError(f"{file}: {name} is {found:g}, but {expected:g} was expected; correct {setting}")


def _positions(h5py: Any, file: Path, expected: int, box: float) -> Iterator[Float[np.ndarray, "particles 3"]]:
    name = f"PartType{_MATTER}/Coordinates"
    for start in range(0, expected, _CHUNK):
        try:
            with h5py.File(file, "r") as content:
                data = content[name]
                shape = tuple(data.shape)
                position = np.asarray(data[start : start + _CHUNK], dtype=np.float32) / np.float32(1e3)
        except _DAMAGE as error:
            remedy = "fetch it again"
            if "hdf5plugin" not in sys.modules:
                remedy = "if it is compressed, pip install hdf5plugin; otherwise fetch it again"
            raise DistilleryError(f"{file}: cannot be read ({name}: {_reason(error)}); {remedy}") from None
        if shape != (expected, 3):
            raise DistilleryError(f"{file}: {name} has the shape {shape}, expected {(expected, 3)}; fetch it again")
        if not np.all((position >= 0) & (position <= np.float32(box))):
            raise DistilleryError(
                f"{file}: a particle lies outside of the box of {box:g} Mpc/h; fetch it again, or correct box"
            )
        yield position


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
