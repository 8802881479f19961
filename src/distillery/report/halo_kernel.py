"""What a neighbour says by its distance, beside what it says in the paper's formulas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.report import paper
from distillery.report.html import figure
from distillery.report.plot import axis, drawing, legend, line
from distillery.report.style import GREEN, ORANGE, QUIET

# By form: class of the line on the page, its style and colour in pictures.
_KINDS = {"with mass": ("paper", "--", QUIET), "without mass": ("paper dotted", ":", GREEN)}
_OWN = "this cell"


def paper_kernels(
    r: Float[np.ndarray, " bin"], value: Float[np.ndarray, " bin"]
) -> dict[str, Float[np.ndarray, " bin"]]:
    """Return the paper's messages by distance, each by the factor that brings it closest to a cell's in least squares.

    The node undoes any scale of the messages, and what else they depend on, mass or velocities, is a factor. Source:
    arXiv:2006.11287, section 5; its unit of length is a guess, see ``paper.LENGTH``.

    Args:
        r: Distances in Mpc/h.
        value: The cell's message there, of its largest.

    Returns:
        By the form's name, 1/(C5 + (C6 r)^C7) times that factor.
    """
    found = {}
    for name, (c5, c6, c7) in paper.HALO_KERNELS.items():
        shape = 1 / (1 + (c6 * r / paper.LENGTH) ** c7 / c5)
        found[name] = shape * float(value @ shape) / float(shape @ shape)
    return found


def edge(name: str) -> float:
    """Return the distance in Mpc/h at which a message of the paper is half of what it is close by."""
    c5, c6, c7 = paper.HALO_KERNELS[name]
    return float(paper.LENGTH * c5 ** (1 / c7) / c6)


def caption() -> str:
    """Return how the paper's curves were drawn."""
    return (
        "what a neighbour says by its distance, mean over neighbours, of its largest; broken lines: the messages of "
        "the paper's two best formulas, each scaled to it by least squares. The paper states no unit of length: "
        f"{paper.LENGTH:.0f} Mpc/h are taken, the spread of positions in its box, which puts its edge at "
        f"{edge('with mass'):.1f} Mpc/h"
    )


def kernel_sketch(kernel: Mapping[str, Any]) -> str:
    """Return a cell's message by distance and the paper's, as a figure of the page.

    Args:
        kernel: Distances ``r`` in Mpc/h, and ``value``, the message there, of its largest.
    """
    r, value = (np.array(kernel[name], dtype=float) for name in ("r", "value"))
    curves = paper_kernels(r, value)
    across = axis("distance (Mpc/h)", r)
    up = axis("message, of its largest", np.concatenate([value, *curves.values()]))
    marks = [line(across, up, r, curve, _KINDS[name][0]) for name, curve in curves.items()]
    names = {"line": _OWN, **{_KINDS[name][0]: f"paper, {name}" for name in curves}}
    marks += [line(across, up, r, value), legend(names)]
    return figure(drawing("what a neighbour says, by its distance", across, up, marks), caption())


def draw_kernel(axes: Any, kernel: Mapping[str, Any]) -> None:
    """Draw a cell's message by distance and the paper's into a panel of a picture.

    Args:
        axes: The panel.
        kernel: As ``kernel_sketch`` takes it.
    """
    r, value = (np.array(kernel[name], dtype=float) for name in ("r", "value"))
    axes.plot(r, value, color=ORANGE, lw=1.6, label=_OWN)
    for name, curve in paper_kernels(r, value).items():
        _, style, colour = _KINDS[name]
        axes.plot(r, curve, ls=style, color=colour, lw=1.3, label=f"paper, {name}")
    axes.set(xlabel="distance (Mpc/h)", ylabel="message, of its largest", title="by distance, on average")
    note = f"paper: scaled to it, 1 = {paper.LENGTH:.0f} Mpc/h"
    axes.legend(fontsize=7, loc="upper right", title=note, title_fontsize=7)
