"""Alignment: of all bases of the message components that are read, the one whose axes are those of space.

A message may be any linear map of the force, m = B·F, because the node function undoes the map. Which B a training
arrives at is chance, and a force that is mixed from all directions needs an expression twice as long. Forces between
two bodies lie along the line that joins them; that alone, and no law, tells B: messages are made equally large in all
directions, m_w = B_w·F with B_w a rotation (perhaps with a reflection), and turned so that they lie along or against
the displacements as well as can be. Where forces do not lie along that line, this is one basis as good as any other.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from distillery.randomness import stream

# Of the samples, those whose messages are smallest: close encounters would decide over the shape of all.
_USUAL = 0.8
_SETTLE, _STARTS, _ROUNDS = 20, 20, 50
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
        The map, or None where there are fewer independent components than dimensions, or where most messages lie along
        nothing (a force that most pairs do not feel leaves noise).
    """
    dim = displacement.shape[1]
    centred = components - np.median(components, axis=0)
    if components.shape[1] != dim or not np.isfinite(centred).all():
        return None
    whitening = np.eye(dim)
    for _ in range(_SETTLE):
        # Which messages are usual is asked of what is equally large in all directions, so it takes a few rounds.
        size = np.linalg.norm(centred @ whitening, axis=1)
        usual = size <= np.quantile(size, _USUAL)
        values, vectors = np.linalg.eigh(centred[usual].T @ centred[usual] / usual.sum())
        if not values[0] > _NOTHING**2 * values[-1]:
            return None
        whitening = vectors / np.sqrt(values)
    equal = centred[usual] @ whitening
    directions = displacement[usual] / np.linalg.norm(displacement[usual], axis=1, keepdims=True)
    turn, fit = _turn(equal, directions)
    chance = _CHANCE[dim]
    if fit < chance + _BETTER * (1 - chance):
        return None
    result = whitening @ turn
    largest = np.unravel_index(np.abs(result).argmax(), result.shape)
    return np.asarray(result * np.sign(result[largest]))


def _turn(vectors: np.ndarray, directions: np.ndarray) -> tuple[Float[np.ndarray, "dim dim"], float]:
    """Return the orthogonal map that turns vectors to lie along or against directions, and the mean |cosine| it gives.

    It is that of the largest Σ |v R·d|; each vector counts for its length in the mean.

    Each round gives every vector the sign that fits and solves for the map (orthogonal Procrustes problem).
    """
    draws = stream(0, "interpret", "alignment")
    best, most = np.eye(vectors.shape[1]), -np.inf
    for start in range(_STARTS):
        turn, _ = np.linalg.qr(draws.normal(size=best.shape))
        if start % 2:
            # All that QR gives have one determinant; no round leads from rotations to reflections or back.
            turn[:, 0] *= -1
        before = -np.inf
        for _ in range(_ROUNDS):
            along = np.einsum("sk,sk->s", vectors @ turn, directions)
            fit = float(np.abs(along).sum())
            if fit <= before * (1 + 1e-9):
                break
            before = fit
            left, _, right = np.linalg.svd((vectors * np.sign(along)[:, None]).T @ directions)
            turn = left @ right
        if before > most * (1 + 1e-9) or most == -np.inf:
            best, most = turn, before
    return best, most / max(float(np.linalg.norm(vectors, axis=1).sum()), 1e-300)
