"""Memory and time of the jobs of a sweep, each with the setting that drives it: what is refused before work starts.

Memory is the expected peak of the resident set, within a factor of two for ordinary sizes; ``resources`` asks a
cluster for more than that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

from distillery.halos import plan as halos
from distillery.laws.settings import ReplacementSettings
from distillery.messages.settings import InterpretationSettings
from distillery.networks.settings import TrainingSettings
from distillery.simulate import MOST_STEPS, MOST_STEPS_PER_TIME_STEP
from distillery.simulate.settings import SimulationSettings
from distillery.symbolic.settings import DistillationSettings, OperonSettings
from distillery.validation.settings import ConditionSettings, GeneralisationSettings, VerificationSettings
from distillery.workflow import estimates
from distillery.workflow.cell import SPLITS, Cell, Experiment
from distillery.workflow.config import Config
from distillery.workflow.settings import ExperimentSettings
from distillery.workflow.sweep import Sweep

# MB of a process that has loaded the libraries of a stage on a CPU.
_SIMULATING, _TORCH, _WORKER = 195.0, 305.0, 250.0
# Copies of trajectories that a process holds which reads them whole.
_READ = 5.5
# MB of the compiled equations of a pair along one axis.
_COMPONENT = 0.06
# Bytes of an individual of an engine, per node of its expression, parents and offspring together.
_NODE = 130.0
# Arrays of the size of a hidden layer that training holds per layer, and that asking a network holds in all.
_TRAINED, _ASKED = 3.0, 4.0
# Graphs on which a network is evaluated at once outside of training, and graphs on which expressions are judged.
_AT_ONCE, _JUDGED = 1024, 2000


@dataclasses.dataclass(frozen=True)
class Size:
    """Time and memory of a job.

    Attributes:
        job: The job, in words.
        key: The setting that drives it most, compared with its default.
        value: Its value.
        megabytes: Expected peak of its memory on one machine.
        seconds: Expected time of one core.
    """

    job: str
    key: str
    value: float | int
    megabytes: float
    seconds: float


# A setting's value and its default.
_Drivers = Mapping[str, tuple[float | int, float]]


def sizes(sweep: Sweep) -> Iterator[Size]:
    """Yield what the jobs of a sweep with bodies take, once for each experiment and model."""
    yield from _engines(sweep.config)
    for experiment in sweep.settings:
        yield _simulating(sweep, experiment)
    yield from _halos(sweep)
    seen: set[tuple[Experiment, str]] = set()
    for cell in sweep.cells:
        if sweep.kind(cell.experiment) != "bodies" or (cell.experiment, cell.model) in seen:
            continue
        seen.add((cell.experiment, cell.model))
        yield _training(sweep, cell)
        yield _judging(sweep, cell)
        yield _replacing(sweep, cell)
        yield from _generalising(sweep, cell)


def _of(job: str, drivers: _Drivers, megabytes: float, seconds: float = 0.0) -> Size:
    key = max(drivers, key=lambda name: drivers[name][0] / max(drivers[name][1], 1e-300))
    return Size(job, key, drivers[key][0], megabytes, seconds)


def _default(section: type, name: str) -> float:
    return float(section.model_fields[name].default)  # type: ignore[attr-defined]


def _data(sweep: Sweep, experiment: Experiment) -> dict[str, tuple[float | int, float]]:
    settings = sweep.settings[experiment]
    names = ("bodies", "simulations", "test_simulations", "snapshots", "steps")
    found = {f"experiments.{name}": (getattr(settings, name), _default(ExperimentSettings, name)) for name in names}
    return found | {f"systems.{experiment.system}.time_step": (estimates.stretch(sweep, experiment), 1.0)}


def _trajectories(sweep: Sweep, experiment: Experiment) -> float:
    """Return the MB of positions, velocities and accelerations of both splits in float32."""
    simulations = sum(sweep.simulations(experiment, split) for split in SPLITS)
    return 12e-6 * simulations * sweep.settings[experiment].snapshots * experiment.bodies * experiment.dim


def _halos(sweep: Sweep) -> Iterator[Size]:
    for experiment, settings in sweep.halos.items():
        universes = {
            "halos.universe.particles": (settings.universe.particles, 128.0),
            "halos.realisations": (settings.realisations, 4.0),
            "halos.universe.box": (settings.box, 250.0),
        }
        seconds = sum(halos.growing(sweep, experiment, split) for split in SPLITS)
        yield _of(f"growing {experiment}", universes, halos.growing_mb(sweep, experiment), seconds)
        neighbours = {**universes, "halos.radius": (settings.radius, 50.0)}
        yield _of(f"reading {experiment}", neighbours, _TORCH + halos.edges_mb(sweep, experiment))
    for cell in sweep.cells:
        if sweep.kind(cell.experiment) == "halos":
            own = sweep.halos[cell.experiment].training
            drivers = {
                f"halos.training.{name}": (getattr(own, name), _default(type(own), name))
                for name in ("batch", "hidden", "layers", "messages", "steps")
            }
            edges = own.batch * halos.neighbours(sweep, cell.experiment)
            numbers = _TRAINED * edges * (own.layers * own.hidden + 2 * own.messages)
            memory = _TORCH + 4e-6 * numbers + 20e-6 * sum(halos.weights(sweep, cell))
            yield _of(f"training {cell}", drivers, memory, estimates.training(sweep, cell))


def _engines(config: Config) -> Iterator[Size]:
    settings, dask = config.distillation, config.execution.dask
    operon = settings.operon
    drivers = {
        "distillation.operon.population": (operon.population, _default(OperonSettings, "population")),
        "distillation.operon.max_length": (operon.max_length, _default(OperonSettings, "max_length")),
    }
    if "operon" in settings.engines:
        yield _of("a fit by operon", drivers, _WORKER + 1e-6 * _NODE * operon.population * operon.max_length)
    if dask.cluster == "local":
        workers = {"execution.dask.workers": (dask.workers, 2.0)}
        yield _of("distilling with all its workers", workers, 2 * _WORKER * dask.workers)


def _simulating(sweep: Sweep, experiment: Experiment) -> Size:
    execution, settings = sweep.config.execution, sweep.settings[experiment]
    block = min(sweep.config.simulation.block, settings.simulations)
    motion = 3 * 8e-6 * block * settings.snapshots * experiment.bodies * experiment.dim
    rank = _SIMULATING + _compiled(sweep, experiment, experiment.bodies) + 2 * motion
    here = execution.ranks / execution.nodes
    drivers = _data(sweep, experiment) | {
        "execution.ranks": (execution.ranks, 2.0),
        "simulation.block": (block, _default(SimulationSettings, "block")),
    }
    seconds = sum(estimates.simulating(sweep, experiment, split) for split in SPLITS) / execution.ranks
    seconds += estimates.compiling(sweep, experiment, experiment.bodies)
    # A Taylor step covers about the third part of the time in which motion changes.
    steps = settings.steps * estimates.stretch(sweep, experiment) * estimates.USUAL_STEP / 0.3
    if steps > max(MOST_STEPS, MOST_STEPS_PER_TIME_STEP * settings.steps):
        seconds = math.inf
    return _of(f"simulating {experiment}", drivers, here * rank, seconds)


def _compiled(sweep: Sweep, experiment: Experiment, bodies: int) -> float:
    """Return the MB of the equations of motion of a number of bodies, while they are compiled."""
    return _COMPONENT * estimates.components(sweep, experiment, bodies)


def _network(sweep: Sweep, cell: Cell) -> dict[str, tuple[float | int, float]]:
    settings, model = sweep.config.training, sweep.model(cell)
    names = ("hidden", "layers")
    found = {f"training.{name}": (getattr(settings, name), _default(TrainingSettings, name)) for name in names}
    messages = 0.0 if model.kind != "graph" else float(model.message_size(cell.experiment.dim))
    return found | {f"variants.{cell.model}.messages": (messages, 100.0)}


def _training(sweep: Sweep, cell: Cell) -> Size:
    settings, experiment, execution = sweep.config.training, cell.experiment, sweep.config.execution
    model = sweep.model(cell)
    if model.kind == "control":
        return _of(f"training {cell}", _data(sweep, experiment), _TORCH + _READ * _trajectories(sweep, experiment))
    stacked = min(execution.cells_per_job, len(sweep.cells)) if execution.stacked else 1
    edge, node = estimates.weights(sweep, cell)
    bodies = _arrays(sweep, cell, 2 * estimates.pairs(sweep, experiment), experiment.bodies)
    derived = 3.0 if model.kind == "hamiltonian" else 1.0
    activations = 4e-6 * settings.batch * bodies * _TRAINED * derived
    drivers = _network(sweep, cell) | _data(sweep, experiment)
    drivers |= {
        "training.batch": (settings.batch, _default(TrainingSettings, "batch")),
        "training.steps": (settings.steps, _default(TrainingSettings, "steps")),
        "execution.cells_per_job": (stacked, 1.0),
    }
    drivers.pop(f"systems.{experiment.system}.time_step")
    memory = _TORCH + _READ * _trajectories(sweep, experiment) + stacked * (20e-6 * (edge + node) + activations)
    return _of(f"training {cell}", drivers, memory, estimates.training(sweep, cell))


def _arrays(sweep: Sweep, cell: Cell, edges: int, bodies: int) -> int:
    """Return the numbers in all layers of a network for one graph."""
    settings, model, dim = sweep.config.training, sweep.model(cell), cell.experiment.dim
    layers = settings.layers * settings.hidden
    messages = 0 if model.kind == "control" else model.message_size(dim)
    return edges * (layers + 2 * messages + 4 * dim + 4) + bodies * (layers + messages + 2 * dim + 2)


def _judging(sweep: Sweep, cell: Cell) -> Size:
    """Return what reading messages and judging expressions take; both read the trajectories whole."""
    experiment, config = cell.experiment, sweep.config
    interpretation, verification = config.interpretation, config.verification
    edges = 2 * estimates.pairs(sweep, experiment)
    seen = sweep.simulations(experiment, "test") * sweep.settings[experiment].snapshots * edges
    size = 0 if sweep.model(cell).kind == "control" else sweep.model(cell).message_size(experiment.dim)
    samples = min(interpretation.samples, seen)
    messages = 8e-6 * 6 * size * samples
    random = 8e-6 * 20 * verification.receivers * verification.senders
    drivers = _network(sweep, cell) | _data(sweep, experiment)
    drivers |= {
        "interpretation.samples": (samples, _default(InterpretationSettings, "samples")),
        "interpretation.references": (interpretation.references, _default(InterpretationSettings, "references")),
        "verification.receivers": (verification.receivers, _default(VerificationSettings, "receivers")),
        "verification.senders": (verification.senders, _default(VerificationSettings, "senders")),
        "distillation.samples": (config.distillation.samples, _default(DistillationSettings, "samples")),
        "distillation.held_out": (config.distillation.held_out, _default(DistillationSettings, "held_out")),
        "training.frames": (config.training.frames, 20.0),
        f"variants.{cell.model}.messages": (size, 100.0),
    }
    graphs = 8e-6 * 2 * min(_JUDGED, seen / max(edges, 1)) * edges * (experiment.dim + 5)
    memory = _TORCH + _READ * _trajectories(sweep, experiment) + messages + random + graphs
    memory += 0 if sweep.model(cell).kind == "control" else _asked(sweep, _JUDGED, edges + experiment.bodies)
    return _of(f"reading and judging {cell}", drivers, memory, estimates.reading(sweep, cell))


def _asked(sweep: Sweep, graphs: int, rows: int) -> float:
    """Return the memory in MB of a network that is evaluated on graphs of so many edges and bodies at once."""
    return 4e-6 * graphs * rows * sweep.config.training.hidden * _ASKED


def _replacing(sweep: Sweep, cell: Cell) -> Size:
    settings, experiment = sweep.config.replacement, cell.experiment
    drivers = _data(sweep, experiment)
    drivers |= _network(sweep, cell)
    drivers["replacement.samples"] = (settings.samples, _default(ReplacementSettings, "samples"))
    memory = _TORCH + _READ * _trajectories(sweep, experiment) + estimates.refitted_mb(sweep, experiment)
    if sweep.model(cell).kind != "control":
        memory += _asked(sweep, _JUDGED, 2 * estimates.pairs(sweep, experiment) + experiment.bodies)
    return _of(f"replacing {cell}", drivers, memory, estimates.refitting(sweep, cell))


def _generalising(sweep: Sweep, cell: Cell) -> Iterator[Size]:
    settings, experiment, model = sweep.config.generalisation, cell.experiment, sweep.model(cell)
    if model.kind == "control":
        return
    graphs = settings.simulations * settings.snapshots
    common = {
        "generalisation.simulations": (settings.simulations, _default(GeneralisationSettings, "simulations")),
        "generalisation.snapshots": (settings.snapshots, _default(GeneralisationSettings, "snapshots")),
        **_network(sweep, cell),
        **_data(sweep, experiment),
    }
    for name, condition in settings.conditions.items():
        bodies = condition.bodies or experiment.bodies
        edges = 2 * estimates.pairs(sweep, experiment, bodies)
        key = f"generalisation.conditions.{name}.bodies" if condition.bodies else "experiments.bodies"
        asked = _asked(sweep, min(graphs, _AT_ONCE), edges + bodies)
        states = 8e-6 * graphs * (2 * edges * (experiment.dim + 5) + 9 * bodies * experiment.dim)
        memory = _TORCH + _compiled(sweep, experiment, bodies) + asked + states
        drivers = common | {key: (bodies, 16.0 if condition.bodies else 4.0)}
        seconds = estimates.under_condition(sweep, experiment, condition)
        yield _of(f"generalising {cell} to {name!r}", drivers, memory, seconds)
    if settings.rollouts:
        drivers = common | {
            "generalisation.rollouts": (settings.rollouts, _default(GeneralisationSettings, "rollouts")),
            "generalisation.length": (settings.length, _default(GeneralisationSettings, "length")),
        }
        still = ConditionSettings()
        share = settings.rollouts * settings.length / settings.simulations
        seconds = estimates.under_condition(sweep, experiment, still) * share
        states = 8e-6 * 200 * settings.rollouts * experiment.bodies * experiment.dim * 6
        yield _of(f"following {cell} over long times", drivers, _TORCH + states, seconds)
