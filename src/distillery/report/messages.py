"""Message components against the true force: what the network learned to say along an edge."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float

from distillery.errors import DistilleryError
from distillery.messages.fits import DISTILLED, FRAMES, trimmed_fit
from distillery.report.style import BLUE, FAINT, ORANGE, QUIET, picture, say
from distillery.workflow.cell import Cell
from distillery.workflow.state import cell_states
from distillery.workflow.sweep import Sweep

Target = Literal["force", "acceleration"]
TARGETS: tuple[Target, ...] = ("force", "acceleration")
TARGET_NAMES: dict[Target, str] = {"force": "F", "acceleration": "F/m"}
_COLOURS: dict[Target, str] = {"force": BLUE, "acceleration": ORANGE}
_POINTS = 2000
# So many moments of a training stand in a picture.
_STILLS = 6
# Height of a row of them, in inches.
_STRIP = 1.6
# So many times as wide as nine tenths of them may the messages spread before their tails are left outside.
_HEAVY = 6.0


@dataclasses.dataclass(frozen=True)
class Moment:
    """A message component at a moment of the training.

    Attributes:
        step: Steps done.
        message: The component's value on the first of the held-out samples (dimensionless).
        r2_robust: R² of its own linear fit then, over the best fitting share of the samples.
    """

    step: int
    message: Float[np.ndarray, " some"]
    r2_robust: float


@dataclasses.dataclass(frozen=True)
class MessageFit:
    """A message component beside the linear combination of true components that fits it best.

    Attributes:
        component: Number of the component.
        target: Whether it is fitted by the force or by the force over the receiver's mass.
        fitted: The combination's value on each held-out sample (dimensionless).
        message: The component's value there (dimensionless).
        r2: R² over all samples, as the cell's interpretation found it.
        r2_robust: The same over the best fitting share of them.
        moments: What the component was on the first of the samples while the network was trained, if it was filmed.
    """

    component: int
    target: Target
    fitted: Float[np.ndarray, " sample"]
    message: Float[np.ndarray, " sample"]
    r2: float
    r2_robust: float
    moments: tuple[Moment, ...] = ()


def messages_figure(sweep: Sweep, cell: Cell, path: Path) -> None:
    """Draw the message components of a cell against force and acceleration.

    Args:
        sweep: The sweep.
        cell: One of its cells.
        path: The picture, ``.svg`` or ``.png``; it says so if the cell diverged or failed.

    Raises:
        DistilleryError: The cell is not interpreted yet, or its messages are damaged.
    """
    state = cell_states(sweep, cell)["interpret"]
    if state.state in ("diverged", "failed"):
        say(path, f"{cell}: messages", f"{state.state}: {state.reason}")
        return
    if sweep.model(cell).kind == "control":
        say(path, f"{cell}: messages", "the control has no network that could send messages")
        return
    fits = message_fits(sweep, cell)
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
            draw_fit(panels[TARGETS.index(fit.target)][components.index(fit.component)], fit)
        figure.suptitle(f"{cell}: messages on held-out edges", x=0.01, ha="left", fontsize=11)


def message_fits(sweep: Sweep, cell: Cell, targets: Sequence[Target] = TARGETS) -> list[MessageFit]:
    """Return the robust linear fits of a cell's message components on held-out edges.

    Args:
        sweep: The sweep.
        cell: One of its cells, interpreted.
        targets: What they are fitted by.

    Raises:
        DistilleryError: The cell is not interpreted yet, or its messages are damaged.
    """
    if sweep.model(cell).kind == "control":
        raise DistilleryError(f"{cell}: has no messages, for it has no network; choose a cell of another model")
    path = cell.messages(sweep.results)
    outcome = cell_states(sweep, cell)["interpret"].outcome
    if outcome is None or outcome.status != "ok":
        raise DistilleryError(f"{cell}: is not interpreted with these settings; run the sweep first")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            held_out = stored["held_out"]
            message, displacement = stored["message"][held_out], stored["displacement"][held_out]
            mass, charge = stored["mass"][held_out], stored["charge"][held_out]
            frames = stored.get(FRAMES, np.empty((0, 0, message.shape[1])))
        squares = outcome.result["fits"][DISTILLED]
        told = outcome.result.get(FRAMES, {"steps": [], "fits": []})
        if frames.shape != (len(told["steps"]), frames.shape[1], message.shape[1]):
            raise ValueError(f"frames of shape {frames.shape} for {len(told['steps'])} steps")
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, BadZipFile) as error:
        remedy = f"delete {cell.outcome(sweep.results, 'interpret')} and run the sweep again"
        raise DistilleryError(f"{path}: damaged or missing ({error}); {remedy}") from None
    force = sweep.system(cell.experiment).pair_force(
        displacement, (mass[:, 0], mass[:, 1]), (charge[:, 0], charge[:, 1])
    )
    fits = []
    for target in targets:
        true = force if target == "force" else force / mass[:, :1]
        design = np.column_stack([true, np.ones(len(true))])
        for component in range(message.shape[1]):
            _, residual = trimmed_fit(design, message[:, component], sweep.config.interpretation.trim)
            fitted = message[:, component] - residual
            r2, robust = (_value(squares[target][kind], component) for kind in ("r2", "r2_robust"))
            moments = _moments(frames[:, :, component], told, target, component)
            fits.append(MessageFit(component, target, fitted, message[:, component], r2, robust, moments))
    return fits


def _moments(
    values: Float[np.ndarray, "frame sample"], told: Mapping[str, Any], target: Target, component: int
) -> tuple[Moment, ...]:
    squares = [_value(fits[target]["r2_robust"], component) for fits in told["fits"]]
    return tuple(Moment(*moment) for moment in zip(told["steps"], values, squares, strict=True))


def window(fit: MessageFit) -> tuple[float, float]:
    """Return the ends of the axes on which a fit is drawn: a few messages of close encounters lie outside.

    Args:
        fit: The fit.

    Returns:
        The lower and the upper end, of both axes (dimensionless).
    """
    low, inner_low, inner_high, high = np.quantile(fit.message, [0.005, 0.05, 0.95, 0.995])
    # Heavy tails would squeeze nearly all messages into one point.
    if high - low > _HEAVY * (inner_high - inner_low) > 0:
        low, high = inner_low, inner_high
    margin = 0.08 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def share_outside(fit: MessageFit) -> float:
    """Return the share of samples that lie outside of the ``window`` of a fit."""
    low, high = window(fit)
    return float(((fit.message < low) | (fit.message > high) | (fit.fitted < low) | (fit.fitted > high)).mean())


def draw_fit(axes: Any, fit: MessageFit, notes: bool = True) -> None:
    """Draw a component against its fit, with the line on which they agree.

    Args:
        axes: Where.
        fit: The fit.
        notes: Whether R² is written in the panel.
    """
    name = TARGET_NAMES[fit.target]
    low, high = window(fit)
    outside = share_outside(fit)
    axes.plot([low, high], [low, high], color=QUIET, lw=1.0, zorder=1)
    axes.scatter(
        fit.fitted[:_POINTS],
        fit.message[:_POINTS],
        s=5,
        color=_COLOURS[fit.target],
        alpha=0.35,
        linewidth=0,
        rasterized=True,
        zorder=2,
    )
    axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
    axes.grid(color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_title(f"component {fit.component + 1}")
    axes.set_xlabel(f"linear combination of {name} (dimensionless)")
    axes.set_ylabel("message (dimensionless)")
    if notes:
        text = f"R² {r2_shown(fit.r2)}\nrobust {r2_shown(fit.r2_robust)}"
        if outside:
            text += f"\n{outside:.1%} outside"
        axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", fontsize=8)


def _filmed(fits: Sequence[MessageFit]) -> list[MessageFit]:
    """Return the fits with moments, by what fits better in the end."""
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
            panel.plot([low, high], [low, high], color=QUIET, lw=0.7, zorder=1)
            across = fit.fitted[: len(moment.message)]
            panel.scatter(across, moment.message, s=2, color=_COLOURS[fit.target], alpha=0.5, linewidth=0, zorder=2)
            panel.set(xlim=(low, high), ylim=(low, high), box_aspect=1, xticks=[], yticks=[])
            panel.set_title(f"step {moment.step:,}\nR² {r2_shown(moment.r2_robust)}", fontsize=7)
        row[0].set_ylabel(f"component {fit.component + 1}", fontsize=8)
    name = TARGET_NAMES[fits[0].target]
    figure.suptitle(f"while it was trained, against the final combination of {name}", x=0.01, ha="left", fontsize=9)


def _value(values: list[float | None], index: int) -> float:
    value = values[index]
    return math.nan if value is None else float(value)


def r2_shown(value: float) -> str:
    """Return R² to three decimals; of a heavy tail it can be any negative number."""
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if value > -1 else "< −1"
