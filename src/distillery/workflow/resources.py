"""What a job asks of a cluster: time and memory, estimated from the sizes in the configuration.

Estimates are generous, because a job that is killed costs more than one that ends early. On Slurm, memory or time
doubles for a job that ran out of it (``slurm.growth``).
"""

from __future__ import annotations

import dataclasses
import math

from distillery.halos import plan as halos
from distillery.workflow import estimates
from distillery.workflow.cell import SPLITS, Cell, Experiment, Job, Split
from distillery.workflow.config import Config
from distillery.workflow.sweep import Sweep

# Rough memory in MB of a process that has loaded the libraries of a stage, beside its data.
PYTHON = 500
SIMULATING = 700  # a rank with its compiled integrator
TORCH = 2500  # with the context of a GPU
DRAWING = 800
JUDGED = 300  # graphs on which expressions are tried
COLLECTING = 0.3  # per cell
WORKER = 1000  # a Dask worker beside the fit that it runs
SCHEDULER = 1500  # a Dask scheduler with its client
STARTING = 300.0  # seconds until a job works: interpreter, libraries, a file system that is slow
LOADING_JULIA = 600.0  # seconds until a process is ready for its first fit
BETWEEN = 10.0  # seconds between a fit and the next
QUEUEING = 3600.0  # seconds that worker jobs may wait in Slurm's queue
MARGIN = 4.0  # how much slower than estimated a stage may be


@dataclasses.dataclass(frozen=True)
class Need:
    """What a job needs.

    Attributes:
        memory_mb: Memory in MB, of the job or, where it has several tasks, of one of its cores.
        seconds: Expected wall time.
    """

    memory_mb: float
    seconds: float

    def memory(self, attempt: int = 1) -> int:
        """Return the memory to ask for, in MB."""
        return math.ceil(self.memory_mb * 2 ** (attempt - 1))

    def minutes(self, attempt: int = 1) -> int:
        """Return the time limit to ask for, in minutes."""
        return math.ceil((STARTING + MARGIN * self.seconds) / 60) * 2 ** (attempt - 1)


def simulate(sweep: Sweep, experiment: Experiment, split: Split) -> Need:
    """Return what a rank needs that simulates a split of an experiment."""
    execution = sweep.config.execution
    if sweep.kind(experiment) == "halos":
        return Need(halos.growing_mb(sweep, experiment), halos.longest(sweep, experiment, split, execution.ranks))
    starting = estimates.COMPILING + estimates.compiling(sweep, experiment, experiment.bodies)
    return Need(float(SIMULATING), starting + estimates.simulating(sweep, experiment, split) / execution.ranks)


def train(sweep: Sweep, job: Job) -> Need:
    """Return what training the cells of a job needs, on one core or on a GPU."""
    data = _trajectories_mb(sweep, job.experiment)
    return Need(TORCH + 4 * data, sum(estimates.training(sweep, cell) for cell in job.cells))


def interpret(sweep: Sweep, job: Job) -> Need:
    """Return what reading the messages of a job's cells needs."""
    messages = 8e-6 * 100 * sweep.config.interpretation.samples
    memory = TORCH + 4 * _trajectories_mb(sweep, job.experiment) + 10 * messages
    return Need(memory, sum(estimates.reading(sweep, cell) for cell in job.cells))


def distill(sweep: Sweep, job: Job) -> Need:
    """Return what the job needs that distils cells; its memory is that of one core where the workers are its tasks."""
    dask, settings = sweep.config.execution.dask, sweep.config.distillation
    fits = sum(estimates.fitted(sweep, cell) for cell in job.cells) * len(settings.engines)
    rounds = math.ceil(fits / dask.workers)
    # Every fit may take its whole time; the margin of other stages has no place here.
    loading = LOADING_JULIA if "pysr" in settings.engines else 0.0
    seconds = (loading + rounds * (settings.seconds + estimates.TIDYING + BETWEEN)) / MARGIN
    match dask.cluster:
        case "local":
            return Need(float(SCHEDULER + dask.workers * worker_mb(sweep.config)), seconds)
        case "allocation":
            # The scheduler lives beside the first worker.
            return Need((worker_mb(sweep.config) + SCHEDULER / dask.workers) / dask.cores, seconds)
    return Need(float(SCHEDULER), seconds + QUEUEING / MARGIN)


def worker_mb(config: Config) -> int:
    """Return the memory of a Dask worker and the fit that it runs, in MB."""
    return config.execution.dask.memory_mb or config.distillation.memory_mb + WORKER


def verify(sweep: Sweep, job: Job) -> Need:
    """Return what judging the expressions of a job's cells needs."""
    components = sum(estimates.fitted(sweep, cell) for cell in job.cells) * len(sweep.config.distillation.engines)
    if sweep.kind(job.experiment) == "halos":
        return Need(PYTHON, 0.0)
    # Held-out trajectories are read whole, and a part of them is judged by.
    return Need(PYTHON + JUDGED + 4 * _trajectories_mb(sweep, job.experiment), components * estimates.VERIFYING * 5)


def replace(sweep: Sweep, job: Job) -> Need:
    """Return what refitting the laws of a job's cells needs."""
    memory = TORCH + JUDGED + 4 * _trajectories_mb(sweep, job.experiment)
    if sweep.kind(job.experiment) == "bodies":
        memory += estimates.refitted_mb(sweep, job.experiment)
    return Need(memory, sum(estimates.refitting(sweep, cell) for cell in job.cells))


def generalise(sweep: Sweep, job: Job) -> Need:
    """Return what testing the networks and laws of a job's cells under other conditions needs."""
    halo_edges = 4 * _trajectories_mb(sweep, job.experiment) if sweep.kind(job.experiment) == "halos" else 0.0
    return Need(TORCH + SIMULATING + halo_edges, sum(estimates.generalising(sweep, cell) for cell in job.cells))


def picture(sweep: Sweep, subject: Experiment | Job | Cell) -> Need:
    """Return what drawing an experiment or the cells of a job needs."""
    cells = len(subject.cells) if isinstance(subject, Job) else 1
    experiment = subject if isinstance(subject, Experiment) else subject.experiment
    return Need(DRAWING + 2 * _trajectories_mb(sweep, experiment), estimates.DRAWING * cells)


def collect(sweep: Sweep) -> Need:
    """Return what collecting a sweep needs."""
    return Need(DRAWING + COLLECTING * len(sweep.cells), estimates.COLLECTING * len(sweep.cells))


def report(sweep: Sweep) -> Need:
    """Return what the report of a sweep needs; it reads the simulations of one experiment after another."""
    data = max(_trajectories_mb(sweep, experiment) for experiment in sweep.experiments)
    seconds = estimates.COLLECTING * len(sweep.cells) + estimates.REPORTING * min(len(sweep.cells), estimates.SHOWN)
    return Need(DRAWING + COLLECTING * len(sweep.cells) + 2 * data, seconds)


def _trajectories_mb(sweep: Sweep, experiment: Experiment) -> float:
    """Return the memory of an experiment's positions, velocities and accelerations in float32, or of its edges."""
    if sweep.kind(experiment) == "halos":
        return halos.edges_mb(sweep, experiment)
    simulations = sum(sweep.simulations(experiment, split) for split in SPLITS)
    return 12e-6 * simulations * sweep.settings[experiment].snapshots * experiment.bodies * experiment.dim
