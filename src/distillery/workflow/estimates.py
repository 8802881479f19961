"""What the stages of a sweep will take, roughly, from its sizes: seconds of one core, and memory of fits."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from distillery.halos import plan as halos
from distillery.networks import functions
from distillery.physics import formula
from distillery.validation.settings import ConditionSettings
from distillery.workflow.cell import SPLITS, Cell, Experiment, Split
from distillery.workflow.config import Config
from distillery.workflow.sweep import Sweep

# Rough rates of one core of a small machine; they promise an order of magnitude, no more.
PIECEWISE = 12.0  # times as long as a smooth system: events are looked for, one simulation after the other
SIMULATED = 6e4  # trajectories × pairs × dimensions × (steps / 1,000) per second
COMPILING = 3.5  # seconds that each rank takes to start and to compile its integrator
TRAINED = 60e9  # floating-point operations per second in training
TRAINING_STEP = 0.7e-3  # seconds of any training step beside them, of all cells side by side together
HAMILTONIAN = 3.0  # times the operations of messages, for energies are differentiated twice
INTERPRETING = 3.0  # seconds per cell, beside what its network is asked
FILMED = 3000  # samples on which each frame of a training is read
OPERON = 1.8e7  # individuals × samples × passes per second
PYSR = 0.5  # seconds per iteration and population
TIDYING = 2.0  # seconds that refitting and judging a front take after any fit
VERIFYING = 0.5  # seconds per component of a function
REPLACING = 3.0  # seconds per cell, beside its fits: networks are asked again
REFITTED = 1.5e6  # snapshots × directed edges per second, of one step of a fit of a law's constants
FITTED_STEPS = 15  # of such a fit
MOST_CONSTANTS = 20  # of a law
INTEGRATING = 0.5  # seconds per condition: equations for another number of bodies are compiled, networks asked
COMPONENT = 2e-2  # seconds in which the equations of a pair along one axis are compiled, where these are few
FEW_COMPONENTS, COMPILED_POWER = 240, 0.7  # up to how many, and the power of their number by which each takes longer
USUAL_STEP = 0.1  # length of a system's time step, in the time that motion takes to change
FOLLOWING = 6e-4  # seconds per step's evaluation of a network or a law
DRAWING = 1.0  # seconds per job that draws
COLLECTING = 1.5e-3  # seconds per cell
# Of a cell that the report shows in full, and how many it shows unless told otherwise.
REPORTING, SHOWN = 0.6, 200
JOB = 2.0  # seconds that any job takes to start


def fitted(sweep: Sweep, cell: Cell) -> int:
    """Return how many components of functions an engine fits for a cell."""
    asked = sweep.config.distillation.functions
    if sweep.kind(cell.experiment) == "halos":
        return len(asked) if sweep.halo_model(cell).kind == "network" else 0
    return sum(n for of, n in functions.components(sweep.model(cell), cell.experiment.dim).items() if of in asked)


def pairs(sweep: Sweep, experiment: Experiment, bodies: int | None = None) -> int:
    """Return how many pairs act on each other, of an experiment's bodies or of another number of them."""
    n = bodies or experiment.bodies
    return n * (n - 1) // 2 if sweep.system(experiment).graph == "complete" else n - 1


def simulating(sweep: Sweep, experiment: Experiment, split: Split) -> float:
    """Return the seconds of one core that integrating a split, or growing its universes, takes."""
    if sweep.kind(experiment) == "halos":
        return halos.growing(sweep, experiment, split)
    trajectories = sweep.simulations(experiment, split)
    return trajectories * integrating(sweep, experiment, experiment.bodies)


def integrating(sweep: Sweep, experiment: Experiment, bodies: int) -> float:
    """Return the seconds of one core that integrating one trajectory takes, once the equations are compiled."""
    work = components(sweep, experiment, bodies) * sweep.settings[experiment].steps / 1000
    slower = PIECEWISE if sweep.system(experiment).is_piecewise else 1
    return work / SIMULATED * slower * stretch(sweep, experiment)


def compiling(sweep: Sweep, experiment: Experiment, bodies: int) -> float:
    """Return the seconds of one core that compiling the equations of motion of a number of bodies takes."""
    count = components(sweep, experiment, bodies)
    return COMPONENT * count * max(1.0, count / FEW_COMPONENTS) ** COMPILED_POWER


def components(sweep: Sweep, experiment: Experiment, bodies: int) -> int:
    """Return the components of all forces of pairs, of an experiment with another number of bodies."""
    return pairs(sweep, experiment, bodies) * experiment.dim


@functools.lru_cache(maxsize=1024)
def stretch(sweep: Sweep, experiment: Experiment) -> float:
    """Return how many times as long as usual a time step is, in the time that motion takes to change; at least 1.

    That time is the shorter of those in which typical bodies cross the size of the system, at their initial speed and
    by the force of a pair from rest. A step is usual up to a tenth of it.
    """
    system = sweep.system(experiment)
    draws = np.random.default_rng(0)
    distance = np.linalg.norm(draws.normal(size=(256, experiment.dim)), axis=1) * np.sqrt(2.0) * system.position_scale
    values: dict[str, Any] = {**system.parameters, "r": distance}
    values |= {name: np.exp(system.mass_spread * draws.normal(size=256)) for name in ("m1", "m2")}
    values |= {name: draws.choice(system.charges, 256) for name in ("q1", "q2")}
    pull = float(np.median(np.abs(formula.evaluate(system.radial_force, values) / values["m1"])))
    rates = [system.velocity_scale / system.position_scale]
    if math.isfinite(pull):
        rates.append(math.sqrt(pull / system.position_scale))
    return max(1.0, system.time_step * max(rates) / USUAL_STEP)


