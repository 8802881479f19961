"""An overview of the method in one picture: trajectories, messages that became forces, the law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distillery.report.cells import Simulations
from distillery.report.front import Point, add_legend, draw_front
from distillery.report.messages import MessageFit, draw_fit, write_fit
from distillery.report.style import GREEN, QUIET, picture, typeset
from distillery.report.trajectories import draw_paths


def overview_figure(
    system: str,
    values: Mapping[str, Any],
    simulations: Simulations,
    fits: Sequence[MessageFit],
    fronts: Sequence[Sequence[Point]],
    path: Path,
) -> None:
    """Draw a cell from its trajectories to its law.

    Args:
        system: Name of the system.
        values: Its values by column of the result store.
        simulations: Simulations of its experiment, of which the first is drawn.
        fits: Fits of its messages by ``force`` and ``acceleration``.
        fronts: The Pareto front of each message component.
        path: The picture, ``.svg`` or ``.png``.
    """
    target = "acceleration" if values["form"] == "acceleration" else "force"
    fits = [fit for fit in fits if fit.target == target]
    component = max(range(len(fits)), key=lambda index: fits[index].r2_robust)
    recovered = values["recovered"] == 1.0
    with picture(path, 11.4, 5.0, layout="none") as figure:
        figure.subplots_adjust(left=0.055, right=0.99, bottom=0.33, top=0.92, wspace=0.3)
        paths, messages, errors = panels = figure.subplots(1, 3)
        draw_paths(paths, simulations.position[0], simulations.mass[0])
        draw_fit(messages, fits[component], rasterized=True)
        write_fit(messages, fits[component])
        draw_front(errors, fronts[min(component, len(fronts) - 1)])
        add_legend(errors)
        titles = (
            f"1  {simulations.position.shape[2]} bodies move",
            f"2  messages {'turn into' if recovered else 'against'} the {target}",
            f"3  symbolic regression {'finds the law' if recovered else 'tries'}",
        )
        for axes, title in zip(panels, titles, strict=True):
            axes.set_box_aspect(1)
            axes.set_title(title, weight="bold")
        equations = [f"message {k + 1}  =  {typeset(text)}" for k, text in enumerate(values["equation"])]
        verdict = f"verified: the law of {system}" if recovered else "verified: not the true law"
        text = "\n".join([*equations, verdict])
        figure.text(0.5, 0.03, text, fontsize=12, color=GREEN if recovered else QUIET, ha="center", linespacing=1.6)
