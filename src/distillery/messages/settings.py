"""Settings of how messages are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distillery.util.settings import Settings


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
