"""The halo catalogue: halos in a periodic box and the overdensity around each, as one Zarr v3 group.

Arrays are named, have dimensions and units, so that xarray opens a catalogue as it is. Every chunk ends with its
CRC-32C, and a catalogue is written under a temporary name and renamed: it is whole or it is not there.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Float, Int
from zarr.codecs import Crc32cCodec, ZstdCodec

from distillery import files
from distillery.errors import DistilleryError

_FORMAT = 1
# name: dimensions, type, units, description
_VARIABLES: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "position": (("halo", "space"), "float64", "Mpc/h", "comoving position of the centre"),
    "velocity": (("halo", "space"), "float64", "km/s", "peculiar velocity"),
    "mass": (("halo",), "float64", "Msun/h", "mass"),
    "particles": (("halo",), "int64", "1", "number of particles"),
    "overdensity": (("filter", "halo"), "float64", "1", "overdensity of matter in a ball around the centre"),
    "filter": (("filter",), "float64", "Mpc/h", "radius of the ball"),
}
# Errors that damage can cause, depending on the codec that finds it.
_DAMAGE = (ValueError, KeyError, TypeError, RuntimeError, OSError, IndexError)


@dataclasses.dataclass(frozen=True, eq=False)
class Catalogue:
    """Halos in a periodic box at one redshift.

    Attributes:
        position: Comoving positions in Mpc/h, in [0, box).
        velocity: Peculiar velocities in km/s.
        mass: Masses in Msun/h.
        particles: How many particles each halo has.
        overdensity: Matter overdensity δ around each centre, a row for each filter; dimensionless.
        filters: Radii of the top-hat filters in Mpc/h.
        box: Side of the periodic box in Mpc/h.
        attributes: Where the halos come from: redshift, cosmology, finder, seed, source, version.
    """

    position: Float[np.ndarray, "halos 3"]
    velocity: Float[np.ndarray, "halos 3"]
    mass: Float[np.ndarray, "halos"]
    particles: Int[np.ndarray, "halos"]
    overdensity: Float[np.ndarray, "filters halos"]
    filters: tuple[float, ...]
    box: float
    attributes: Mapping[str, str | float | int]

    def smoothed(self, radius: float) -> Float[np.ndarray, "halos"]:
        """Return the overdensity of one filter.

        Args:
            radius: Its radius in Mpc/h.

        Raises:
            DistilleryError: There is no such filter; names those there are.
        """
        if radius not in self.filters:
            there = ", ".join(f"{known:g}" for known in self.filters)
            raise DistilleryError(
                f"filter {radius:g} Mpc/h: not in the catalogue; choose from {there}, or make it with that filter"
            )
        row: np.ndarray = self.overdensity[self.filters.index(radius)]
        return row


def path_of(folder: Path, seed: int) -> Path:
    """Return the path of a realisation's catalogue."""
    return folder / f"halos-s{seed}.zarr"


