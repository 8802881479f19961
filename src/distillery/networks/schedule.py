"""Schedules: learning rate, momentum and the weight of penalties as functions of the step alone."""

from __future__ import annotations

import math

WARM_UP = 0.3
START, END = 25.0, 1e4
MOMENTUM = (0.85, 0.95)


def one_cycle(step: int, steps: int, peak: float) -> tuple[float, float]:
    """Return learning rate and Adam's β1 of a step.

    The rate rises from ``peak / 25`` over the first 30 % of the steps, then falls to nearly zero, both along
    half a cosine; β1 goes the other way, from 0.95 to 0.85 and back (Smith and Topin, arXiv:1708.07120, as the
    paper used it).

    Args:
        step: From 0 on.
        steps: All steps.
        peak: The largest learning rate (dimensionless).
    """
    turn = WARM_UP * steps
    low, high = MOMENTUM
    if step < turn:
        return _cosine(peak / START, peak, step / turn), _cosine(high, low, step / turn)
    fall = (step - turn) / max(steps - 1 - turn, 1.0)
    return _cosine(peak, peak / (START * END), fall), _cosine(low, high, fall)


def faded_in(step: int, steps: int, share: float) -> float:
    """Return the factor of all penalties at a step: it rises from 0 to 1 over the first steps, and stays.

    Args:
        step: From 0 on.
        steps: All steps.
        share: Share of the steps over which it rises; 0 for penalties that are whole from the first step on.
    """
    return min(step / (share * steps), 1.0) if share > 0 else 1.0


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
