"""Settings of the tests of laws."""

from __future__ import annotations

from pydantic import Field, field_validator

from distillery.util.settings import Settings
from distillery.validation.generalisation import LONG


class ConditionSettings(Settings):
    """Initial conditions unlike those of the experiment: factors of its system's scales."""

    bodies: int | None = Field(None, ge=2, description="Number of bodies; that of the experiment where it is null.")
    positions: float = Field(1.0, gt=0, description="Factor of the standard deviation of initial positions.")
    velocities: float = Field(1.0, ge=0, description="Factor of the standard deviation of initial velocities.")
    masses: float = Field(1.0, ge=0, description="Factor of the standard deviation of the logarithm of the masses.")


class GeneralisationSettings(Settings):
    """Tests of networks and laws outside of the training data."""

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
