"""Formulas: what is parsed, what is refused, and how they evaluate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import sympy

from distillery.errors import DistilleryError
from distillery.physics import formula

SYMBOLS = ("r", "m1", "m2")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2*r + 1", 5.0),
        ("r^2 - m1/m2", 4.0 - 3.0 / 5.0),
        ("-r**-2", -0.25),
        ("m1*m2*log(r)", 15.0 * math.log(2.0)),
        ("sqrt(r)*exp(-r)", math.sqrt(2.0) * math.exp(-2.0)),
        ("abs(r - m1) + min(m1, m2) + max(m1, m2)", 9.0),
        ("(r - 1)**2 if r > 1.5 else 0", 1.0),
        ("(r - 1)**2 if r > 2 else 0", 0.0),
        ("1 if r < 1 else (2 if r <= 2 else 3)", 2.0),
        ("1/3", 1.0 / 3.0),
    ],
)
def test_known_values(text: str, value: float) -> None:
    expression = formula.parse(text, SYMBOLS)
    assert formula.evaluate(expression, {"r": 2.0, "m1": 3.0, "m2": 5.0}) == pytest.approx(value, rel=1e-15)


def test_arrays_are_broadcast() -> None:
    r = np.linspace(0.5, 3.0, 7)
    found = formula.evaluate(formula.parse("m1/r", SYMBOLS), {"r": r[:, None], "m1": np.array([1.0, 2.0])})
    np.testing.assert_allclose(found, np.array([1.0, 2.0]) / r[:, None], rtol=1e-15)


def test_singular_values_are_not_errors() -> None:
    found = formula.evaluate(formula.parse("m1/r + log(r)", SYMBOLS), {"r": np.array([0.0, 1.0]), "m1": 1.0})
    assert not np.isfinite(found[0])
    assert found[1] == 1.0


def test_a_symbol_without_a_value_is_named() -> None:
    with pytest.raises(DistilleryError, match="'m1'"):
        formula.evaluate(formula.parse("m1*r", SYMBOLS), {"r": 1.0})


@pytest.mark.parametrize(
    "text",
    [
        "(r - 1)**2",
        "-m1*m2/r",
        "0.1*r + 1e-17",
        "(r - 1)**2 if r > 2.5 else 0",
        "1 if r < 1 else (2 if r < 2 else 3*r)",
        "sqrt(r) + abs(m1 - m2) + exp(-r)*log(r) + min(m1, m2) + max(r, m1)",
        "m1/3 + 12345678901234567890*r",
        "123456789*123456789*r + m1*9**90 + r/(3**20*7**20)",
        "r**0.5 + r**(1/3)",
    ],
)
def test_text_reads_back_as_the_same_expression(text: str) -> None:
    expression = formula.parse(text, SYMBOLS)
    again = formula.parse(formula.to_text(expression), SYMBOLS)
    assert again == expression
    values = {"r": 1.7, "m1": 0.3, "m2": 2.2}
    assert formula.evaluate(again, values) == formula.evaluate(expression, values)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch {mark}')",
        "open('{mark}', 'w')",
        "(lambda: open('{mark}', 'w'))()",
        "[r for r in open('{mark}', 'w')]",
        'exec(\'open("{mark}", "w")\')',
        "r.__class__",
        "r[0]",
        "'r'",
        "log(x=r)",
        "r if r else m1",
        "r if 1 < r < 2 else m1",
        "r and m1",
        "r == 1",
        "r > 1",
        "r // 2",
        "r % 2",
        "True",
        "1j",
        "(r := 2)",
        "f'{r}'",
        "sin(r)",
        "log(r, 2, 3)",
    ],
)
def test_anything_but_arithmetic_is_refused_and_not_run(text: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with pytest.raises(DistilleryError) as refusal:
        formula.parse(text.replace("{mark}", str(mark)), SYMBOLS)
    assert "\n" not in str(refusal.value)
    assert not mark.exists()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("r*m3", "unknown symbol 'm3'; known are m1, m2, r"),
        ("r +", "does not parse"),
        ("", "does not parse"),
        ("r r", "does not parse"),
        ("1/0", "division by zero"),
        ("log(0)", "not a finite real"),
        ("sqrt(-1)*r", "not a finite real"),
        ("9**9**9", "too large"),
        ("r**1000", "too large"),
        ("((((9**100)**100)**100)**100)**100*r", "too large"),
        ("((((9*r)**100)**100)**100)**100", "too large"),
        ("r*9**100*9**100*9**100*9**100", "not a finite real"),
        ("1e400*r", "not a finite real"),
        ("exp(exp(exp(exp(1000))))*r", "not a finite real"),
        ("r**(0/0)", "not a finite real"),
        ("r**sqrt(-1)", "not a finite real"),
        ("(-8)**(1/3)*r", "not a finite real"),
        ("max(r, 0/0)", "not a finite real"),
        ("max(r, sqrt(-1 - r**2))", "not a finite real"),
        ("max(r/0, 1)", "not a finite real"),
        ("r if r > 0/0 else 1", "not a finite real"),
        ("r if sqrt(-1) > 2 else 1", "not a finite real"),
        ("r if sqrt(-1 - r**2) > 2 else 1", "not a finite real"),
        ("r\0", "does not parse"),
        ("(" * 300 + "r" + ")" * 300, "parse"),
        ("r+" * 6000 + "r", "too long"),
    ],
)
def test_complaints_say_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(DistilleryError, match=complaint.replace("(", r"\(")) as refusal:
        formula.parse(text, SYMBOLS)
    assert "\n" not in str(refusal.value)


def test_symbols_are_real_and_shared() -> None:
    assert formula.parse("r", SYMBOLS) is formula.symbol("r")
    assert formula.parse("abs(r)", SYMBOLS).diff(formula.symbol("r")) == sympy.sign(formula.symbol("r"))


def test_derivatives_evaluate() -> None:
    r = formula.symbol("r")
    slope = formula.parse("(r - 1)**2 if r > 2 else 0", SYMBOLS).diff(r)
    np.testing.assert_array_equal(formula.evaluate(slope, {"r": np.array([1.0, 3.0])}), [0.0, 4.0])
    smooth = formula.parse("sqrt(r)*log(r)/m1", SYMBOLS).diff(r)
    h = 1e-6
    values = [formula.evaluate(formula.parse("sqrt(r)*log(r)/m1", SYMBOLS), {"r": 2 + s, "m1": 3.0}) for s in (-h, h)]
    assert formula.evaluate(smooth, {"r": 2.0, "m1": 3.0}) == pytest.approx((values[1] - values[0]) / (2 * h), rel=1e-8)
