"""The plan of a sweep before it starts: cells, bytes and estimated times, and refusals."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from distillery.errors import DistilleryError
from distillery.util.text import align, counted
from distillery.workflow import estimates
from distillery.workflow.cell import SPLITS, Cell, Experiment
from distillery.workflow.config import unused
from distillery.workflow.limits import refusal_of_numbers, refusal_of_sizes
from distillery.workflow.sources.source import Source
from distillery.workflow.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """The work of a stage for all cells.

    Attributes:
        stage: Its name.
        work: Description of its work.
        seconds: Estimated time of one core in seconds.
    """

    stage: str
    work: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """Estimated cost of a sweep.

    Attributes:
        sweep: The sweep.
        data: Most bytes of the data of each experiment.
        missing: Most bytes that are not on disk yet.
        free: Free bytes on the disk of the results.
        stages: Work of each stage, including finished work.
        cores: Cores of this machine.
        refusal: Reason why the sweep cannot run here, in one line, or None.
    """

    sweep: Sweep
    data: dict[Experiment, int]
    missing: int
    free: int
    stages: tuple[StagePlan, ...]
    cores: int
    refusal: str | None


def plan(sweep: Sweep, *, cluster: bool = False) -> Plan:
    """Estimate the cost of a sweep; start nothing and write nothing.

    Args:
        sweep: The sweep.
        cluster: Whether jobs run on a cluster, regardless of the configuration.

    Raises:
        DistilleryError: A number is too large for any estimate.
    """
    if problem := refusal_of_numbers(sweep.config):
        raise DistilleryError(problem)
    data = {e: sum(sweep.source(e).data_bytes(e, split) for split in SPLITS) for e in sweep.experiments}
    missing = sum(sweep.source(e).missing_bytes(e) for e in sweep.experiments)
    unfinished = (cell for cell in sweep.cells if not cell.messages(sweep.results).exists())
    of_cells = sum(sweep.source(cell.experiment).cell_bytes(cell) for cell in unfinished)
    too_large = refusal_of_sizes(sweep, duration, cluster=cluster)
    folder = _existing(sweep.results)
    free = shutil.disk_usage(folder).free
    # If the networks fill the disk, name the setting that makes them so large.
    refusal = _unable(sweep) or (too_large if of_cells > missing else None)
    missing += of_cells
    refusal = refusal or _no_room(sweep.results, folder, missing, free) or too_large
    return Plan(sweep, data, missing, free, _stages(sweep), os.cpu_count() or 1, refusal)


def require_room(sweep: Sweep, *, cluster: bool = False) -> None:
    """Raise if an engine is missing, a stage cannot do its work, or the disk is too small.

    Args:
        sweep: The sweep.
        cluster: Whether jobs run on a cluster, regardless of the configuration.

    Raises:
        DistilleryError: The reason.
    """
    try:
        refusal = plan(sweep, cluster=cluster).refusal
    except OSError as error:
        raise DistilleryError(f"{error.filename or sweep.results}: cannot be read ({error.strerror})") from None
    if refusal is not None:
        raise DistilleryError(refusal)


def _unable(sweep: Sweep) -> str | None:
    """Return the reason why a stage cannot do its work, or None."""
    from distillery.workflow.engines import require_all

    try:
        require_all(sweep)
    except DistilleryError as error:
        return str(error)
    return next((reason for source in sweep.sources if (reason := source.refusal())), None)


def _no_room(results: Path, folder: Path, missing: int, free: int) -> str | None:
    """Return the reason why the results cannot be written, or None."""
    if not folder.is_dir():
        return f"{folder}: is a file, but results are written to a folder; set results to another path"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder}: is not writable; set results to a writable folder"
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
        width: Characters per line; None for no limit.
        planned: Its plan; computed if None.
    """
    planned = planned or plan(sweep)
    experiments = [
        [str(experiment), *sweep.source(experiment).amounts(experiment), size(planned.data[experiment])]
        for experiment in sweep.experiments
    ]
    headings = ("experiment", "simulations", "held out", "snapshots", "at most")
    stages = [[entry.stage, duration(entry.seconds), entry.work] for entry in planned.stages]
    total = sum(entry.seconds for entry in planned.stages)
    lines = [
        "; ".join(source.summary() for source in sweep.sources),
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
    """Return one line for each part of the configuration that may be a mistake."""
    return [*(line for source in sweep.sources for line in source.warnings()), *unused(sweep.config)]


def size(bytes_: int) -> str:
    """Return a number of bytes as text with a unit."""
    count = float(bytes_)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """Return a time as text with a unit, rounded to the accuracy of an estimate."""
    for limit, unit, name in ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    days = seconds / 86400
    return f"{days:,.0f} days" if days < 1000 else f"{days / 365.25:,.0f} years" if days < 1e9 else "for ever"


def _existing(path: Path) -> Path:
    """Return the nearest existing path among the path and its parents."""
    return next(path for path in (path.absolute(), *path.absolute().parents) if path.exists())


def _stages(sweep: Sweep) -> tuple[StagePlan, ...]:
    config, cells = sweep.config, sweep.cells
    starts = len(sweep.jobs) * estimates.JOB
    starting = len(SPLITS) * config.execution.ranks
    simulated = sum(
        sum(source.simulating_seconds(e, split) for split in SPLITS) + starting * source.starting_seconds(e)
        for source in sweep.sources
        for e in source.experiments
    )
    by_source = [(source, cell) for source in sweep.sources for cell in source.cells]
    steps = sorted({steps for source in sweep.sources for steps in source.training_steps})
    components = sum(source.fitted_components(cell) for source, cell in by_source)
    drawings = len(sweep.experiments) + len(cells)
    engines = config.distillation.engines
    fits = counted(components * len(engines), "fit")
    each, limit = counted(len(cells), "cell"), f"at most {config.distillation.seconds:.0f} s each"
    fitting = components * sum(estimates.fitting(config, name) for name in engines)

    def total(seconds: Callable[[Source, Cell], float]) -> float:
        return sum(seconds(source, cell) for source, cell in by_source) + starts

    return (
        StagePlan("simulate", " and ".join(source.data_summary() for source in sweep.sources), simulated),
        StagePlan(
            "train",
            f"{each} × {' or '.join(f'{n:,}' for n in steps)} steps",
            total(lambda source, cell: source.training_seconds(cell)),
        ),
        StagePlan("interpret", each, total(lambda source, cell: source.reading_seconds(cell))),
        StagePlan("distill", f"{fits} by {' and '.join(engines)}, {limit}", fitting + starts),
        StagePlan("verify", each, total(lambda source, cell: source.verifying_seconds(cell))),
        StagePlan("replace", each, total(lambda source, cell: source.refitting_seconds(cell))),
        StagePlan("generalise", each, total(lambda source, cell: source.generalising_seconds(cell))),
        StagePlan("picture", counted(drawings, "drawing"), drawings * estimates.DRAWING + starts),
        StagePlan("collect", "one store", estimates.JOB + estimates.COLLECTING * len(cells)),
        StagePlan("report", "one page", estimates.JOB + estimates.REPORTING * min(len(cells), estimates.SHOWN)),
    )
