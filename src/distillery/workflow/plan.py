"""What a sweep will take before it starts: cells, bytes and, roughly, time."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

from distillery.errors import DistilleryError
from distillery.halos import plan as halos
from distillery.networks import functions
from distillery.physics.reachable_singularities import warnings_about
from distillery.simulate.strength import never_accelerates, remarks_on, remedy
from distillery.util.text import align, counted
from distillery.workflow import estimates
from distillery.workflow.cell import SPLITS, Cell, Experiment
from distillery.workflow.config import unused
from distillery.workflow.limits import refusal_of_numbers, refusal_of_sizes
from distillery.workflow.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """What a stage has to do in all.

    Attributes:
        stage: Its name.
        work: What it does, in words.
        seconds: Rough time of one core.
    """

    stage: str
    work: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a sweep will take.

    Attributes:
        sweep: The sweep.
        trajectories: Bytes of the trajectories, or of the halos, of each experiment, at most.
        missing: Bytes that are not there yet, at most.
        free: Bytes free where the results go.
        stages: What each stage has to do, finished work included.
        cores: Cores of this machine.
        refusal: One line that says why the sweep cannot run here, or None.
    """

    sweep: Sweep
    trajectories: dict[Experiment, int]
    missing: int
    free: int
    stages: tuple[StagePlan, ...]
    cores: int
    refusal: str | None


def plan(sweep: Sweep, *, cluster: bool = False) -> Plan:
    """Estimate what a sweep will take; starts nothing and writes nothing.

    Args:
        sweep: The sweep.
        cluster: Whether jobs run on a cluster, whatever the configuration says.

    Raises:
        DistilleryError: A number is too large for any estimate.
    """
    if problem := refusal_of_numbers(sweep.config):
        raise DistilleryError(problem)
    from distillery.data.store import Store
    from distillery.workflow.trajectories import estimate_bytes, layout

    trajectories = {e: sum(estimate_bytes(sweep, e, split) for split in SPLITS) for e in sweep.settings}
    missing = sum(
        Store(experiment.store(sweep.results, split), layout(sweep, experiment, split)).bytes_missing()
        for experiment in sweep.settings
        for split in SPLITS
    )
    for experiment in sweep.halos:
        trajectories[experiment] = round(sum(halos.data_bytes(sweep, experiment, split) for split in SPLITS))
        missing += 0 if experiment.marker(sweep.results, "train").exists() else trajectories[experiment]
    of_cells = sum(_cell_bytes(sweep, cell) for cell in sweep.cells if not cell.messages(sweep.results).exists())
    too_large = refusal_of_sizes(sweep, duration, cluster=cluster)
    folder = _existing(sweep.results)
    free = shutil.disk_usage(folder).free
    # Name the setting that makes networks so large, if it is they that fill the disk.
    refusal = _unable(sweep) or (too_large if of_cells > missing else None)
    missing += of_cells
    refusal = refusal or _no_room(sweep.results, folder, missing, free) or too_large
    return Plan(sweep, trajectories, missing, free, _stages(sweep), os.cpu_count() or 1, refusal)


def require_room(sweep: Sweep, *, cluster: bool = False) -> None:
    """Refuse a sweep that cannot end well: an engine is missing, a stage cannot do its work, or the disk is too small.

    Args:
        sweep: The sweep.
        cluster: Whether jobs run on a cluster, whatever the configuration says.

    Raises:
        DistilleryError: Why.
    """
    try:
        refusal = plan(sweep, cluster=cluster).refusal
    except OSError as error:
        raise DistilleryError(f"{error.filename or sweep.results}: cannot be read ({error.strerror})") from None
    if refusal is not None:
        raise DistilleryError(refusal)


