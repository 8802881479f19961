"""Frames of a training: the edge functions that chosen cells had at certain moments, to be read as the last one is.

The functions are kept, not messages: which components matter, how they lie to the axes of space and what of them is the
receiver's own is found when the training is over, and then asks a function about other pairs. Nothing is drawn at
random and nothing of the training is touched, so weights have the same bits with frames and without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distillery.networks.network import Network

# The name of the steps in the file of the frames.
STEPS = "step"
# Before this share of the steps hardly anything happens.
_EARLIEST = 5e-3


def moments(frames: int, steps: int) -> tuple[int, ...]:
    """Return after how many steps frames are taken: 0 and all, and between them evenly on a logarithmic scale.

    Args:
        frames: How many at most; in short trainings some would fall together.
        steps: Steps of the training.
    """
    if not frames:
        return ()
    # Backwards, so that a single one is the last.
    later = np.geomspace(steps, max(_EARLIEST * steps, 1.0), frames - 1)
    return (0, *np.unique(np.rint(later).astype(int)).tolist())


class Frames:
    """The frames of a stack of cells in training, on the processor's side.

    Attributes:
        steps: After how many steps they are taken.
    """

    def __init__(self, network: Network, places: Sequence[int], steps: Sequence[int]):
        """Begin without frames.

        Args:
            network: The networks of the stack.
            places: Cells that are filmed, by their places in the stack.
            steps: After how many steps.
        """
        self.steps = tuple(steps)
        self._network = network
        self._taken: dict[int, list[dict[str, Tensor]]] = {place: [] for place in places}

    def take(self, step: int) -> None:
        """Keep the edge functions as they are, if a frame is to be taken after so many steps."""
        if step not in self.steps:
            return
        # All but the node function: what is pruned is a message's affair too.
        sent = {name: tensor for name, tensor in self._network.state_dict().items() if not name.startswith("node.")}
        for place, frames in self._taken.items():
            frames.append({name: tensor[place].detach().to("cpu", copy=True) for name, tensor in sent.items()})

    def tensors(self, place: int) -> dict[str, Float[Tensor, "frame ..."]]:
        """Return the frames of a cell so far by parameter; nothing where there are none."""
        frames = self._taken.get(place, [])
        return {name: torch.stack([frame[name] for frame in frames]) for name in (frames[0] if frames else ())}

    def restore(self, place: int, tensors: Mapping[str, Float[Tensor, "frame ..."]]) -> None:
        """Go on from the frames of a cell that ``tensors`` gave."""
        count = len(next(iter(tensors.values()), ()))
        if place in self._taken:
            self._taken[place] = [{name: rows[k] for name, rows in tensors.items()} for k in range(count)]
