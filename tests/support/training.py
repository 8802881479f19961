"""Settings and weights of small trainings."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from distillery.workflow.sweep import Sweep

TRAINING = {"hidden": 8, "batch": 8, "steps": 250, "learning_rate": 5e-3}


def weights_of(sweep: Sweep, index: int = 0) -> dict[str, torch.Tensor]:
    """Return the trained weights of one cell of a sweep."""
    return load_file(sweep.cells[index].weights(sweep.results))


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Assert that two sets of weights have the same bits."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
