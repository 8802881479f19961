"""Memory and time that the jobs of a sweep request from a cluster, estimated from the sizes in the configuration.

Estimates are generous, because a job that is killed costs more than one that ends early. On Slurm, memory or time
doubles for a job that ran out of it (``slurm.growth``).
"""

from __future__ import annotations

import dataclasses
import math

from distillery.workflow import estimates
from distillery.workflow.cell import Cell, Experiment, Job, Split
from distillery.workflow.config import Config
from distillery.workflow.sources.body_estimates import JUDGED_MB
from distillery.workflow.sweep import Sweep

# Rough memory in MB of a process that has loaded the libraries of a stage, without its data.
PYTHON = 500
TORCH = 2500  # with the context of a GPU
DRAWING = 800
COLLECTING = 0.3  # per cell
WORKER = 1000  # a Dask worker without its fit
SCHEDULER = 1500  # a Dask scheduler with its client
STARTING = 300.0  # seconds in which a job starts: interpreter, libraries, a slow file system
LOADING_JULIA = 600.0  # seconds in which a process gets ready for its first fit
BETWEEN = 10.0  # seconds between two fits
QUEUEING = 3600.0  # seconds that worker jobs may wait in Slurm's queue
MARGIN = 4.0  # largest ratio of the actual to the estimated time of a stage


@dataclasses.dataclass(frozen=True)
class Need:
    """Memory and time that a job needs.

    Attributes:
        memory_mb: Memory in MB, of the job or, if it has several tasks, of one of its cores.
        seconds: Expected wall time in seconds.
    """

    memory_mb: float
    seconds: float

    def memory(self, attempt: int = 1) -> int:
        """Return the memory to request in MB."""
        return math.ceil(self.memory_mb * 2 ** (attempt - 1))

    def minutes(self, attempt: int = 1) -> int:
        """Return the time limit to request in minutes."""
        return math.ceil((STARTING + MARGIN * self.seconds) / 60) * 2 ** (attempt - 1)


def simulate(sweep: Sweep, experiment: Experiment, split: Split) -> Need:
    """Return the need of a rank that simulates a split of an experiment."""
    source = sweep.source(experiment)
    return Need(source.rank_mb(experiment), source.simulating_wall_seconds(experiment, split))


def train(sweep: Sweep, job: Job) -> Need:
    """Return the need of training the cells of a job, on one core or on a GPU."""
    source = sweep.source(job.experiment)
    return Need(TORCH + 4 * source.data_mb(job.experiment), sum(map(source.training_seconds, job.cells)))


def interpret(sweep: Sweep, job: Job) -> Need:
    """Return the need of evaluating the messages of a job's cells."""
    source = sweep.source(job.experiment)
    messages = 8e-6 * 100 * sweep.config.interpretation.samples
    memory = TORCH + 4 * source.data_mb(job.experiment) + 10 * messages
    return Need(memory, sum(map(source.reading_seconds, job.cells)))


def distill(sweep: Sweep, job: Job) -> Need:
    """Return the need of a distilling job; its memory is that of one core if the workers are its tasks."""
    dask, settings = sweep.config.execution.dask, sweep.config.distillation
    fits = sum(map(sweep.source(job.experiment).fitted_components, job.cells)) * len(settings.engines)
    rounds = math.ceil(fits / dask.workers)
    # Each fit may take its full time limit, so that the margin of the other stages does not apply.
    loading = LOADING_JULIA if "pysr" in settings.engines else 0.0
    seconds = (loading + rounds * (settings.seconds + estimates.TIDYING + BETWEEN)) / MARGIN
    match dask.cluster:
        case "local":
            return Need(float(SCHEDULER + dask.workers * worker_mb(sweep.config)), seconds)
        case "allocation":
            # The scheduler shares a node with the first worker.
            return Need((worker_mb(sweep.config) + SCHEDULER / dask.workers) / dask.cores, seconds)
    return Need(float(SCHEDULER), seconds + QUEUEING / MARGIN)


def worker_mb(config: Config) -> int:
    """Return the memory in MB of a Dask worker and the fit that it runs."""
    return config.execution.dask.memory_mb or config.distillation.memory_mb + WORKER


def verify(sweep: Sweep, job: Job) -> Need:
    """Return the need of judging the expressions of a job's cells."""
    source = sweep.source(job.experiment)
    return Need(PYTHON + source.judging_mb(job.experiment), 5 * sum(map(source.verifying_seconds, job.cells)))


def replace(sweep: Sweep, job: Job) -> Need:
    """Return the need of refitting the laws of a job's cells."""
    source = sweep.source(job.experiment)
    memory = TORCH + JUDGED_MB + 4 * source.data_mb(job.experiment) + source.refitting_mb(job.experiment)
    return Need(memory, sum(map(source.refitting_seconds, job.cells)))


def generalise(sweep: Sweep, job: Job) -> Need:
    """Return the need of testing the networks and laws of a job's cells under other conditions."""
    source = sweep.source(job.experiment)
    return Need(TORCH + source.generalising_mb(job.experiment), sum(map(source.generalising_seconds, job.cells)))


def picture(sweep: Sweep, subject: Experiment | Job | Cell) -> Need:
    """Return the need of drawing an experiment or the cells of a job."""
    cells = len(subject.cells) if isinstance(subject, Job) else 1
    experiment = subject if isinstance(subject, Experiment) else subject.experiment
    return Need(DRAWING + 2 * sweep.source(experiment).data_mb(experiment), estimates.DRAWING * cells)


def collect(sweep: Sweep) -> Need:
    """Return the need of collecting a sweep."""
    return Need(DRAWING + COLLECTING * len(sweep.cells), estimates.COLLECTING * len(sweep.cells))


def report(sweep: Sweep) -> Need:
    """Return the need of the report of a sweep; it reads the data of one experiment at a time."""
    data = max(sweep.source(experiment).data_mb(experiment) for experiment in sweep.experiments)
    seconds = estimates.COLLECTING * len(sweep.cells) + estimates.REPORTING * min(len(sweep.cells), estimates.SHOWN)
    return Need(DRAWING + COLLECTING * len(sweep.cells) + 2 * data, seconds)
