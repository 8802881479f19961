"""Nested and long formulas: conditions stay short when rewritten as cases, and limits are enforced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy
from pydantic import ValidationError

from distillery.errors import DistilleryError
from distillery.physics import formula, piecewise
from distillery.physics.nesting import require_shallow
from support.integration import made


def test_conditions_are_comparisons() -> None:
    r = sympy.Symbol("r", real=True)
    piecewise.require_comparisons(sympy.Piecewise((r, sympy.Or(r > 2, r < 1)), (0, True)))
    with pytest.raises(DistilleryError, match="not a comparison"):
        piecewise.require_comparisons(sympy.Piecewise((r, sympy.Ne(r, 2)), (0, True)))


def nested(form: str, depth: int) -> str:
    """Return a formula of r that nests a form in itself, with another number c at each level."""
    text = "r"
    for level in range(depth):
        text = form.format(text, c=0.3 + 0.37 * level)
    return text


@pytest.mark.parametrize(
    "text",
    [
        nested("abs({0} - {c})", 8),
        nested("min({0}*r, {c})", 4),
        nested("max(min({0}, r*{c}), r - {c})", 2),
        nested("abs(min({0}, r*{c}) - {c})", 2),
        nested("(abs({0} - {c}) if r > {c} else r)", 6),
        "max(" + ", ".join(f"{k}*r - {k * k}" for k in range(8)) + ")",
        "".join(f"{k}*r**2 if r < {k + 1} else " for k in range(30)) + "0",
        " + ".join(f"abs(r - {k})" for k in range(1, 20)),
    ],
)
def test_nested_conditions_rewritten_as_cases_stay_short(text: str) -> None:
    found = piecewise.as_piecewise(formula.parse(text, ("r",)))
    value = sum(
        not isinstance(node, sympy.logic.boolalg.Boolean) for node in sympy.preorder_traversal(found) if node.args
    )
    assert value < 20 * len(text)
    r = np.linspace(0.05, 20.0, 400)
    plain = formula.evaluate(formula.parse(text, ("r",)), {"r": r})
    np.testing.assert_array_equal(formula.evaluate(found, {"r": r}), plain)
    force = formula.evaluate(made(text).radial_force, {"r": r, "softening": 0.0})
    step = 1e-7
    slope = -(formula.evaluate(found, {"r": r + step}) - formula.evaluate(found, {"r": r - step})) / (2 * step)
    # A few places are on a kink or a jump, which has no slope.
    assert np.mean(np.isclose(force, slope, rtol=1e-4, atol=1e-4)) > 0.9


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        (nested("abs({0} - {c})", 40), "at most 8"),
        (nested("min({0}*r, {c})", 10), "at most 8"),
        (nested("max(min({0}, r*{c}), r - {c})", 6), "at most 8"),
        (nested("(r if ({0}) > {c} else 2*r)", 6), "at most 8"),
        (nested("1/({0} + {c})", 60), "at most 40"),
        (nested("sqrt({0} + {c})", 60), "at most 40"),
        (nested("exp(-{0})", 60), "at most 40"),
    ],
)
@pytest.mark.parametrize("where", ["potential", "body_potential"])
def test_deeply_nested_formulas_are_refused_with_the_limit(
    text: str, limit: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(text: str, symbols: Any) -> Any:
        assert len(text) < 20
        return formula.symbol("r")

    # They are refused before SymPy parses them.
    monkeypatch.setattr(formula, "parse", read)
    given = {"potential": "r**2", where: text.replace("r", "x") if where == "body_potential" else text}
    with pytest.raises(ValidationError, match=limit) as caught:
        made(**given)
    assert "\n" not in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 60 + "r" + ")" * 60,
        " + ".join(f"{k}/(r + {k + 1})" for k in range(1, 150)),
        "*".join(f"(r + {k + 1})" for k in range(45)),
        "-exp(exp(exp(-r)))",
        "(((r**2 + 1)**2 + 1)**2 + 1)**2",
    ],
)
def test_long_flat_formulas_are_accepted(text: str) -> None:
    require_shallow(text)


@pytest.mark.slow
def test_a_long_sum_is_a_potential() -> None:
    text = " + ".join(f"{k}*exp(-{k}*r)" for k in range(1, 120))
    values = {"r": np.array([0.1, 1.0])}
    expected = sum(k * np.exp(-k * values["r"]) for k in range(1, 120))
    np.testing.assert_allclose(formula.evaluate(made(text).softened_potential, {**values, "softening": 0.0}), expected)
