"""Commands of the stages: simulate to collect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from distillery.errors import DistilleryError
from distillery.workflow.cell import SPLITS, Stage
from distillery.workflow.commands.options import (
    cli,
    with_job,
    with_sweep,
)

if TYPE_CHECKING:
    from distillery.workflow.sweep import Sweep


@cli.command()
@click.argument("experiment")
@click.option("--split", type=click.Choice(SPLITS), required=True, help="Training or held-out trajectories.")
@click.option("--ranks", type=click.IntRange(min=1), default=1, help="MPI ranks this was started with.")
@click.option(
    "--law", help="By a law instead, beside the true ones: that of a cell, or the potential of a pair like '-m1*m2/r'."
)
@with_sweep
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


@cli.command()
@click.argument("jobs", nargs=-1, required=True)
@with_sweep
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


def _add_stage(stage: Stage, help_text: str) -> None:
    @cli.command(stage, help=help_text)
    @with_job
    @with_sweep
    def command(sweep: Sweep, job: str) -> None:
        from distillery.workflow.stages.table import carry_out

        carry_out(sweep, stage, sweep.find_job(job))


for _stage, _help in (
    ("interpret", "Read the messages of JOB on held-out data."),
    ("distill", "Fit expressions to the messages of JOB, on a Dask cluster."),
    ("verify", "Decide whether the expressions of JOB are the true law, up to its gauge."),
    ("replace", "Put the expressions of JOB in place of its networks, their constants refitted, and write the laws."),
    ("generalise", "Test networks and laws of JOB under other conditions and over long times."),
):
    _add_stage(cast("Stage", _stage), _help)


@cli.command()
@with_sweep
def collect(sweep: Sweep) -> None:
    """Gather every finished result in one store; works at any time."""
    from distillery.workflow.stages.collect import collect as stage

    stage(sweep)
