"""Library functions of symbolic regression, without a sweep."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from distillery.errors import DistilleryError
from distillery.symbolic.fits import fit_expression, fit_expressions
from distillery.symbolic.problems import Samples, problems
from distillery.symbolic.settings import DistillationSettings, OperonSettings
from support.problems import inputs

QUICK = DistillationSettings(operon=OperonSettings(population=100, generations=10, max_length=12))


def samples(count: int = 400) -> Samples:
    columns = inputs(count)
    target = np.stack([2 * columns["dx"], columns["dx"] * columns["m2"]], axis=1)
    return Samples(tuple(columns), np.stack(list(columns.values()), axis=1), target, np.arange(count) >= count // 2)


def test_problems_are_fitted_in_this_process_or_by_a_mapper() -> None:
    wanted = list(problems({"message": samples()}, QUICK).values())
    here = fit_expressions(wanted)
    assert [result.status for result in here] == ["ok", "ok"]
    assert all(result.front[-1].mae < 1e-5 for result in here)
    with ThreadPoolExecutor(1) as pool:
        mapped = fit_expressions(wanted, mapper=pool.map)
    assert [result.front for result in mapped] == [result.front for result in here]


def test_one_problem_is_fitted() -> None:
    (problem, _) = problems({"message": samples()}, QUICK).values()
    result = fit_expression(problem)
    assert result.chosen is not None
    assert result.front[result.chosen].expression == "2.0*dx"


def test_samples_without_held_out_ones_are_refused() -> None:
    own = samples()
    with pytest.raises(DistilleryError, match="lacks training or held-out samples"):
        problems({"message": Samples(own.names, own.features, own.target, np.zeros(400, dtype=bool))}, QUICK)
