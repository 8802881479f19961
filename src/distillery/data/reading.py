"""Read trajectories from files of the package's own layout."""

from __future__ import annotations

from pathlib import Path

from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError


def read(path: str | Path) -> Trajectories:
    """Return the trajectories of a Zarr store or a NetCDF file.

    Args:
        path: A Zarr store (a folder) or a NetCDF file whose variables are named as the attributes of `Trajectories`:
            at least ``position`` (simulation, time, particle, space) and ``time``. Stores that the stage ``simulate``
            writes have this layout.

    Raises:
        DistilleryError: The file is missing, of another kind, damaged, or lacks a variable.
    """
    import xarray as xr

    source = Path(path).expanduser()
    if not source.exists():
        raise DistilleryError(f"{source}: no such file or folder")
    try:
        dataset = xr.open_zarr(source, chunks=None, consolidated=False) if source.is_dir() else xr.open_dataset(source)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DistilleryError(
            f"{source}: cannot be read as Zarr or NetCDF ({reason}); give a file of either kind"
        ) from None
    with dataset:
        try:
            return Trajectories.from_dataset(dataset)
        except DistilleryError as error:
            raise DistilleryError(f"{source}: {error}") from None
