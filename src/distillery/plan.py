"""What a sweep will take before it starts: cells, bytes and, roughly, time."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

from distillery.cell import SPLITS, Cell, Experiment
from distillery.collect.text import align, counted
from distillery.config import Config
from distillery.errors import DistilleryError
from distillery.sweep import Sweep

# Rough rates of one core of a laptop; they promise an order of magnitude, no more.
SIMULATED = 6e4  # trajectories × pairs × dimensions × (steps / 1,000) per second
TRAINED = 35e9  # floating-point operations per second in training
TRAINING_STEP = 1.2e-3  # seconds of any training step beside them
INTERPRETING = 4.0  # seconds per cell
OPERON = 3e8  # individuals × samples × passes per second
PYSR = 0.5  # seconds per iteration and population
VERIFYING = 2.0  # seconds per message component
JOB = 4.0  # seconds that any job takes to start


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
        trajectories: Bytes of the trajectories of each experiment, at most.
        missing: Bytes that are not there yet, at most.
        free: Bytes free where the results go.
        stages: What each stage has to do, finished work included.
        cores: Cores of this machine.
    """

    sweep: Sweep
    trajectories: dict[Experiment, int]
    missing: int
    free: int
    stages: tuple[StagePlan, ...]
    cores: int

    @property
    def refusal(self) -> str | None:
        """One line that says why the sweep cannot run here, or None."""
        if self.missing <= self.free:
            return None
        return (
            f"{self.sweep.results}: the sweep needs {size(self.missing)} more, but only {size(self.free)} are free; "
            "lower simulations or snapshots of the experiments, or set results to a larger disk"
        )


def plan(sweep: Sweep) -> Plan:
    """Estimate what a sweep will take; starts nothing and writes nothing.

    Args:
        sweep: The sweep.
    """
    from distillery.simulate.store import Store, estimate_bytes, layout

    trajectories = {e: sum(estimate_bytes(sweep, e, split) for split in SPLITS) for e in sweep.experiments}
    missing = sum(
        Store(experiment.store(sweep.results, split), layout(sweep, experiment, split)).bytes_missing()
        for experiment in sweep.experiments
        for split in SPLITS
    )
    missing += sum(_cell_bytes(sweep, cell) for cell in sweep.cells if not cell.messages(sweep.results).exists())
    return Plan(sweep, trajectories, missing, _free(sweep.results), _stages(sweep), os.cpu_count() or 1)


def require_room(sweep: Sweep) -> None:
    """Refuse a sweep whose data do not fit the disk.

    Raises:
        DistilleryError: They do not.
    """
    refusal = plan(sweep).refusal
    if refusal is not None:
        raise DistilleryError(refusal)


def plan_text(sweep: Sweep, width: int | None = None) -> str:
    """Return the plan of a sweep for the eye, with the refusal where the disk is too small.

    Args:
        sweep: The sweep.
        width: Characters per line; None for as many as it takes.
    """
    planned = plan(sweep)
    config = sweep.config
    parts = [
        counted(len(sweep.experiments), "experiment"),
        counted(len(config.models), "model"),
        counted(len(config.seeds), "seed"),
    ]
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
    headings = ("experiment", "simulations", "held out", "snapshots", "at most")
    stages = [[entry.stage, duration(entry.seconds), entry.work] for entry in planned.stages]
    total = sum(entry.seconds for entry in planned.stages)
    lines = [
        f"{' × '.join(parts)} = {counted(len(sweep.cells), 'cell')}",
        align(headings, experiments, right=(False, True, True, True, True), width=width),
        align(("stage", "one core", "work"), stages, right=(False, True), width=width),
        f"In all about {duration(total)} of one core, {duration(total / planned.cores)} on the "
        f"{counted(planned.cores, 'core')} here; rough estimates, without what a GPU saves.",
        planned.refusal
        or f"Disk: up to {size(planned.missing)} more in {sweep.results}; {size(planned.free)} are free.",
    ]
    return "\n\n".join(lines)


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
    return f"{seconds / 86400:,.0f} days"


def _free(results: Path) -> int:
    folder = next(path for path in (results.absolute(), *results.absolute().parents) if path.exists())
    return shutil.disk_usage(folder).free


def _stages(sweep: Sweep) -> tuple[StagePlan, ...]:
    config, cells = sweep.config, sweep.cells
    simulated = sum(_simulating(sweep, experiment) + 2 * JOB for experiment in sweep.experiments)
    trained = sum(_training(sweep, cell) + JOB for cell in cells)
    components = sum(min(cell.experiment.dim, sweep.model(cell).message_size(cell.experiment.dim)) for cell in cells)
    jobs = len({sweep.batch_marker(cell) for cell in cells})
    trajectories = sum(sweep.simulations(e, split) for e in sweep.experiments for split in SPLITS)
    fits = counted(components, "fit")
    limit = f"at most {config.distillation.seconds:.0f} s each"
    return (
        StagePlan("simulate", f"{trajectories:,} trajectories", simulated),
        StagePlan("train", f"{counted(len(cells), 'cell')} × {config.training.steps:,} steps", trained),
        StagePlan("interpret", counted(len(cells), "cell"), len(cells) * (INTERPRETING + JOB)),
        StagePlan(
            "distill", f"{fits} by {config.distillation.engine}, {limit}", components * _fit(config) + jobs * JOB
        ),
        StagePlan("verify", counted(len(cells), "cell"), components * VERIFYING + len(cells) * JOB),
        StagePlan("collect", "one store", JOB + 1.5e-3 * len(cells)),
    )


def _pairs(sweep: Sweep, experiment: Experiment) -> int:
    n = experiment.bodies
    return n * (n - 1) // 2 if sweep.system(experiment).graph == "complete" else n - 1


def _simulating(sweep: Sweep, experiment: Experiment) -> float:
    trajectories = sum(sweep.simulations(experiment, split) for split in SPLITS)
    work = trajectories * _pairs(sweep, experiment) * experiment.dim * sweep.settings[experiment].steps / 1000
    return work / SIMULATED


def _weights(sweep: Sweep, cell: Cell) -> tuple[int, int]:
    """Return the weights of the edge and of the node function."""
    settings, dim = sweep.config.training, cell.experiment.dim
    node, messages = 2 * dim + 2, sweep.model(cell).message_size(dim)
    inner = (settings.layers - 1) * settings.hidden**2
    edge = 2 * node * settings.hidden + inner + settings.hidden * messages
    return edge, (node + messages) * settings.hidden + inner + settings.hidden * dim


def _training(sweep: Sweep, cell: Cell) -> float:
    settings = sweep.config.training
    edge, node = _weights(sweep, cell)
    # A multiplication and an addition per weight, and twice that again going backwards.
    operations = 6 * (2 * _pairs(sweep, cell.experiment) * edge + cell.experiment.bodies * node)
    return settings.steps * (settings.batch * operations / TRAINED + TRAINING_STEP)


def _fit(config: Config) -> float:
    settings = config.distillation
    if settings.engine == "operon":
        operon = settings.operon
        passes = 1 + operon.local_iterations
        wanted = operon.population * operon.generations * settings.samples * passes / OPERON
    else:
        wanted = settings.pysr.iterations * settings.pysr.populations * PYSR
    return min(wanted, settings.seconds)


def _cell_bytes(sweep: Sweep, cell: Cell) -> int:
    """Return the bytes of a cell's messages and weights, with a checkpoint of these and their two moments."""
    distillation = sweep.config.distillation
    samples = distillation.samples + distillation.held_out
    return samples * (8 * (2 * cell.experiment.dim + 4) + 1) + 16 * sum(_weights(sweep, cell))
