"""Messages of halos by distance, and the messages of the paper's formulas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.report import paper
from distillery.report.style import BLUE, GREEN, ORANGE

# Line style and colour by form of the paper's formula.
_STYLES = {"with mass": ("--", ORANGE), "without mass": (":", GREEN)}


def paper_kernels(
    r: Float[np.ndarray, " bin"], value: Float[np.ndarray, " bin"]
) -> dict[str, Float[np.ndarray, " bin"]]:
    """Return the paper's messages by distance, each scaled to those of a cell by least squares.

    The node function absorbs any scale of the messages; mass and velocities are further factors. Source:
    arXiv:2006.11287, section 5; its unit of length is a guess, see ``paper.LENGTH``.

    Args:
        r: Distances in Mpc/h.
        value: The cell's message at these distances, over its largest value.

    Returns:
        By the form's name, 1/(C5 + (C6 r)^C7) times the scale.
    """
    found = {}
    for name, (c5, c6, c7) in paper.HALO_KERNELS.items():
        shape = 1 / (1 + (c6 * r / paper.LENGTH) ** c7 / c5)
        found[name] = shape * float(value @ shape) / float(shape @ shape)
    return found


def edge(name: str) -> float:
    """Return the distance in Mpc/h at which a message of the paper is half of its value at no distance."""
    c5, c6, c7 = paper.HALO_KERNELS[name]
    return float(paper.LENGTH * c5 ** (1 / c7) / c6)


def caption() -> str:
    """Return how the curves of the paper were scaled."""
    return (
        "message by distance, mean over neighbours, over its largest value; broken lines: messages of the paper's two "
        "best formulas, each scaled to it by least squares. The paper states no unit of length: "
        f"{paper.LENGTH:.0f} Mpc/h are taken, the spread of positions in its box, which puts its edge at "
        f"{edge('with mass'):.1f} Mpc/h"
    )


def draw_kernel(axes: Any, kernel: Mapping[str, Any]) -> None:
    """Draw the message of a cell by distance and those of the paper.

    Args:
        axes: The panel.
        kernel: Distances ``r`` in Mpc/h, and ``value``, the message over its largest value.
    """
    r, value = (np.array(kernel[name], dtype=float) for name in ("r", "value"))
    axes.plot(r, value, color=BLUE, lw=1.6, label="this cell")
    for name, curve in paper_kernels(r, value).items():
        style, colour = _STYLES[name]
        axes.plot(r, curve, ls=style, color=colour, lw=1.3, label=f"paper, {name}")
    axes.grid()
    axes.set_xlabel("distance (Mpc/h)")
    axes.set_ylabel("message / largest")
    axes.legend(loc="upper right")
