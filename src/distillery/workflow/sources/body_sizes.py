"""Memory and time of the jobs of experiments with bodies, each with the setting that has the largest influence.

Memory is the expected peak of the resident set, within a factor of two for ordinary sizes; ``resources`` requests more
than that from a cluster.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from distillery.laws.settings import ReplacementSettings, VerificationSettings
from distillery.messages.settings import InterpretationSettings
from distillery.networks.settings import TrainingSettings
from distillery.simulate import MOST_STEPS, MOST_STEPS_PER_TIME_STEP
from distillery.simulate.settings import SimulationSettings
from distillery.symbolic.settings import DistillationSettings
from distillery.validation.settings import ConditionSettings, GeneralisationSettings
from distillery.workflow.cell import SPLITS, Cell, Experiment
from distillery.workflow.settings import ExperimentSettings
from distillery.workflow.sources.body_estimates import USUAL_STEP, BodyEstimates
from distillery.workflow.sources.size import TORCH_MB, Size, default, size_of

# MB of a process that has loaded the libraries of a simulation on a CPU.
_SIMULATING = 195.0
# Copies of trajectories in a process that reads them whole.
_READ = 5.5
# MB of the compiled equations of a pair along one axis.
_COMPONENT = 0.06
# Arrays of the size of a hidden layer: per layer in training, and in all in an evaluation of a network.
_TRAINED, _EVALUATED = 3.0, 4.0
# Graphs on which a network is evaluated at once outside of training, and graphs on which expressions are judged.
_AT_ONCE, _JUDGED = 1024, 2000


def body_sizes(own: BodyEstimates) -> Iterator[Size]:
    """Yield the sizes of the jobs, once for each experiment and model."""
    for experiment in own.settings:
        yield _simulating(own, experiment)
    seen: set[tuple[Experiment, str]] = set()
    for cell in own.cells:
        if (cell.experiment, cell.model) in seen:
            continue
        seen.add((cell.experiment, cell.model))
        yield _training(own, cell)
        yield _judging(own, cell)
        yield _replacing(own, cell)
        yield from _generalising(own, cell)


def _data(own: BodyEstimates, experiment: Experiment) -> dict[str, tuple[float | int, float]]:
    settings = own.settings[experiment]
    names = ("bodies", "simulations", "test_simulations", "snapshots", "steps")
    found = {f"experiments.{name}": (getattr(settings, name), default(ExperimentSettings, name)) for name in names}
    return found | {f"systems.{experiment.system}.time_step": (own.stretch(experiment), 1.0)}


def _simulating(own: BodyEstimates, experiment: Experiment) -> Size:
    execution, settings = own.config.execution, own.settings[experiment]
    block = min(own.config.simulation.block, settings.simulations)
    motion = 3 * 8e-6 * block * settings.snapshots * experiment.bodies * experiment.dim
    rank = _SIMULATING + _compiled(own, experiment, experiment.bodies) + 2 * motion
    here = execution.ranks / execution.nodes
    drivers = _data(own, experiment) | {
        "execution.ranks": (execution.ranks, 2.0),
        "simulation.block": (block, default(SimulationSettings, "block")),
    }
    seconds = sum(own.simulating_seconds(experiment, split) for split in SPLITS) / execution.ranks
    seconds += own.compiling_seconds(experiment, experiment.bodies)
    # A Taylor step covers about 0.3 of the time scale of the motion.
    steps = settings.steps * own.stretch(experiment) * USUAL_STEP / 0.3
    if steps > max(MOST_STEPS, MOST_STEPS_PER_TIME_STEP * settings.steps):
        seconds = math.inf
    return size_of(f"simulating {experiment}", drivers, here * rank, seconds)


def _compiled(own: BodyEstimates, experiment: Experiment, bodies: int) -> float:
    """Return the memory in MB of the equations of motion of a number of bodies while they are compiled."""
    return _COMPONENT * own.force_components(experiment, bodies)


def _network(own: BodyEstimates, cell: Cell) -> dict[str, tuple[float | int, float]]:
    settings, model = own.config.training, own.model(cell)
    names = ("hidden", "layers")
    found = {f"training.{name}": (getattr(settings, name), default(TrainingSettings, name)) for name in names}
    messages = 0.0 if model.kind != "graph" else float(model.message_size(cell.experiment.dim))
    return found | {f"variants.{cell.model}.messages": (messages, 100.0)}


def _training(own: BodyEstimates, cell: Cell) -> Size:
    settings, experiment, execution = own.config.training, cell.experiment, own.config.execution
    model = own.model(cell)
    if model.kind == "control":
        return size_of(f"training {cell}", _data(own, experiment), TORCH_MB + _READ * own.data_mb(experiment))
    stacked = min(execution.cells_per_job, len(own.cells)) if execution.stacked else 1
    edge, node = own.weights(cell)
    bodies = _arrays(own, cell, 2 * own.pairs(experiment), experiment.bodies)
    derived = 3.0 if model.kind == "hamiltonian" else 1.0
    activations = 4e-6 * settings.batch * bodies * _TRAINED * derived
    drivers = _network(own, cell) | _data(own, experiment)
    drivers |= {
        "training.batch": (settings.batch, default(TrainingSettings, "batch")),
        "training.steps": (settings.steps, default(TrainingSettings, "steps")),
        "execution.cells_per_job": (stacked, 1.0),
    }
    drivers.pop(f"systems.{experiment.system}.time_step")
    memory = TORCH_MB + _READ * own.data_mb(experiment) + stacked * (20e-6 * (edge + node) + activations)
    return size_of(f"training {cell}", drivers, memory, own.training_seconds(cell))


def _arrays(own: BodyEstimates, cell: Cell, edges: int, bodies: int) -> int:
    """Return the number of values in all layers of a network for one graph."""
    settings, model, dim = own.config.training, own.model(cell), cell.experiment.dim
    layers = settings.layers * settings.hidden
    messages = 0 if model.kind == "control" else model.message_size(dim)
    return edges * (layers + 2 * messages + 4 * dim + 4) + bodies * (layers + messages + 2 * dim + 2)


def _judging(own: BodyEstimates, cell: Cell) -> Size:
    """Return the size of evaluating messages and judging expressions; both read the trajectories whole."""
    experiment, config = cell.experiment, own.config
    interpretation, verification = config.interpretation, config.verification
    edges = 2 * own.pairs(experiment)
    seen = own.simulations(experiment, "test") * own.settings[experiment].snapshots * edges
    size = 0 if own.model(cell).kind == "control" else own.model(cell).message_size(experiment.dim)
    samples = min(interpretation.samples, seen)
    messages = 8e-6 * 6 * size * samples
    random = 8e-6 * 20 * verification.receivers * verification.senders
    drivers = _network(own, cell) | _data(own, experiment)
    drivers |= {
        "interpretation.samples": (samples, default(InterpretationSettings, "samples")),
        "interpretation.references": (interpretation.references, default(InterpretationSettings, "references")),
        "verification.receivers": (verification.receivers, default(VerificationSettings, "receivers")),
        "verification.senders": (verification.senders, default(VerificationSettings, "senders")),
        "distillation.samples": (config.distillation.samples, default(DistillationSettings, "samples")),
        "distillation.held_out": (config.distillation.held_out, default(DistillationSettings, "held_out")),
        "training.frames": (config.training.frames, 20.0),
        f"variants.{cell.model}.messages": (size, 100.0),
    }
    graphs = 8e-6 * 2 * min(_JUDGED, seen / max(edges, 1)) * edges * (experiment.dim + 5)
    memory = TORCH_MB + _READ * own.data_mb(experiment) + messages + random + graphs
    memory += 0 if own.model(cell).kind == "control" else _evaluation_mb(own, _JUDGED, edges + experiment.bodies)
    return size_of(f"reading and judging {cell}", drivers, memory, own.reading_seconds(cell))


def _evaluation_mb(own: BodyEstimates, graphs: int, rows: int) -> float:
    """Return the memory in MB of a network evaluated at once on graphs with `rows` edges and bodies each."""
    return 4e-6 * graphs * rows * own.config.training.hidden * _EVALUATED


def _replacing(own: BodyEstimates, cell: Cell) -> Size:
    settings, experiment = own.config.replacement, cell.experiment
    drivers = _data(own, experiment)
    drivers |= _network(own, cell)
    drivers["replacement.samples"] = (settings.samples, default(ReplacementSettings, "samples"))
    memory = TORCH_MB + _READ * own.data_mb(experiment) + own.refitting_mb(experiment)
    if own.model(cell).kind != "control":
        memory += _evaluation_mb(own, _JUDGED, 2 * own.pairs(experiment) + experiment.bodies)
    return size_of(f"replacing {cell}", drivers, memory, own.refitting_seconds(cell))


def _generalising(own: BodyEstimates, cell: Cell) -> Iterator[Size]:
    settings, experiment, model = own.config.generalisation, cell.experiment, own.model(cell)
    if model.kind == "control":
        return
    graphs = settings.simulations * settings.snapshots
    common = {
        "generalisation.simulations": (settings.simulations, default(GeneralisationSettings, "simulations")),
        "generalisation.snapshots": (settings.snapshots, default(GeneralisationSettings, "snapshots")),
        **_network(own, cell),
        **_data(own, experiment),
    }
    for name, condition in settings.conditions.items():
        bodies = condition.bodies or experiment.bodies
        edges = 2 * own.pairs(experiment, bodies)
        key = f"generalisation.conditions.{name}.bodies" if condition.bodies else "experiments.bodies"
        evaluated = _evaluation_mb(own, min(graphs, _AT_ONCE), edges + bodies)
        states = 8e-6 * graphs * (2 * edges * (experiment.dim + 5) + 9 * bodies * experiment.dim)
        memory = TORCH_MB + _compiled(own, experiment, bodies) + evaluated + states
        drivers = common | {key: (bodies, 16.0 if condition.bodies else 4.0)}
        seconds = own.condition_seconds(experiment, condition)
        yield size_of(f"generalising {cell} to {name!r}", drivers, memory, seconds)
    if settings.rollouts:
        drivers = common | {
            "generalisation.rollouts": (settings.rollouts, default(GeneralisationSettings, "rollouts")),
            "generalisation.length": (settings.length, default(GeneralisationSettings, "length")),
        }
        still = ConditionSettings()
        share = settings.rollouts * settings.length / settings.simulations
        seconds = own.condition_seconds(experiment, still) * share
        states = 8e-6 * 200 * settings.rollouts * experiment.bodies * experiment.dim * 6
        yield size_of(f"following {cell} over long times", drivers, TORCH_MB + states, seconds)