def weights(sweep: Sweep, cell: Cell) -> tuple[int, int]:
    """Return the weights of the edge and of the node function."""
    if sweep.kind(cell.experiment) == "halos":
        return halos.weights(sweep, cell)
    settings, dim = sweep.config.training, cell.experiment.dim
    if sweep.model(cell).kind == "control":
        return 0, 0
    node, messages = 2 * dim + 2, sweep.model(cell).message_size(dim)
    inner = (settings.layers - 1) * settings.hidden**2
    edge = 2 * node * settings.hidden + inner + settings.hidden * messages
    return edge, (node + messages) * settings.hidden + inner + settings.hidden * dim


def training(sweep: Sweep, cell: Cell) -> float:
    """Return the seconds of one core that training a cell takes."""
    if sweep.kind(cell.experiment) == "halos":
        return halos.training(sweep, cell)
    settings = sweep.config.training
    if sweep.model(cell).kind == "control":
        return 0.0
    edge, node = weights(sweep, cell)
    # A multiplication and an addition per weight, and twice that again going backwards.
    operations = 6 * (2 * pairs(sweep, cell.experiment) * edge + cell.experiment.bodies * node)
    derived = HAMILTONIAN if sweep.model(cell).kind == "hamiltonian" else 1.0
    execution = sweep.config.execution
    together = min(len(sweep.config.seeds), execution.cells_per_job) if execution.stacked else 1
    return settings.steps * (settings.batch * operations * derived / TRAINED + TRAINING_STEP / together)


def reading(sweep: Sweep, cell: Cell) -> float:
    """Return the seconds of one core that reading the messages of a cell takes."""
    if sweep.kind(cell.experiment) == "halos":
        return INTERPRETING + halos.asking(sweep, cell, sweep.halos[cell.experiment].realisations)
    settings, wanted = sweep.config.interpretation, sweep.config.distillation
    edge, _ = weights(sweep, cell)
    # Each receiver of a sample is put before all references of the gauge.
    asked = 2 * settings.references if settings.gauge_fixed and sweep.model(cell).kind == "graph" else 1
    held_out = sweep.simulations(cell.experiment, "test") * sweep.settings[cell.experiment].snapshots
    edges = min(settings.samples, held_out * 2 * pairs(sweep, cell.experiment))
    samples = edges + 2 * (wanted.samples + wanted.held_out) + sweep.frames(cell) * FILMED
    return INTERPRETING + 2 * edge * samples * asked / TRAINED


def refitting(sweep: Sweep, cell: Cell) -> float:
    """Return the seconds of one core that refitting the constants of a cell's law takes."""
    if sweep.kind(cell.experiment) == "halos":
        return REPLACING + halos.refitting(sweep, cell)
    if sweep.model(cell).kind == "control":
        return 0.0
    settings, edges = sweep.config.replacement, 2 * pairs(sweep, cell.experiment)
    # Beside the starts: for all axes together, what of it is clean, and three starts of a softening.
    fits = (settings.starts + 6) * samples_refitted(sweep, cell.experiment) * edges * FITTED_STEPS / REFITTED
    return REPLACING + min(fits, settings.seconds)


def samples_refitted(sweep: Sweep, experiment: Experiment) -> int:
    """Return how many snapshots the constants of a law are fitted to."""
    available = sweep.simulations(experiment, "train") * sweep.settings[experiment].snapshots
    return min(sweep.config.replacement.samples, available)


def generalising(sweep: Sweep, cell: Cell) -> float:
    """Return the seconds of one core that testing a cell's network and law under all conditions takes."""
    if sweep.kind(cell.experiment) == "halos":
        universes = sum(halos.realisations(sweep, cell.experiment, split) for split in SPLITS)
        return 2 * halos.asking(sweep, cell, universes)
    if sweep.model(cell).kind == "control":
        return 0.0
    settings = sweep.config.generalisation
    evaluations = 2 * 4 * settings.length * sweep.settings[cell.experiment].steps / 2 if settings.rollouts else 0.0
    conditions = sum(under_condition(sweep, cell.experiment, own) for own in settings.conditions.values())
    return conditions + min(FOLLOWING * min(evaluations, settings.evaluations), settings.seconds)


def under_condition(sweep: Sweep, experiment: Experiment, condition: ConditionSettings) -> float:
    """Return the seconds of one core that compiling and integrating under a condition takes."""
    bodies = condition.bodies or experiment.bodies
    simulations = sweep.config.generalisation.simulations
    return INTEGRATING + compiling(sweep, experiment, bodies) + simulations * integrating(sweep, experiment, bodies)


def refitted_mb(sweep: Sweep, experiment: Experiment) -> float:
    """Return the memory in MB that the derivatives of a law by its constants take."""
    numbers = samples_refitted(sweep, experiment) * (experiment.bodies * experiment.dim + 2 * pairs(sweep, experiment))
    return 8e-6 * numbers * 4 * MOST_CONSTANTS


def fitting(config: Config, engine: str) -> float:
    """Return the seconds of one core that an engine takes over a component."""
    settings = config.distillation
    if engine == "operon":
        operon = settings.operon
        passes = 1 + operon.local_iterations
        samples = min(operon.samples, settings.samples)
        wanted = operon.population * operon.generations * samples * passes / OPERON
    else:
        wanted = settings.pysr.iterations * settings.pysr.populations * PYSR
    return min(wanted, settings.seconds) + TIDYING
