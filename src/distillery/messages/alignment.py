"""Alignment: of all bases of the message components that are read, the one whose axes are those of space.

A message may be any linear map of the force, m = B·F, because the node function undoes the map. Which B a training
arrives at is chance, and a force that is mixed from all directions needs an expression twice as long. Forces between
two bodies lie along the line that joins them; that alone, and no law, tells B: messages are made equal in all
directions, m_w = B_w·F with B_w a rotation (perhaps with a reflection), and turned so that they lie along or against
the displacements as well as can be. Where forces do not lie along that line, this is one basis as good as any other.

What is made equal are the directions of messages, whatever their lengths (the estimator of shape of Tyler, Ann. Stat.
15, 234, 1987): how a force falls off with the distance is just what is not known yet. A covariance, of all messages or
of those not too large, would be decided by close encounters, or by where large begins.
"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float

# Messages below this share of what the loudest tenth exceeds are noise: a force may be one that most pairs do not feel.
_FELT, _LOUD = 0.1, 0.9
_SETTLE, _SETTLED, _ROUNDS = 100, 1e-6, 50
# Directions that carry less than this share of the deviation of the strongest are nothing to be made equally large.
_NOTHING = 1e-4
# Mean |cosine| of random directions in 2 and 3 dimensions, and by how much of what it lacks to 1 it must be more.
_CHANCE, _BETTER = {2: 2 / np.pi, 3: 0.5}, 0.3


def alignment(
    components: Float[np.ndarray, "sample component"], displacement: Float[np.ndarray, "sample dim"]
) -> Float[np.ndarray, "component dim"] | None:
    """Return the linear map A after which messages, components @ A, lie along the displacements.

    Args:
        components: Message components as they are read; as many as space has dimensions.
        displacement: Δ = x_receiver - x_sender.

    Returns:
        The map, or None where there are fewer independent components than dimensions, or where messages do not lie
        along the displacements.
    """
    dim = displacement.shape[1]
    centred = components - np.median(components, axis=0)
    if components.shape[1] != dim or not np.isfinite(centred).all():
        return None
    whitening = np.eye(dim)
    for _ in range(_SETTLE):
        # The lengths of messages are compared in coordinates that are equal in all directions.
        equal = centred @ whitening
        size = np.linalg.norm(equal, axis=1)
        felt = size > _FELT * np.quantile(size, _LOUD)
        if not felt.any():
            return None
        unit = equal[felt] / size[felt, None]
        shape = dim * (unit.T @ unit) / len(unit)
        values, vectors = np.linalg.eigh(shape)
        if not values[0] > _NOTHING**2 * values[-1]:
            return None
        if np.abs(shape - np.eye(dim)).max() < _SETTLED:
            break
        whitening = whitening @ (vectors / np.sqrt(values)) @ vectors.T
        whitening /= np.abs(np.linalg.det(whitening)) ** (1 / dim)
    directions = displacement[felt] / np.linalg.norm(displacement[felt], axis=1, keepdims=True)
    turn, fit = _turn(unit, directions)
    chance = _CHANCE[dim]
    if fit < chance + _BETTER * (1 - chance):
        return None
    result = whitening @ turn
    largest = np.unravel_index(np.abs(result).argmax(), result.shape)
    return np.asarray(result * np.sign(result[largest]))


def _turn(
    vectors: Float[np.ndarray, "sample dim"], directions: Float[np.ndarray, "sample dim"]
) -> tuple[Float[np.ndarray, "dim dim"], float]:
    """Return the orthogonal map that turns unit vectors to lie along or against directions, and the mean |cosine| then.

    It is that of the largest Σ |v R·d|. Each round gives every vector the sign that fits and solves for the map
    (orthogonal Procrustes problem); the first map is known but for signs, which are all tried: vectors whose
    directions lie along an axis are longest along its image.
    """
    dim = vectors.shape[1]
    images = [
        np.linalg.eigh((vectors * (directions[:, [axis]] ** 2 - 1 / dim)).T @ vectors)[1][:, -1] for axis in range(dim)
    ]
    best, most = np.eye(dim), -np.inf
    for signs in itertools.product((1.0, -1.0), repeat=dim - 1):
        left, _, right = np.linalg.svd(np.column_stack(images) * (1.0, *signs))
        turn, before = left @ right, -np.inf
        for _ in range(_ROUNDS):
            along = np.einsum("sk,sk->s", vectors @ turn, directions)
            fit = float(np.abs(along).mean())
            if fit <= before * (1 + 1e-9):
                break
            before = fit
            left, _, right = np.linalg.svd((vectors * np.sign(along)[:, None]).T @ directions)
            turn = left @ right
        if before > most:
            best, most = turn, before
    return best, most
