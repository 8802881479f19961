"""Neighbours, regions and features of halos against what is done by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from distillery.errors import DistilleryError
from distillery.halos.features import halo_graph, scales_of
from distillery.halos.graph import neighbours
from distillery.halos.regions import split
from distillery.randomness import stream
from support import toyhalos


def by_hand(position: np.ndarray, box: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
    apart = position[:, None] - position[None]
    apart -= box * np.round(apart / box)
    close = (np.linalg.norm(apart, axis=2) <= radius) & ~np.eye(len(position), dtype=bool)
    return apart, close


@pytest.mark.parametrize("radius", [7.0, 30.0, 50.0])
def test_neighbours_are_those_found_by_hand(radius: float) -> None:
    position = toyhalos.catalogue(200).position
    apart, close = by_hand(position, 100.0, radius)
    graph = neighbours(position, 100.0, radius)
    edges = graph.edges(np.arange(200))
    receiver, sender = np.nonzero(close)
    assert np.array_equal(edges.receiver, receiver)
    assert np.array_equal(edges.sender, sender)
    assert np.allclose(edges.displacement, apart[receiver, sender])
    assert np.allclose(edges.distance, np.linalg.norm(apart[receiver, sender], axis=1))


def test_edges_come_in_the_order_of_the_receivers_asked_for() -> None:
    graph = neighbours(toyhalos.catalogue(200).position, 100.0, 20.0)
    chosen = np.array([150, 3, 77])
    edges = graph.edges(chosen)
    for number, receiver in enumerate(chosen):
        own = slice(edges.degrees[:number].sum(), edges.degrees[: number + 1].sum())
        assert np.array_equal(edges.sender[own], graph.senders[graph.starts[receiver] : graph.starts[receiver + 1]])


def test_graph_is_symmetric_without_loops_and_wraps_around() -> None:
    position = np.array([[0.5, 50.0, 50.0], [99.5, 50.0, 50.0], [50.0, 50.0, 50.0]])
    edges = neighbours(position, 100.0, 5.0).edges(np.arange(3))
    assert edges.receiver.tolist() == [0, 1]
    assert edges.sender.tolist() == [1, 0]
    assert np.allclose(edges.displacement, [[1, 0, 0], [-1, 0, 0]])


def test_displacements_lie_in_half_open_half_boxes() -> None:
    edges = neighbours(np.array([[0.0, 1.0, 1.0], [50.0, 1.0, 1.0]]), 100.0, 50.0).edges(np.arange(2))
    assert edges.displacement[:, 0].tolist() == [-50.0, -50.0]


def test_pieces_cover_all_receivers_and_keep_to_the_bound() -> None:
    graph = neighbours(toyhalos.catalogue(300).position, 100.0, 25.0)
    receivers = stream(0, "some").permutation(300)
    most = int(graph.degrees.max()) + 5
    places = list(graph.pieces(receivers, most))
    assert np.array_equal(np.concatenate([receivers[place] for place in places]), receivers)
    assert len(places) > 5
    assert all(graph.degrees[receivers[place]].sum() <= most for place in places)
    with pytest.raises(DistilleryError, match=r"max_edges 3: a halo has \d+ neighbours; allow"):
        list(graph.pieces(receivers, 3))


def test_halos_without_neighbours_are_in_a_piece_too() -> None:
    graph = neighbours(np.array([[10.0, 10, 10], [50, 50, 50], [52, 50, 50], [90, 90, 90]]), 100.0, 5.0)
    assert list(graph.pieces(np.arange(4), 1)) == [slice(0, 2), slice(2, 4)]


@pytest.mark.parametrize("radius", [0.0, -1.0, 50.1, np.nan])
def test_radius_beyond_half_of_the_box_is_refused(radius: float) -> None:
    with pytest.raises(DistilleryError, match="must be above 0 and at most half of the box of 100"):
        neighbours(np.zeros((2, 3)), 100.0, radius)


@pytest.mark.parametrize("place", [-0.1, 100.0, np.nan])
def test_halos_outside_of_the_box_are_refused(place: float) -> None:
    with pytest.raises(DistilleryError, match=r"a halo lies outside of \[0, 100\)"):
        neighbours(np.array([[1.0, 1, 1], [place, 1, 1]]), 100.0, 5.0)


def test_regions_keep_the_gap_also_across_the_border() -> None:
    position = stream(0, "places").uniform(0, 100, (3000, 3))
    regions = split(position, 100.0, 5.0, (0.5, 0.25, 0.25), axis=1)
    parts = [regions.train, regions.validation, regions.test]
    for first in range(3):
        for second in range(first):
            apart = position[parts[first], 1][:, None] - position[parts[second], 1][None]
            apart -= 100 * np.round(apart / 100)
            assert np.abs(apart).min() >= 10.0
    widths = [high - low for low, high in regions.slabs.values()]
    assert np.allclose(widths, [35.0, 17.5, 17.5])
    assert all(len(part) > 0.8 * 30 * width for part, width in zip(parts, widths, strict=True))


def test_regions_without_validation_have_one_gap_less() -> None:
    regions = split(toyhalos.catalogue(1000).position, 100.0, 10.0, (0.5, 0.0, 0.5))
    assert len(regions.validation) == 0
    assert regions.slabs == {"train": (10.0, 40.0), "test": (60.0, 90.0)}


def test_bad_regions_are_refused() -> None:
    position = toyhalos.catalogue(100).position
    with pytest.raises(
        DistilleryError, match="box of 100 Mpc/h: gaps of 20 Mpc/h at both sides of 3 slabs leave 0 Mpc/h"
    ):
        split(position, 100.0, 20.0)
    with pytest.raises(DistilleryError, match="add up to 1"):
        split(position, 100.0, 1.0, (0.5, 0.5, 0.5))
    with pytest.raises(DistilleryError, match="train: no halo in its slab"):
        split(np.full((10, 3), 0.5), 100.0, 1.0)
    with pytest.raises(DistilleryError, match="axis 3"):
        split(position, 100.0, 1.0, axis=3)


def test_columns_of_expressions_have_the_units_that_are_stated() -> None:
    made = dataclasses.replace(
        toyhalos.catalogue(2),
        position=np.array([[1.0, 5.0, 5.0], [98.0, 9.0, 5.0]]),
        velocity=np.array([[300.0, 0.0, 0.0], [0.0, 400.0, 0.0]]),
        mass=np.array([2e14, 5e13]),
    )
    graph = halo_graph(made, 25.0, toyhalos.SMOOTHING)
    columns = graph.columns(graph.neighbours.edges(np.arange(2)))
    expected = {"r": [5, 5], "dv": [5, 5], "v1": [3, 4], "v2": [4, 3], "m1": [2, 0.5], "m2": [0.5, 2]}
    assert list(columns) == list(expected)
    for name, values in expected.items():
        assert np.allclose(columns[name], values)
    assert list(graph.columns(graph.neighbours.edges(np.arange(2)), frozenset({"r"}))) == ["r"]
    assert np.allclose(graph.own(np.array([1]))["m"], 0.5)


def test_network_inputs_are_scaled_and_leave_out_masses_on_request() -> None:
    graph = toyhalos.graph(300)
    everyone = np.arange(300)
    edges = graph.neighbours.edges(everyone)
    for mass, width in ((True, 12), (False, 10)):
        scales = scales_of(graph, everyone, mass)
        own = scales.own(graph)
        inputs = scales.along(own, edges).numpy()
        assert inputs.shape == (len(edges.sender), width) == (len(edges.sender), scales.edge_width)
        assert own.shape[1] == scales.own_width
        assert np.abs(inputs[:, :4]).max() <= 1.0
        assert np.allclose(np.linalg.norm(inputs[:, :3], axis=1), inputs[:, 3], atol=1e-6)
        assert own[:, :3].std() == pytest.approx(1.0, abs=0.01)
        if mass:
            assert own[:, 3].mean() == pytest.approx(0.0, abs=1e-5)
            assert own[:, 3].std() == pytest.approx(1.0, abs=0.01)


def test_bad_catalogues_are_refused() -> None:
    good = toyhalos.catalogue(50)
    with pytest.raises(DistilleryError, match="filter 7 Mpc/h"):
        halo_graph(good, 25.0, 7.0)
    with pytest.raises(DistilleryError, match="a mass is not positive"):
        halo_graph(dataclasses.replace(good, mass=0 * good.mass), 25.0, 10.0)
    with pytest.raises(DistilleryError, match="not finite"):
        halo_graph(dataclasses.replace(good, velocity=np.nan * good.velocity), 25.0, 10.0)
    with pytest.raises(DistilleryError, match="too few"):
        halo_graph(toyhalos.catalogue(1), 25.0, 10.0)