def _unable(sweep: Sweep) -> str | None:
    """Return what a stage cannot do of its work, or None."""
    from distillery.simulate.equations import equations
    from distillery.workflow.engines import require_all

    try:
        require_all(sweep)
    except DistilleryError as error:
        return str(error)
    for experiment in sweep.settings:
        system = sweep.system(experiment)
        try:
            equations(system, experiment.dim, bodies=2)
        except DistilleryError as error:
            return f"{experiment}: {error}, or take it out of experiments"
        if never_accelerates(system, experiment.dim):
            nothing = "accelerations are 0 everywhere, there is no law to find"
            return f"systems.{experiment.system}: {nothing}; {remedy(system)}"
    return None


def _no_room(results: Path, folder: Path, missing: int, free: int) -> str | None:
    """Return why the results cannot be written, or None."""
    if not folder.is_dir():
        return f"{folder}: is a file, but results are written to a folder; set results to another path"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder}: must not be written to; set results to a folder of yours"
    if missing > free:
        return (
            f"{results}: the sweep needs {size(missing)} more, but only {size(free)} are free; "
            "lower simulations or snapshots of the experiments, or set results to a larger disk"
        )
    return None


def plan_text(sweep: Sweep, width: int | None = None, planned: Plan | None = None) -> str:
    """Return the plan of a sweep as text, with the reason where a run would be refused.

    Args:
        sweep: The sweep.
        width: Characters per line; None for as many as it takes.
        planned: Its plan, where that was made already.
    """
    planned = planned or plan(sweep)
    config = sweep.config
    parts = [
        counted(len(sweep.settings), "experiment"),
        counted(len(config.models), "model"),
        counted(len(config.seeds), "seed"),
    ]
    bodies = sum(sweep.kind(cell.experiment) == "bodies" for cell in sweep.cells)
    sums = [f"{' × '.join(parts)} = {counted(bodies, 'cell')}"] if sweep.settings else []
    if sweep.halos:
        sums.append(f"{counted(len(sweep.halos), 'data set')} of halos: {counted(len(sweep.cells) - bodies, 'cell')}")
    experiments = [
        [
            str(experiment),
            f"{settings.simulations:,}",
            f"{settings.test_simulations:,}",
            f"{settings.snapshots:,}",
            size(planned.trajectories[experiment]),
        ]
        for experiment, settings in sweep.settings.items()
    ]
    experiments += [
        [
            str(experiment),
            *(f"{halos.realisations(sweep, experiment, split):,}" for split in SPLITS),
            "–",
            size(planned.trajectories[experiment]),
        ]
        for experiment in sweep.halos
    ]
    headings = ("experiment", "simulations", "held out", "snapshots", "at most")
    stages = [[entry.stage, duration(entry.seconds), entry.work] for entry in planned.stages]
    total = sum(entry.seconds for entry in planned.stages)
    lines = [
        "; ".join(sums),
        align(headings, experiments, right=(False, True, True, True, True), width=width),
        align(("stage", "one core", "work"), stages, right=(False, True), width=width),
        f"In all about {duration(total)} of one core, {duration(total / planned.cores)} on the "
        f"{counted(planned.cores, 'core')} here; rough estimates, without what a GPU saves.",
        *warnings_of(sweep),
        planned.refusal
        or f"Disk: up to {size(planned.missing)} more in {sweep.results}; {size(planned.free)} are free.",
    ]
    return "\n\n".join(lines)


def warnings_of(sweep: Sweep) -> list[str]:
    """Return a line for each part of the configuration that may be meant so, and yet may be a mistake."""
    largest: dict[str, int] = {}
    for experiment in sweep.settings:
        largest[experiment.system] = max(experiment.dim, largest.get(experiment.system, 0))
    systems = sweep.config.known_systems
    singular = [line for name, dim in largest.items() for line in warnings_about(name, systems[name], dim)]
    first = {experiment.system: experiment for experiment in reversed(sweep.settings)}
    weak = [
        line
        for experiment in first.values()
        if not never_accelerates(sweep.system(experiment), experiment.dim)
        for line in remarks_on(
            experiment.system, sweep.system(experiment), experiment.dim, experiment.bodies, experiment.seed
        )
    ]
    return [*singular, *weak, *unused(sweep.config)]


