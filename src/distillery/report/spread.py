"""Standard deviations of message components: how few of them carry the information."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from distillery.report.style import BLUE, QUIET
from distillery.report.svg import drawing

_BARS = 40
# Width of the panel in units of the drawing, of which the bars take this share.
_WIDTH, _SHARE = 272, 0.75


def spread_picture(stds: Sequence[float], first: int) -> tuple[Markup, str] | None:
    """Return a drawing of the standard deviations of message components; None if no component varies.

    Args:
        stds: Standard deviation of each component (dimensionless); NaN if there is none.
        first: Number of the largest that are drawn in a stronger colour.
    """
    known = np.sort(np.array([value for value in stds if math.isfinite(value)], dtype=float))[::-1]
    if not len(known) or known[0] <= 0:
        return None
    drawn = known[:_BARS]

    def draw(axes: Any) -> None:
        width = _SHARE * _WIDTH / len(drawn)
        for part, colour in ((slice(0, first), BLUE), (slice(first, None), QUIET)):
            axes.vlines(np.arange(1.0, len(drawn) + 1)[part], 0.0, drawn[part], color=colour, lw=width)
        axes.set(xlim=(0.4, len(drawn) + 0.6), ylim=(0.0, 1.06 * float(known[0])), xticks=[])
        axes.grid(axis="y")
        axes.set_xlabel("message components, sorted")
        axes.set_ylabel("std (dimensionless)")

    share = float((known[:first] ** 2).sum() / (known**2).sum())
    left = f", {len(known) - _BARS} smaller ones left out" if len(known) > _BARS else ""
    words = f"the first {first} carry" if first > 1 else "the first carries"
    caption = f"{len(known)} message components{left}: {words} {share:.1%} of the variance"
    return drawing("spread of the message components", draw), caption
