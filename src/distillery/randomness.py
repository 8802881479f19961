"""The one scheme by which every random draw comes from a seed of the configuration.

A stream is named by the seed and by what it is for: ``stream(seed, "initial", "train", 17)``.
The name is hashed into the spawn key of a NumPy ``SeedSequence``; equal names give equal draws on
every machine, different names give independent ones, and no draw depends on what ran before it.
"""

from __future__ import annotations

import hashlib

import numpy as np


def _sequence(seed: int, name: tuple[str | int, ...]) -> np.random.SeedSequence:
    text = "\x1f".join(str(part) for part in name)
    words = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype="<u4")
    return np.random.SeedSequence(entropy=seed, spawn_key=tuple(int(word) for word in words))


def stream(seed: int, *name: str | int) -> np.random.Generator:
    """Return the generator of the stream ``name`` under ``seed``.

    Args:
        seed: A seed of the configuration, at least 0.
        name: What the draws are for, from the general to the particular.
    """
    return np.random.default_rng(_sequence(seed, name))


def integer_seed(seed: int, *name: str | int) -> int:
    """Return a 63-bit seed for a library with its own generator (PyTorch, an engine)."""
    return int(_sequence(seed, name).generate_state(1, np.uint64)[0] >> np.uint64(1))