def size(bytes_: int) -> str:
    """Return a number of bytes for the eye."""
    count = float(bytes_)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """Return a time for the eye, rounded to what an estimate is worth."""
    for limit, unit, name in ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    days = seconds / 86400
    return f"{days:,.0f} days" if days < 1000 else f"{days / 365.25:,.0f} years" if days < 1e9 else "for ever"


def _existing(path: Path) -> Path:
    """Return the path, or the nearest one above it that exists."""
    return next(path for path in (path.absolute(), *path.absolute().parents) if path.exists())


def _stages(sweep: Sweep) -> tuple[StagePlan, ...]:
    config, cells = sweep.config, sweep.cells
    starts = len(sweep.jobs) * estimates.JOB
    starting = len(SPLITS) * config.execution.ranks
    simulated = sum(
        sum(estimates.simulating(sweep, experiment, split) for split in SPLITS) + starting * estimates.COMPILING
        for experiment in sweep.experiments
    )
    simulated += sum(starting * estimates.compiling(sweep, e, e.bodies) for e in sweep.settings)
    steps = sorted({config.training.steps for _ in sweep.settings} | {h.training.steps for h in sweep.halos.values()})
    trained = sum(estimates.training(sweep, cell) for cell in cells) + starts
    components = sum(estimates.fitted(sweep, cell) for cell in cells)
    drawings = len(sweep.experiments) + len(cells)
    trajectories = sum(sweep.simulations(e, split) for e in sweep.settings for split in SPLITS)
    universes = sum(halos.realisations(sweep, e, split) for e in sweep.halos for split in SPLITS)
    made = [f"{trajectories:,} trajectories"] if sweep.settings else []
    made += [counted(universes, "universe")] if sweep.halos else []
    engines = config.distillation.engines
    fits = counted(components * len(engines), "fit")
    each, limit = counted(len(cells), "cell"), f"at most {config.distillation.seconds:.0f} s each"
    return (
        StagePlan("simulate", " and ".join(made), simulated),
        StagePlan("train", f"{each} × {' or '.join(f'{n:,}' for n in steps)} steps", trained),
        StagePlan("interpret", each, sum(estimates.reading(sweep, cell) for cell in cells) + starts),
        StagePlan(
            "distill",
            f"{fits} by {' and '.join(engines)}, {limit}",
            components * sum(estimates.fitting(config, name) for name in engines) + starts,
        ),
        StagePlan("verify", each, components * len(engines) * estimates.VERIFYING + starts),
        StagePlan("replace", each, sum(estimates.refitting(sweep, cell) for cell in cells) + starts),
        StagePlan("generalise", each, sum(estimates.generalising(sweep, cell) for cell in cells) + starts),
        StagePlan("picture", counted(drawings, "drawing"), drawings * estimates.DRAWING + starts),
        StagePlan("collect", "one store", estimates.JOB + estimates.COLLECTING * len(cells)),
        StagePlan("report", "one page", estimates.JOB + estimates.REPORTING * min(len(cells), estimates.SHOWN)),
    )


def _cell_bytes(sweep: Sweep, cell: Cell) -> int:
    """Return the bytes of a cell's messages, weights and frames, with a checkpoint of these and their two moments."""
    distillation, experiment = sweep.config.distillation, cell.experiment
    samples = distillation.samples + distillation.held_out
    if sweep.kind(experiment) == "halos":
        return 100 * samples + 16 * sum(estimates.weights(sweep, cell))
    model, system, dim = sweep.model(cell), sweep.system(experiment), experiment.dim
    counts, weights = functions.components(model, dim), estimates.weights(sweep, cell)
    if model.kind == "control":
        numbers = len(functions.control_names(dim, experiment.bodies, place=system.acts_on_bodies)) + dim
    else:
        numbers = 2 * dim + 5 + len(functions.node_names(model, dim, place=system.acts_on_bodies)) + counts["node"]
    return samples * (8 * numbers + len(counts)) + 16 * sum(weights) + 8 * sweep.frames(cell) * weights[0]
