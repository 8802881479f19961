"""Messages that turn into forces while a network is trained: data of a film that the page's script plays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from distillery.report.messages import COLOURS, TARGET_NAMES, MessageFit, r2_shown, window
from distillery.report.style import BODIES, add_dots, add_line
from distillery.report.svg import Attributes, drawing, pixels


@dataclasses.dataclass(frozen=True)
class Film:
    """A film.

    Attributes:
        moments: The caption of each frame.
        pictures: Drawings that move with their captions; they show the last frame where no script runs.
    """

    moments: tuple[str, ...]
    pictures: tuple[tuple[Markup, str], ...]


def film(fits: Sequence[MessageFit], sent: str) -> Film | None:
    """Return the film of a training; None if no frames were stored.

    Args:
        fits: Fits of the message components of a cell, all by one target.
        sent: Name of a message.
    """
    filmed = [fit for fit in fits if fit.moments]
    if not filmed:
        return None
    moments = [
        f"step {moment.step:,}: R² {', '.join(r2_shown(fit.moments[place].r2_robust) for fit in filmed)}"
        for place, moment in enumerate(filmed[0].moments)
    ]
    return Film(tuple(moments), (*(_dots(fit, sent) for fit in filmed), _curve(filmed, sent)))


def _dots(fit: MessageFit, sent: str) -> tuple[Markup, str]:
    name = TARGET_NAMES[fit.target]
    low, high = window(fit)

    def draw(axes: Any) -> Attributes:
        add_line(axes, [low, high], [low, high])
        axes.set(xlim=(low, high), ylim=(low, high))
        across = fit.fitted[: len(fit.moments[0].message)]
        last = fit.moments[-1].message
        inside = (low <= across) & (across <= high) & (low <= last) & (last <= high)
        add_dots(axes, across[inside], last[inside], COLOURS[fit.target], 3.6, alpha=0.5, gid="dots")
        axes.set(xlim=(low, high), ylim=(low, high))
        axes.grid()
        axes.set_xlabel(f"final combination of {name} (dimensionless)")
        axes.set_ylabel(f"{sent} then (dimensionless)")
        frames = [pixels(axes, across, moment.message) for moment in fit.moments]
        return {"dots": {"class": "dots", "data-x": frames[0][0], "data-y": " ".join(up for _, up in frames)}}

    title = f"{sent} {fit.component + 1} during the training against its final combination of {name}"
    return drawing(title, draw), f"{title}; dots outside of the axes are left out"


def _curve(fits: Sequence[MessageFit], sent: str) -> tuple[Markup, str]:
    """Return robust R² of all components by step, each with a dot that moves; a logarithmic axis has no step 0."""
    steps = np.array([float(moment.step) for moment in fits[0].moments])
    steps[steps <= 0] = np.nan

    def draw(axes: Any) -> Attributes:
        axes.set_xscale("log")
        moving = {}
        for fit in fits:
            squares = np.clip([moment.r2_robust for moment in fit.moments], -0.03, 1.03)
            known = np.isfinite(steps) & np.isfinite(squares)
            colour, gid = BODIES[fit.component % len(BODIES)], f"end{fit.component}"
            axes.plot(steps[known], squares[known], color=colour, lw=1.8, label=f"{sent} {fit.component + 1}")
            add_dots(axes, steps[-1:], squares[-1:], colour, 9.0, gid=gid, zorder=3)
            moving[gid] = squares
        axes.set(xlim=(np.nanmin(steps) / 1.2, np.nanmax(steps) * 1.2), ylim=(-0.05, 1.05))
        axes.grid()
        axes.legend(loc="lower right")
        axes.set_xlabel("step")
        axes.set_ylabel("robust R²")
        frames = {
            gid: [pixels(axes, step, square) for step, square in zip(steps[:, None], squares[:, None], strict=True)]
            for gid, squares in moving.items()
        }
        return {
            gid: {"class": "end", "data-x": " ".join(x for x, _ in own), "data-y": " ".join(y for _, y in own)}
            for gid, own in frames.items()
        }

    title = f"how well each {sent} is a linear combination of {TARGET_NAMES[fits[0].target]}"
    return drawing(title, draw), f"{title}, by its own fit at each moment"
