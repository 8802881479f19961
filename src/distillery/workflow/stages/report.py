"""Draw the pictures of an experiment or of a cell where the sweep wants them, and write the report of all."""

from __future__ import annotations

import datetime
from pathlib import Path

from distillery import files
from distillery.report.cells import chosen_cells, read_shown
from distillery.report.front import front_figure
from distillery.report.halo_pictures import halo_fronts_figure, map_figure, predicted_figure
from distillery.report.messages import messages_figure
from distillery.report.page import page, page_markdown
from distillery.report.study import read_study
from distillery.report.trajectories import trajectories_figure
from distillery.workflow.cell import PICTURES, REPORT_HTML, REPORT_MARKDOWN, STORE, Cell, Experiment, Job
from distillery.workflow.config import parse_config
from distillery.workflow.state import cell_states
from distillery.workflow.sweep import Sweep


def draw_experiment(sweep: Sweep, experiment: Experiment) -> None:
    """Draw the trajectories, or the halos, of an experiment.

    Args:
        sweep: The sweep.
        experiment: One of its experiments.

    Raises:
        DistilleryError: The trajectories are missing or damaged.
    """
    draw = map_figure if sweep.kind(experiment) == "halos" else trajectories_figure
    draw(sweep, experiment, experiment.picture(sweep.results))


def draw_cell(sweep: Sweep, cell: Cell) -> None:
    """Draw the messages and the Pareto fronts of a cell; one that diverged or failed gets pictures that say so.

    Args:
        sweep: The sweep.
        cell: One of its cells.

    Raises:
        DistilleryError: The cell is not finished yet, or what it needs is damaged.
    """
    halos = sweep.kind(cell.experiment) == "halos"
    drawings = (predicted_figure, halo_fronts_figure) if halos else (messages_figure, front_figure)
    for name, draw in zip(PICTURES, drawings, strict=True):
        draw(sweep, cell, cell.picture(sweep.results, name))


def draw_job(sweep: Sweep, job: Job) -> None:
    """Draw every cell of a job; a job of several shows those of its best cell as its own.

    Args:
        sweep: The sweep.
        job: One of its jobs.

    Raises:
        DistilleryError: A cell is not finished yet, or what it needs is damaged.
    """
    for cell in job.cells:
        draw_cell(sweep, cell)
    if len(job.cells) == 1:
        return
    best = min(job.cells, key=lambda cell: _rank(sweep, cell))
    for picture in PICTURES:
        drawn = best.picture(sweep.results, picture).read_text(encoding="utf-8")
        files.write_text(job.picture(sweep.results, picture), drawn)


def report(results: Path, limit: int | None = None) -> tuple[Path, Path]:
    """Write the report of a sweep, as a page of HTML and as Markdown, into its results folder.

    Everything is taken from the result store, but messages and simulations, which lie beside it.

    Args:
        results: The results folder.
        limit: How many cells are shown in full at most; ``estimates.SHOWN`` unless told.

    Returns:
        The two files.

    Raises:
        DistilleryError: There is no store, or it is damaged or of another version.
    """
    study = read_study([results])
    # The results folder may have been moved, or copied from elsewhere.
    sweep = Sweep(parse_config(dict(study.stores[0].config), str(results / STORE)), results)
    shown = read_shown(results, [found.cell for found in chosen_cells(study.cells, limit)])
    today = datetime.datetime.now(datetime.UTC).date()
    made = results / REPORT_HTML, results / REPORT_MARKDOWN
    for path, write in zip(made, (page, page_markdown), strict=True):
        files.write_text(path, write(sweep, study, shown, today))
    return made


def _rank(sweep: Sweep, cell: Cell) -> tuple[bool, float]:
    """Return what orders cells: recovered ones first, then by test error."""
    states = cell_states(sweep, cell)
    verdict, reading = states["verify"].outcome, states["interpret"].outcome
    error = reading.result.get("test_mae") if reading is not None else None
    return not (verdict is not None and verdict.result.get("recovered")), float("inf") if error is None else error
