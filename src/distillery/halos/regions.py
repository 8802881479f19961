"""Split of halos in space: neighbours share their matter, so that in a random split tests would not be independent.

The box is cut along one axis into slabs for training, validation and test. Between two slabs, also across the periodic
border, halos are omitted: a gap of the smoothing radius at both sides of every slab, so that no ball of an
overdensity reaches into another slab. Only targets are separated. Senders may lie in a gap or in another slab, because
they are inputs; without them halos near a border would lack half of their neighbours.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from distillery.errors import DistilleryError

# Least share of the box in all slabs together.
LEAST = 0.2
NAMES = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
    """Receivers by use.

    Attributes:
        train: Indices of the training halos.
        validation: Indices of the halos by which formulas are chosen; may be empty.
        test: Indices of the halos on which errors are reported.
        slabs: Lower and upper bound of each slab along the axis, in Mpc/h.
    """

    train: Int[np.ndarray, " train"]
    validation: Int[np.ndarray, " validation"]
    test: Int[np.ndarray, " test"]
    slabs: dict[str, tuple[float, float]]


def split(
    position: Float[np.ndarray, "halo 3"],
    box: float,
    gap: float,
    fractions: tuple[float, float, float] = (0.6, 0.15, 0.25),
    axis: int = 0,
) -> Regions:
    """Split halos into slabs for training, validation and test.

    Args:
        position: Comoving positions in Mpc/h, in [0, box).
        box: Side of the periodic box in Mpc/h.
        gap: Left out at both sides of every slab, in Mpc/h; the smoothing radius.
        fractions: Shares of what the gaps leave; that of the validation may be 0.
        axis: Axis along which the box is cut.

    Raises:
        DistilleryError: The fractions are none, the box is too small for the gaps, or a slab holds no halo.
    """
    train, validation, test = fractions
    if not (train > 0 and validation >= 0 and test > 0 and abs(sum(fractions) - 1) < 1e-9):
        raise DistilleryError(f"fractions {fractions}: must be shares of train, validation and test that add up to 1")
    if axis not in range(3):
        raise DistilleryError(f"axis {axis}: must be 0, 1 or 2")
    used = [(name, share) for name, share in zip(NAMES, fractions, strict=True) if share > 0]
    left = box - 2 * gap * len(used)
    if not (gap >= 0 and left >= LEAST * box):
        raise DistilleryError(
            f"box of {box:g} Mpc/h: gaps of {gap:g} Mpc/h at both sides of {len(used)} slabs leave "
            f"{max(left, 0):g} Mpc/h; take a box of at least {2 * gap * len(used) / (1 - LEAST):.4g} Mpc/h"
        )
    along, begin = position[:, axis], 0.0
    slabs: dict[str, tuple[float, float]] = {}
    inside: dict[str, np.ndarray] = dict.fromkeys(NAMES, np.zeros(0, dtype=np.int64))
    for name, share in used:
        low, high = begin + gap, begin + gap + share * left
        slabs[name], begin = (low, high), high + gap
        inside[name] = np.flatnonzero((along >= low) & (along < high))
        if len(inside[name]) == 0:
            raise DistilleryError(f"{name}: no halo in its slab of {share * left:g} Mpc/h; take a larger box")
    return Regions(**inside, slabs=slabs)
