"""The paper's formulas as data: a constant, the simple one, and the best ones without and with mass.

arXiv:2006.11287, section 5, in the units of ``features``. Its formulas leave a scale free, (C5 and all that is
multiplied with a message), so C5 is held at 1. All variables are positive or zero; bounds keep every denominator
positive for all of them, and not only on the halos that were trained on: a C3 below 0 may fit as well and then gives a
denominator that changes sign where halos are heavier or denser.
"""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np

from distillery.halos.features import message_names, node_names
from distillery.halos.law import HaloLaw
from distillery.halos.models import Form
from distillery.physics import formula

NAMES: tuple[str, ...] = get_args(Form)
# A refit distinguishes a power from a step only if there are halos near the edge.
_STEEPEST = 40.0


@dataclasses.dataclass(frozen=True)
class _Form:
    message: str
    node: str
    starts: dict[str, float]
    bounds: dict[str, tuple[float, float]]


_POSITIVE = (1e-6, np.inf)
_NOT_NEGATIVE = (0.0, np.inf)
_PROFILE = {"c4": _NOT_NEGATIVE, "c5": (1.0, 1.0), "c6": (1e-4, 1.0), "c7": (1.0, _STEEPEST)}


def form(name: str, smoothing: float) -> HaloLaw:
    """Return one of the paper's formulas with initial constants.

    Args:
        name: One of ``NAMES``.
        smoothing: Radius of the filter of δ in Mpc/h, the cut of the simple formula and the first guess at 1/C6.
    """
    found = _forms(smoothing)[name]
    message = formula.parse(found.message, (*message_names(), *found.starts))
    node = formula.parse(found.node, (*node_names(), *found.starts))
    return HaloLaw(message, node, dict(found.starts), dict(found.bounds))


def _forms(smoothing: float) -> dict[str, _Form]:
    return {
        "constant": _Form("0", "c1", {"c1": 0.0}, {}),
        "simple": _Form(
            f"m2 if r < {smoothing!r} else 0",
            "c1 + (c2 + c3*m)*s",
            {"c1": -0.1, "c2": 0.1, "c3": 0.001},
            {},
        ),
        "without mass": _Form(
            "(c4 + dv)/(c5 + (c6*r)^c7)",
            "c1 + s/(c2 + c3*s*v)",
            {"c1": -0.2, "c2": 60.0, "c3": 0.02, "c4": 2.0, "c5": 1.0, "c6": 1 / smoothing, "c7": 10.0},
            {"c2": _POSITIVE, "c3": _NOT_NEGATIVE, **_PROFILE},
        ),
        "with mass": _Form(
            "(c4 + m2)/(c5 + (c6*r)^c7)",
            "c1 + s/(c2 + c3*m)",
            {"c1": -0.2, "c2": 5.0, "c3": 0.1, "c4": 0.3, "c5": 1.0, "c6": 1 / smoothing, "c7": 10.0},
            {"c2": _POSITIVE, "c3": _NOT_NEGATIVE, **_PROFILE},
        ),
    }
