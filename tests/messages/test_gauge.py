"""Fixing the gauge of messages: factors and offsets of the receiver are removed, the force remains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distillery.messages.gauge import Gauge, Reading
from distillery.messages.reading import Edges
from distillery.networks.network import Network
from distillery.randomness import stream

AXES = np.eye(2)


class Told(Network):
    """A network whose messages are A(m)·F + b(m), with the force F = q1·q2·Δ/r³ between charges."""

    def message_of(self, receivers: torch.Tensor, senders: torch.Tensor) -> torch.Tensor:
        apart = receivers[..., :2] - senders[..., :2]
        force = receivers[..., 4:5] * senders[..., 4:5] * apart / apart.norm(dim=-1, keepdim=True) ** 3
        mass = receivers[..., 5:6]
        return (0.3 + 1 / mass) * force + torch.log(mass)


def edges(count: int = 800) -> Edges:
    draws = stream(0, "test gauge")
    ends = draws.normal(size=(2, count, 6))
    ends[..., 4], ends[..., 5] = draws.choice([-1.0, 1.0], size=(2, count)), np.exp(draws.normal(size=(2, count)))
    return Edges(ends[0], ends[1])


def force(of: Edges) -> np.ndarray:
    distance = np.linalg.norm(of.displacement, axis=1, keepdims=True)
    return of.charge.prod(axis=1, keepdims=True) * of.displacement / distance**3


def spread(ratio: np.ndarray) -> float:
    low, middle, high = np.quantile(ratio, [0.05, 0.5, 0.95])
    return float((high - low) / abs(middle))


def test_factor_and_offset_of_the_receiver_are_removed() -> None:
    network, along = Told(), edges()
    plain = Reading(AXES).along(network, along) / force(along)
    fixed = Reading(AXES, Gauge.measured(network, AXES, along, 32)).along(network, along) / force(along)
    assert spread(plain) > 1
    assert spread(fixed) < 0.02


@pytest.mark.parametrize("count", [1, 3])
def test_sums_of_messages_lose_as_many_offsets_as_they_have_terms(count: int) -> None:
    network, along = Told(), edges(200)
    reading = Reading(AXES, Gauge.measured(network, AXES, along, 32))
    one = Reading(AXES).along(network, along)
    np.testing.assert_allclose(
        reading.fixed(network, along.receiver, count * one, count), count * reading.along(network, along), rtol=1e-6
    )


def test_zero_messages_are_not_divided() -> None:
    class Silent(Network):
        def message_of(self, receivers: torch.Tensor, senders: torch.Tensor) -> torch.Tensor:
            return torch.ones_like(receivers[..., :2])

    along = edges(50)
    reading = Reading(AXES, Gauge.measured(Silent(), AXES, along, 32))
    assert np.array_equal(reading.along(Silent(), along), np.zeros((50, 2)))
