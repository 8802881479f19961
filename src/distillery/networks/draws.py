"""Draws that are made where they are needed, and are the same there on every device.

Each number is a function of a key and of its place, so any of them can be drawn at any time, on its own, and nothing is
kept: a random order of ten million graphs takes no memory. Keys come from ``distillery.randomness``.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Of SplitMix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195): 2⁶⁴/φ, shifts and factors, as signed numbers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIXED = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
_ROUNDS = 6


def bits(key: Int[Tensor, "..."], place: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Return 64 random bits for each key and place.

    Args:
        key: Any numbers; different ones give independent draws.
        place: Which of a key's draws.
    """
    return _mix(_mix(key) + place * _GOLDEN)


def shuffled(place: Int[Tensor, "..."], size: Int[Tensor, "..."], key: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Return what stands at places of a random order of 0 … size - 1.

    A Feistel network on a rectangle of at least ``size`` numbers, gone through again from where it leads beyond them
    (Black & Rogaway 2002, doi:10.1007/3-540-45760-7_9): it leads to every number once.

    Args:
        place: Places, from 0 on and below their size.
        size: How many numbers are ordered, at least 1.
        key: Which order.
    """
    width = size.double().sqrt().ceil().long()
    height = (size + width - 1) // width
    found = _through(place, width, height, key)
    while bool((beyond := found >= size).any()):
        found = torch.where(beyond, _through(found, width, height, key), found)
    return found


def normal(key: Int[Tensor, "..."], place: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return draws from the unit normal distribution (Box & Muller 1958), of double precision.

    Args:
        key: Any numbers; different ones give independent draws.
        place: Which of a key's draws.
    """
    drawn = bits(key, place)
    # Halves of the bits, in the middle of their cells: never 0, so that the logarithm is finite.
    size, angle = ((half.double() + 0.5) / 2**32 for half in (_shifted(drawn, 32), drawn & 0xFFFFFFFF))
    return torch.sqrt(-2 * torch.log(size)) * torch.cos(2 * math.pi * angle)


def _through(place: Tensor, width: Tensor, height: Tensor, key: Tensor) -> Tensor:
    row, column = place // width, place % width
    for number in range(_ROUNDS):
        # Mixed twice: rounds of neighbouring keys would be each other's otherwise.
        own = _mix(_mix(key) + number)
        if number % 2:
            column = (column + _positive(bits(own, row))) % width
        else:
            row = (row + _positive(bits(own, column))) % height
    return row * width + column


def _positive(drawn: Tensor) -> Tensor:
    # With room for the sum with a place.
    return _shifted(drawn, 2)


def _mix(value: Tensor) -> Tensor:
    for shift, factor in _MIXED:
        value = (value ^ _shifted(value, shift)) * factor
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, by: int) -> Tensor:
    """Shift to the right as if without sign."""
    return (value >> by) & ((1 << (64 - by)) - 1)
