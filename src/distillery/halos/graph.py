"""Neighbours of halos: pairs closer than a radius in a periodic box, in compressed rows by receiver.

A sender is one number of four bytes, so a graph of 28 million directed edges takes 110 MB, and its making 410 MB at
most, 15 bytes an edge. Displacements are not kept: they follow from positions, a piece of receivers at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from distillery.errors import DistilleryError


@dataclasses.dataclass(frozen=True, eq=False)
class Edges:
    """The incoming edges of some receivers, row after row.

    Attributes:
        receivers: The halos at which they arrive.
        degrees: How many arrive at each.
        sender: The halo that each comes from.
        displacement: Δ = x_receiver - x_sender by minimum image, in Mpc/h.
    """

    receivers: Int[np.ndarray, " receiver"]
    degrees: Int[np.ndarray, " receiver"]
    sender: Int[np.ndarray, " edge"]
    displacement: Float[np.ndarray, "edge 3"]

    @property
    def receiver(self) -> Int[np.ndarray, " edge"]:
        """The receiver of each edge."""
        return np.repeat(self.receivers, self.degrees)

    @property
    def distance(self) -> Float[np.ndarray, " edge"]:
        """Distances r in Mpc/h."""
        return np.sqrt(np.einsum("ed,ed->e", self.displacement, self.displacement))


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbours:
    """A symmetric graph without self-edges.

    Attributes:
        position: Of every halo, in Mpc/h, in [0, box).
        box: Side of the periodic box in Mpc/h.
        radius: Halos closer than this are neighbours, in Mpc/h.
        starts: Where the row of each receiver begins in ``senders``, and at last where all end.
        senders: The neighbours of each receiver, in rising order.
    """

    position: Float[np.ndarray, "halo 3"]
    box: float
    radius: float
    starts: Int[np.ndarray, " bound"]
    senders: Int[np.ndarray, " edge"]

    @property
    def degrees(self) -> Int[np.ndarray, " halo"]:
        """Number of neighbours of each halo."""
        return np.diff(self.starts)

    def edges(self, receivers: Int[np.ndarray, " receiver"]) -> Edges:
        """Return the incoming edges of some halos.

        Args:
            receivers: Their numbers, in any order.
        """
        starts = self.starts[receivers]
        degrees = self.starts[receivers + 1] - starts
        before = np.cumsum(degrees) - degrees
        sender = self.senders[np.arange(int(degrees.sum())) + np.repeat(starts - before, degrees)]
        displacement = np.repeat(self.position[receivers], degrees, axis=0) - self.position[sender]
        displacement -= self.box * np.floor(displacement / self.box + 0.5)
        return Edges(receivers, degrees, sender, displacement)

    def pieces(self, receivers: Int[np.ndarray, " receiver"], most: int) -> Iterator[slice]:
        """Divide receivers into runs with a limited number of incoming edges.

        Args:
            receivers: Their numbers.
            most: Most edges of a run.

        Yields:
            The place of each run among the receivers.

        Raises:
            DistilleryError: More edges arrive at a single halo.
        """
        ends = np.cumsum(self.starts[receivers + 1] - self.starts[receivers])
        first, done = 0, 0
        while first < len(receivers):
            last = int(np.searchsorted(ends, done + most, side="right"))
            if last == first:
                raise DistilleryError(
                    f"max_edges {most:,}: a halo has {int(ends[first]) - done:,} neighbours; allow at least so many"
                )
            yield slice(first, last)
            first, done = last, int(ends[last - 1])


def neighbours(position: Float[np.ndarray, "halo 3"], box: float, radius: float) -> Neighbours:
    """Find all pairs of halos closer than a radius, with SciPy's k-d tree on a torus.

    Args:
        position: Comoving positions in Mpc/h, in [0, box).
        box: Side of the periodic box in Mpc/h.
        radius: Largest distance in Mpc/h.

    Raises:
        DistilleryError: The radius is not positive or more than half of the box, or a halo lies outside of it.
    """
    if not 0 < radius <= box / 2:
        raise DistilleryError(
            f"radius {radius:g} Mpc/h: must be above 0 and at most half of the box of {box:g} Mpc/h, beyond which a "
            "halo would be its own neighbour; take a smaller radius or a larger box"
        )
    if not (np.all(position >= 0) and np.all(position < box)):
        raise DistilleryError(f"position: a halo lies outside of [0, {box:g}) Mpc/h; wrap positions into the box")
    position, count = np.ascontiguousarray(position, dtype=np.float64), len(position)
    pairs = cKDTree(position, boxsize=box).query_pairs(radius, output_type="ndarray").astype(np.int32)
    ones = np.ones(len(pairs), dtype=np.int8)
    upper = scipy.sparse.coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    # Pairs are unique, so that SciPy need not sort to remove duplicates.
    upper.has_canonical_format = True
    lower = upper.tocsr().tocsc()
    del pairs, ones
    # Each change between rows and columns sorts, in linear time; the tree gives pairs in an order of its own.
    lower = scipy.sparse.csr_array((lower.data, lower.indices, lower.indptr), shape=(count, count))
    upper = lower.tocsc()
    upper = scipy.sparse.csr_array((upper.data, upper.indices, upper.indptr), shape=(count, count))
    both = lower + upper
    return Neighbours(position, box, radius, both.indptr.astype(np.int64), both.indices.astype(np.int32))
