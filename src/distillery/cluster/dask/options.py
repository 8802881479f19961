"""Settings of the Dask cluster."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from distillery.util.places import PathText
from distillery.util.settings import Settings

# Memory of a Dask worker without its fit.
DASK_WORKER_MB = 120


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
