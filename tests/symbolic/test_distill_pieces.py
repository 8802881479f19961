"""Threshold splits, piecewise expressions, outliers, and hill climbing over neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

from distillery.physics import formula
from distillery.symbolic import forms, neighbours, operon, outliers, pysr
from distillery.symbolic import threshold_split as split
from distillery.symbolic import tidying as tidy
from distillery.symbolic.complexity import complexity
from distillery.symbolic.engine import Problem, require
from distillery.symbolic.front import rounded
from distillery.symbolic.settings import DistillationSettings, OperonSettings
from support.problems import inputs, parse, problem

LAW = "-2*(0.5*dx - 0.8*dy)*(1 - 1/r) if r > 2 else 0"


def noisy(text: str, values: dict[str, np.ndarray], noise: float = 0.02) -> np.ndarray:
    target = formula.evaluate(parse(text), values)
    return np.asarray(target + noise * np.std(target) * np.random.default_rng(7).normal(size=target.shape))


@pytest.mark.slow
@pytest.mark.parametrize("text", [LAW, f"{LAW} + 0.3", "m2*dx if r > 2 else -3*dy"])
def test_the_split_that_pays_is_at_the_break(text: str) -> None:
    values = inputs(3000)
    found = split.best_split(values, noisy(text.replace(LAW, f"({LAW})"), values))
    assert found is not None
    assert found.feature == "r"
    assert found.threshold == pytest.approx(2.0, abs=0.05)


@pytest.mark.slow
def test_a_break_in_any_feature_is_found_and_none_where_there_is_none() -> None:
    values = inputs(3000)
    found = split.best_split(values, noisy("dx*2 if m2 > 1.5 else dy - 3", values))
    assert found is not None
    assert (found.feature, found.threshold) == ("m2", pytest.approx(1.5, abs=0.05))
    assert split.best_split(values, noisy("dx*m2 - 0.3*dy", values)) is None
    assert split.best_split(values, np.ones(3000)) is None


def test_a_threshold_is_where_the_error_is_least() -> None:
    column = np.array([0.0, 1.0, 2.0, 3.0, 3.0, 4.0])
    upper = column > 2.5
    assert split.best_threshold(column, 1.0 * ~upper, 1.0 * upper, 1.5, within=1.0) == 2.5
    assert split.best_threshold(column, np.zeros(6), np.zeros(6), 1.7) == 1.7, "nothing is better"
    between_equals = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    assert split.best_threshold(column, between_equals[::-1], between_equals, 2.5, within=1.0) != 3.0


@pytest.mark.parametrize("start", ["1.8", "2.2"])
def test_thresholds_are_scanned_and_constants_refitted(start: str) -> None:
    values = inputs(2000)
    begin = parse(f"(0.9*dx + 0.7*dy)*(1 - 1.2/r) + 0.1 if r > {start} else 0.2")
    (first, *_) = tidy.tidied([begin], values, noisy(LAW, values))
    (condition,) = first.atoms(sympy.StrictGreaterThan)
    assert float(condition.args[1]) == pytest.approx(2.0, abs=0.01)


def test_an_otherwise_that_is_nothing_becomes_0() -> None:
    values = inputs(2000)
    found = tidy.tidied([parse(f"{LAW[:-1]} 0.01*dy + 0.004")], values, noisy(LAW, values))
    target = formula.evaluate(parse(LAW), values)
    plain = [each for each in found if isinstance(each, sympy.Piecewise) and each.args[-1][0] == 0]
    assert plain
    assert min(np.mean(np.abs(formula.evaluate(each, values) - target)) for each in plain) < 0.01 * np.std(target)


def test_a_piece_without_samples_is_not_deleted_by_accident() -> None:
    values = inputs()
    expression = parse("1.3*dx if r > 0.0001 else 0.7*dy")
    skeleton = tidy.parametrise(expression)
    fit = tidy.refit(skeleton, values, noisy("1.3*dx", values))
    assert fit.growth(next(n for n, v in skeleton.values.items() if v == 0.7), 0.0) == np.inf
    assert fit.error < 0.1


def test_pieces_are_brought_to_their_cheapest_forms() -> None:
    tree = parse("0.1 + 2.0*((1.3*dx*2.0 - 1.2*dx/r) if r > 2.1 else (m1*3.0*2.0 + 0.5*(m1 - 1.0)))")
    short = forms.cheapest(tree)
    assert complexity(short) < complexity(tree)
    values = inputs()
    np.testing.assert_allclose(formula.evaluate(short, values), formula.evaluate(tree, values), rtol=1e-12)
    free = parse("(0.6*dx + 0.8*dy - 0.59*dx/r - 0.81*dy/r) if r > 2 else 0")
    product = forms.products(free)
    assert product is not None
    assert complexity(product) < complexity(forms.cheapest(free))
    assert forms.products(parse("dx if r > 2 else 0")) is None


@pytest.mark.parametrize(("text", "cost"), [("1 if r > 2 else 0", 3), ("dx*(1 if r > 2 else 0)", 5), (LAW, 20)])
def test_comparisons_count_1_and_if_3(text: str, cost: int) -> None:
    assert complexity(parse(text)) == cost


@pytest.mark.parametrize(
    "text", [LAW, "dx if r > 2.1234567 else (dy if m1 < 0.3 else 0.1)", "1 + (2 if r < 1.5 else m1)"]
)
def test_piecewise_expressions_read_back_and_round(text: str) -> None:
    expression = parse(text)
    assert parse(formula.to_text(expression)) == expression
    for number in rounded(expression).atoms(sympy.Float):
        assert float(number) == float(f"{float(number):.6g}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("cond(greater(r, 2.0f0), dx * 1.5)", "dx*1.5 if r > 2 else 0"),
        (
            "cond(less(r, 2.0), cond(greater(m1, 0.5), dy ^ 2.0)) + 0.1",
            "((dy^2.0 if m1 > 0.5 else 0) if r < 2 else 0) + 0.1",
        ),
        ("cond(r - 2.0, exp(-r) / log(m1 + 1.0))", "exp(-r)/log(m1 + 1.0) if r - 2.0 > 0 else 0"),
        ("dx * greater(r, less(m1, 0.5) + 1.0)", "dx*(1 if r > ((1 if m1 < 0.5 else 0) + 1) else 0)"),
        ("cond(greater(r, 2) * less(m1, 1), dx)", "dx if (1 if r > 2 else 0)*(1 if m1 < 1 else 0) > 0 else 0"),
        ("exp(cond(greater(dx, dy), log(r)) ^ 2)", "exp((log(r) if dx > dy else 0)^2)"),
    ],
)
def test_what_pysr_writes_is_read_nested_too(text: str, meaning: str) -> None:
    (translated,) = pysr.translated([text])
    values = inputs()
    np.testing.assert_allclose(
        formula.evaluate(parse(translated), values), formula.evaluate(parse(meaning), values), rtol=1e-6
    )
    assert complexity(parse(translated)) == complexity(parse(meaning))


def test_few_far_samples_are_left_out_and_a_rare_force_is_not() -> None:
    rng = np.random.default_rng(0)
    gauss = rng.normal(size=5000)
    assert outliers.usual_range(gauss).contains(gauss).all()
    heavy = rng.standard_cauchy(5000)
    kept = outliers.usual_range(heavy).contains(heavy)
    assert 0.949 < kept.mean() < 0.99
    assert np.abs(heavy[kept]).max() < np.abs(heavy[~kept]).min()
    rare = 0.01 * gauss
    rare[:500] += 5.0
    assert outliers.usual_range(rare).contains(rare)[:500].mean() > 0.4


def test_training_and_held_out_samples_are_cut_at_the_same_place() -> None:
    task = problem("dx*m2/r^4")
    cut = outliers.without_outliers(task)
    usual = outliers.usual_range(task.target)
    assert len(cut.target) < len(task.target)
    assert len(cut.features) == len(cut.target)
    np.testing.assert_array_equal(
        cut.held_out_target, task.held_out_target[np.abs(task.held_out_target - usual.centre) <= usual.reach]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "law"),
    [
        ("dx*m2/r^2", "dx*m1*m2/r^3"),
        ("dy*q1/(q2*r^2)", "(dx - 0.7*dy)*q1*q2/(m1*r^3)"),
        ("dx*m1*m2/r^3", "dx*(q1*q2 - m1*m2)/r^3"),
    ],
)
def test_a_climb_reaches_the_law_beside_a_start(start: str, law: str) -> None:
    values = inputs(1000)
    values["r"] = values["r"] + 0.3
    target = formula.evaluate(parse(law), values)
    found = neighbours.hill_climbed(parse(f"0.8*{start}"), values, target)
    error = np.mean(np.abs(formula.evaluate(found[-1], values) - target))
    assert error < 0.02 * np.mean(np.abs(target))


def test_a_climb_from_the_law_itself_goes_nowhere_worse() -> None:
    values = inputs(1000)
    target = noisy("1.5*dx*m2 + 0.2", values)
    assert all(complexity(each) <= 9 for each in neighbours.hill_climbed(parse("1.4*dx*m2 + 0.1"), values, target))


def pieces(**settings: Any) -> Problem:
    budget = OperonSettings(population=60, generations=8)
    return problem(LAW, count=1500, operators=("+", "-", "*", "/", ">", "<", "if"), operon=budget, **settings)


@pytest.mark.slow
def test_operon_takes_the_papers_operators_and_gives_pieces(tmp_path: Path) -> None:
    require(DistillationSettings(operators=("+", "-", "*", "/", ">", "<", "^", "exp", "log", "if")))
    found = operon.search(pieces(), tmp_path, lambda _: None)
    assert found == operon.search(pieces(), tmp_path, lambda _: None)
    cases = [parse(text) for text in found if " if " in text]
    assert cases
    assert {condition.args[0].name for case in cases for condition in case.atoms(sympy.StrictGreaterThan)} == {"r"}
    assert [text for text in found if " if " not in text], "the unsplit front is there too"
