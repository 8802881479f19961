"""Overdensity δ in balls: matter on a mesh, smoothed by a spherical top-hat, read at halos.

The mesh is painted and read by cloud-in-cell and neither is deconvolved: for cells of a tenth of the radius, that
lowers fluctuations on the filter's scale by 0.5 %, for a fifth by 1.8 %, half by reading and half by painting. A
density cube from elsewhere need not say how it was painted. Reading is exact on points of the mesh and most off between
them; dividing by its window, which is an average, would trade one error for another.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import fft

from distillery.halos import mesh
from distillery.halos.cosmology import top_hat


def smoothed(
    field: Float[np.ndarray, "cells cells cells"],
    box: float,
    radii: tuple[float, ...],
    position: Float[np.ndarray, "halos 3"],
    workers: int = 1,
) -> Float[np.ndarray, "radii halos"]:
    """Return a field's mean in balls around positions, by the top-hat's transform.

    Args:
        field: A field on a mesh, such as the density contrast; it is overwritten.
        box: Side of the periodic box in Mpc/h.
        radii: Radii of the balls in Mpc/h, less than half of the box.
        position: Their centres in Mpc/h.
        workers: Threads of the transforms.

    Returns:
        A row for each radius, in the field's unit. Memory: three meshes.
    """
    cells = len(field)
    modes = fft.rfftn(field, overwrite_x=True, workers=workers)
    rows = []
    for number, radius in enumerate(radii):
        ball = modes if number == len(radii) - 1 else modes.copy()
        for plane, square in mesh.squared_planes(cells, box):
            ball[plane] *= top_hat(radius * np.sqrt(square))
        mean = fft.irfftn(ball, (cells, cells, cells), overwrite_x=True, workers=workers)
        rows.append(mesh.read([mean], position, box)[:, 0].astype(np.float64))
    return np.stack(rows)
