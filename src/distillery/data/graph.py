"""Which bodies a graph ties, for all stages alike; nothing heavy is imported here."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Int

from distillery.errors import DistilleryError


@functools.cache
def edges_of(graph: str, bodies: int) -> Int[np.ndarray, "2 edge"]:
    """Return all directed edges of a graph as indices of senders and of receivers.

    Args:
        graph: ``complete``, or ``chain`` where each body is tied to the next.
        bodies: Number of bodies.

    Raises:
        DistilleryError: The kind of graph is not known.
    """
    index = np.arange(bodies)
    apart = np.abs(index[:, None] - index[None])
    match graph:
        case "complete":
            connected = apart > 0
        case "chain":
            connected = apart == 1
        case _:
            raise DistilleryError(f"graph {graph!r} is not known; known are complete, chain")
    return np.stack(np.nonzero(connected))
