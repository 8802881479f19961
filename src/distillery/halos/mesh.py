"""Fields on a periodic mesh: painting particles by cloud-in-cell, reading at particles, wave numbers.

A mesh of side n has its points at i·box/n. Particles are taken a few at a time, so that painting and reading need
little memory besides the mesh and the particles. The order is fixed: results are the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

# Particles at a time, so that indices and weights fit in the processor's cache.
_CHUNK = 1 << 16


def paint(
    position: Float[np.ndarray, "particles 3"],
    box: float,
    cells: int,
    weight: float = 1.0,
    out: Float[np.ndarray, "cells cells cells"] | None = None,
) -> Float[np.ndarray, "cells cells cells"]:
    """Spread particles over a mesh by cloud-in-cell (Hockney & Eastwood 1988, section 5).

    Args:
        position: Positions in the unit of the box; any periodic image.
        box: Side of the box.
        cells: Cells per side.
        weight: What each particle adds in all.
        out: A mesh to add to, by default a new one of zeros in single precision.

    Returns:
        The sum of weights at each mesh point.
    """
    mesh = np.zeros((cells, cells, cells), dtype=np.float32) if out is None else out
    flat = mesh.reshape(-1)
    for part in _parts(len(position)):
        for index, share in _corners(position[part], box, cells):
            np.add.at(flat, index, (weight * share).astype(mesh.dtype, copy=False))
    return mesh


def contrast(
    position: Float[np.ndarray, "particles 3"], box: float, cells: int
) -> Float[np.ndarray, "cells cells cells"]:
    """Return the density contrast δ of equal particles on a mesh, by cloud-in-cell; dimensionless."""
    mesh = paint(position, box, cells, cells**3 / len(position))
    mesh -= 1.0
    return mesh


def read(
    meshes: Sequence[Shaped[np.ndarray, "cells cells cells"]], position: Float[np.ndarray, "particles 3"], box: float
) -> Float[np.ndarray, "particles fields"]:
    """Interpolate fields at positions by cloud-in-cell, the counterpart of ``paint``.

    Args:
        meshes: Fields on meshes of the same size.
        position: Positions in the unit of the box; any periodic image.
        box: Side of the box.

    Returns:
        The value of each field; each column lies together in memory.
    """
    cells = len(meshes[0])
    values = np.zeros((len(meshes), len(position)), dtype=np.result_type(meshes[0].dtype, np.float32))
    flat = [np.asarray(mesh).reshape(-1) for mesh in meshes]
    for part in _parts(len(position)):
        for index, share in _corners(position[part], box, cells):
            for field, mesh in enumerate(flat):
                values[field, part] += mesh.take(index) * share
    return values.T


def wave_numbers(
    cells: int, box: float, kind: type[np.floating] = np.float64
) -> tuple[Float[np.ndarray, "x 1 1"], Float[np.ndarray, "1 y 1"], Float[np.ndarray, "1 1 z"]]:
    """Return the wave numbers along each axis of the transform of a real field, in 1 over the unit of the box."""
    full = (2 * np.pi / box * np.fft.fftfreq(cells, 1 / cells)).astype(kind)
    half = (2 * np.pi / box * np.fft.rfftfreq(cells, 1 / cells)).astype(kind)
    return full[:, None, None], full[None, :, None], half[None, None, :]


def squared_planes(
    cells: int, box: float, kind: type[np.floating] = np.float64
) -> Iterator[tuple[int, Float[np.ndarray, "y z"]]]:
    """Yield the index of each plane along the first axis and its k², without an array of all k²."""
    x, y, z = (axis**2 for axis in wave_numbers(cells, box, kind))
    return ((plane, x[plane] + y[0] + z[0]) for plane in range(cells))


def derivative_numbers(
    cells: int, box: float, kind: type[np.floating] = np.float64
) -> tuple[Float[np.ndarray, "x 1 1"], Float[np.ndarray, "1 y 1"], Float[np.ndarray, "1 1 z"]]:
    """Return the wave numbers of derivatives: 0 for the shortest wave, which has no direction."""
    x, y, z = (axis.copy() for axis in wave_numbers(cells, box, kind))
    if cells % 2 == 0:
        x[cells // 2] = 0
        y[:, cells // 2] = 0
        z[..., cells // 2] = 0
    return x, y, z


def wrapped(position: Shaped[np.ndarray, "*any"], box: float) -> Shaped[np.ndarray, "*any"]:
    """Return positions in [0, box); values rounded to the box become 0."""
    inside = np.mod(position, np.asarray(box, dtype=position.dtype))
    # Compare in double precision, because single precision may not represent the box.
    inside[inside >= np.float64(box)] = 0
    return inside


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))


def _corners(
    position: Float[np.ndarray, "part 3"], box: float, cells: int
) -> Iterator[tuple[Int[np.ndarray, "part"], Float[np.ndarray, "part"]]]:
    """Yield the index of each of the eight mesh points around particles, and its weight."""
    near: list[tuple[np.ndarray, np.ndarray]] = []
    far: list[tuple[np.ndarray, np.ndarray]] = []
    for axis, stride in enumerate((cells * cells, cells, 1)):
        scaled = position[:, axis] * np.asarray(cells / box, dtype=position.dtype)
        floor = np.floor(scaled)
        scaled -= floor
        index = floor.astype(np.intp)
        index %= cells
        following = index + 1
        following[following == cells] = 0
        near.append((index * stride, 1 - scaled))
        far.append((following * stride, scaled))
    for x, share_x in (near[0], far[0]):
        for y, share_y in (near[1], far[1]):
            xy, share_xy = x + y, share_x * share_y
            for z, share_z in (near[2], far[2]):
                yield xy + z, share_xy * share_z
