"""Pictures of halos that the workflow draws: where they are, what a cell predicts of them, and its fronts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distillery.halos.catalogue import read_catalogue
from distillery.halos.layout import catalogue_paths
from distillery.halos.models import HALO_MODELS
from distillery.report.front import draw_front, pareto_fronts
from distillery.report.halo import FUNCTIONS, read_findings
from distillery.report.halo_kernel import draw_kernel
from distillery.report.style import BLUE, FAINT, QUIET, picture, say
from distillery.workflow.cell import Cell, Experiment
from distillery.workflow.state import cell_states
from distillery.workflow.sweep import Sweep

# Share of the box, along the line of sight, that a map shows.
_SLICE = 0.2
_POINTS = 2000


def map_figure(sweep: Sweep, experiment: Experiment, path: Path) -> None:
    """Draw a slice through each of the universes on which nothing is trained, halos coloured by their overdensity.

    Args:
        sweep: The sweep.
        experiment: A data set of halos.
        path: The picture, ``.svg`` or ``.png``.

    Raises:
        DistilleryError: A catalogue is missing or damaged.
    """
    store = experiment.store(sweep.results, "test")
    drawn = {name: paths[0] for name, paths in catalogue_paths(sweep.halos[experiment], store, "test").items()}
    if not drawn:
        why = "raise test_realisations"
        if sweep.halos[experiment].catalogue is not None:
            why = "a catalogue is one universe, and errors are those of its held-out space"
        say(path, f"{experiment}: halos", f"no universe is kept apart from training; {why}")
        return
    smoothing = sweep.halos[experiment].smoothing
    with picture(path, 4.4 * len(drawn), 4.0) as figure:
        panels = figure.subplots(1, len(drawn), squeeze=False)[0]
        for axes, (condition, source) in zip(panels, drawn.items(), strict=True):
            halos = read_catalogue(source)
            inside = halos.position[:, 2] < _SLICE * halos.box
            place, size = halos.position[inside], np.clip(3e-13 * halos.mass[inside], 2, 120)
            found = axes.scatter(place[:, 0], place[:, 1], s=size, c=halos.smoothed(smoothing)[inside], cmap="viridis")
            figure.colorbar(found, ax=axes, label="δ")
            axes.set(xlabel="x (Mpc/h)", ylabel="y (Mpc/h)", box_aspect=1, title=condition)
        depth = f"{_SLICE:.0%} of the box along z"
        figure.suptitle(f"{experiment}: halos, area by mass, {depth}", x=0.01, ha="left", fontsize=11)


def predicted_figure(sweep: Sweep, cell: Cell, path: Path) -> None:
    """Draw predicted against true overdensities in held-out space, and what a neighbour says by its distance.

    Args:
        sweep: The sweep.
        cell: One of its cells of halos.
        path: The picture, ``.svg`` or ``.png``; it says so if the cell diverged or failed.

    Raises:
        DistilleryError: The cell is not interpreted yet, or what was found is damaged.
    """
    state = cell_states(sweep, cell)["interpret"]
    if state.state in ("diverged", "failed"):
        say(path, f"{cell}: overdensities", f"{state.state}: {state.reason}")
        return
    findings, arrays = read_findings(sweep, cell)
    kernel = findings["kernel"]
    with picture(path, 4.0 * (1 + bool(kernel["r"])) + 0.2, 4.0) as figure:
        panels = figure.subplots(1, 1 + bool(kernel["r"]), squeeze=False)[0]
        low, high = float(arrays["true"].min()), float(arrays["true"].max())
        panels[0].plot([low, high], [low, high], color=QUIET, lw=1.0)
        panels[0].scatter(arrays["true"][:_POINTS], arrays["predicted"][:_POINTS], s=6, color=BLUE, alpha=0.4, lw=0)
        panels[0].set(xlabel="true δ", ylabel="predicted δ", title=f"mean |δ − δ̂| {findings['test_mae']:.4f}")
        if kernel["r"]:
            draw_kernel(panels[1], kernel)
        for axes in panels:
            axes.grid(color=FAINT, lw=0.6)
            axes.set_axisbelow(True)
        figure.suptitle(f"{cell}: halos in held-out space", x=0.01, ha="left", fontsize=11)


def halo_fronts_figure(sweep: Sweep, cell: Cell, path: Path) -> None:
    """Draw the Pareto fronts of the message and of what a halo makes of them.

    Args:
        sweep: The sweep.
        cell: One of its cells of halos.
        path: The picture, ``.svg`` or ``.png``; it says so where there are none.

    Raises:
        DistilleryError: The cell is not distilled yet.
    """
    title, state = f"{cell}: Pareto fronts", cell_states(sweep, cell)["distill"]
    if state.state in ("diverged", "failed"):
        say(path, title, f"{state.state}: {state.reason}")
        return
    if HALO_MODELS[cell.model].kind == "formula":
        say(path, title, "a formula that was given; its constants were fitted, nothing was distilled")
        return
    fronts = {words: front for function, words in FUNCTIONS.items() for front in pareto_fronts(sweep, cell, function)}
    with picture(path, 4.0 * len(fronts) + 0.2, 3.9) as figure:
        panels = figure.subplots(1, len(fronts), squeeze=False)[0]
        for axes, (words, front) in zip(panels, fronts.items(), strict=True):
            draw_front(axes, front)
            axes.set_title(words, fontsize=9)
        figure.suptitle(f"{cell}: expressions", x=0.01, ha="left", fontsize=11)
