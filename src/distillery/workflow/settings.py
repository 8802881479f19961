"""The sections of a configuration: each a stage's or a data set's settings, typed, described, with its defaults."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from distillery.networks.functions import Function
from distillery.util.places import PathText
from distillery.validation.generalisation import LONG

_T = TypeVar("_T")
# NumPy, PyTorch, the engines and the stores all keep seeds of this size.
LARGEST_SEED = 2**63 - 1


Loss = Literal["absolute", "scaled", "relative"]
Operator = Literal["+", "-", "*", "/", "^", "exp", "log", ">", "<", "if"]
# Folders and files are named after them, with some forty characters more; file systems allow 255 bytes.
LONGEST_NAME = 100


def _computing(operators: tuple[Operator, ...]) -> tuple[Operator, ...]:
    """Return the operators; raises ValueError where expressions of them compute nothing."""
    if set(operators) <= {">", "<", "if"}:
        raise ValueError(f"no number comes of {', '.join(operators)} alone; add one of + - * / ^ exp log")
    return operators


Operators = Annotated[tuple[Operator, ...], AfterValidator(_computing)]


class Settings(BaseModel):
    """A section of the configuration: unknown keys, other types and numbers that are not finite are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ExperimentSettings(Settings):
    """One data set: a system in some dimension with some bodies."""

    system: str = Field(description="A built-in system or one of `systems`.")
    dim: Literal[2, 3] = Field(2, description="Dimensions of space.")
    bodies: int = Field(4, ge=2, description="Number of bodies.")
    simulations: int = Field(3000, ge=1, description="Trajectories to train on.")
    test_simulations: int = Field(300, ge=1, description="Held-out trajectories, drawn from a seed of their own.")
    snapshots: int = Field(50, ge=1, description="Saved times per trajectory, evenly spread over `steps`.")
    steps: int = Field(1000, ge=1, description="Length of a trajectory in the system's time steps.")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the initial conditions.")
    loss: Loss | None = Field(
        None, description="Loss of this experiment's networks, where `training.loss` will not do."
    )
    share: float | None = Field(
        None, gt=0, le=1, description="Share of the samples that is fitted, where `distillation.share` will not do."
    )
    operators: Operators | None = Field(
        None,
        min_length=1,
        description="Operators of this experiment's expressions, where `distillation.operators` will not do.",
    )

    @model_validator(mode="after")
    def _snapshots_divide_steps(self) -> ExperimentSettings:
        if self.steps % self.snapshots:
            raise ValueError(f"snapshots {self.snapshots} must divide steps {self.steps}")
        return self


class SimulationSettings(Settings):
    """How trajectories are integrated."""

    tolerance: float = Field(1.4e-8, gt=0, lt=1e-2, description="Relative tolerance of the Taylor integrator.")
    block: int = Field(64, ge=8, multiple_of=8, description="Simulations per unit of work and per shard of the store.")


class TrainingSettings(Settings):
    """The network and its training budget."""

    hidden: int = Field(64, ge=1, description="Units per hidden layer.")
    layers: int = Field(3, ge=1, description="Hidden layers of the edge and of the node function.")
    activation: Literal["relu", "silu", "softplus"] = Field("relu", description="Activation function.")
    loss: Loss = Field(
        "absolute",
        description="What is minimised: the mean over bodies of Σ|a - â| (absolute), that over the data's median of "
        "Σ|a| (scaled), or over that median plus each body's own Σ|a| (relative). Penalties are weighed alike.",
    )
    fade_in: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Share of the steps over which penalties rise to their full weight; messages that are pressed from "
        "the first step on may die before they have said anything.",
    )
    batch: int = Field(64, ge=1, description="Graphs per step.")
    steps: int = Field(14_000, ge=1, description="Optimiser steps.")
    learning_rate: float = Field(5e-3, gt=0, description="Peak of the one-cycle schedule.")
    weight_decay: float = Field(1e-8, ge=0, description="Weight decay of Adam.")
    translation: float = Field(
        3.0,
        ge=0,
        description="Standard deviation of the random translation of each graph; 0 where a body potential's force "
        "differs from place to place. Where positions are far from 1 it is in units of their size.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Arithmetic of the hidden layers; first layers and the loss are float32 always."
    )
    frames: int = Field(
        0,
        ge=0,
        description="Moments of the training at which the edge function is kept, so that the report shows how messages "
        "turn into forces: before the first step, after the last, and so many at most in all, spread evenly on a "
        "logarithmic scale; none with 0. A cell takes the disk of as many edge functions.",
    )
    filmed: tuple[str, ...] = Field(
        ("*",),
        min_length=1,
        description="Cells of which frames are kept, by their names, in which * stands for anything: `*/l1-s0` for "
        "that of every experiment. A cell that is chosen later is trained anew.",
    )

    @field_validator("frames")
    @classmethod
    def _frames_move(cls, frames: int) -> int:
        if frames == 1:
            raise ValueError("1 frame does not move; set it to 2 or more, or to 0 for none")
        return frames

    @model_validator(mode="after")
    def _filmed_has_frames(self) -> TrainingSettings:
        if not self.frames and self.filmed != type(self).model_fields["filmed"].default:
            raise ValueError("filmed: goes with frames; set that to the number of frames, or leave filmed out")
        return self


