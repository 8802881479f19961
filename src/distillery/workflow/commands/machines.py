"""Commands about machines: Julia, Slurm clusters, and the remains of a killed run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillery.workflow.commands.options import (
    PathParameter,
    cli,
    with_patience,
    with_sweep,
)

if TYPE_CHECKING:
    from distillery.workflow.sweep import Sweep


@cli.command("julia-setup")
@click.option("--depot", type=PathParameter(), help="Another folder than the configured one.")
@with_sweep
def julia_setup(sweep: Sweep, depot: Path | None) -> None:
    """Prepare Julia for the engine pysr, once, on a node with a network; every fit then runs offline."""
    from distillery.symbolic.julia import read_marker
    from distillery.symbolic.julia_setup import prepare
    from distillery.workflow.engines import depot_of

    folder = depot.absolute() if depot else depot_of(sweep.config.execution)
    done = "prepared" if prepare(folder) else "prepared already"
    found = read_marker(folder)
    assert found is not None
    versions = f"Julia {found.julia}, SymbolicRegression {found.symbolic_regression}, PySR {found.pysr}"
    click.echo(f"distillery: {folder} {done}: {versions}")


@cli.command()
@click.option("--wait", is_flag=True, help="Let what runs come to its end; cancel only what has not begun.")
@click.option("--host-is-gone", is_flag=True, help="The machine that ran it is down: look for nothing there.")
@with_sweep
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
@click.option("--output", type=PathParameter(), help="Folder of the profile, instead of a name.")
@click.option("--force", is_flag=True, help="Write the profile in spite of errors.")
@with_patience
def setup_cluster(name: str, output: Path | None, force: bool, patience: float, **requested: Any) -> None:
    """Try this Slurm cluster with small jobs, and write a Snakemake profile for it."""
    from distillery.workflow.slurm.requested import Requested
    from distillery.workflow.slurm.setup import set_up, target_of

    target = target_of(name, output)
    set_up(Requested(**requested), target, Path.cwd(), 60 * patience, force, click.echo)
    click.echo(f"start a sweep with: snakemake --profile {name if output is None else output}")


@cli.command("check-cluster")
@click.argument("profile", default="slurm")
@with_patience
def check_cluster(profile: str, patience: float) -> None:
    """Try this Slurm cluster as PROFILE (a name, folder or file) would use it."""
    from distillery.workflow.slurm.setup import check_profile

    check_profile(profile, Path.cwd(), 60 * patience, click.echo)
