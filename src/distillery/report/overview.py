"""The one picture that says what this is about: trajectories, messages that became forces, the law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from distillery.data.store import read_trajectories
from distillery.errors import DistilleryError
from distillery.report.front import draw_front, pareto_fronts
from distillery.report.messages import draw_fit, message_fits
from distillery.report.style import GREEN, QUIET, picture, typeset
from distillery.report.trajectories import draw_paths
from distillery.results.record import Record
from distillery.workflow.cell import Cell
from distillery.workflow.record import read_record
from distillery.workflow.sweep import Sweep


def overview_figure(sweep: Sweep, path: Path, chosen: Cell | None = None) -> None:
    """Draw the way from trajectories to the law, of one cell of a sweep.

    Args:
        sweep: The sweep.
        path: The picture, ``.svg`` or ``.png``.
        chosen: The cell; the best one if none is given.

    Raises:
        DistilleryError: No cell is finished yet, none sends messages, or all are of halos.
    """
    bodies = [cell for cell in ((chosen,) if chosen else sweep.cells) if sweep.kind(cell.experiment) == "bodies"]
    drawn = tuple(cell for cell in bodies if sweep.model(cell).kind == "graph")
    if not bodies:
        remedy = "draw it with `distillery picture`" if chosen else "choose a sweep of bodies"
        raise DistilleryError(f"{chosen or sweep.results}: is of halos, which have no overview; {remedy}")
    if not drawn:
        raise DistilleryError(f"{chosen or sweep.results}: sends no messages; choose a cell of another model")
    record = best(sweep, drawn)
    cell, values = Cell.parse(record.cell), record.values
    trajectories = read_trajectories(sweep, cell.experiment, "test")
    target = "acceleration" if values["form"] == "acceleration" else "force"
    fits = [fit for fit in message_fits(sweep, cell) if fit.target == target]
    component = max(range(len(fits)), key=lambda index: fits[index].r2_robust)
    fronts = pareto_fronts(sweep, cell)
    front = fronts[min(component, len(fronts) - 1)]
    recovered = values["recovered"] == 1.0
    with picture(path, 11.4, 5.0, layout="none") as figure:
        figure.subplots_adjust(left=0.055, right=0.99, bottom=0.33, top=0.92, wspace=0.3)
        paths, messages, errors = figure.subplots(1, 3)
        for axes in (paths, messages, errors):
            axes.set_box_aspect(1)
        draw_paths(paths, trajectories.position[0], trajectories.mass[0])
        draw_fit(messages, fits[component])
        draw_front(errors, front)
        paths.set_title(f"1  {cell.experiment.bodies} bodies move", weight="bold")
        messages.set_title(f"2  messages {'turn into' if recovered else 'against'} the {target}", weight="bold")
        errors.set_title(f"3  symbolic regression {'finds the law' if recovered else 'tries'}", weight="bold")
        equations = [f"message {k + 1}  =  {typeset(text)}" for k, text in enumerate(values["equation"])]
        verdict = f"verified: the law of {cell.experiment.system}" if recovered else "verified: not the true law"
        colour = GREEN if recovered else QUIET
        figure.text(
            0.5, 0.03, "\n".join([*equations, verdict]), fontsize=12, color=colour, ha="center", linespacing=1.6
        )


def best(sweep: Sweep, cells: Sequence[Cell]) -> Record:
    """Return the record of the cell that shows the law best: recovered, with the smallest residual.

    Args:
        sweep: The sweep.
        cells: The cells to choose from.

    Raises:
        DistilleryError: No cell is finished yet.
    """
    records = [read_record(sweep, cell, {}) for cell in cells]
    finished = [record for record in records if record.values["status"] == "ok" and all(record.values["equation"])]
    if not finished:
        raise DistilleryError(f"{sweep.results}: no cell is finished yet; run the sweep first")
    return min(finished, key=_rank)


def _rank(record: Record) -> tuple[bool, float, float, Cell]:
    values = record.values
    residual = max(values["median_residual"], default=math.inf)
    error = values["test_mae"]
    return (
        values["recovered"] != 1.0,
        math.inf if math.isnan(residual) else residual,
        math.inf if math.isnan(error) else error,
        Cell.parse(record.cell),
    )
