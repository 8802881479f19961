"""Messages that turn into forces while a network is trained, as a film on the page: a slider and dots that move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distillery.report.html import escape, figure
from distillery.report.messages import TARGET_NAMES, MessageFit, r2_shown, window
from distillery.report.plot import Axis, drawing, line, moving

# Colours of the components' curves; there are as many components as dimensions.
_KINDS = 3


def film(fits: Sequence[MessageFit], sent: str) -> str:
    """Return the film of a cell's training as HTML; nothing where it was not filmed.

    Without the page's script it shows its last frame, and nothing to play it with.

    Args:
        fits: The fits of the cell's message components, all by one target.
        sent: What a message is called.
    """
    filmed = [fit for fit in fits if fit.moments]
    if not filmed:
        return ""
    told = [
        f"step {moment.step:,}: R² {', '.join(r2_shown(fit.moments[place].r2_robust) for fit in filmed)}"
        for place, moment in enumerate(filmed[0].moments)
    ]
    pictures = "".join([*(_dots(fit, sent) for fit in filmed), _curve(filmed, sent)])
    last = len(told) - 1
    return (
        f'<div class="film" data-told="{escape("|".join(told))}">'
        "<h5>how its messages turned into forces while the network was trained</h5>"
        '<div class="reel" hidden><button type="button">play</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" aria-label="moment of the training">'
        f"<span>{escape(told[-1])}</span></div>"
        f'<div class="plots">{pictures}</div></div>'
    )


def _dots(fit: MessageFit, sent: str) -> str:
    low, high = window(fit)
    name = TARGET_NAMES[fit.target]
    across = Axis(f"final combination of {name} (dimensionless)", low, high)
    up = Axis(f"{sent} then (dimensionless)", low, high)
    messages = np.stack([moment.message for moment in fit.moments])
    marks = [
        line(across, up, np.array([low, high]), np.array([low, high]), "equal"),
        moving(
            across,
            up,
            fit.fitted[None, : messages.shape[1]],
            messages.astype(float),
            "dots" if fit.target == "force" else "dots other",
        ),
    ]
    title = f"{sent} {fit.component + 1} during the training against what it is of {name} in the end"
    return figure(drawing(title, across, up, marks), f"{escape(title)}; dots outside of the axes are left out")


def _curve(fits: Sequence[MessageFit], sent: str) -> str:
    """Return the R² of all components by step, with a dot on each that goes along; step 0 has no place there."""
    steps = np.array([float(moment.step) for moment in fits[0].moments])
    later = steps > 0
    across = Axis("step", float(steps[later].min()) / 1.2, float(steps.max()) * 1.2, log=True)
    up = Axis("robust R²", -0.03, 1.03)
    marks, names = [], []
    for fit in fits:
        squares = np.array([moment.r2_robust for moment in fit.moments])
        told = later & np.isfinite(squares)
        kind = f"body b{fit.component % _KINDS}"
        marks.append(line(across, up, steps[told], np.clip(squares[told], up.low, up.high), kind))
        place = np.where(told, steps, np.nan)[:, None]
        marks.append(moving(across, up, place, np.clip(squares, up.low, up.high)[:, None], f"{kind} end"))
        names.append(f'<b class="k{fit.component % _KINDS}">{escape(sent)} {fit.component + 1}</b>')
    title = f"how well each {sent} is a linear combination of {TARGET_NAMES[fits[0].target]}"
    return figure(
        drawing(title, across, up, marks), f"{escape(title)}, by its own fit at each moment: {', '.join(names)}"
    )
