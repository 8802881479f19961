"""Types and shapes are checked at run time in tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError

from distillery.validation.rollout import horizon
from distillery.workflow.cell import Cell, Experiment
from support.typechecks import checked


def test_types_and_shapes_of_arguments_are_checked_at_every_call() -> None:
    wrong: Any = 3
    with pytest.raises(BeartypeCallHintViolation, match=r"distillery\.workflow\.cell\.Cell\.parse"):
        Cell.parse(wrong)
    assert horizon(np.zeros((4, 2)), np.arange(4.0), 0.1) == 3.0
    for times in (np.arange(5.0), np.arange(4), np.zeros((4, 2))):
        with pytest.raises(TypeCheckError, match=r"parameters of distillery\.validation\.rollout\.horizon"):
            horizon(np.zeros((4, 2)), times, 0.1)


def test_return_values_are_checked() -> None:
    @checked
    def shorter(values: Float[np.ndarray, "row"], by: int) -> Float[np.ndarray, "row"]:
        return values[by:]

    assert len(shorter(np.ones(3), 0)) == 3
    with pytest.raises(TypeCheckError, match="the return value of"):
        shorter(np.ones(3), 1)


def test_shapes_nested_in_a_type_are_checked() -> None:
    @checked
    def twice(values: tuple[Float[np.ndarray, "row"], Float[np.ndarray, "row"]] | None) -> list[int]:
        return [] if values is None else [len(each) for each in values]

    assert twice(None) == []
    assert twice((np.ones(3), np.zeros(3))) == [3, 3]
    with pytest.raises(TypeCheckError, match="the parameters of"):
        twice((np.ones(3), np.ones(2)))


def test_constructors_are_checked() -> None:
    wrong: Any = "2"
    with pytest.raises(BeartypeCallHintViolation, match="dim"):
        Experiment("spring", wrong, 4, 0)
