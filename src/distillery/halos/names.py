"""Names and units of the features in expressions of halos; 1 is the receiver, 2 the sender."""

from __future__ import annotations

MESSAGE_UNITS = {
    "r": "Mpc/h",
    "dv": "100 km/s",
    "v1": "100 km/s",
    "v2": "100 km/s",
    "m1": "1e14 Msun/h",
    "m2": "1e14 Msun/h",
}
# The first feature of a node is the sum of its messages.
NODE_UNITS = {"s": "messages", "m": "1e14 Msun/h", "v": "100 km/s"}
_OF_MASS = frozenset({"m1", "m2", "m"})


def message_names(mass: bool = True) -> tuple[str, ...]:
    """Return the names that a message may use, with or without masses."""
    return tuple(name for name in MESSAGE_UNITS if mass or name not in _OF_MASS)


def node_names(mass: bool = True) -> tuple[str, ...]:
    """Return the names that a node may use, the sum of its messages first, with or without its mass."""
    return tuple(name for name in NODE_UNITS if mass or name not in _OF_MASS)
