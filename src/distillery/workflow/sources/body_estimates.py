"""Estimates of experiments with bodies: bytes, memory, and time of one core, to an order of magnitude."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from distillery.networks import functions
from distillery.physics import formula
from distillery.validation.settings import ConditionSettings
from distillery.workflow.cell import SPLITS, Cell, Experiment, Split
from distillery.workflow.estimates import COMPILING, INTERPRETING, REPLACING, VERIFYING
from distillery.workflow.sources.body_experiments import BodyExperiments

# Rates of one core of a small machine.
PIECEWISE = 12.0  # duration relative to a smooth system: events are detected, simulations run one by one
SIMULATED = 6e4  # trajectories × pairs × dimensions × (steps / 1,000) per second
TRAINED = 60e9  # floating-point operations per second in training
TRAINING_STEP = 0.7e-3  # seconds of a training step besides its operations, for all stacked cells together
HAMILTONIAN = 3.0  # operations relative to messages, for energies are differentiated twice
FILMED = 3000  # samples on which each snapshot of a training is evaluated
REFITTED = 1.5e6  # snapshots × directed edges per second, of one step of a fit of a law's constants
FITTED_STEPS = 15  # steps of such a fit
MOST_CONSTANTS = 20  # constants of a law
INTEGRATING = 0.5  # seconds per condition besides compiling and integrating
COMPONENT = 2e-2  # seconds to compile the equations of a pair along one axis, where these are few
FEW_COMPONENTS, COMPILED_POWER = 240, 0.7  # above this number of components, the time of each grows by this power
USUAL_STEP = 0.1  # time step relative to the time scale of the motion above which integration takes longer
FOLLOWING = 6e-4  # seconds per step's evaluation of a network or a law in a rollout
SIMULATING_MB = 700  # a rank with its compiled integrator
JUDGED_MB = 300.0  # graphs on which expressions are evaluated


class BodyEstimates(BodyExperiments):
    """The experiments with bodies and their estimates."""

    def _layout(self, experiment: Experiment, split: Split) -> Any:
        from distillery.workflow.trajectory_layout import layout  # Zarr takes long to import.

        return layout(self, experiment, split)

    def data_bytes(self, experiment: Experiment, split: Split) -> int:
        """Return the most bytes that the trajectories of a split take on disk."""
        return int(self._layout(experiment, split).bytes)

    def missing_bytes(self, experiment: Experiment) -> int:
        """Return the most bytes of an experiment's trajectories that are not on disk yet."""
        from distillery.data.store import Store

        stores = (Store(experiment.store(self.results, s), self._layout(experiment, s)) for s in SPLITS)
        return sum(store.bytes_missing() for store in stores)

    def cell_bytes(self, cell: Cell) -> int:
        """Return the bytes of a cell's samples, weights and snapshots, and of a checkpoint with two moments."""
        settings, experiment = self.config.distillation, cell.experiment
        model, system, dim = self.model(cell), self.system(experiment), experiment.dim
        counts, weights = functions.components(model, dim), self.weights(cell)
        if model.kind == "control":
            numbers = len(functions.control_names(dim, experiment.bodies, place=system.acts_on_bodies)) + dim
        else:
            numbers = 2 * dim + 5 + len(functions.node_names(model, dim, place=system.acts_on_bodies)) + counts["node"]
        samples = (settings.samples + settings.held_out) * (8 * numbers + len(counts))
        return samples + 16 * sum(weights) + 8 * self.frames(cell) * weights[0]

    def data_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB of positions, velocities and accelerations of both splits in float32."""
        simulations = sum(self.simulations(experiment, split) for split in SPLITS)
        return 12e-6 * simulations * self.settings[experiment].snapshots * experiment.bodies * experiment.dim

    def rank_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB of an MPI rank that simulates."""
        return float(SIMULATING_MB)

    def judging_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB of held-out trajectories, read whole, and of the graphs that are judged."""
        return JUDGED_MB + 4 * self.data_mb(experiment)

    def generalising_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB of an integrator."""
        return float(SIMULATING_MB)

    def starting_seconds(self, experiment: Experiment) -> float:
        """Return the seconds that a rank takes to start and to compile the equations of motion."""
        return COMPILING + self.compiling_seconds(experiment, experiment.bodies)

    def simulating_wall_seconds(self, experiment: Experiment, split: Split) -> float:
        """Return the wall time in seconds in which all ranks simulate a split."""
        return (
            self.starting_seconds(experiment) + self.simulating_seconds(experiment, split) / self.config.execution.ranks
        )

    def verifying_seconds(self, cell: Cell) -> float:
        """Return the seconds that judging the expressions of a cell takes."""
        return self.fitted_components(cell) * len(self.config.distillation.engines) * VERIFYING

    def fitted_components(self, cell: Cell) -> int:
        """Return the number of function components that an engine fits for a cell."""
        wanted = self.config.distillation.functions
        return sum(n for of, n in functions.components(self.model(cell), cell.experiment.dim).items() if of in wanted)

    def pairs(self, experiment: Experiment, bodies: int | None = None) -> int:
        """Return the number of interacting pairs among an experiment's bodies or another number of bodies."""
        n = bodies or experiment.bodies
        return n * (n - 1) // 2 if self.system(experiment).graph == "complete" else n - 1

    def simulating_seconds(self, experiment: Experiment, split: Split) -> float:
        """Return the seconds that integrating a split takes, without the start of the ranks."""
        trajectories = self.simulations(experiment, split)
        return trajectories * self._integrating_seconds(experiment, experiment.bodies)

    def _integrating_seconds(self, experiment: Experiment, bodies: int) -> float:
        """Return the seconds that integrating one trajectory takes, once the equations are compiled."""
        work = self.force_components(experiment, bodies) * self.settings[experiment].steps / 1000
        slower = PIECEWISE if self.system(experiment).is_piecewise else 1
        return work / SIMULATED * slower * self.stretch(experiment)

    def compiling_seconds(self, experiment: Experiment, bodies: int) -> float:
        """Return the seconds that compiling the equations of motion of a number of bodies takes."""
        count = self.force_components(experiment, bodies)
        return COMPONENT * count * max(1.0, count / FEW_COMPONENTS) ** COMPILED_POWER

    def force_components(self, experiment: Experiment, bodies: int) -> int:
        """Return the number of force components of all pairs among a number of bodies."""
        return self.pairs(experiment, bodies) * experiment.dim

    @functools.cache
    def stretch(self, experiment: Experiment) -> float:
        """Return the ratio of the time step to a tenth of the time scale of the motion; at least 1.

        The time scale is the shorter of two times in which typical bodies cross the system: at their initial speed,
        and from rest by the force of a pair.
        """
        system = self.system(experiment)
        draws = np.random.default_rng(0)
        distance = (
            np.linalg.norm(draws.normal(size=(256, experiment.dim)), axis=1) * np.sqrt(2.0) * system.position_scale
        )
        values: dict[str, Any] = {**system.parameters, "r": distance}
        values |= {name: np.exp(system.mass_spread * draws.normal(size=256)) for name in ("m1", "m2")}
        values |= {name: draws.choice(system.charges, 256) for name in ("q1", "q2")}
        pull = float(np.median(np.abs(formula.evaluate(system.radial_force, values) / values["m1"])))
        rates = [system.velocity_scale / system.position_scale]
        if math.isfinite(pull):
            rates.append(math.sqrt(pull / system.position_scale))
        return max(1.0, system.time_step * max(rates) / USUAL_STEP)

    def weights(self, cell: Cell) -> tuple[int, int]:
        """Return the number of weights of the edge and of the node function."""
        settings, dim = self.config.training, cell.experiment.dim
        if self.model(cell).kind == "control":
            return 0, 0
        node, messages = 2 * dim + 2, self.model(cell).message_size(dim)
        inner = (settings.layers - 1) * settings.hidden**2
        edge = 2 * node * settings.hidden + inner + settings.hidden * messages
        return edge, (node + messages) * settings.hidden + inner + settings.hidden * dim

    def training_seconds(self, cell: Cell) -> float:
        """Return the seconds that training a cell takes."""
        settings = self.config.training
        if self.model(cell).kind == "control":
            return 0.0
        edge, node = self.weights(cell)
        # A multiplication and an addition per weight forwards, twice that backwards.
        operations = 6 * (2 * self.pairs(cell.experiment) * edge + cell.experiment.bodies * node)
        derived = HAMILTONIAN if self.model(cell).kind == "hamiltonian" else 1.0
        execution = self.config.execution
        together = min(len(self.config.seeds), execution.cells_per_job) if execution.stacked else 1
        return settings.steps * (settings.batch * operations * derived / TRAINED + TRAINING_STEP / together)

    def reading_seconds(self, cell: Cell) -> float:
        """Return the seconds that evaluating the messages of a cell takes."""
        settings, wanted = self.config.interpretation, self.config.distillation
        edge, _ = self.weights(cell)
        # Each receiver of a sample is evaluated with all reference senders of the gauge.
        evaluations = 2 * settings.references if settings.gauge_fixed and self.model(cell).kind == "graph" else 1
        held_out = self.simulations(cell.experiment, "test") * self.settings[cell.experiment].snapshots
        edges = min(settings.samples, held_out * 2 * self.pairs(cell.experiment))
        samples = edges + 2 * (wanted.samples + wanted.held_out) + self.frames(cell) * FILMED
        return INTERPRETING + 2 * edge * samples * evaluations / TRAINED

    def refitting_seconds(self, cell: Cell) -> float:
        """Return the seconds that refitting the constants of a cell's law takes."""
        if self.model(cell).kind == "control":
            return 0.0
        settings, edges = self.config.replacement, 2 * self.pairs(cell.experiment)
        # Besides the starts: one fit for all axes together, two of clean forms, and three of a softening.
        fits = (settings.starts + 6) * self._samples_refitted(cell.experiment) * edges * FITTED_STEPS / REFITTED
        return REPLACING + min(fits, settings.seconds)

    def _samples_refitted(self, experiment: Experiment) -> int:
        """Return the number of snapshots to which the constants of a law are fitted."""
        available = self.simulations(experiment, "train") * self.settings[experiment].snapshots
        return min(self.config.replacement.samples, available)

    def generalising_seconds(self, cell: Cell) -> float:
        """Return the seconds that testing a cell's network and law under all conditions takes."""
        if self.model(cell).kind == "control":
            return 0.0
        settings = self.config.generalisation
        evaluations = 2 * 4 * settings.length * self.settings[cell.experiment].steps / 2 if settings.rollouts else 0.0
        conditions = sum(self.condition_seconds(cell.experiment, own) for own in settings.conditions.values())
        return conditions + min(FOLLOWING * min(evaluations, settings.evaluations), settings.seconds)

    def condition_seconds(self, experiment: Experiment, condition: ConditionSettings) -> float:
        """Return the seconds that compiling and integrating under a condition takes."""
        bodies = condition.bodies or experiment.bodies
        simulations = self.config.generalisation.simulations
        integrating = simulations * self._integrating_seconds(experiment, bodies)
        return INTEGRATING + self.compiling_seconds(experiment, bodies) + integrating

    def refitting_mb(self, experiment: Experiment) -> float:
        """Return the memory in MB of the derivatives of a law by its constants."""
        numbers = self._samples_refitted(experiment) * (experiment.bodies * experiment.dim + 2 * self.pairs(experiment))
        return 8e-6 * numbers * 4 * MOST_CONSTANTS
