"""What is handed on has the types and shapes that are written down, or a test fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError, jaxtyped

from distillery.cell import Cell
from distillery.generalise.rollout import horizon
from typechecks import when_called


def test_types_and_shapes_of_arguments_are_checked_at_every_call() -> None:
    wrong: Any = 3
    with pytest.raises(TypeCheckError, match=r"parameters of distillery\.cell\.Cell\.parse"):
        Cell.parse(wrong)
    assert horizon(np.zeros((4, 2)), np.arange(4.0), 0.1) == 3.0
    for times in (np.arange(5.0), np.arange(4), np.zeros((4, 2))):
        with pytest.raises(TypeCheckError, match=r"parameters of distillery\.generalise\.rollout\.horizon"):
            horizon(np.zeros((4, 2)), times, 0.1)


def test_what_is_returned_is_checked() -> None:
    def shorter(values: Float[np.ndarray, "row"], by: int) -> Float[np.ndarray, "row"]:
        return values[by:]

    checked: Any = jaxtyped(shorter, typechecker=when_called)
    assert len(checked(np.ones(3), 0)) == 3
    with pytest.raises(TypeCheckError, match="the return value of"):
        checked(np.ones(3), 1)
