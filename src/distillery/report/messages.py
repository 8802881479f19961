"""Message components against the true force: fits, and their pictures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from distillery.messages.fits import trimmed_fit
from distillery.report.style import BLUE, ORANGE, add_dots, add_line, picture

Target = Literal["force", "acceleration"]
TARGETS: tuple[Target, ...] = ("force", "acceleration")
TARGET_NAMES: dict[Target, str] = {"force": "F", "acceleration": "F/m"}
COLOURS: dict[Target, str] = {"force": BLUE, "acceleration": ORANGE}
_POINTS = 1000
# Number of moments of a training in a picture, and the height of a row of them in inches.
_STILLS, _STRIP = 6, 1.6
# The axes leave out the tails of messages that spread further than this many times the central 90 %.
_HEAVY = 6.0


@dataclasses.dataclass(frozen=True)
class Moment:
    """A message component at a moment of the training.

    Attributes:
        step: Number of training steps done.
        message: The component on the first of the held-out samples (dimensionless).
        r2_robust: R² of its own linear fit at that moment, over the best fitting share of the samples.
    """

    step: int
    message: Float[np.ndarray, " some"]
    r2_robust: float


@dataclasses.dataclass(frozen=True)
class MessageFit:
    """A message component and the linear combination of true components that fits it best.

    Attributes:
        component: Number of the component.
        target: Whether it is fitted by the force, or by the force over the receiver's mass.
        fitted: The linear combination on each held-out sample (dimensionless).
        message: The component on the same samples (dimensionless).
        r2: R² over all samples, as stored by the stage ``interpret``.
        r2_robust: R² over the best fitting share of the samples, as stored.
        moments: The component on the first of the samples during the training, if frames were stored.
    """

    component: int
    target: Target
    fitted: Float[np.ndarray, " sample"]
    message: Float[np.ndarray, " sample"]
    r2: float
    r2_robust: float
    moments: tuple[Moment, ...] = ()


def messages_figure(name: str, fits: Sequence[MessageFit], path: Path) -> None:
    """Draw the message components of a cell against force and acceleration.

    Args:
        name: Name of the cell.
        fits: Fits of its messages by all targets.
        path: The picture, ``.svg`` or ``.png``.
    """
    components = sorted({fit.component for fit in fits})
    filmed = _filmed(fits)
    strip = _STRIP * len(filmed)
    with picture(path, 3.3 * len(components) + 0.2, 6.4 + strip) as figure:
        part: Any = figure
        if filmed:
            part, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(6.4, strip))[:, 0]
            _draw_moments(below, filmed)
        panels = part.subplots(len(TARGETS), len(components), squeeze=False)
        for fit in fits:
            axes = panels[TARGETS.index(fit.target)][components.index(fit.component)]
            draw_fit(axes, fit, rasterized=True)
            write_fit(axes, fit)
        figure.suptitle(f"{name}: messages on held-out edges", x=0.01, ha="left", fontsize=11)


def fit_messages(
    message: Float[np.ndarray, "sample component"],
    force: Float[np.ndarray, "sample space"],
    mass: Float[np.ndarray, " sample"],
    found: Mapping[str, Any],
    trim: float,
    targets: Sequence[Target] = TARGETS,
    frames: tuple[Float[np.ndarray, "frame some component"], Mapping[str, Any]] | None = None,
) -> list[MessageFit]:
    """Fit message components by the true force and acceleration, robustly.

    Args:
        message: Messages on held-out edges (dimensionless).
        force: True forces on the same edges (dimensionless).
        mass: Masses of the receivers (dimensionless).
        found: By target and kind, R² of each component, as stored.
        trim: Share of the samples that is fitted.
        targets: The quantities that messages are fitted by.
        frames: Messages on the first of the samples during the training, and the stored steps and R² of each.
    """
    fits = []
    for target in targets:
        true = force if target == "force" else force / mass[:, None]
        design = np.column_stack([true, np.ones(len(true))])
        for component in range(message.shape[1]):
            _, residual = trimmed_fit(design, message[:, component], trim)
            fitted = message[:, component] - residual
            r2, robust = (_value(found[target][kind], component) for kind in ("r2", "r2_robust"))
            moments = () if frames is None else _moments(frames[0][:, :, component], frames[1], target, component)
            fits.append(MessageFit(component, target, fitted, message[:, component], r2, robust, moments))
    return fits


def _moments(
    values: Float[np.ndarray, "frame sample"], stored: Mapping[str, Any], target: Target, component: int
) -> tuple[Moment, ...]:
    squares = [_value(fits[target]["r2_robust"], component) for fits in stored["fits"]]
    return tuple(Moment(*moment) for moment in zip(stored["steps"], values, squares, strict=True))


def window(fit: MessageFit) -> tuple[float, float]:
    """Return the limits of both axes on which a fit is drawn; a few messages of close encounters lie outside.

    Args:
        fit: The fit.

    Returns:
        The lower and the upper limit (dimensionless).
    """
    low, inner_low, inner_high, high = np.quantile(fit.message, [0.005, 0.05, 0.95, 0.995])
    # Heavy tails would leave nearly all messages in one point.
    if high - low > _HEAVY * (inner_high - inner_low) > 0:
        low, high = inner_low, inner_high
    margin = 0.08 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def share_outside(fit: MessageFit) -> float:
    """Return the share of samples that lie outside the ``window`` of a fit."""
    return float(1 - _inside(fit).mean())


def _inside(fit: MessageFit) -> Any:
    low, high = window(fit)
    return (fit.message >= low) & (fit.message <= high) & (fit.fitted >= low) & (fit.fitted <= high)


def draw_fit(axes: Any, fit: MessageFit, points: int = _POINTS, *, rasterized: bool = False) -> None:
    """Draw a component against its fit, with the line on which both are equal.

    Args:
        axes: The panel.
        fit: The fit.
        points: Largest number of samples that are drawn, spread evenly over all.
        rasterized: Whether they become pixels, which take less space in a file than many dots.
    """
    low, high = window(fit)
    some = np.linspace(0, len(fit.message) - 1, min(points, len(fit.message))).astype(int)
    add_line(axes, [low, high], [low, high])
    inside = some[_inside(fit)[some]]
    add_dots(axes, fit.fitted[inside], fit.message[inside], COLOURS[fit.target], 3.0, alpha=0.4, rasterized=rasterized)
    axes.set(xlim=(low, high), ylim=(low, high))
    axes.grid()
    axes.set_xlabel(f"linear combination of {TARGET_NAMES[fit.target]} (dimensionless)")
    axes.set_ylabel("message (dimensionless)")


def write_fit(axes: Any, fit: MessageFit) -> None:
    """Write the number of the component and its R² into a panel.

    Args:
        axes: The panel.
        fit: The fit.
    """
    axes.set_box_aspect(1)
    axes.set_title(f"component {fit.component + 1}")
    text = f"R² {r2_shown(fit.r2)}\nrobust {r2_shown(fit.r2_robust)}"
    if outside := share_outside(fit):
        text += f"\n{outside:.1%} outside"
    axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", fontsize=8)


def _filmed(fits: Sequence[MessageFit]) -> list[MessageFit]:
    """Return the fits that have moments, by the target that fits better in the end."""
    targets = [[fit for fit in fits if fit.target == target and fit.moments] for target in TARGETS]
    return max(targets, key=lambda own: sum(fit.r2_robust for fit in own if not math.isnan(fit.r2_robust)))


def _draw_moments(figure: Any, fits: Sequence[MessageFit]) -> None:
    """Draw a few moments of the training side by side, the last one included, a row for each component."""
    count = len(fits[0].moments)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _STILLS)).round().astype(int))
    rows = figure.subplots(len(fits), len(chosen), squeeze=False)
    for row, fit in zip(rows, fits, strict=True):
        low, high = window(fit)
        for panel, moment in zip(row, (fit.moments[place] for place in chosen), strict=True):
            add_line(panel, [low, high], [low, high], lw=0.7)
            across = fit.fitted[: len(moment.message)]
            add_dots(panel, across, moment.message, COLOURS[fit.target], 1.6, alpha=0.5, rasterized=True)
            panel.set(xlim=(low, high), ylim=(low, high), box_aspect=1, xticks=[], yticks=[])
            panel.set_title(f"step {moment.step:,}\nR² {r2_shown(moment.r2_robust)}", fontsize=7)
        row[0].set_ylabel(f"component {fit.component + 1}", fontsize=8)
    name = TARGET_NAMES[fits[0].target]
    figure.suptitle(f"while it was trained, against the final combination of {name}", x=0.01, ha="left", fontsize=9)


def _value(values: list[float | None], index: int) -> float:
    value = values[index]
    return math.nan if value is None else float(value)


def r2_shown(value: float) -> str:
    """Return R² to three decimals; for heavy tails it can be any negative number."""
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if value > -1 else "< −1"
