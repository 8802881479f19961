"""Real fits by PySR, if Julia is installed."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distillery.errors import DistilleryError
from distillery.symbolic import julia, pysr
from distillery.symbolic.child import Child
from distillery.symbolic.engine import Problem
from distillery.symbolic.julia_setup import prepare
from distillery.symbolic.settings import DistillationSettings, PysrSettings
from support.fakepysr import SMALL

ALL = ("+", "-", "*", "/", ">", "<", "^", "exp", "log", "if")
ROOT = Path(__file__).parents[2]
BUDGET = PysrSettings(iterations=40, populations=8, population_size=30, cycles=200, max_size=15)


@pytest.fixture(scope="session")
def depot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a prepared depot: the one named by DISTILLERY_TEST_DEPOT, the checkout's, or one made for the tests."""
    reason = pysr.missing()
    if reason:
        pytest.skip(reason)
    chosen = Path(os.environ.get("DISTILLERY_TEST_DEPOT", ROOT / ".julia"))
    if julia.unprepared(chosen) is not None:
        if shutil.which("julia") is None:
            pytest.skip(f"{julia.unprepared(chosen)}, and julia is not on the PATH")
        chosen = tmp_path_factory.mktemp("depot")
        try:
            prepare(chosen)
        except DistilleryError as error:
            pytest.skip(str(error))
    return chosen


def spring(depot: Path, **settings: Any) -> Problem:
    """Return one message component: a spring's force, rotated, with noise and irrelevant inputs."""
    rng = np.random.default_rng(3)
    displacement = rng.normal(0, 1.4, (2000, 2))
    distance = np.linalg.norm(displacement, axis=1)
    features = np.column_stack([displacement, distance, np.exp(rng.normal(size=2000))])
    target = displacement @ [0.6, 0.8] * (1 - 1 / distance) + 0.01 * rng.normal(size=2000)
    chosen = DistillationSettings(**{"engine": "pysr", "pysr": BUDGET, "seconds": 300.0, **settings})
    return Problem(
        names=("dx", "dy", "r", "m1"),
        features=features[:1000],
        target=target[:1000],
        held_out_features=features[1000:],
        held_out_target=target[1000:],
        settings=chosen,
        environment=pysr.environment(chosen, depot) if chosen.engine == "pysr" else {},
    )


@pytest.mark.pysr
@pytest.mark.slow
def test_both_engines_find_the_same_law_in_the_same_target(depot: Path, child: Child) -> None:
    for engine in ("operon", "pysr"):
        # The default budget found this law in 37 to 53 s; the smaller one of the other tests does not suffice.
        result = child.fit(spring(depot, engine=engine, pysr=PysrSettings()))
        assert result.status == "ok", result.reason
        assert result.front[-1].mae < 0.05, engine


@pytest.mark.pysr
@pytest.mark.slow
def test_equal_seeds_give_equal_fronts_in_a_fresh_and_in_a_warm_process(depot: Path, child: Child) -> None:
    task = spring(depot, pysr=BUDGET.model_copy(update={"iterations": 5}))
    first, warm = child.fit(task), child.fit(task)
    child.close()
    fresh = child.fit(task)
    assert first.status == "ok", first.reason
    assert first.front == warm.front == fresh.front


@pytest.mark.pysr
@pytest.mark.slow
def test_pysr_keeps_its_front_at_a_limit_and_goes_on_from_it(depot: Path, child: Child) -> None:
    short = child.fit(spring(depot, seconds=15.0, pysr=BUDGET.model_copy(update={"iterations": 1_000_000})))
    assert short.status == "timed_out", short.reason
    assert short.found
    result = child.fit(dataclasses.replace(spring(depot), guesses=short.found))
    assert (result.status, result.guesses) == ("ok", len(short.found)), result.reason
    assert result.front[-1].mae <= 1.05 * short.front[-1].mae


@pytest.mark.pysr
@pytest.mark.slow
def test_pysr_knows_all_operators(depot: Path, child: Child) -> None:
    result = child.fit(spring(depot, operators=ALL, pysr=SMALL))
    assert result.status == "ok", result.reason
