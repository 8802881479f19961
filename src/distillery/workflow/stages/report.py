"""Draw the pictures of experiments and cells, and write the report of a sweep."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from pathlib import Path

from distillery import files
from distillery.errors import DistilleryError
from distillery.halos.layout import catalogue_paths
from distillery.halos.models import HALO_MODELS
from distillery.networks.functions import FUNCTIONS, Function
from distillery.report.cells import first_seeds
from distillery.report.drawings import label_of
from distillery.report.front import fronts_figure, title_of
from distillery.report.halo import FUNCTIONS as HALO_FUNCTIONS
from distillery.report.halo_pictures import map_figure, predicted_figure
from distillery.report.messages import messages_figure
from distillery.report.overview import overview_figure
from distillery.report.page import page, page_markdown
from distillery.report.style import write_message
from distillery.report.tables import study_text
from distillery.report.trajectories import trajectories_figure
from distillery.results.record import Record
from distillery.workflow.cell import PICTURES, REPORT_HTML, REPORT_MARKDOWN, STORE, Cell, Experiment, Job, Picture
from distillery.workflow.config import parse_config
from distillery.workflow.estimates import SHOWN
from distillery.workflow.record import read_record
from distillery.workflow.report_details import pareto_fronts, read_fits, read_halo_data, read_simulations
from distillery.workflow.report_inputs import read_shown, read_study, simulations_of
from distillery.workflow.state import cell_states
from distillery.workflow.sweep import Sweep

_SUBJECTS = {"graph": "the messages", "hamiltonian": "the energies", "control": "the raw system"}


def draw_experiment(sweep: Sweep, experiment: Experiment) -> None:
    """Draw the trajectories, or the halos, of an experiment.

    Args:
        sweep: The sweep.
        experiment: One of its experiments.

    Raises:
        DistilleryError: The data are missing or damaged.
    """
    path = experiment.picture(sweep.results)
    if sweep.kind(experiment) == "bodies":
        trajectories_figure(str(experiment), read_simulations(sweep, experiment, every=1), path)
        return
    settings = sweep.halos[experiment]
    store = experiment.store(sweep.results, "test")
    found = {condition: paths[0] for condition, paths in catalogue_paths(settings, store, "test").items()}
    if found:
        map_figure(str(experiment), found, settings.smoothing, path)
        return
    why = "raise test_realisations"
    if settings.catalogue is not None:
        why = "a catalogue is one universe, and errors are those of its held-out space"
    write_message(path, f"{experiment}: halos", f"no universe is kept apart from training; {why}")


def draw_cell(sweep: Sweep, cell: Cell) -> None:
    """Draw the messages and the Pareto fronts of a cell; pictures of one that diverged or failed hold the reason.

    Args:
        sweep: The sweep.
        cell: One of its cells.

    Raises:
        DistilleryError: The cell is not finished yet, or its files are damaged.
    """
    for name in PICTURES:
        draw_picture(sweep, cell, name, cell.picture(sweep.results, name))


def draw_picture(sweep: Sweep, cell: Cell, name: Picture, path: Path) -> None:
    """Draw one picture of a cell.

    Args:
        sweep: The sweep.
        cell: One of its cells.
        name: Name of the picture.
        path: The picture, ``.svg`` or ``.png``.

    Raises:
        DistilleryError: The cell is not finished yet, or its files are damaged.
    """
    halos = sweep.kind(cell.experiment) == "halos"
    state = cell_states(sweep, cell)["interpret" if name == "messages" else "distill"]
    title = f"{cell}: {'Pareto fronts' if name == 'front' else 'overdensities' if halos else 'messages'}"
    if state.state in ("diverged", "failed"):
        write_message(path, title, f"{state.state}: {state.reason}")
    elif name == "messages" and halos:
        predicted_figure(str(cell), read_halo_data(sweep, cell), path)
    elif name == "messages" and sweep.model(cell).kind == "control":
        write_message(path, title, "the control has no network that could send messages")
    elif name == "messages":
        messages_figure(str(cell), read_fits(sweep, cell), path)
    elif halos and HALO_MODELS[cell.model].kind == "formula":
        write_message(path, title, "a given formula; its constants were fitted, nothing was distilled")
    elif halos:
        found = pareto_fronts(sweep, cell)
        row = {words: front for of, words in HALO_FUNCTIONS.items() for front in found.get(of, [])}
        fronts_figure(f"{cell}: expressions", [row], path)
    else:
        _draw_fronts(sweep, cell, path)


def _draw_fronts(sweep: Sweep, cell: Cell, path: Path) -> None:
    kind, found = sweep.model(cell).kind, pareto_fronts(sweep, cell)

    def label(function: Function, component: int) -> str:
        if kind == "hamiltonian":
            return label_of(kind, function, component)[0]
        return f"{'node, ' if function == 'node' else ''}component {component + 1}"

    rows = [
        {title_of(label(function, k), front): front for k, front in enumerate(found[function])}
        for function in FUNCTIONS
        if found.get(function)
    ]
    fronts_figure(f"{cell}: expressions for {_SUBJECTS[kind]}", rows, path)


def draw_job(sweep: Sweep, job: Job) -> None:
    """Draw every cell of a job; the pictures of a job of several cells are those of its best cell.

    Args:
        sweep: The sweep.
        job: One of its jobs.

    Raises:
        DistilleryError: A cell is not finished yet, or its files are damaged.
    """
    for cell in job.cells:
        draw_cell(sweep, cell)
    if len(job.cells) == 1:
        return
    best = min(job.cells, key=lambda cell: _rank(sweep, cell))
    for picture in PICTURES:
        drawn = best.picture(sweep.results, picture).read_text(encoding="utf-8")
        files.write_text(job.picture(sweep.results, picture), drawn)


def draw_overview(sweep: Sweep, path: Path, chosen: Cell | None = None) -> None:
    """Draw a cell of a sweep from its trajectories to its law.

    Args:
        sweep: The sweep.
        path: The picture, ``.svg`` or ``.png``.
        chosen: The cell; by default the best one.

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
    record = best_record(sweep, drawn)
    cell = Cell.parse(record.cell)
    overview_figure(
        cell.experiment.system,
        record.values,
        read_simulations(sweep, cell.experiment, every=1),
        read_fits(sweep, cell),
        pareto_fronts(sweep, cell)["message"],
        path,
    )


