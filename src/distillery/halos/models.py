"""Models of the overdensity around halos: networks, and the formulas of arXiv:2006.11287."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from distillery.halos.conditions import DENSE
from distillery.util.settings import Settings

Form = Literal["constant", "simple", "without mass", "with mass"]


class HaloModel(Settings):
    """A model of the overdensity, as a table entry."""

    kind: Literal["network", "formula"] = Field(
        "network", description="A graph network, or a formula whose constants are fitted."
    )
    form: Form | None = Field(None, description="Which formula.")
    masses: bool = Field(True, description="Whether a network sees the masses of halos.")
    below: float | None = Field(
        None, description="Trained on halos whose overdensity is at most this; null for on all of them."
    )

    @model_validator(mode="after")
    def _form_goes_with_formula(self) -> HaloModel:
        if (self.kind == "formula") != (self.form is not None):
            raise ValueError("form: goes with kind: formula, and is needed there")
        return self


HALO_MODELS: dict[str, HaloModel] = {
    "constant": HaloModel(kind="formula", form="constant"),
    "simple": HaloModel(kind="formula", form="simple"),
    "formula-without-mass": HaloModel(kind="formula", form="without mass"),
    "formula-with-mass": HaloModel(kind="formula", form="with mass"),
    "network-without-mass": HaloModel(masses=False),
    "network-with-mass": HaloModel(),
    "simple-below": HaloModel(kind="formula", form="simple", below=DENSE),
    "formula-with-mass-below": HaloModel(kind="formula", form="with mass", below=DENSE),
    "network-with-mass-below": HaloModel(below=DENSE),
}