class InterpretationSettings(Settings):
    """How messages are read."""

    samples: int = Field(20_000, ge=100, description="Held-out edges on which messages are compared with forces.")
    trim: float = Field(0.9, gt=0, le=1, description="Share of samples with the smallest error kept by robust fits.")
    mass_bins: int = Field(20, ge=1, description="Bins of the receiver's mass in the gauge-free fit.")
    reading: Literal["std", "principal", "best"] = Field(
        "best",
        description="Which message components are distilled: the most significant ones, the principal components, "
        "or the principal ones only if they carry clearly more of the variance.",
    )
    gauge_fixed: bool = Field(
        True,
        description="Whether what a node function can undo, a factor and an offset of each receiver, is taken out of "
        "the components before they are distilled.",
    )
    references: int = Field(
        32, ge=4, description="Senders before which each receiver is put for that, on two opposite sides each."
    )
    aligned: bool = Field(
        True,
        description="Whether the components are turned to the axes of space before they are distilled; displacements "
        "of bodies tell how, no law is needed.",
    )


class OperonSettings(Settings):
    """Budget of the operon engine (pyoperon)."""

    population: int = Field(300, ge=2, description="Individuals per generation.")
    generations: int = Field(40, ge=1, description="Generations.")
    samples: int = Field(1000, ge=20, description="Training samples the search sees; constants are refitted on all.")
    max_length: int = Field(30, ge=3, description="Largest expression, in nodes.")
    local_iterations: int = Field(5, ge=0, description="Optimiser iterations on the constants of each individual.")


# A process that has loaded Julia, PySR and its backend takes 630 to 790 MB before it fits.
JULIA_MB = 1000
# Memory of a Dask worker without its fit.
DASK_WORKER_MB = 120


class PysrSettings(Settings):
    """Budget of the PySR engine (Julia); populations and their size are the defaults of PySR 2."""

    iterations: int = Field(100, ge=1, description="PySR's niterations.")
    populations: int = Field(31, ge=1, description="PySR's populations.")
    population_size: int = Field(27, ge=15, description="PySR's population_size; its tournaments take 15.")
    cycles: int = Field(380, ge=1, description="PySR's ncycles_per_iteration.")
    max_size: int = Field(30, ge=7, description="PySR's maxsize.")
    batch: int | None = Field(
        None,
        ge=2,
        description="Samples on which expressions are compared during the search (PySR's batch_size); null compares "
        "them on all samples. Small batches are quicker, and too noisy for forces with heavy tails.",
    )
    parallelism: Literal["serial", "multithreading"] = Field(
        "serial",
        description="One thread, and the same front whenever it is repeated (serial), or as many threads as a worker "
        "has cores, and a front that differs each time (multithreading).",
    )


EngineName = Literal["operon", "pysr"]


class DistillationSettings(Settings):
    """How expressions are fitted to the functions of a model."""

    engine: EngineName = Field("operon", description="The symbolic regression engine; never switched.")
    compare: tuple[EngineName, ...] = Field(
        (),
        description="Other engines that fit the same targets, to be compared with it. Their fronts are judged and kept "
        "too; the cell's equations and verdict are those of `engine`.",
    )
    functions: tuple[Function, ...] = Field(
        ("message", "node"),
        min_length=1,
        description="What is distilled: messages (or pair energies) always, and what nodes make of them.",
    )
    samples: int = Field(5000, ge=50, description="Training samples of each component of a function.")
    held_out: int = Field(5000, ge=50, description="Held-out samples on which a front's errors are measured.")
    share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the samples that are fitted: those whose values are smallest. Where close encounters "
        "have forces a thousand times the usual, no network is right there, and they would decide over every "
        "expression.",
    )
    operators: Operators = Field(("+", "-", "*", "/"), min_length=1, description="Operators an expression may use.")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of samples and engine.")
    seconds: float = Field(300.0, gt=0, description="Limit of one fit; the best front so far is kept.")
    memory_mb: int = Field(
        4000, ge=256, description=f"Memory limit of one fit in MB; at least {JULIA_MB} for pysr, which runs Julia."
    )
    operon: OperonSettings = Field(OperonSettings(), description="Budget of the operon engine.")
    pysr: PysrSettings = Field(PysrSettings(), description="Budget of the PySR engine.")

    @property
    def engines(self) -> tuple[EngineName, ...]:
        """The engine, and those that are compared with it."""
        return (self.engine, *self.compare)

    @field_validator("functions")
    @classmethod
    def _functions_have_messages(cls, functions: tuple[Function, ...]) -> tuple[Function, ...]:
        if "message" not in functions:
            raise ValueError("message is missing; nodes are distilled together with messages only")
        return distinct(functions)

    @model_validator(mode="after")
    def _julia_has_memory(self) -> DistillationSettings:
        if "pysr" in self.engines and self.memory_mb < JULIA_MB:
            raise ValueError(f"memory_mb: {self.memory_mb} is too little for pysr, set {JULIA_MB} or more")
        return self

    @model_validator(mode="after")
    def _engines_differ(self) -> DistillationSettings:
        if len(set(self.engines)) < len(self.engines):
            raise ValueError(
                f"compare: {self.engine} stands twice among {', '.join(self.engines)}; name the other ones"
            )
        return self


