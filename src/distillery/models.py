"""The models: one entry per way of pushing messages to be compact (arXiv:2006.11287, section 4).

A graph network sends along each directed edge a message; what the entries differ in is how many
components it has and what keeps them few.
"""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Model:
    """A regulariser of the messages.

    Attributes:
        messages: Message components per edge; ``None`` for as many as space has dimensions.
        penalty: What is added to the loss: nothing, the L1 norm of the messages, or the KL divergence
            of variational messages from a unit normal; mean over edges, sum over components.
        weight: Factor of the penalty (dimensionless).
        significance: How components are ranked: standard deviation, or mean KL divergence.
        hamiltonian: Whether the network gives energies and the dynamics follow Hamilton's equations.
    """

    messages: int | None = 100
    penalty: Literal["none", "l1", "kl"] = "none"
    weight: float = 0.0
    significance: Literal["std", "kl"] = "std"
    hamiltonian: bool = False

    def message_size(self, dim: int) -> int:
        """Return the number of message components in ``dim`` dimensions."""
        return dim if self.messages is None else self.messages


MODELS: dict[str, Model] = {
    "standard": Model(),
    "bottleneck": Model(messages=None),
    "l1": Model(penalty="l1", weight=1e-2),
    "kl": Model(penalty="kl", weight=1.0, significance="kl"),
    "flathgn": Model(messages=1, hamiltonian=True),
}
