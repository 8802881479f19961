"""Distillation without processes: complexity, tidying, the front, engines, keys."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import sympy

from distillery.errors import DistilleryError
from distillery.physics import formula
from distillery.symbolic import fits, forms, operon
from distillery.symbolic import tidying as tidy
from distillery.symbolic.complexity import complexity
from distillery.symbolic.engine import ENGINES, require
from distillery.symbolic.front import Point, choose, pareto_front
from distillery.symbolic.settings import DistillationSettings, OperonSettings
from distillery.workflow import stored_fits
from support.problems import NAMES, inputs, parse, problem


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("2.3", 1),
        ("-2.3", 1),
        ("dx", 1),
        ("-dx", 2),
        ("dx - dy", 3),
        ("-dx - dy", 4),
        ("1.5*dx", 3),
        ("-1.5*dx", 3),
        ("dx/r", 3),
        ("1/r", 3),
        ("-2.1/r", 3),
        ("r^2", 3),
        ("r^4", 5),
        ("r^0.5", 5),
        ("r^dx", 5),
        ("(dx + dy)^2", 7),
        ("dx*m2/r^3", 9),
        ("exp(r)", 4),
        ("log(r*m1)", 6),
        ("dx*(1 - 1/r)", 7),
        ("(0.3*dx + 0.4*dy)*(1 - 1.01/r) + 0.2", 15),
        ("dx if r > 2 else 0", 8),
    ],
)
def test_complexity_counts_as_the_paper_does(text: str, cost: int) -> None:
    assert complexity(parse(text)) == cost


def test_redundant_constants_merge_into_the_cheapest_form() -> None:
    tree = parse("0.7*((1.9*dx)*(2.1*m2))/((0.5*r)*(3.0*r)) + 0.2*(1.5*dy - 0.5)")
    short = forms.cheapest(tree)
    assert complexity(short) == complexity(parse("0.3*dy + 1.8*dx*m2/r^2 - 0.1"))
    values = inputs()
    np.testing.assert_allclose(formula.evaluate(short, values), formula.evaluate(tree, values), rtol=1e-12)


def test_common_factors_are_taken_out() -> None:
    assert complexity(forms.cheapest(parse("1.3*dx - 1.2*dx/r"))) == complexity(parse("dx*(1.3 - 1.2/r)"))


def test_multiplying_out_is_refused_where_it_would_explode() -> None:
    many = "(1.1*dx + 2.2*dy + 3.3*r + 4.4*m1 + 5.5*m2 + 0.3)"
    tree = parse("*".join([many] * 9))
    assert complexity(forms.cheapest(tree)) <= complexity(tree)


def test_free_coefficients_become_the_nearest_product() -> None:
    product = forms.products(parse("0.6*dx + 0.8*dy - 0.59*dx/r - 0.81*dy/r + 0.1"))
    assert product is not None
    assert complexity(product) == 13
    values = inputs()
    wanted = formula.evaluate(parse("(0.6*dx + 0.8*dy)*(1 - 1/r) + 0.1"), values)
    np.testing.assert_allclose(formula.evaluate(product, values), wanted, atol=0.05)


def test_a_common_factor_that_does_not_cancel_stays() -> None:
    m, s = formula.symbol("m"), formula.symbol("s")
    # Constants fitted without data turn 0.1^m into 0^m, and 0^m/0^m is not 1.
    vanishing = sympy.Integer(0) ** m
    assert forms.collected(vanishing * m - vanishing * s) == vanishing * m - vanishing * s
    assert forms.collected(2**m * s + 2**m) == 2**m * (s + 1)


@pytest.mark.slow
def test_tidying_drops_what_does_not_matter_and_refits_the_rest() -> None:
    values = inputs()
    target = formula.evaluate(parse("(0.6*dx - 0.8*dy)*(1 - 1.01/r) + 0.2"), values)
    start = parse("0.61*dx - 0.79*dy + 0.001*m1 - (0.6*dx - 0.83*dy)/(1.001*r) + 0.19 + 0.002*q1*q2")
    front = pareto_front(
        tidy.tidied([start], values, target),
        inputs(seed=5),
        formula.evaluate(parse("(0.6*dx - 0.8*dy)*(1 - 1.01/r) + 0.2"), inputs(seed=5)),
    )
    exact = [point for point in front if point.mae < 1e-5]
    assert exact
    assert exact[0].complexity == 13


def test_constants_are_fitted_robustly() -> None:
    values = inputs()
    target = formula.evaluate(parse("1.7*dx*m2 + 0.3"), values)
    target[::20] += 100.0
    fit = tidy.refit(tidy.parametrise(parse("1.1*dx*m2 + 0.1")), values, target)
    assert sorted(fit.values.values()) == pytest.approx([0.3, 1.7], rel=2e-2)


def test_a_singular_expression_is_left_out() -> None:
    values = inputs()
    assert tidy.tidied([parse("log(dx)")], values, values["dx"]) == []
    assert pareto_front([parse("1/(q1 - q1*q2*q1*q2*q1)")], values, values["dx"]) == []


def test_the_front_improves_with_complexity_and_scores_the_drop() -> None:
    values = inputs()
    target = formula.evaluate(parse("dx*(1 - 1/r)"), values)
    candidates = [parse(t) for t in ("0.1", "dx", "dx*(1 - 1/r)", "dx + dy + m1 + m2", "0.9*dx*(1 - 1/r)")]
    front = pareto_front(candidates, values, target + 1e-3)
    assert [point.complexity for point in front] == sorted({point.complexity for point in front})
    assert [point.mae for point in front] == sorted((point.mae for point in front), reverse=True)
    assert front[0].score == 0.0
    for before, after in itertools.pairwise(front):
        expected = -np.log(after.mae / before.mae) / (after.complexity - before.complexity)
        assert after.score == pytest.approx(expected)
    index = choose(front)
    assert index is not None
    assert formula.parse(front[index].expression, NAMES) == parse("dx*(1 - 1/r)")


def test_rounding_errors_on_noise_free_data_earn_nothing() -> None:
    values = inputs()
    target = formula.evaluate(parse("1.5*dx*m2"), values)
    almost = parse("1.5000001*dx*m2 + 0.00000001")
    front = pareto_front(
        [parse("0.1"), parse("dx"), parse("1.50001*dx*m2"), almost, parse("1.5*dx*m2")], values, target
    )
    index = choose(front)
    assert index is not None
    assert front[index].complexity == complexity(parse("1.5*dx*m2"))


def test_the_choice_of_ties_and_of_short_fronts() -> None:
    points = [Point("1.0", 1, 1.0, 0.0), Point("dx", 3, 0.5, 0.4), Point("dy", 5, 0.2, 0.4)]
    assert choose(points) == 1
    assert choose(points[:1]) == 0
    assert choose([]) is None


def test_a_fits_key_depends_on_data_budget_and_seed_but_not_on_limits() -> None:
    base = stored_fits.fit_key(problem("dx"))
    assert stored_fits.fit_key(problem("dx")) == base
    assert stored_fits.fit_key(problem("dx", seconds=1.0, memory_mb=300)) == base
    assert stored_fits.fit_key(problem("dx", pysr={"iterations": 7})) == base
    others = [problem("dy"), problem("dx", seed=1), problem("dx", operators=("+", "*")), problem("dx", engine="pysr")]
    others.append(problem("dx", operon=OperonSettings(generations=7)))
    keys = {stored_fits.fit_key(other) for other in others}
    assert base not in keys
    assert len(keys) == len(others)


def test_finished_fits_are_reused_only_while_they_mean_the_same(tmp_path: Path) -> None:
    settings = DistillationSettings(seconds=10.0)
    path = stored_fits.fit_file(tmp_path, "k")
    points = [Point("dx", 1, 0.5, 0.0)]
    stored_fits.keep_fit(path, "k", settings, fits.FitResult.failed("no luck"))
    assert not path.exists()
    done = fits.FitResult.of(points, 1.0)
    stored_fits.keep_fit(path, "k", settings, done)
    assert stored_fits.load_fit(path, "k", DistillationSettings(seconds=20.0)) == done
    assert stored_fits.load_fit(path, "other", settings) is None
    for chosen in (None, -1, len(done.front)):
        stored_fits.keep_fit(path, "k", settings, dataclasses.replace(done, chosen=chosen))
        assert stored_fits.load_fit(path, "k", settings) is None
    late = fits.FitResult.of(points, 10.0, "timed_out", "limit")
    stored_fits.keep_fit(path, "k", settings, late)
    assert stored_fits.load_fit(path, "k", settings) == late
    assert stored_fits.load_fit(path, "k", DistillationSettings(seconds=20.0)) is None
    path.write_text(path.read_text()[:40])
    assert stored_fits.load_fit(path, "k", settings) is None


@pytest.mark.slow
def test_operon_is_deterministic_and_reads_back(tmp_path: Path) -> None:
    task = problem("(0.6*dx - 0.8*dy)*m2/r + 0.2", operon=OperonSettings(population=60, generations=6))
    reports: list[list[str]] = []
    first = operon.search(task, tmp_path, reports.append)
    assert first == operon.search(task, tmp_path, reports.append)
    assert first
    assert len(fits.parsed(first, NAMES)) == len(first)
    assert reports
    other = problem("(0.6*dx - 0.8*dy)*m2/r + 0.2", seed=1, operon=OperonSettings(population=60, generations=6))
    assert operon.search(other, tmp_path, reports.append) != first


@pytest.mark.slow
def test_operons_trees_mean_what_operon_computes(tmp_path: Path) -> None:
    # With noise-free data the engine's own error is small only if the rebuilt expression is the same function.
    task = problem("1.3*dx*m2/r - 0.4", operon=OperonSettings(population=200, generations=15))
    found = fits.unfinished(task, operon.search(task, tmp_path, lambda _: None))
    assert found[-1].mae < 1e-3


def test_engines_are_checked_before_work_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    require(DistillationSettings())
    monkeypatch.setattr(operon, "_PIECEWISE", frozenset({">", "<"}))
    with pytest.raises(DistilleryError, match=r"operators: operon has no if; .*engine: pysr"):
        require(DistillationSettings(operators=("+", "if")))
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pysr" else real(name))
    with pytest.raises(DistilleryError, match=r"pysr cannot run here, .*package pysr.*engine: operon"):
        require(DistillationSettings(engine="pysr"))
    assert set(ENGINES) == {"operon", "pysr"}