def write_catalogue(path: Path, catalogue: Catalogue) -> None:
    """Write a catalogue as a Zarr v3 group atomically; an existing one is replaced.

    Args:
        path: The group's folder, usually named ``….zarr``. Its parent is created.
        catalogue: What to write.

    Raises:
        DistilleryError: A value is not finite, or a position lies outside of the box.
    """
    arrays = {name: np.asarray(getattr(catalogue, name)) for name in _VARIABLES if name != "filter"}
    arrays["filter"] = np.array(catalogue.filters, dtype=float)
    _refuse(path, arrays, catalogue.box, "it was made wrongly")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        attributes = {**catalogue.attributes, "box": float(catalogue.box), "box_units": "Mpc/h", "format": _FORMAT}
        _fill(fresh, arrays, attributes)
        files.sync_tree(fresh)
        umask = os.umask(0)
        os.umask(umask)
        fresh.chmod(0o777 & ~umask)
        _exchange(fresh, path)
        files.sync(path.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def read_catalogue(path: Path) -> Catalogue:
    """Read a catalogue and check that it is complete.

    Args:
        path: The folder that ``write_catalogue`` wrote.

    Raises:
        DistilleryError: It is missing, damaged, or written by another version.
    """
    remedy = "delete it and make it again"
    if not path.is_dir():
        raise DistilleryError(f"{path}: no such catalogue; make it first")
    try:
        group = zarr.open_group(str(path), mode="r", zarr_format=3)
        attributes: dict[str, Any] = dict(group.attrs)
    except _DAMAGE as error:
        raise DistilleryError(f"{path}: no catalogue or damaged ({_reason(error)}); {remedy}") from None
    if attributes.pop("format", None) != _FORMAT:
        raise DistilleryError(f"{path}: written by another version of distillery; {remedy}")
    arrays: dict[str, np.ndarray] = {}
    for name, (dimensions, kind, _, _) in _VARIABLES.items():
        try:
            arrays[name] = np.asarray(zarr.open_array(str(path / name), mode="r", zarr_format=3)[...])
        except _DAMAGE as error:
            raise DistilleryError(f"{path / name}: missing or damaged ({_reason(error)}); {remedy}") from None
        if arrays[name].dtype != kind or arrays[name].ndim != len(dimensions):
            raise DistilleryError(f"{path / name}: damaged (not {kind} on {', '.join(dimensions)}); {remedy}")
    sizes = {"halo": len(arrays["mass"]), "filter": len(arrays["filter"]), "space": 3}
    for name, (dimensions, _, _, _) in _VARIABLES.items():
        if arrays[name].shape != tuple(sizes[dimension] for dimension in dimensions):
            raise DistilleryError(f"{path / name}: damaged (its length is not that of the others); {remedy}")
    box = attributes.pop("box", None)
    # For other readers; constant in this package.
    attributes.pop("box_units", None)
    if not isinstance(box, (int, float)) or isinstance(box, bool) or not box > 0:
        raise DistilleryError(f"{path}: damaged (box is {box!r}); {remedy}")
    _refuse(path, arrays, box, remedy)
    filters = tuple(float(radius) for radius in arrays.pop("filter"))
    return Catalogue(**arrays, filters=filters, box=float(box), attributes=attributes)


def _fill(folder: Path, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
    group = zarr.open_group(str(folder), mode="w", zarr_format=3, attributes={"title": "halos", **attributes})
    for name, (dimensions, kind, units, description) in _VARIABLES.items():
        # Zarr omits chunks of the fill value, so that it is a value that does not occur.
        array = group.create_array(
            name,
            shape=arrays[name].shape,
            chunks=tuple(max(1, size) for size in arrays[name].shape),
            dtype=kind,
            fill_value=float("nan") if kind.startswith("float") else -1,
            dimension_names=dimensions,
            chunk_key_encoding={"name": "default", "separator": "."},
            compressors=[ZstdCodec(level=1), Crc32cCodec()],
            attributes={"units": units, "long_name": description},
        )
        array[...] = arrays[name].astype(kind, copy=False)
    with warnings.catch_warnings():
        # Not yet a part of Zarr's specification, but xarray warns if it is missing.
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(group.store)


def _exchange(fresh: Path, path: Path) -> None:
    """Rename a folder to the name of another one, which is removed."""
    if not path.exists():
        fresh.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    path.rename(old / "old")
    fresh.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _refuse(path: Path, arrays: Mapping[str, np.ndarray], box: float, remedy: str) -> None:
    for name, values in arrays.items():
        if not np.all(np.isfinite(values)):
            raise DistilleryError(f"{path / name}: holds values that are not finite; {remedy}")
    if np.any(arrays["particles"] < 1) or np.any(arrays["mass"] <= 0):
        raise DistilleryError(f"{path / 'particles'}: damaged, or a halo has no particles or no mass; {remedy}")
    position = arrays["position"]
    if np.any((position < 0) | (position >= box)):
        raise DistilleryError(f"{path / 'position'}: a halo lies outside of the box of {box:g} Mpc/h; {remedy}")


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
