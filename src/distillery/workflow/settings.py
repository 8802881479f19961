"""Sections of the configuration that belong to the workflow alone: experiments and execution."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from distillery.cluster.dask.options import DaskSettings
from distillery.networks.settings import Loss
from distillery.symbolic.settings import Operators
from distillery.util.places import PathText
from distillery.util.settings import LARGEST_SEED, Settings


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
