"""Friends of friends: halos as sets of particles, each within a linking length of another (Davis et al. 1985).

The box is cut into slabs. The pairs of a slab are searched with a k-d tree and reduced at once to a forest, one edge
for each particle that has a friend; the forests of all slabs together have the components of the whole. So memory is
bounded by a slab's pairs, however many particles there are.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

# Particles of a slab; it has usually 10 to 50 pairs per particle of 16 bytes each.
_SLAB = 100_000


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """Groups of particles, the largest first.

    Attributes:
        position: Centres of mass over periodic images, in the unit of the box, in [0, box).
        velocity: Mean velocities, in the unit they were given in.
        particles: Particles of each.
    """

    position: Float[np.ndarray, "groups 3"]
    velocity: Float[np.ndarray, "groups 3"]
    particles: Int[np.ndarray, "groups"]


def friends(position: Float[np.ndarray, "particles 3"], box: float, length: float) -> Int[np.ndarray, "particles"]:
    """Number the components of the graph in which particles closer than a length are linked.

    Args:
        position: Positions in [0, box).
        box: Side of the periodic box.
        length: The linking length, in the same unit, less than half of the box; a pair at exactly it is linked.

    Returns:
        For each particle the number of its component, in the order in which they first appear.
    """
    count = len(position)
    order = np.argsort(position[:, 0], kind="stable")
    along = position[order, 0].astype(np.float64)
    roots: list[np.ndarray] = []
    leaves: list[np.ndarray] = []
    for start in range(0, count, _SLAB):
        stop = min(start + _SLAB, count)
        # The slab, and the particles within a length above its upper edge.
        edge = along[stop - 1] + length
        members = order[start : max(stop, int(np.searchsorted(along, edge, side="right")))]
        beyond = order[: int(np.searchsorted(along, edge - box, side="right"))]
        places = position[np.concatenate([members, beyond])].astype(np.float64)
        places[len(members) :, 0] += box
        members = np.concatenate([members, beyond])
        # The first axis is unrolled: a particle near the lower edge may occur twice, with its image.
        root, leaf = _forest(places, [0.0, box, box], length)
        roots.append(members[root])
        leaves.append(members[leaf])
    ends = np.concatenate(roots), np.concatenate(leaves)
    graph = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(count, count))
    labels: np.ndarray = connected_components(graph, directed=False)[1]
    return _renumbered(labels)


def groups(
    position: Float[np.ndarray, "particles 3"],
    velocity: Num[np.ndarray, "particles 3"],
    box: float,
    length: float,
    least: int,
) -> Groups:
    """Find groups of friends and their means.

    Args:
        position: Positions in [0, box).
        velocity: Velocities.
        box: Side of the periodic box.
        length: The linking length, in the unit of the box.
        least: The fewest particles of a group.

    Returns:
        The groups, by falling size and, of the same size, in the order of their first particles.
    """
    labels = friends(position, box, length)
    sizes = np.bincount(labels)
    chosen = np.flatnonzero(sizes >= least)
    chosen = chosen[np.argsort(-sizes[chosen], kind="stable")]
    place = np.full(len(sizes), -1)
    place[chosen] = np.arange(len(chosen))
    members = np.flatnonzero(place[labels] >= 0)
    group = place[labels[members]]
    counts = sizes[chosen]
    if not len(chosen):
        return Groups(np.zeros((0, 3)), np.zeros((0, 3)), counts)
    # Displacements from one member of each group are less than half of the box.
    reference = np.empty(len(chosen), dtype=np.intp)
    reference[group[::-1]] = members[::-1]
    centre = np.empty((len(chosen), 3))
    mean = np.empty_like(centre)
    for axis in range(3):
        origin = position[reference, axis].astype(np.float64)
        offset = position[members, axis] - origin[group]
        offset -= box * np.round(offset / box)
        centre[:, axis] = origin + np.bincount(group, offset, len(chosen)) / counts
        mean[:, axis] = np.bincount(group, velocity[members, axis], len(chosen)) / counts
    centre = np.mod(centre, box)
    centre[centre >= box] = 0.0
    return Groups(centre, mean, counts)


def _forest(
    places: Float[np.ndarray, "part 3"], period: list[float], length: float
) -> tuple[Int[np.ndarray, "edges"], Int[np.ndarray, "edges"]]:
    """Return edges from a root of each component of a part to every other particle of it."""
    tree = cKDTree(places, boxsize=period, compact_nodes=False, balanced_tree=False)
    pairs = tree.query_pairs(length, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(places),) * 2)
    labels = connected_components(graph, directed=False)[1]
    root = np.empty(len(places), dtype=np.intp)
    root[labels[::-1]] = np.arange(len(places))[::-1]
    root = root[labels]
    leaf = np.flatnonzero(root != np.arange(len(places)))
    return root[leaf], leaf


def _renumbered(labels: Int[np.ndarray, "particles"]) -> Int[np.ndarray, "particles"]:
    """Number labels in the order of their first appearance."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
