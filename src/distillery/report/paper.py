"""The numbers of tables 1, 3 and 5, and of halos, of arXiv:2006.11287 (v2, Cranmer et al. 2020), as data.

Rows are named by system and dimension, in the order of table 3; models are named as in this project. Tables 1 and 5
have the eight rows of charge, r^-1, r^-2 and spring, and the four models with messages; table 3 has twelve rows, and
FlatHGN too. Table 5 has one answer for both dimensions of a system. The models pruning, newton and control are in none.
The paper's kl has a weight of 1, as the variant kl-paper of the preset paper; its numbers are compared with the
built-in kl too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TypeVar

_T = TypeVar("_T")
Row = tuple[str, int]
Entries = Mapping[Row, Mapping[str, _T]]

SYSTEMS = ("charge", "damped", "discontinuous", "r^-1", "r^-2", "spring")
ROWS: tuple[Row, ...] = tuple((system, dim) for system in SYSTEMS for dim in (2, 3))
MESSAGE_MODELS = ("standard", "bottleneck", "l1", "kl")
LOSS_MODELS = (*MESSAGE_MODELS, "flathgn")
_ALSO_CALLED = {"kl-paper": "kl"}


def _frozen(models: tuple[str, ...], rows: Mapping[Row, tuple[_T, ...]]) -> Entries[_T]:
    return MappingProxyType(
        {row: MappingProxyType(dict(zip(models, values, strict=True))) for row, values in rows.items()}
    )


# R² of the messages with the largest standard deviation against the true force; the fit is a robust one.
TABLE_1: Entries[float] = _frozen(
    MESSAGE_MODELS,
    {
        ("charge", 2): (0.016, 0.947, 0.004, 0.185),
        ("charge", 3): (0.013, 0.980, 0.002, 0.425),
        ("r^-1", 2): (0.000, 1.000, 1.000, 0.796),
        ("r^-1", 3): (0.000, 1.000, 1.000, 0.332),
        ("r^-2", 2): (0.004, 0.993, 0.990, 0.770),
        ("r^-2", 3): (0.002, 0.994, 0.977, 0.214),
        ("spring", 2): (0.032, 1.000, 1.000, 0.883),
        ("spring", 3): (0.036, 0.995, 1.000, 0.214),
    },
)

# Test loss: mean over bodies of Σ_d |a_d - â_d|, on simulations of a fresh seed.
TABLE_3: Entries[float] = _frozen(
    LOSS_MODELS,
    {
        ("charge", 2): (49.0, 50.0, 52.0, 60.0, 55.0),
        ("charge", 3): (1.2, 0.99, 0.94, 4.2, 3.5),
        ("damped", 2): (0.30, 0.33, 0.30, 1.5, 0.35),
        ("damped", 3): (0.41, 0.45, 0.40, 3.3, 0.47),
        ("discontinuous", 2): (0.064, 0.074, 0.044, 1.8, 0.075),
        ("discontinuous", 3): (0.20, 0.18, 0.13, 4.2, 0.14),
        ("r^-1", 2): (0.077, 0.069, 0.079, 3.5, 0.050),
        ("r^-1", 3): (0.051, 0.050, 0.055, 3.5, 0.017),
        ("r^-2", 2): (1.6, 1.6, 1.2, 9.3, 1.3),
        ("r^-2", 3): (4.0, 3.6, 3.4, 9.8, 2.5),
        ("spring", 2): (0.047, 0.046, 0.045, 1.7, 0.016),
        ("spring", 3): (0.11, 0.11, 0.090, 3.8, 0.010),
    },
)

# Whether symbolic regression reconstructed the force law.
TABLE_5: Entries[bool] = _frozen(
    MESSAGE_MODELS,
    {
        ("charge", 2): (False, True, False, False),
        ("charge", 3): (False, True, False, False),
        ("r^-1", 2): (False, True, True, True),
        ("r^-1", 3): (False, True, True, True),
        ("r^-2", 2): (False, True, True, False),
        ("r^-2", 3): (False, True, True, False),
        ("spring", 2): (False, True, True, True),
        ("spring", 3): (False, True, True, True),
    },
)


# Halos of one Quijote simulation: mean absolute error of their overdensity, by model of the table of halos.
HALOS: Mapping[str, float] = MappingProxyType(
    {"constant": 0.421, "simple": 0.121, "formula-without-mass": 0.120, "formula-with-mass": 0.0882}
)
# The same for models trained on the less dense halos only: error on those, and on the others.
HALOS_BELOW: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"network-with-mass-below": (0.0634, 0.142), "formula-with-mass-below": (0.0811, 0.0892)}
)
# Messages of its best formulas by distance: C5, C6, C7 of 1/(C5 + (C6 r)^C7).
HALO_KERNELS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {"with mass": (7.06, 15.5, 20.3), "without mass": (50.165, 18.94, 13.21)}
)
# Unit of length in Mpc/h, which the paper does not state: the standard deviation of uniform positions in a box of
# 1000 Mpc/h, a guess that puts the edge of both messages near the radius of its filter, 20 Mpc/h.
LENGTH = 1000 / math.sqrt(12)


def value(table: Entries[_T], row: Row, model: str) -> _T | None:
    """Return an entry of a table, or None if the paper has none.

    Args:
        table: One of the tables.
        row: System and dimension.
        model: Name of a model.
    """
    return table.get(row, {}).get(_ALSO_CALLED.get(model, model))


def least_loss(row: Row, models: Collection[str] = LOSS_MODELS) -> tuple[str, float] | None:
    """Return the model with the smallest loss of a row of table 3, and that loss; None if there is none.

    Args:
        row: System and dimension.
        models: The models to compare.
    """
    losses = {model: loss for model, loss in TABLE_3.get(row, {}).items() if model in models}
    return min(losses.items(), key=lambda entry: entry[1]) if losses else None
