"""Commands that show results: pictures, laws, tables, reports and queries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillery.util.places import results_folder
from distillery.workflow.commands.options import (
    PathParameter,
    cli,
    with_results,
    with_sweep,
)

if TYPE_CHECKING:
    from distillery.workflow.sweep import Sweep


@cli.command()
@click.argument("subject")
@with_sweep
def picture(sweep: Sweep, subject: str) -> None:
    """Draw SUBJECT: an experiment's trajectories, or the messages and Pareto fronts of a cell or job."""
    from distillery.workflow.stages import report as run

    if "/" in subject:
        run.draw_job(sweep, sweep.find_job(subject))
    else:
        run.draw_experiment(sweep, sweep.find_experiment(subject))


@cli.command()
@click.argument("path", type=PathParameter())
@click.option("--cell", help="The cell; by default the best recovered one.")
@with_sweep
def overview(sweep: Sweep, path: Path, cell: str | None) -> None:
    """Draw a cell from its trajectories to its law, to PATH (SVG or PNG)."""
    from distillery.workflow.stages.report import draw_overview

    draw_overview(sweep, path, sweep.find_cell(cell) if cell else None)


@cli.command()
@click.argument("cell")
@click.option("--system", "as_entry", is_flag=True, help="Print it as an entry of the section systems, to simulate it.")
@with_sweep
def law(sweep: Sweep, cell: str, as_entry: bool) -> None:
    """Print the law that took the place of CELL's network."""
    from distillery.workflow.stored_law import file_of_law

    found = sweep.find_cell(cell)
    source, path = sweep.source(found.experiment), file_of_law(sweep, found)
    click.echo(source.law_as_system(path, found) if as_entry else source.law_text(path))


@cli.command()
@with_results
def table(results: Path) -> None:
    """Print the table of results."""
    from distillery.results.table import results_table

    click.echo(results_table(results))


@cli.command()
@click.option(
    "--results",
    "folders",
    type=PathParameter(),
    multiple=True,
    default=(Path("results"),),
    callback=lambda _context, _parameter, paths: tuple(map(results_folder, paths)),
    help="A results folder; may be repeated where a study is split over several.",
)
@click.option("--output", type=PathParameter(), help="A Markdown file to write, instead of printing.")
def tables(folders: tuple[Path, ...], output: Path | None) -> None:
    """Print the paper's tables 1, 3 and 5 with ours beside, as Markdown."""
    from distillery import files
    from distillery.workflow.stages.report import tables as stage

    text = stage(folders)
    if output is None:
        click.echo(text)
    else:
        files.write_text(output, text + "\n")


@cli.command()
@with_results
@click.option("--cells", type=click.IntRange(min=0), help="How many cells are shown in full at most.")
def report(results: Path, cells: int | None) -> None:
    """Write report.html and report.md into the results folder: tables, equations, messages, fronts."""
    from distillery.workflow.stages.report import report as stage

    for path in stage(results, cells):
        click.echo(path)


@cli.command()
@click.argument("where", nargs=-1)
@click.option("--sql", help="A query in SQL on the tables cells, equations and conditions, of what the filters leave.")
@click.option("--equations", "rows", flag_value="equations", help="A row per equation of the Pareto fronts.")
@click.option("--conditions", "rows", flag_value="conditions", help="A row per condition and predictor.")
@click.option("--columns", help="Columns to show, separated by commas.")
@click.option("--format", "output", type=click.Choice(("table", "csv", "json")), default="table", help="Form.")
@with_results
def query(results: Path, where: tuple[str, ...], sql: str | None, rows: Any, columns: str | None, output: Any) -> None:
    """Ask the result store: rows that satisfy all filters WHERE, or the answer of an SQL query.

    \b
    A filter is NAME SIGN VALUE in one argument:
      model=l1,bottleneck     one of these values (== is the same)
      model!=l1,bottleneck    none of these values
      test_mae<0.1            also <= > >=, of numbers
      equation~q1             contains this text, commas included
      law=                    has no value; law!= has one
      condition='"2, wide"'   quotes '...' or "..." hold a value with commas

    Values are compared whole, with their case, without the spaces around them; numbers exactly; flags are yes or no.
    A row without a value satisfies only NAME= (also written '' in a list). Where a row has several components, such
    as one equation for each, all of them must satisfy the filter, or for ~ any. A text, or a number that names
    something such as a seed, that no row has is an error. `distillery query --sql "DESCRIBE cells"` lists the columns.
    """  # noqa: D301 (click keeps the lines of a paragraph that begins with \b)
    from distillery.results.query import answer, columns_from
    from distillery.util.text import terminal_width

    chosen = columns_from(columns) if columns is not None else None
    width = terminal_width() if output == "table" else None
    click.echo(answer(results, where, sql, rows or "cells", chosen, output, width))
