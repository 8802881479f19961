"""The spectrum of messages: variation of the components, and number of components that suffice.

Two readings. As in the paper, components are ordered by their standard deviation over edges. Or by the principal axes
of all messages: where components say the same with equal signs, an L1 penalty does not mind sharing it among them
(|a| + |b| = |a + b|), and what is one function then shows as one axis. In either reading all but the first k are set to
zero and the error on held-out halos is measured again.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float, Int

from distillery.errors import NotFiniteError
from distillery.halos.features import HaloGraph
from distillery.halos.network import row_sums
from distillery.halos.training import Trained, evaluation


@dataclasses.dataclass(frozen=True, eq=False)
class Spectrum:
    """Variation of message components, and errors with the first of them.

    Attributes:
        std: Standard deviation over edges of each component, in the order of ``order``.
        order: Components by falling standard deviation.
        axes: Principal axes of the messages about zero, a column each, the strongest first.
        power: Root mean square of the messages along each axis.
        error: Mean |δ - δ̂| with all components.
        error_std: The same with the k components of largest std alone, for k = 0, 1, 2 …
        error_axes: The same with the k strongest axes alone.
    """

    std: Float[np.ndarray, " message"]
    order: Int[np.ndarray, " message"]
    axes: Float[np.ndarray, "message axis"]
    power: Float[np.ndarray, " axis"]
    error: float
    error_std: Float[np.ndarray, " count"]
    error_axes: Float[np.ndarray, " count"]

    def enough(self, tolerance: float = 0.05, *, axes: bool = False) -> int:
        """Return the least number of components with which the error rises by at most a given share.

        Args:
            tolerance: That share; 0.05 allows an error of 1.05 times that of all components.
            axes: Whether to count principal axes.
        """
        errors = self.error_axes if axes else self.error_std
        good = errors <= (1 + tolerance) * self.error
        return int(np.argmax(good)) if good.any() else len(self.std)

    def direction(self, *, axes: bool = False) -> Float[np.ndarray, " message"]:
        """Return the unit vector of the most significant component."""
        if axes:
            return self.axes[:, 0]
        unit = np.zeros(len(self.std))
        unit[self.order[0]] = 1.0
        return unit


def spectrum(
    trained: Trained, graph: HaloGraph, receivers: Int[np.ndarray, " receiver"], most: int | None = None
) -> Spectrum:
    """Measure components on the incoming edges of held-out halos.

    Args:
        trained: The network.
        graph: The halos.
        receivers: Held-out ones.
        most: Up to how many components are tried; all if not said.

    Raises:
        NotFiniteError: Messages are not finite; they have no axes.
    """
    batches, network = evaluation(trained, graph, receivers), trained.network
    width = network.shape.messages
    total, squares, edges = np.zeros(width), np.zeros((width, width)), 0
    sums, own, target = [], [], []
    with torch.no_grad():
        for piece in batches.pieces(receivers):
            messages = network.messages(piece.inputs).double()
            total += messages.sum(0).cpu().numpy()
            squares += (messages.mT @ messages).cpu().numpy()
            edges += len(messages)
            sums.append(row_sums(messages, piece.degrees))
            own.append(piece.own)
            target.append(piece.target)
        if not np.isfinite(squares).all():
            raise NotFiniteError("messages are not finite on validation halos; lower learning_rate")
        arriving, features, true = torch.cat(sums), torch.cat(own), torch.cat(target).double()

        def error(kept: Float[np.ndarray, "message message"]) -> float:
            seen = (arriving @ torch.from_numpy(kept).to(arriving)).float()
            return float((network.overdensity(features, seen).double() - true).abs().mean())

        std = np.sqrt(np.maximum(np.diag(squares) / edges - (total / edges) ** 2, 0.0))
        order = np.argsort(-std, kind="stable")
        powers, vectors = np.linalg.eigh(squares / edges)
        axes = vectors[:, ::-1]
        counts = range(min(width if most is None else most, width) + 1)
        picked = np.eye(width)[:, order]
        by_std = [error(picked[:, :k] @ picked[:, :k].T) for k in counts]
        by_axes = [error(axes[:, :k] @ axes[:, :k].T) for k in counts]
        whole = error(np.eye(width))
    power = np.sqrt(np.maximum(powers[::-1], 0.0))
    return Spectrum(std[order], order, axes, power, whole, np.array(by_std), np.array(by_axes))