class VerificationSettings(Settings):
    """When a law counts as recovered."""

    receivers: int = Field(100, ge=5, description="Receivers drawn from the data, each with a gauge of its own.")
    senders: int = Field(200, ge=10, description="Senders per receiver, drawn from the data.")
    median_residual: float = Field(0.02, gt=0, description="Largest median of the relative residual.")
    p90_residual: float = Field(0.10, gt=0, description="Largest 90th percentile of the relative residual.")
    local_residual: float = Field(
        0.2,
        gt=0,
        description="Largest root mean square of the relative residual (each counts as 1 at most) in a narrow window "
        "of the distance, such as one in which a force has a bump or a step.",
    )
    constant_tolerance: float = Field(0.05, ge=0, lt=1, description="How far the law's constants may move, relative.")
    max_softening: float = Field(
        0.03,
        ge=0,
        description="How far the softening length may move, as a share of the median distance of the data's pairs.",
    )
    evaluations: int = Field(
        200_000,
        ge=1,
        description="Limit of a cell's searches for the constants of its law, in evaluations of the residuals; beyond "
        "it expressions are judged by the law's own constants, and the verdict is marked.",
    )
    seconds: float = Field(
        600.0,
        gt=0,
        description="Limit of the same searches in seconds of processor time, for what `evaluations` does not end.",
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of receivers and senders.")


class ReplacementSettings(Settings):
    """How the constants of expressions are refitted that take the place of a network."""

    samples: int = Field(3000, ge=20, description="Training snapshots that constants are fitted to.")
    robust: bool = Field(
        True,
        description="Whether errors count by their size beyond what is usual among them, not by its square: a few "
        "close encounters would decide over every constant otherwise.",
    )
    relative: bool | None = Field(
        None,
        description="Whether errors are divided by the size of the body's own acceleration (and the typical one); null "
        "for where its network is trained so, by the loss `relative`.",
    )
    starts: int = Field(3, ge=1, description="Starts of each fit: the distilled constants, and random multiples.")
    evaluations: int = Field(
        200_000,
        ge=1,
        description="Limit of the search for a cell's law, in evaluations of a law or of its derivative by a constant; "
        "the best law so far is kept and marked.",
    )
    seconds: float = Field(
        600.0,
        gt=0,
        description="Limit of the same search in seconds of processor time, for what `evaluations` does not end; where "
        "it is reached, results depend on the speed of the machine.",
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of snapshots and starts.")


class ConditionSettings(Settings):
    """Initial conditions unlike those of the experiment: factors of its system's scales."""

    bodies: int | None = Field(None, ge=2, description="Number of bodies; that of the experiment where it is null.")
    positions: float = Field(1.0, gt=0, description="Factor of the standard deviation of initial positions.")
    velocities: float = Field(1.0, ge=0, description="Factor of the standard deviation of initial velocities.")
    masses: float = Field(1.0, ge=0, description="Factor of the standard deviation of the logarithm of the masses.")


class GeneralisationSettings(Settings):
    """Where networks and laws are tested beyond what networks were trained on."""

    conditions: dict[str, ConditionSettings] = Field(
        {
            "as trained": ConditionSettings(),
            "2 bodies": ConditionSettings(bodies=2),
            "8 bodies": ConditionSettings(bodies=8),
            "16 bodies": ConditionSettings(bodies=16),
            "wider": ConditionSettings(positions=3.0),
            "closer": ConditionSettings(positions=0.3),
            "faster": ConditionSettings(velocities=3.0),
            "other masses": ConditionSettings(masses=2.0),
        },
        description="Conditions by name.",
    )
    simulations: int = Field(32, ge=1, description="Simulations under each condition.")
    snapshots: int = Field(20, ge=2, description="States taken of each, evenly spread over its length.")
    rollouts: int = Field(16, ge=0, description="Simulations that are followed over long times; none with 0.")
    length: float = Field(2.0, gt=0, description="How long, in lengths of the experiment's trajectories.")
    evaluations: int = Field(
        200_000,
        ge=1,
        description="Limit of a cell's test in evaluations of accelerations over long times; what is left out is "
        "marked.",
    )
    seconds: float = Field(
        600.0,
        gt=0,
        description="Limit of the same test in seconds of processor time, for what `evaluations` does not end.",
    )
    horizon: float = Field(
        0.1, gt=0, description="Distance from the true places, in sizes of the system, that ends a prediction's use."
    )

    @field_validator("conditions")
    @classmethod
    def _named_otherwise(cls, conditions: dict[str, ConditionSettings]) -> dict[str, ConditionSettings]:
        if LONG in conditions:
            raise ValueError(f"{LONG!r} is what rollouts are called; choose another name")
        return conditions


class DaskSettings(Settings):
    """The Dask cluster that fits expressions."""

    cluster: Literal["local", "allocation", "slurm", "address"] = Field(
        "local",
        description="Where the workers are: processes of the job (local), tasks over all nodes of the job's own "
        "allocation (allocation), Slurm jobs of their own, added and replaced as needed (slurm), or those of a "
        "scheduler that runs already (address).",
    )
    workers: int = Field(2, ge=1, description="Fits at the same time.")
    cores: int = Field(1, ge=1, description="Cores of a worker; more than one serves PySR's multithreading only.")
    memory_mb: int | None = Field(
        None, ge=256, description="Memory of a worker in MB; by default what a fit may use and 1,000 for the worker."
    )
    walltime_minutes: int = Field(
        60, ge=1, description="Time limit of a worker job when `cluster` is `slurm`; one that ends is replaced."
    )
    address: PathText | None = Field(None, description="Scheduler address when `cluster` is `address`.")

    @model_validator(mode="after")
    def _address_given(self) -> DaskSettings:
        if (self.cluster == "address") != (self.address is not None):
            raise ValueError("address goes with cluster: address, and is needed there")
        return self


class ExecutionSettings(Settings):
    """How work is carried out. Nothing here changes a result."""

    ranks: int = Field(2, ge=1, description="MPI ranks of a simulation.")
    nodes: int = Field(1, ge=1, description="Nodes over which a cluster spreads these ranks.")
    launcher: str = Field(
        "mpiexec",
        pattern=r"^(mpiexec|srun( --mpi=[a-z0-9_]+)?)$",
        description="What starts the ranks: mpiexec on one node, srun --mpi=pmi2 (or another kind) over several.",
    )
    modules: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+/:-]*$")], ...] = Field(
        (), description="Environment modules that every job loads first; goes with the profile's key use-envmodules."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where networks train.")
    checkpoint_every: int = Field(2000, ge=1, description="Training steps between checkpoints.")
    cells_per_job: int = Field(
        1,
        ge=1,
        description="Cells of one experiment that a job takes in each stage; with more, jobs are fewer and longer.",
    )
    stacked: bool = Field(
        False,
        description="Train the cells of a job that have one model side by side in one process: faster, above all on a "
        "GPU; sums are rounded in another order.",
    )
    dask: DaskSettings = Field(DaskSettings(), description="The Dask cluster.")
    julia_depot: PathText = Field(
        ".julia",
        min_length=1,
        description="Folder in which `distillery julia-setup` puts Julia and what PySR needs of it; all nodes must see "
        "it at the same path. A relative one is taken from the working directory.",
    )

    @model_validator(mode="after")
    def _launcher_reaches(self) -> ExecutionSettings:
        if self.nodes > 1 and self.launcher == "mpiexec":
            raise ValueError("launcher mpiexec stays on one node; set launcher to srun --mpi=pmi2, or nodes to 1")
        if self.nodes > self.ranks:
            raise ValueError(f"nodes {self.nodes} are more than ranks {self.ranks}; lower nodes or raise ranks")
        return self


def distinct(entries: tuple[_T, ...]) -> tuple[_T, ...]:
    """Return the entries; raises ValueError if one of them stands twice."""
    for index, entry in enumerate(entries):
        if entry in entries[:index]:
            raise ValueError(f"{entry!r} stands twice; remove one")
    return entries
