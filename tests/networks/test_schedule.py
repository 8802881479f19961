"""Schedules of the learning rate and of penalties."""

from __future__ import annotations

import pytest
import torch

from distillery.networks.schedule import faded_in, one_cycle


def test_one_cycle_equals_pytorchs_schedule() -> None:
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimiser = torch.optim.Adam([parameter])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=1000)
    for step in range(1000):
        rate, _ = one_cycle(step, 1000, 1e-2)
        # PyTorch's schedule turns one step earlier, which changes the rate by less than the tolerance.
        assert rate == pytest.approx(schedule.get_last_lr()[0], abs=1e-4 * (step < 999))
        optimiser.step()
        schedule.step()


def test_penalties_fade_in_and_stay() -> None:
    factors = [faded_in(step, 100, 0.2) for step in range(100)]
    assert factors[0] == 0.0
    assert factors[10] == 0.5
    assert set(factors[20:]) == {1.0}
    assert faded_in(0, 100, 0.0) == 1.0
