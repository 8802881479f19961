"""Settings of the integration."""

from __future__ import annotations

from pydantic import Field

from distillery.util.settings import Settings


class SimulationSettings(Settings):
    """How trajectories are integrated."""

    tolerance: float = Field(1.4e-8, gt=0, lt=1e-2, description="Relative tolerance of the Taylor integrator.")
    block: int = Field(64, ge=8, multiple_of=8, description="Simulations per unit of work and per shard of the store.")
