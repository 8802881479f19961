"""Expressions in typeset form: MathML from SymPy trees, which every browser shows without a library."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

import sympy

from distillery.errors import DistilleryError
from distillery.physics.formula import parse
from distillery.report.html import escape

_DIGITS = 3
_DIFFERENCE = re.compile(r"d([xyz])(\d*)")
_VECTOR = re.compile(r"([avp])([xyz]\d*)")
_NUMBERED = re.compile(r"([A-Za-z]+)(\d+)")
# How tightly an operator binds: what binds less than its surroundings stands in brackets.
_SUM, _PRODUCT, _POWER = 1, 2, 3
_MINUS = "\N{MINUS SIGN}"
_BRACKETS = ("(", ")")
_RELATIONS = {">": ">", ">=": "≥", "<": "<", "<=": "≤"}


def equation(left: str, text: str, symbols: Collection[str], *, summed: bool = False) -> str:
    """Return ``left = text`` as a MathML element.

    Args:
        left: A name, typeset as symbols are.
        text: Text of an expression.
        symbols: The names that may occur in it.
        summed: Whether a sign of summation stands before it.

    Raises:
        DistilleryError: The text is no expression in these names.
    """
    right = ("<mo>∑</mo>" if summed else "") + typeset(parse(text, symbols))
    return f'<math display="block"><mrow>{symbol(left)}<mo>=</mo>{right}</mrow></math>'


def symbol(name: str) -> str:
    """Return a name as MathML: ``dx`` as Δx, ``m1`` with an index, ``vx`` too.

    Args:
        name: The name.
    """
    if match := _DIFFERENCE.fullmatch(name):
        base = f'<mrow><mi mathvariant="normal">Δ</mi><mi>{match[1]}</mi></mrow>'
        return _indexed(base, match[2]) if match[2] else base
    if match := _VECTOR.fullmatch(name) or _NUMBERED.fullmatch(name):
        return _indexed(f"<mi>{match[1]}</mi>", match[2])
    return f"<mi>{escape(name)}</mi>"


def typeset(expression: sympy.Expr) -> str:
    """Return an expression as MathML, its numbers rounded to three digits.

    Args:
        expression: An expression as ``formula.parse`` gives it.

    Raises:
        DistilleryError: Something in it has no typeset form.
    """
    return _walk(expression)[0]


def _walk(node: Any) -> tuple[str, int]:
    """Return MathML of an expression, and how tightly its outermost operator binds."""
    if node.is_Symbol:
        return symbol(node.name), _POWER
    if node.is_Number or node.is_NumberSymbol:
        return _number(float(node))
    if isinstance(node, sympy.Add):
        return _sum(node), _SUM
    if isinstance(node, (sympy.Mul, sympy.Pow)):
        return _product(node)
    if isinstance(node, sympy.exp):
        return f"<msup><mi>e</mi>{_row(_walk(node.args[0])[0])}</msup>", _PRODUCT
    if isinstance(node, sympy.Abs):
        return _between("|", _walk(node.args[0])[0], "|"), _POWER
    if isinstance(node, sympy.Piecewise):
        return _cases(node), _SUM
    name = _FUNCTIONS.get(type(node))
    if name is None:
        raise DistilleryError(f"formula: {type(node).__name__} has no typeset form")
    arguments = "<mo>,</mo>".join(_walk(argument)[0] for argument in node.args)
    return f"<mrow><mi>{name}</mi><mo>&#x2061;</mo>{_between('(', arguments, ')')}</mrow>", _POWER


_FUNCTIONS: dict[type, str] = {sympy.log: "log", sympy.Min: "min", sympy.Max: "max", sympy.sign: "sgn"}


def _sum(node: Any) -> str:
    parts = []
    for index, term in enumerate(node.as_ordered_terms()):
        negative = bool(term.could_extract_minus_sign())
        text = _inside(-term if negative else term, _PRODUCT)
        if index or negative:
            parts.append(f"<mo>{_MINUS if negative else '+'}</mo>" if index else f'<mo form="prefix">{_MINUS}</mo>')
        parts.append(text)
    return _row("".join(parts))


def _product(node: Any) -> tuple[str, int]:
    coefficient, rest = node.as_coeff_Mul()
    value = float(coefficient)
    above: list[tuple[Any, Any]] = []
    below: list[tuple[Any, Any]] = []
    for factor in sympy.Mul.make_args(rest):
        base, exponent = factor.as_base_exp() if not isinstance(factor, sympy.exp) else (factor, sympy.S.One)
        negative = bool(exponent.is_number and exponent < 0)
        if factor != 1:
            (below if negative else above).append((base, -exponent if negative else exponent))
    parts = [_number(abs(value))[0]] if _shows(abs(value)) or not above else []
    alone = len(parts) + len(above) == 1
    text = _juxtaposed([*parts, *(_power(base, exponent, alone) for base, exponent in above)])
    if below:
        alone = len(below) == 1
        bottom = _juxtaposed([_power(base, exponent, alone) for base, exponent in below])
        text = f"<mfrac>{_row(text)}{_row(bottom)}</mfrac>"
    if value < 0:
        return _row(f'<mo form="prefix">{_MINUS}</mo>{text}'), _SUM
    return text, _PRODUCT


def _shows(value: float) -> bool:
    return f"{value:.{_DIGITS}g}" != "1"


def _power(base: Any, exponent: Any, alone: bool) -> str:
    """Return a power; a sum that stands alone, as a whole side of a fraction does, needs no brackets."""
    if exponent == 1:
        return _walk(base)[0] if alone else _inside(base, _PRODUCT)
    if exponent.is_number and abs(float(exponent) - 0.5) < 1e-12:
        return f"<msqrt>{_walk(base)[0]}</msqrt>"
    return f"<msup>{_inside(base, _POWER)}{_row(_walk(exponent)[0])}</msup>"


def _inside(node: Any, least: int) -> str:
    text, binds = _walk(node)
    return text if binds >= least else _between("(", text, ")")


def _cases(node: Any) -> str:
    rows = []
    for value, condition in node.args:
        when = "<mtext>otherwise</mtext>"
        if condition != sympy.true:
            when = f'<mtext>if</mtext><mspace width="0.3em"/>{_condition(condition)}'
        rows.append(f"<mtr><mtd>{_walk(value)[0]}</mtd><mtd>{when}</mtd></mtr>")
    return f'<mrow><mo fence="true" stretchy="true">{{</mo><mtable columnalign="left">{"".join(rows)}</mtable></mrow>'


def _condition(node: Any) -> str:
    sign = _RELATIONS.get(getattr(node, "rel_op", ""))
    if sign is None:
        raise DistilleryError(f"formula: the condition {type(node).__name__} has no typeset form")
    return f"{_walk(node.lhs)[0]}<mo>{escape(sign)}</mo>{_walk(node.rhs)[0]}"


def _number(value: float) -> tuple[str, int]:
    if value < 0:
        return _row(f'<mo form="prefix">{_MINUS}</mo>{_number(-value)[0]}'), _SUM
    if not math.isfinite(value):
        raise DistilleryError(f"formula: {value} has no typeset form")
    mantissa, exponential, exponent = f"{value:.{_DIGITS}g}".partition("e")
    if not exponential:
        return f"<mn>{mantissa}</mn>", _POWER
    power = int(exponent)
    shown = f"<mn>{power}</mn>" if power >= 0 else _row(f'<mo form="prefix">{_MINUS}</mo><mn>{-power}</mn>')
    return _row(f"<mn>{mantissa}</mn><mo>·</mo><msup><mn>10</mn>{shown}</msup>"), _PRODUCT


def _juxtaposed(parts: list[str]) -> str:
    text = parts[0]
    for part in parts[1:]:
        # Two numbers side by side would read as one.
        text += ("<mo>·</mo>" if part.startswith(("<mn>", "<msup><mn>")) else '<mspace width="0.15em"/>') + part
    return _row(text) if len(parts) > 1 else text


def _row(content: str) -> str:
    return f"<mrow>{content}</mrow>"


def _between(left: str, content: str, right: str) -> str:
    return f'<mrow><mo fence="true">{left}</mo>{content}<mo fence="true">{right}</mo></mrow>'


def _indexed(base: str, index: str) -> str:
    tag = "mn" if index.isdigit() else "mi"
    return f"<msub>{base}<{tag}>{index}</{tag}></msub>"
