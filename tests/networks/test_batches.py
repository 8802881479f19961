"""Batches: every cell draws all of its own graphs, and translations move graphs as a whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from distillery.networks.batches import WINDOW, Batches, Graphs, graphs_of
from distillery.workflow.sweep import Sweep
from support import orbits

CPU = torch.device("cpu")


def batches_of(sweep: Sweep, seeds: list[int], translation: float) -> Batches:
    graphs = graphs_of(orbits.read_trajectories(sweep, sweep.experiments[0], "train"))
    return Batches([graphs] * len(seeds), seeds, 8, [translation] * len(seeds), CPU)


def test_stacked_cells_have_separate_translations(small: Callable[..., Sweep]) -> None:
    graphs = graphs_of(orbits.read_trajectories(small(), small().experiments[0], "train"))
    nodes, _ = Batches([graphs, graphs], [3, 4], 8, [0.0, 3.0], CPU).window(0)
    for place, (seed, translation) in enumerate([(3, 0.0), (4, 3.0)]):
        assert torch.equal(nodes[:, place], batches_of(small(), [seed], translation).window(0)[0][:, 0])


def test_stacked_cells_draw_all_of_their_own_graphs_and_no_others() -> None:
    sizes = (3, 40)
    data = [
        Graphs(np.full((size, 2, 6), cell + 1.0), np.arange(2.0 * size).reshape(size, 1, 2) + np.zeros((size, 2, 2)))
        for cell, size in enumerate(sizes)
    ]
    nodes, acceleration = Batches([*data, data[0]], [3, 4, 5], 8, [0.0] * 3, CPU).window(1)
    for cell, own in enumerate((0, 1, 0)):
        assert torch.all(nodes[:, cell] == own + 1)
        # A batch of eight is larger than three graphs, which repeat; counts differ by incomplete epochs only.
        counts = torch.unique(acceleration[:, cell, :, 0, 0], return_counts=True)[1]
        assert len(counts) == sizes[own]
        assert counts.max() - counts.min() <= 2


def test_every_graph_is_drawn_once_per_epoch_for_any_order_of_windows(small: Callable[..., Sweep]) -> None:
    batches = batches_of(small(), [3, 4], 0.0)
    windows = [batches.window(number)[0] for number in (2, 0, 1)]
    seen = torch.cat([windows[1], windows[2], windows[0]])[:, 0].flatten(0, 1)
    for start in (0, 640, 1280):
        graphs = seen[start : start + 640].flatten(1)
        assert len(torch.unique(graphs, dim=0)) == min(640, len(graphs))
    assert torch.equal(batches_of(small(), [4], 0.0).window(1)[0][:, 0], windows[2][:, 1])


def test_translation_moves_all_bodies_of_a_graph_alike(small: Callable[..., Sweep]) -> None:
    still, _ = batches_of(small(), [0], 0.0).window(0)
    moved, acceleration = batches_of(small(), [0], 3.0).window(0)
    shift = (moved - still)[..., :2]
    torch.testing.assert_close(shift, shift[:, :, :, :1].expand_as(shift), rtol=0, atol=1e-5)
    assert torch.equal(moved[..., 2:], still[..., 2:])
    assert 2.8 < shift[:, :, :, 0].std() < 3.2
    assert len(torch.unique(shift[:, 0, :, 0].flatten(0, 1), dim=0)) == WINDOW * 8
    assert torch.equal(acceleration, batches_of(small(), [0], 0.0).window(0)[1])
