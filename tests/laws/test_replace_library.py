"""The library function that replaces a network by a law, without a sweep."""

from __future__ import annotations

import numpy as np
import pytest

from distillery.laws.law import own_names
from distillery.laws.replace import DistilledFunction, replace
from distillery.networks.functions import feature_names
from distillery.physics import formula
from distillery.symbolic.shared_form import Candidate
from support.laws import SETTINGS, graphs


def function(texts: tuple[str, ...], names: tuple[str, ...]) -> DistilledFunction:
    fronts = [[Candidate(formula.parse(text, names), 9, 0.1)] for text in texts]
    return DistilledFunction.of_fronts(fronts, [0] * len(fronts), axes=True, unit_charges=True)


def test_distilled_fronts_and_snapshots_give_a_law_with_standard_errors() -> None:
    messages = function(("dx*(-2.6 + 2.5/r)", "dy*(-2.5 + 2.5/r)"), feature_names(2))
    nodes = function(("0.8*s1/m", "0.8*s2/m"), ("s1", "s2", *own_names(2)))
    found = replace(messages, nodes, graphs(noise=0.01), graphs(seed=1).graphs, SETTINGS)
    assert found.form == "clean"
    assert found.shown is not None
    assert found.shown.errors
    assert all(0 < error < 0.01 for error in found.shown.errors.values())
    assert found.errors["clean"]["mae"] == pytest.approx(0.0, abs=0.01)
    assert found.evaluations > 0


def test_the_seed_of_the_settings_repeats_a_law() -> None:
    messages = function(("dx*(-2.6 + 2.5/r)", "dy*(-2.5 + 2.5/r)"), feature_names(2))
    nodes = function(("0.8*s1/m", "0.8*s2/m"), ("s1", "s2", *own_names(2)))
    one, two = (replace(messages, nodes, graphs(count=100), graphs(seed=1).graphs, SETTINGS) for _ in range(2))
    assert one.shown is not None
    assert two.shown is not None
    np.testing.assert_array_equal(list(one.shown.law.constants.values()), list(two.shown.law.constants.values()))


def test_a_law_that_is_not_finite_gives_the_reason() -> None:
    messages = function(("log(dx)", "dy"), feature_names(2))
    nodes = function(("s1", "s2"), ("s1", "s2", *own_names(2)))
    found = replace(messages, nodes, graphs(count=100), graphs(seed=1).graphs, SETTINGS)
    assert found.shown is None
    assert "log(dx)" in found.singular
