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
