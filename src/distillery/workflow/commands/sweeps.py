"""Commands about a whole sweep: plan, status, and the schema of its configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distillery.errors import DistilleryError
from distillery.util.importing import importing
from distillery.workflow.commands.options import (
    PathParameter,
    cli,
    sweep_of_option,
    with_sweep,
)

if TYPE_CHECKING:
    from distillery.workflow.sweep import Sweep


@cli.command()
@with_sweep
def plan(sweep: Sweep) -> None:
    """Show what the sweep will do: cells, sizes on disk, expected times. Fails where a run would be refused."""
    from distillery.workflow import claim
    from distillery.workflow.plan import plan, plan_text

    planned = plan(sweep)
    click.echo(plan_text(sweep, planned=planned))
    if planned.refusal:
        sys.exit(1)
    if found := claim.look(sweep.results):
        raise DistilleryError(claim.refusal(sweep.results, found))


def _sweep_or_results(context: click.Context, parameter: click.Parameter, path: Path) -> Sweep:
    """Return the sweep of a results folder, where one is given, and else that of a configuration."""
    results = context.params.get("results")
    if results is None:
        return sweep_of_option(context, parameter, path)
    if context.get_parameter_source("sweep") is click.core.ParameterSource.COMMANDLINE:
        raise DistilleryError("--results: the folder has its own configuration; leave out --config or --results")
    with importing():
        from distillery.workflow.status import sweep_of

    return sweep_of(results)


@cli.command()
@click.argument("cells", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Show what is done too.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known as JSON.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    is_eager=True,
    help="A results folder, moved or copied too, instead of a configuration.",
)
@click.option(
    "--config",
    "sweep",
    type=click.Path(path_type=Path),
    default=Path("config.yaml"),
    show_default=True,
    callback=_sweep_or_results,
    help="The sweep's configuration.",
)
def status(sweep: Sweep, results: Path | None, cells: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Show where every cell is: done, running, waiting, missing, failed and why; of CELLS all that is known."""
    from distillery.util.text import terminal_width
    from distillery.workflow import status as seen

    found = seen.status(sweep, [sweep.find_cell(cell) for cell in cells])
    if as_json:
        click.echo(seen.status_json(found))
    elif cells:
        click.echo(seen.cells_text(found, width=terminal_width()))
    else:
        click.echo(seen.status_text(found, everything=everything, width=terminal_width()))


@cli.command("schema")
@click.argument("path", type=PathParameter())
def schema_command(path: Path) -> None:
    """Write the JSON schema of the configuration to PATH."""
    from distillery import files
    from distillery.workflow.config import schema

    files.write_text(path, json.dumps(schema(), indent=2) + "\n")
