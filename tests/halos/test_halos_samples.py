"""Samples for engines: the gauge of messages, edges from all distances, and problems that fit together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from distillery.halos.features import HaloGraph, scales_of
from distillery.halos.samples import even_edges, message_problem, node_problem, random_edges, reading_of
from distillery.halos.training import HaloTraining, Trained, untrained
from distillery.randomness import stream
from distillery.symbolic.settings import DistillationSettings
from support import toyhalos

EVERYONE = np.arange(400)


def model() -> tuple[Trained, HaloGraph]:
    graph = toyhalos.graph()
    settings = HaloTraining(hidden=16, messages=4)
    scales = scales_of(graph, EVERYONE)
    return Trained(untrained(settings, scales), scales, settings, 0, "", (), 0.0), graph


def test_messages_have_unit_spread_and_increase_their_sum() -> None:
    trained, graph = model()
    direction = np.array([0.6, 0.0, -0.8, 0.0])
    edges = graph.neighbours.edges(EVERYONE)
    for sign in (1.0, -1.0):
        reading = reading_of(trained, graph, EVERYONE, sign * direction, edges=10**6)
        along = reading.along(graph, edges)
        assert along.std() == pytest.approx(1.0, rel=1e-4)
        assert along.mean() > 0
        expected = np.bincount(edges.receiver, along, minlength=400)
        assert reading.sums(graph, EVERYONE) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_edges_are_real_ones_drawn_once_and_from_all_distances() -> None:
    _, graph = model()
    some = random_edges(graph, EVERYONE[::2], 500, stream(0, "test"))
    apart = np.linalg.norm(some.displacement, axis=1)
    assert len({*zip(some.receiver.tolist(), some.sender.tolist(), strict=True)}) == 500
    assert not np.any(some.receiver % 2)
    assert np.all((apart > 0) & (apart <= toyhalos.RADIUS))
    even = even_edges(graph, EVERYONE, 500, stream(0, "test"))
    assert np.mean(even.distance < toyhalos.RADIUS / 2) > 2 * np.mean(apart < toyhalos.RADIUS / 2) * 0.8


def test_problems_hold_what_the_network_says() -> None:
    trained, graph = model()
    reading = reading_of(trained, graph, EVERYONE, np.array([1.0, 0.0, 0.0, 0.0]))
    settings = DistillationSettings(samples=100, held_out=60)
    message = message_problem(reading, graph, EVERYONE[:300], EVERYONE[300:], settings)
    assert message.names == ("r", "dv", "v1", "v2", "m1", "m2")
    assert message.features.shape == (len(message.target), 6)
    node = node_problem(reading, graph, EVERYONE[:300], EVERYONE[300:], settings)
    assert node.names == ("s", "m", "v")
    assert (len(node.target), len(node.held_out_target)) == (100, 60)
    known = {tuple(row) for row in np.round(reading.sums(graph, EVERYONE), 9)[:, None].tolist()}
    assert {(round(float(s), 9),) for s in node.features[:, 0]} <= known
    said = dict(zip(np.round(reading.sums(graph, EVERYONE), 9), trained.predict(graph, EVERYONE), strict=True))
    for s, target in zip(np.round(node.features[:, 0], 9), node.target, strict=True):
        assert said[s] == pytest.approx(target, rel=1e-4, abs=1e-5)
    chosen = dataclasses.replace(reading, scale=2 * reading.scale)
    assert node_problem(chosen, graph, EVERYONE[:300], EVERYONE[300:], settings).features[:, 0] == pytest.approx(
        node.features[:, 0] / 2
    )


def test_silent_messages_are_read_as_they_are() -> None:
    trained, graph = model()
    reading = reading_of(trained, graph, EVERYONE, np.zeros(4))
    assert reading.scale == 1.0
    assert not reading.along(graph, graph.neighbours.edges(EVERYONE)).any()
    problem = message_problem(
        reading, graph, EVERYONE[:300], EVERYONE[300:], DistillationSettings(samples=100, held_out=60)
    )
    assert not problem.target.any()