def best_record(sweep: Sweep, cells: Sequence[Cell]) -> Record:
    """Return the record of the cell with the best law: recovered if there is any, with the smallest residual.

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

    def rank(record: Record) -> tuple[bool, float, float, Cell]:
        residual = max(record.values["median_residual"], default=math.inf)
        error = record.values["test_mae"]
        known = (math.inf if math.isnan(value) else value for value in (residual, error))
        return record.values["recovered"] != 1.0, *known, Cell.parse(record.cell)

    return min(finished, key=rank)


def report(results: Path, limit: int | None = None) -> tuple[Path, Path]:
    """Write the report of a sweep, as a page of HTML and as Markdown, into its results folder.

    Messages, laws and simulations are read from the results folder; everything else is in the result store.

    Args:
        results: The results folder.
        limit: Largest number of cells that are shown in full; by default ``estimates.SHOWN``.

    Returns:
        The two files.

    Raises:
        DistilleryError: There is no store, or it is damaged or of another version.
    """
    study = read_study([results])
    # The results folder may have been moved, or copied from elsewhere.
    sweep = Sweep(parse_config(dict(study.stores[0].config), str(results / STORE)), results)
    shown = read_shown(sweep, first_seeds(study.cells, SHOWN if limit is None else limit))
    today = datetime.datetime.now(datetime.UTC).date()
    made = results / REPORT_HTML, results / REPORT_MARKDOWN
    files.write_text(made[0], page(study, shown, simulations_of(sweep, shown), today))
    files.write_text(made[1], page_markdown(study, shown, today))
    return made


def tables(folders: Sequence[Path]) -> str:
    """Return the paper's tables with those of one or several result stores, as Markdown.

    Args:
        folders: The results folders of the stores that the study is split over.

    Raises:
        DistilleryError: A folder has no store, or one that is damaged or of another version.
    """
    return study_text(read_study(folders), datetime.datetime.now(datetime.UTC).date())


def _rank(sweep: Sweep, cell: Cell) -> tuple[bool, float]:
    """Return a key that orders cells: recovered ones first, then by test error."""
    states = cell_states(sweep, cell)
    verdict, reading = states["verify"].outcome, states["interpret"].outcome
    error = reading.result.get("test_mae") if reading is not None else None
    return not (verdict is not None and verdict.result.get("recovered")), math.inf if error is None else error
