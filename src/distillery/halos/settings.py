"""The section ``halos`` of a configuration: source of the halos, and training of their overdensity."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distillery.halos.cosmology import Cosmology
from distillery.halos.models import HALO_MODELS
from distillery.halos.regions import LEAST
from distillery.symbolic.settings import Operators
from distillery.util.places import PathText
from distillery.util.settings import LARGEST_SEED, LONGEST_NAME, Settings, distinct

Split = Literal["train", "test"]

# Cells of the force's mesh per particle and side: halos do not form on a mesh as coarse as the particles.
FINER = 2
# Raised by hand when equal settings and seeds no longer give equal halos.
UNIVERSE_VERSION = 1
# Largest number of halos to which constants of formulas are fitted.
MOST_HALOS = 20_000
# Redshifts of Quijote's snapshots by number.
REDSHIFTS = (3.0, 2.0, 1.0, 0.5, 0.0)


class Universe(Settings):
    """A simulation of matter in a periodic box, and of its halos."""

    particles: int = Field(64, ge=8, le=1024, description="Particles per side of the box.")
    box: float = Field(125.0, gt=0, description="Side of the periodic box in Mpc/h.")
    steps: int = Field(20, ge=1, description="Time steps to redshift 0, evenly spread over the scale factor.")
    start_redshift: float = Field(
        9.0, ge=1, le=200, description="Redshift at which particles start by second-order perturbation theory."
    )
    minimum_particles: int = Field(20, ge=2, description="Fewest particles of a halo.")
    filters: tuple[float, ...] = Field(
        (20.0,), min_length=1, description="Radii of the top-hat filters of the overdensity in Mpc/h."
    )
    cosmology: Cosmology = Field(Cosmology(), description="Parameters of the flat ΛCDM universe.")

    @property
    def spacing(self) -> float:
        """Mean distance between particles in Mpc/h."""
        return self.box / self.particles

    @model_validator(mode="after")
    def _filters_fit(self) -> Universe:
        for index, radius in enumerate(self.filters):
            if radius in self.filters[:index]:
                raise ValueError(f"filters: {radius:g} stands twice; remove one")
            if not 2 * self.spacing <= radius < self.box / 2:
                raise ValueError(
                    f"filters: {radius:g} Mpc/h is not between {2 * self.spacing:g}, twice the distance between "
                    f"particles, and {self.box / 2:g}, half of the box; change it, the box or particles"
                )
        return self

    @property
    def memory_mb(self) -> float:
        """Estimated largest memory of a realisation in MB.

        The transform of the force needs three meshes in single precision: input, output and work space. Every particle
        has a position, a momentum and two forces.
        """
        cells, count = (FINER * self.particles) ** 3, self.particles**3
        return 150 + (3 * 4 * cells + 4 * 12 * count) / 1e6


class Quijote(Settings):
    """A simulation of Quijote on disk."""

    groups: PathText = Field(min_length=1, description="Folder of its files group_tab_SSS.k, such as …/0/groups_004.")
    matter: PathText = Field(
        min_length=1,
        description="Source of δ: a density cube df_m_…_z=0.npy, or the folder of the files snap_SSS.k.hdf5.",
    )
    snapshot: int = Field(4, ge=0, lt=len(REDSHIFTS), description="Number of the snapshot, SSS; 4 is redshift 0.")
    box: float = Field(1000.0, gt=0, description="Side of the periodic box in Mpc/h.")
    filters: tuple[float, ...] = Field(
        (20.0,), min_length=1, description="Radii of the top-hat filters of the overdensity in Mpc/h."
    )
    cosmology: Cosmology = Field(
        Cosmology(), description="Its parameters; the defaults are those of latin_hypercube/0."
    )

    @model_validator(mode="after")
    def _filters_fit(self) -> Quijote:
        for index, radius in enumerate(self.filters):
            if radius in self.filters[:index]:
                raise ValueError(f"filters: {radius:g} stands twice; remove one")
            if not 0 < radius < self.box / 2:
                raise ValueError(f"filters: {radius:g} Mpc/h is not between 0 and {self.box / 2:g}, half of the box")
        return self


class HaloTrainingSettings(Settings):
    """The graph network of halos and its training budget."""

    hidden: int = Field(64, ge=1, description="Units per hidden layer; the paper's networks have 500.")
    layers: int = Field(2, ge=1, description="Hidden layers of the edge and of the node function.")
    messages: int = Field(100, ge=1, description="Message components per edge.")
    activation: Literal["relu", "silu", "softplus"] = Field("relu", description="Activation function.")
    weight: float = Field(1e-2, ge=0, description="Factor of the L1 norm of the messages in the loss.")
    fade_in: float = Field(0.3, ge=0, le=1, description="Share of the steps over which it rises to its full weight.")
    steps: int = Field(3000, ge=1, description="Optimiser steps.")
    rotations: bool = Field(
        True,
        description="Whether each step rotates or reflects the universe at random, because overdensities have no "
        "direction; without, networks overfit to a few thousand halos.",
    )
    batch: int = Field(64, ge=1, description="Halos per step, each with all its neighbours.")
    max_edges: int = Field(
        50_000,
        ge=1,
        description="Largest number of edges in memory at a time; a step with more edges is processed in chunks.",
    )
    learning_rate: float = Field(3e-3, gt=0, description="Peak of the one-cycle schedule.")
    weight_decay: float = Field(1e-8, ge=0, description="Weight decay of Adam.")


class HaloSettings(Settings):
    """A data set of halos: a simulated universe or a catalogue, and the models trained on it."""

    name: str = Field(
        "halos",
        pattern=r"^[A-Za-z][A-Za-z0-9_+]*$",
        max_length=LONGEST_NAME,
        description="Its name, used in place of the name of a system.",
    )
    universe: Universe = Field(
        Universe(particles=128, box=250.0), description="The universe that is simulated if there is no catalogue."
    )
    catalogue: Quijote | None = Field(
        None, description="A copy of the Quijote simulations, instead of a simulated universe."
    )
    realisations: int = Field(1, ge=1, description="Number of training universes; an MPI rank simulates one at a time.")
    test_realisations: int = Field(1, ge=0, description="Number of further universes for tests.")
    other_cosmology: Cosmology | None = Field(
        Cosmology(omega_m=0.3175, omega_b=0.049, h=0.6711, n_s=0.9624, sigma_8=0.834),
        description="Cosmology of one more universe for tests; null for none.",
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the universes' initial conditions.")
    radius: float = Field(50.0, gt=0, description="Halos closer than this send messages to each other (Mpc/h).")
    smoothing: float = Field(20.0, gt=0, description="Radius of the top-hat filter of the overdensity (Mpc/h).")
    held_out: float = Field(0.25, gt=0, lt=1, description="Share of space in which errors are reported.")
    validation: float = Field(
        0.15,
        ge=0,
        lt=1,
        description="Share of space in which formulas are chosen; with 0, they are chosen in the training space.",
    )
    training: HaloTrainingSettings = Field(HaloTrainingSettings(), description="The networks and their training.")
    models: tuple[str, ...] = Field(tuple(HALO_MODELS), min_length=1, description="Models of the overdensity.")
    operators: Operators | None = Field(
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
        slabs = 2 + (self.validation > 0)
        if self.box - 2 * slabs * self.smoothing < LEAST * self.box:
            raise ValueError(
                f"universe.box: {self.box:g} Mpc/h leave too little beside gaps of {self.smoothing:g} (smoothing) "
                f"at both sides of {slabs} slabs; raise it to {2 * slabs * self.smoothing / (1 - LEAST):.4g}"
                + (", or set validation to 0" if self.validation else "")
            )
        if self.catalogue is not None and self.realisations > 1:
            raise ValueError("realisations: a catalogue is one universe; leave it at 1")
        if self.catalogue is not None and (self.test_realisations or self.other_cosmology is not None):
            raise ValueError(
                "catalogue: no universe is grown that could stand beside it; set test_realisations to 0 and "
                "other_cosmology to null"
            )
        return self

    @property
    def box(self) -> float:
        """Side of the box in Mpc/h."""
        return (self.universe if self.catalogue is None else self.catalogue).box

    def data_content(self, split: Split) -> dict[str, Any]:
        """Return the settings on which the halos of a split depend."""
        if split == "test":
            names = {"universe", "seed", "test_realisations", "other_cosmology"}
        else:
            names = {"universe", "seed", "realisations"} if self.catalogue is None else {"catalogue"}
        return {"split": split, "version": UNIVERSE_VERSION, **self.model_dump(mode="json", include=names)}

    def learning_content(self) -> dict[str, Any]:
        """Return the settings on which networks and formulas depend, besides their data and models."""
        return self.model_dump(mode="json", include={"radius", "smoothing", "held_out", "validation", "training"})
