"""The command line: a thin skin on the stages. Nothing is decided here.

Stages are imported when they are called: a question to the store does not wait for PyTorch.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from distillery import __version__
from distillery.errors import DistilleryError, explain_system, no_room
from distillery.util.environment import import_from_no_working_directory, limit_threads
from distillery.util.importing import importing
from distillery.util.places import expanded, results_folder
from distillery.workflow.cell import SPLITS, Stage

if TYPE_CHECKING:
    from distillery.workflow.sweep import Sweep


class _PathParameter(click.Path):
    """A path on the command line; shells leave the ``~`` of ``--results=~/sweep`` as it is."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path that was given."""
        try:
            return super().convert(expanded(os.fspath(value)), param, ctx)
        except ValueError as error:
            self.fail(f"{value}: {error}", param, ctx)


def _sweep(_context: click.Context, _parameter: click.Parameter, path: Path) -> Sweep:
    with importing():
        from distillery.workflow.sweep import load_sweep

    return load_sweep(path)


_with_sweep = click.option(
    "--config",
    "sweep",
    type=_PathParameter(),
    default=Path("config.yaml"),
    show_default=True,
    callback=_sweep,
    help="The sweep's configuration.",
)


_patience = click.option(
    "--patience", type=click.FloatRange(min=0), default=10.0, help="Minutes a test job may wait for its start."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def cli() -> None:
    """Turn trajectories into laws: simulate, train, interpret, distill, verify, replace, generalise, collect, query."""


@cli.command()
@click.argument("experiment")
@click.option("--split", type=click.Choice(SPLITS), required=True, help="Training or held-out trajectories.")
@click.option("--ranks", type=click.IntRange(min=1), default=1, help="MPI ranks this was started with.")
@click.option(
    "--law", help="By a law instead, beside the true ones: that of a cell, or the potential of a pair like '-m1*m2/r'."
)
@_with_sweep
def simulate(sweep: Sweep, experiment: str, split: Any, ranks: int, law: str | None) -> None:
    """Integrate the trajectories of EXPERIMENT; start it under mpiexec or srun to share the work."""
    if law is None:
        from distillery.workflow.stages.table import simulate as stage

        stage(sweep, sweep.find_experiment(experiment), split, ranks)
        return
    if ranks != 1:
        raise DistilleryError(
            f"--ranks {ranks}: trajectories by a law are integrated by one process; leave out --ranks"
        )
    from distillery.workflow.law_trajectories import simulate_law

    found = simulate_law(sweep, sweep.find_experiment(experiment), split, law)
    half, end = found.distance[len(found.distance) // 2], found.distance[-1]
    click.echo(f"distillery: {found.folder}: off by {half:.3g} after half of the time and by {end:.3g} at its end")
    if found.lost:
        click.echo(f"distillery: {found.lost} simulations did not reach their end; they are left out")


_job = click.argument("job")


@cli.command()
@click.argument("jobs", nargs=-1, required=True)
@_with_sweep
def train(sweep: Sweep, jobs: tuple[str, ...]) -> None:
    """Train the networks of JOBS: cells, or jobs of several cells such as …/bottleneck-s0+9.

    Of several JOBS all cells of equal shape (dimensions, bodies, graph, model) train side by side.
    """
    from distillery.workflow.stages.table import carry_out, train_together

    found = [sweep.find_job(job) for job in jobs]
    if len(found) == 1:
        carry_out(sweep, "train", found[0])
    else:
        train_together(sweep, found)


def _add_stage(stage: Stage, told: str) -> None:
    @cli.command(stage, help=told)
    @_job
    @_with_sweep
    def command(sweep: Sweep, job: str) -> None:
        from distillery.workflow.stages.table import carry_out

        carry_out(sweep, stage, sweep.find_job(job))


for _stage, _told in (
    ("interpret", "Read the messages of JOB on held-out data."),
    ("distill", "Fit expressions to the messages of JOB, on a Dask cluster."),
    ("verify", "Decide whether the expressions of JOB are the true law, up to its gauge."),
    ("replace", "Put the expressions of JOB in place of its networks, their constants refitted, and write the laws."),
    ("generalise", "Test networks and laws of JOB under other conditions and over long times."),
):
    _add_stage(cast("Stage", _stage), _told)


@cli.command()
@_with_sweep
def collect(sweep: Sweep) -> None:
    """Write every finished result to one store; works at any time."""
    from distillery.workflow.stages.collect import collect as stage

    stage(sweep)


@cli.command()
@click.argument("subject")
@_with_sweep
def picture(sweep: Sweep, subject: str) -> None:
    """Draw SUBJECT: an experiment's trajectories, or the messages and Pareto fronts of a cell or job."""
    from distillery.workflow.stages import report as run

    if "/" in subject:
        run.draw_job(sweep, sweep.find_job(subject))
    else:
        run.draw_experiment(sweep, sweep.find_experiment(subject))


@cli.command()
@click.argument("path", type=_PathParameter())
@click.option("--cell", help="The cell; by default the best recovered one.")
@_with_sweep
def overview(sweep: Sweep, path: Path, cell: str | None) -> None:
    """Draw a cell from its trajectories to its law, to PATH (SVG or PNG)."""
    from distillery.report.overview import overview_figure

    overview_figure(sweep, path, sweep.find_cell(cell) if cell else None)


@cli.command()
@click.argument("cell")
@click.option("--system", "as_entry", is_flag=True, help="Print it as an entry of the section systems, to simulate it.")
@_with_sweep
def law(sweep: Sweep, cell: str, as_entry: bool) -> None:
    """Print the law that took the place of CELL's network."""
    from distillery.laws import text
    from distillery.laws.law import read_law
    from distillery.laws.potential import as_system, entry_of
    from distillery.util.yaml_file import write_yaml
    from distillery.workflow.stored_law import file_of_law

    found = sweep.find_cell(cell)
    if sweep.kind(found.experiment) == "halos":
        from distillery.halos import law as halo_law
        from distillery.halos.text import line

        if as_entry:
            raise DistilleryError(f"{cell}: a formula of halos is no potential; leave out --system")
        click.echo(line(halo_law.read_law(file_of_law(sweep, found))))
        return
    read = read_law(file_of_law(sweep, found))
    if as_entry:
        entry = entry_of(as_system(read, sweep.system(found.experiment), found.experiment.bodies))
        click.echo(write_yaml({"systems": {f"{found.experiment.system}-found": entry}}), nl=False)
    else:
        click.echo(text.line(read))


@cli.command("julia-setup")
@click.option("--depot", type=_PathParameter(), help="Another folder than the configured one.")
@_with_sweep
def julia_setup(sweep: Sweep, depot: Path | None) -> None:
    """Prepare Julia for the engine pysr, once, on a node with a network; every fit then runs offline."""
    from distillery.symbolic.julia import depot_of, read_marker
    from distillery.symbolic.julia_setup import prepare

    folder = depot.absolute() if depot else depot_of(sweep.config.execution)
    done = "prepared" if prepare(folder) else "prepared already"
    found = read_marker(folder)
    assert found is not None
    versions = f"Julia {found.julia}, SymbolicRegression {found.symbolic_regression}, PySR {found.pysr}"
    click.echo(f"distillery: {folder} {done}: {versions}")


@cli.command()
@_with_sweep
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
    """Return the sweep of a results folder, if one is given, otherwise that of a configuration."""
    results = context.params.get("results")
    if results is None:
        return _sweep(context, parameter, path)
    if context.get_parameter_source("sweep") is click.core.ParameterSource.COMMANDLINE:
        raise DistilleryError("--results: the folder has its own configuration; leave out --config or --results")
    with importing():
        from distillery.workflow.status import sweep_of

    return sweep_of(results)


@cli.command()
@click.argument("cells", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Show finished cells too.")
@click.option("--json", "as_json", is_flag=True, help="Print all details as JSON.")
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
    """Show the state of every cell and the reason for it; of CELLS all details."""
    from distillery.util.text import terminal_width
    from distillery.workflow import status as seen

    found = seen.status(sweep, [sweep.find_cell(cell) for cell in cells])
    if as_json:
        click.echo(seen.status_json(found))
    elif cells:
        click.echo(seen.cells_text(found, width=terminal_width()))
    else:
        click.echo(seen.status_text(found, everything=everything, width=terminal_width()))


_results = click.option(
    "--results",
    type=_PathParameter(),
    default=Path("results"),
    callback=lambda _context, _parameter, path: results_folder(path),
    help="The sweep's results folder.",
)


@cli.command()
@_results
def table(results: Path) -> None:
    """Print the table of results."""
    from distillery.results.table import results_table

    click.echo(results_table(results))


@cli.command()
@click.option(
    "--results",
    "folders",
    type=_PathParameter(),
    multiple=True,
    default=(Path("results"),),
    callback=lambda _context, _parameter, paths: tuple(map(results_folder, paths)),
    help="A results folder; may be repeated where a study is split over several.",
)
@click.option("--output", type=_PathParameter(), help="A Markdown file to write, instead of printing.")
def tables(folders: tuple[Path, ...], output: Path | None) -> None:
    """Print the paper's tables 1, 3 and 5 with ours beside, as Markdown."""
    from distillery import files
    from distillery.report.tables import tables_text

    text = tables_text(folders)
    if output is None:
        click.echo(text)
    else:
        files.write_text(output, text + "\n")


@cli.command()
@_results
@click.option("--cells", type=click.IntRange(min=0), help="How many cells are shown in full at most.")
def report(results: Path, cells: int | None) -> None:
    """Write report.html and report.md into the results folder: tables, equations, messages, fronts."""
    from distillery.workflow.stages.report import report as stage

    for path in stage(results, cells):
        click.echo(path)


@cli.command()
@click.argument("where", nargs=-1)
@click.option("--sql", help="A query in SQL on the tables cells, equations and conditions, reduced by the filters.")
@click.option("--equations", "rows", flag_value="equations", help="A row per equation of the Pareto fronts.")
@click.option("--conditions", "rows", flag_value="conditions", help="A row per condition and predictor.")
@click.option("--columns", help="Columns to show, separated by commas.")
@click.option("--format", "output", type=click.Choice(("table", "csv", "json")), default="table", help="Form.")
@_results
def query(results: Path, where: tuple[str, ...], sql: str | None, rows: Any, columns: str | None, output: Any) -> None:
    """Query the result store: rows that satisfy all filters WHERE, or the answer of an SQL query.

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


@cli.command()
@click.option("--wait", is_flag=True, help="Let what runs come to its end; cancel only what has not begun.")
@click.option("--host-is-gone", is_flag=True, help="The machine that ran it is down: look for nothing there.")
@_with_sweep
def resume(sweep: Sweep, wait: bool, host_is_gone: bool) -> None:
    """Clear up after a killed run, so that Snakemake can go on: end its jobs, remove its lock and its claim."""
    from distillery.workflow.resume import resume as clear_up

    if not clear_up(sweep, lambda line: click.echo(f"distillery: {line}"), wait=wait, host_is_gone=host_is_gone):
        click.echo("distillery: nothing to clear up")


@cli.command("setup-cluster")
@click.option("--partition", help="Where jobs go; by default Slurm's default partition.")
@click.option("--account", help="Who pays for jobs.")
@click.option("--gpu-partition", help="Where networks train, if elsewhere.")
@click.option("--gpu", help="How GPUs are asked for: gpu (--gpus), gres or gres:<type> (--gres), none.")
@click.option("--constraint", help="Features that nodes must have.")
@click.option("--qos", help="Quality of service.")
@click.option("--launcher", help="What starts MPI ranks: srun --mpi=pmi2, mpiexec …")
@click.option("--ranks", type=click.IntRange(min=1), help="MPI ranks of a simulation.")
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes to spread them over.")
@click.option("--cluster", type=click.Choice(("allocation", "slurm", "local")), help="Where Dask workers live.")
@click.option("--workers", type=click.IntRange(min=1), help="Dask workers of a distilling job.")
@click.option("--module", "modules", multiple=True, help="An environment module that jobs load; may be repeated.")
@click.option("--name", default="distillery-slurm", help="Name of the profile, for snakemake --profile.")
@click.option("--output", type=_PathParameter(), help="Folder of the profile, instead of a name.")
@click.option("--force", is_flag=True, help="Write the profile in spite of errors.")
@_patience
def setup_cluster(name: str, output: Path | None, force: bool, patience: float, **wishes: Any) -> None:
    """Try this Slurm cluster with small jobs, and write a Snakemake profile for it."""
    from distillery.cluster.slurm.setup import set_up, target_of
    from distillery.cluster.slurm.wishes import Wishes

    target = target_of(name, output)
    set_up(Wishes(**wishes), target, Path.cwd(), 60 * patience, force, click.echo)
    click.echo(f"start a sweep with: snakemake --profile {name if output is None else output}")


@cli.command("check-cluster")
@click.argument("profile", default="slurm")
@_patience
def check_cluster(profile: str, patience: float) -> None:
    """Try this Slurm cluster as PROFILE (a name, folder or file) would use it."""
    from distillery.cluster.slurm.setup import check_profile

    check_profile(profile, Path.cwd(), 60 * patience, click.echo)


@cli.command("schema")
@click.argument("path", type=_PathParameter())
def schema_command(path: Path) -> None:
    """Write the JSON schema of the configuration to PATH."""
    from distillery import files
    from distillery.workflow.config import schema

    files.write_text(path, json.dumps(schema(), indent=2) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input ends in one line on standard error and exit status 1."""
    import_from_no_working_directory()
    words = sys.argv[1:] if arguments is None else arguments
    # In a run Snakemake sets the threads of a rule, which of these rules are processes: of MPI and of Dask.
    limit_threads(always="DISTILLERY_RUN" in os.environ and words[:1] in (["simulate"], ["distill"]))
    _guarded(lambda: cli.main(arguments, prog_name="distillery", standalone_mode=True))


def _guarded(run: Callable[[], object]) -> None:
    try:
        run()
    except DistilleryError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"distillery: {line}\n")
        sys.exit(1)
    except Exception as error:
        # A folder that is a file, no permission, no room: the user's to mend, not a flaw of the program. That the disk
        # is full some libraries report by errors of their own.
        if not isinstance(error, OSError) and not no_room(error):
            raise
        sys.stderr.write(f"distillery: {explain_system(error)}\n")
        sys.exit(1)
