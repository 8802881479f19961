"""Settings of the laws that replace networks."""

from __future__ import annotations

from pydantic import Field

from distillery.util.settings import LARGEST_SEED, Settings


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
