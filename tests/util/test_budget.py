"""Budgets: a search ends at its limit with the best result so far and reports it."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from distillery.laws.compose import composed_energies
from distillery.laws.energies import energies_by_data
from distillery.laws.law import momentum_names
from distillery.laws.prefit import Prefit
from distillery.laws.problem import Problem
from distillery.laws.refit import refit
from distillery.laws.rollout import rolled_out
from distillery.networks.functions import feature_names
from distillery.physics import formula
from distillery.simulate.initial import Bodies
from distillery.symbolic.shared_form import Candidate
from distillery.util import budget
from distillery.util.budget import OutOfBudget
from support.laws import SETTINGS, graphs


def pair(expression: str) -> sympy.Expr:
    return formula.parse(expression, feature_names(2))


def body(expression: str) -> sympy.Expr:
    return formula.parse(expression, momentum_names(2))


# Nested quotients, as engines write them without exponentials.
NESTED = "1.75*(r - 1.0)/(r*(r - 1.9)/(0.35*r + 1/r) + 3.6)"


def test_evaluations_end_a_search_and_the_first_reason_stays() -> None:
    with budget.within("search", 5, 1e9, "replacement") as limit:
        budget.spend(4)
        assert not budget.is_spent()
        budget.spend(3)
        assert budget.is_spent()
        with pytest.raises(OutOfBudget, match=r"limit of 5 evaluations \(replacement.evaluations\)"):
            budget.spend()
    assert limit.note == "the search was cut at its limit of 5 evaluations (replacement.evaluations)"
    assert limit.spent == 7
    # Outside of the budget nothing ends.
    budget.spend(10**9)
    assert not budget.is_spent()


def test_processor_time_ends_a_search() -> None:
    with budget.within("search", 10**9, 1e-9, "generalisation"):
        assert budget.reason() == "the search was cut at its limit of 1e-09 s (generalisation.seconds)"
    assert budget.reason() == ""


def test_a_part_of_a_budget_leaves_the_rest() -> None:
    with budget.within("search", 100, 1e9, "replacement") as limit:
        with limit.part(0.6):
            budget.spend(60)
            assert budget.is_spent()
        assert not budget.is_spent()
        budget.spend(40)
        assert budget.is_spent()
    assert "100 evaluations" in limit.note


def test_a_part_at_its_limit_is_reported_at_the_end() -> None:
    with budget.within("search", 100, 1e9, "replacement") as limit, limit.part(0.6):
        budget.spend(60)
        assert budget.is_spent()
    assert limit.note


def test_a_search_logs_its_first_line_immediately(capsys: pytest.CaptureFixture[str]) -> None:
    with budget.within("replace a/b", 100, 1e9, "replacement"):
        budget.spend()
    assert capsys.readouterr().err.startswith("replace a/b: 1 of 100 evaluations")


@pytest.mark.parametrize("evaluations", [2, 6, 20])
def test_a_fit_at_its_limit_keeps_the_best_constants(evaluations: int) -> None:
    data = graphs()
    law = composed_energies(pair("(r + 0.4)^2.3"), body("(px^2 + py^2)/(2*m)"), 2, True)
    start = float(np.mean(Problem(law, data, ()).residual(np.zeros(0)) ** 2)) / 2
    settings = SETTINGS.model_copy(update={"robust": False, "starts": 1})
    with budget.within("fit", evaluations, 1e9, "replacement") as limit:
        found = refit(law, data, settings, np.random.default_rng(0))
    assert limit.note
    assert limit.spent <= evaluations + len(law.constants)
    assert found.cost <= start
    left = Problem(found.law, data, ()).residual(np.zeros(0))
    assert float(np.mean(left**2)) / 2 == pytest.approx(found.cost)


def test_no_fit_begins_without_a_budget() -> None:
    data = graphs()
    law = composed_energies(pair("(r + 0.4)^2.3"), body("(px^2 + py^2)/(2*m)"), 2, True)
    with budget.within("fit", 1, 1e9, "replacement"):
        budget.spend()
        with pytest.raises(OutOfBudget):
            refit(law, data, SETTINGS, np.random.default_rng(0))
        assert Prefit(data).fit(frozenset()) == (np.inf, [])


def test_starts_end_at_the_limit() -> None:
    data = graphs()
    law = composed_energies(pair("(r + 0.4)^2.3"), body("(px^2 + py^2)/(2*m)"), 2, True)
    settings = SETTINGS.model_copy(update={"starts": 10**15})
    with budget.within("fit", 30, 1e9, "replacement") as limit:
        refit(law, data, settings, np.random.default_rng(0))
    assert limit.note


@pytest.mark.slow
def test_a_choice_among_energies_at_its_limit_is_one_of_them() -> None:
    front = [Candidate(pair(text), 5 * k, 1.0 / k) for k, text in enumerate(("r", "r^2", NESTED), 1)]
    kinetic = [Candidate(body("(px^2 + py^2)/(2*m)"), 11, 0.1)]
    counted = []
    for _ in range(2):
        with budget.within("search", 60, 1e9, "replacement") as limit:
            chosen = energies_by_data(
                (front[-1].expression, kinetic[0].expression),
                (front, kinetic),
                graphs(),
                SETTINGS,
                np.random.default_rng(0),
            )
        counted.append((limit.spent, chosen.source, str(chosen.law)))
        assert limit.note
        assert chosen.law.energies
    assert counted[0] == counted[1]


def test_shared_parts_are_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    law = composed_energies(pair(NESTED), body("(px^2 + py^2)/(2*m)"), 2, True)
    slopes = [sympy.diff(m, formula.symbol(c)) for m in law.messages for c in law.constants]
    calls = 0
    plain = formula._Walk._inner

    def counted(self: formula._Walk, node: sympy.Basic) -> object:
        nonlocal calls
        calls += 1
        return plain(self, node)

    monkeypatch.setattr(formula._Walk, "_inner", counted)
    values = {**graphs().graphs.edges, **law.constants}
    together = list(formula.evaluated(slopes, values))
    once, tree = calls, sum(1 for slope in slopes for node in sympy.preorder_traversal(slope) if node.args)
    assert tree > 5 * once
    for slope, value in zip(slopes, together, strict=True):
        np.testing.assert_array_equal(value, formula.evaluate(slope, values))


def test_a_rollout_at_its_limit_has_no_end() -> None:
    bodies = Bodies(np.ones((1, 2)), np.ones((1, 2)), np.zeros((1, 2, 2)), np.ones((1, 2, 2)))
    edges, times = np.array([[0, 1], [1, 0]]), np.linspace(0.0, 1.0, 11)
    with budget.within("rollout", 39, 1e9, "generalisation"), pytest.raises(OutOfBudget):
        rolled_out(lambda state: np.zeros_like(state.position), bodies, edges, times, 1)
    with budget.within("rollout", 40, 1e9, "generalisation"):
        positions, _ = rolled_out(lambda state: np.zeros_like(state.position), bodies, edges, times, 1)
    assert np.isfinite(positions).all()
