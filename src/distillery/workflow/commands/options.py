"""The group of commands and the options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillery import __version__
from distillery.util.importing import importing
from distillery.util.places import expanded, results_folder

if TYPE_CHECKING:
    from distillery.workflow.sweep import Sweep


class PathParameter(click.Path):
    """A path on the command line, with ``~`` expanded also in ``--results=~/sweep``."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the expanded path."""
        try:
            return super().convert(expanded(os.fspath(value)), param, ctx)
        except ValueError as error:
            self.fail(f"{value}: {error}", param, ctx)


def sweep_of_option(_context: click.Context, _parameter: click.Parameter, path: Path) -> Sweep:
    """Return the sweep of a configuration file."""
    with importing():
        from distillery.workflow.sweep import load_sweep

    return load_sweep(path)


with_sweep = click.option(
    "--config",
    "sweep",
    type=PathParameter(),
    default=Path("config.yaml"),
    show_default=True,
    callback=sweep_of_option,
    help="The sweep's configuration.",
)


with_patience = click.option(
    "--patience", type=click.FloatRange(min=0), default=10.0, help="Minutes a test job may wait for its start."
)


with_job = click.argument("job")

with_results = click.option(
    "--results",
    type=PathParameter(),
    default=Path("results"),
    callback=lambda _context, _parameter, path: results_folder(path),
    help="The sweep's results folder.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def cli() -> None:
    """Turn trajectories into laws: simulate, train, interpret, distill, verify, replace, generalise, collect, query."""
