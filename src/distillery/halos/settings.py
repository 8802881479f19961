"""The section of a configuration that asks for halos: where they come from, and how their overdensity is learned."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distillery.cell import Split
from distillery.halos.cosmology import Cosmology
from distillery.halos.models import HALO_MODELS
from distillery.halos.quijote import Quijote
from distillery.halos.universe import Universe
from distillery.settings import LARGEST_SEED, Operator, Settings, distinct


class HaloTrainingSettings(Settings):
    """The graph network of halos and its training budget."""

    hidden: int = Field(64, ge=1, description="Units per hidden layer; the paper's networks have 500.")
    layers: int = Field(2, ge=1, description="Hidden layers of the edge and of the node function.")
    messages: int = Field(100, ge=1, description="Message components per edge.")
    activation: Literal["relu", "silu", "softplus"] = Field("relu", description="Activation function.")
    weight: float = Field(1e-2, ge=0, description="Factor of the L1 norm of the messages in the loss.")
    fade_in: float = Field(0.3, ge=0, le=1, description="Share of the steps over which it rises to its full weight.")
    steps: int = Field(3000, ge=1, description="Optimiser steps.")
    batch: int = Field(64, ge=1, description="Halos per step, each with all of its neighbours.")
    max_edges: int = Field(
        50_000, ge=1, description="Most edges in memory at a time; a step works through more of them in pieces."
    )
    learning_rate: float = Field(3e-3, gt=0, description="Peak of the one-cycle schedule.")
    weight_decay: float = Field(1e-8, ge=0, description="Weight decay of Adam.")


class HaloSettings(Settings):
    """One data set of halos: a simulated universe, or a catalogue, and what is learned from it."""

    name: str = Field(
        "halos", pattern=r"^[A-Za-z][A-Za-z0-9_+]*$", description="Its name, where the name of a system stands."
    )
    universe: Universe = Field(Universe(), description="The universe that is simulated, where there is no catalogue.")
    catalogue: Quijote | None = Field(None, description="A copy of the Quijote simulations, instead of one.")
    realisations: int = Field(1, ge=1, description="Universes to train on; an MPI rank simulates one at a time.")
    test_realisations: int = Field(1, ge=0, description="Further universes, on which nothing is trained.")
    other_cosmology: Cosmology | None = Field(
        Cosmology(omega_m=0.3175, omega_b=0.049, h=0.6711, n_s=0.9624, sigma_8=0.834),
        description="Cosmology of one more universe, on which nothing is trained; null for none.",
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the universes' initial conditions.")
    radius: float = Field(50.0, gt=0, description="Halos closer than this send messages to each other (Mpc/h).")
    smoothing: float = Field(
        20.0, gt=0, description="Radius of the top-hat that the overdensity is taken with (Mpc/h)."
    )
    held_out: float = Field(0.25, gt=0, lt=1, description="Share of space in which errors are reported.")
    validation: float = Field(
        0.15, ge=0, lt=1, description="Share of space in which formulas are chosen; with 0, where they are fitted."
    )
    training: HaloTrainingSettings = Field(HaloTrainingSettings(), description="Networks and their training.")
    models: tuple[str, ...] = Field(tuple(HALO_MODELS), min_length=1, description="What predicts the overdensity.")
    operators: tuple[Operator, ...] | None = Field(
        ("+", "-", "*", "/", "^"),
        min_length=1,
        description="Operators of expressions; null for those of `distillation.operators`.",
    )

    @field_validator("models")
    @classmethod
    def _models_known(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        for name in models:
            if name not in HALO_MODELS:
                raise ValueError(f"unknown model {name!r} of halos; known are {', '.join(HALO_MODELS)}")
        return distinct(models)

    @model_validator(mode="after")
    def _radius_fits(self) -> HaloSettings:
        if self.radius > self.box / 2:
            raise ValueError(
                f"radius: {self.radius:g} Mpc/h is more than half of the box of {self.box:g} Mpc/h; lower it, or raise "
                "the box"
            )
        filters = (self.universe if self.catalogue is None else self.catalogue).filters
        if self.smoothing not in filters:
            known = ", ".join(f"{radius:g}" for radius in filters)
            raise ValueError(f"smoothing: {self.smoothing:g} Mpc/h is none of the filters {known}; add it to them")
        if self.held_out + self.validation >= 1:
            raise ValueError("held_out: with validation it leaves no space to train in; lower one of them")
        if self.catalogue is not None and self.realisations > 1:
            raise ValueError("realisations: a catalogue is one universe; leave it at 1")
        return self

    @property
    def box(self) -> float:
        """Side of the box in Mpc/h."""
        return (self.universe if self.catalogue is None else self.catalogue).box

    def data_content(self, split: Split) -> dict[str, Any]:
        """Return what the halos of a split depend on."""
        names = ("universe", "catalogue", "seed", "smoothing")
        others = ("realisations",) if split == "train" else ("realisations", "test_realisations", "other_cosmology")
        return {"split": split, **self.model_dump(mode="json", include={*names, *others})}

    def learning_content(self) -> dict[str, Any]:
        """Return what networks and formulas depend on, beside their data and their own entries."""
        return self.model_dump(mode="json", include={"radius", "smoothing", "held_out", "validation", "training"})
