"""The models: one entry per way of pushing messages to be compact (arXiv:2006.11287, section 4).

A graph network sends along each directed edge a message; what the entries differ in is how many
components it has and what keeps them few.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["graph", "hamiltonian", "control"]


class Model(BaseModel):
    """A model that is trained on an experiment, as a table entry or from a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    kind: Kind = Field(
        "graph",
        description="Messages and accelerations (graph), energies and Hamilton's equations (hamiltonian), or no "
        "network at all: expressions are fitted to the accelerations of the raw system (control).",
    )
    messages: int | None = Field(
        100, ge=1, description="Message components per edge; null for as many as space has dimensions."
    )
    penalty: Literal["none", "l1", "kl"] = Field(
        "none",
        description="What is added to the loss: nothing, the L1 norm of the messages, or the KL divergence of "
        "variational messages from a unit normal; mean over edges, sum over components. Of energies: their size.",
    )
    weight: float = Field(0.0, ge=0, description="Factor of the penalty (dimensionless).")
    significance: Literal["std", "kl"] = Field(
        "std", description="How components are ranked: standard deviation, or mean KL divergence."
    )
    pruned: bool = Field(
        False, description="Whether components are shut off for good while training, those of least deviation first."
    )
    kept: int | None = Field(
        None, ge=1, description="Components that pruning leaves; null for as many as space has dimensions."
    )
    pruned_by: float = Field(0.65, gt=0, le=1, description="Share of the training after which pruning is done.")
    relative: bool = Field(
        False, description="Whether messages see the positions of two bodies as their difference only."
    )
    antisymmetric: bool = Field(
        False, description="Whether what a body sends is minus what it receives, as Newton's third law says."
    )

    @model_validator(mode="after")
    def _options_fit(self) -> Model:
        if self.significance == "kl" and self.penalty != "kl":
            raise ValueError("significance: kl needs variational messages; set penalty to kl")
        if self.weight and self.penalty == "none":
            raise ValueError(f"weight: {self.weight:g} weighs nothing; set penalty, or weight to 0")
        if self.penalty != "none" and "weight" not in self.model_fields_set:
            raise ValueError(f"weight: missing; how much penalty {self.penalty} weighs must be said")
        if self.penalty == "kl" and (self.pruned or self.antisymmetric):
            what = "pruned" if self.pruned else "antisymmetric"
            raise ValueError(f"{what}: variational messages cannot be so; set penalty to none or l1")
        if self.kept is not None and not self.pruned:
            raise ValueError("kept: goes with pruned: true; set that, or leave kept out")
        if self.kept is not None and self.messages is not None and self.kept > self.messages:
            raise ValueError(f"kept: {self.kept} components are more than the {self.messages} messages; lower it")
        if self.kind != "graph" and (self.pruned or self.relative or self.antisymmetric or self.penalty == "kl"):
            raise ValueError(
                f"kind: {self.kind} sends no messages; pruned, relative, antisymmetric and kl need a graph"
            )
        self._refuse_what_means_nothing()
        return self

    def _refuse_what_means_nothing(self) -> None:
        # A checked configuration is written with its defaults, and read again: these say nothing.
        fields = type(self).model_fields
        unsaid = (None, fields["messages"].default, 1 if self.kind == "hamiltonian" else None)
        if self.kind != "graph" and self.messages not in unsaid:
            raise ValueError(f"messages: kind: {self.kind} has no {self.messages} components to send; leave it out")
        if self.kind == "control" and self.penalty != "none":
            raise ValueError(f"penalty: kind: control has no messages that {self.penalty} could weigh; leave it out")
        if self.pruned and self.kept == self.messages:
            what = "as many as space has dimensions" if self.kept is None else f"all {self.kept} of them"
            raise ValueError(f"pruned: of the messages {what} are kept, and none is pruned; set messages to more")
        if not self.pruned and self.pruned_by != fields["pruned_by"].default:
            raise ValueError("pruned_by: goes with pruned: true; set that, or leave pruned_by out")

    @property
    def unweighted(self) -> Model:
        """The same without its penalty's weight: what cells must share to train side by side."""
        return self.model_copy(update={"weight": 0.0})

    def message_size(self, dim: int) -> int:
        """Return the number of message components in ``dim`` dimensions."""
        return dim if self.messages is None else self.messages

    def kept_size(self, dim: int) -> int:
        """Return the number of components that pruning leaves in ``dim`` dimensions."""
        return dim if self.kept is None else self.kept


MODELS: dict[str, Model] = {
    "standard": Model(),
    "bottleneck": Model(messages=None),
    "l1": Model(penalty="l1", weight=1e-2),
    # The paper's weight is 1. With it the noise on the messages is as large as they are: the paper's own test losses
    # are up to seventy times those of its other models that send messages.
    "kl": Model(penalty="kl", weight=1e-2, significance="kl"),
    "pruning": Model(pruned=True),
    "flathgn": Model(kind="hamiltonian", messages=1),
    "newton": Model(messages=None, relative=True, antisymmetric=True),
    "control": Model(kind="control", messages=None),
}
