"""Settings of networks and their training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from distillery.util.settings import Settings

Loss = Literal["absolute", "scaled", "relative"]


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
