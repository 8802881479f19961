"""Sweeps of small trainings on random states instead of integrated trajectories."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from distillery.workflow.sweep import Sweep
from support import orbits
from support.training import TRAINING


@pytest.fixture
def small(make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    """Return a function that makes a sweep with one small training on the CPU; its arguments replace settings."""
    orbits.use(monkeypatch)

    def make(**changes: object) -> Sweep:
        execution = {"checkpoint_every": 60, "device": "cpu"}
        return make_sweep(**{"training": TRAINING, "execution": execution, **changes})

    return make
