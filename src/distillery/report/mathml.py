"""Typeset expressions as MathML, which browsers render without a library: SymPy's printer, adapted to this project."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any
from xml.dom.minidom import Element

import sympy
from markupsafe import Markup
from sympy.printing.mathml import MathMLPresentationPrinter

from distillery.errors import DistilleryError
from distillery.physics.formula import parse

_DIGITS = 3
_DIFFERENCE = re.compile(r"d([xyz])(\d*)")
_INDEXED = re.compile(r"([avp])([xyz]\d*)|([A-Za-z]+)(\d+)")
_PRODUCT = "<mo>&InvisibleTimes;</mo>"


def equation(left: str, text: str, symbols: Collection[str], *, summed: bool = False) -> Markup:
    """Return ``left = text`` as a MathML element.

    Args:
        left: Name of the left-hand side, typeset as symbols are.
        text: Text of an expression.
        symbols: The names that may occur in it.
        summed: Whether a sum sign precedes the expression.

    Raises:
        DistilleryError: The text is not an expression in these names.
    """
    printer = _Printer()
    expression = parse(text, symbols)
    try:
        parts = [printer._print(sympy.Symbol(left)), printer.element("mo", "=")]
        parts += [printer.element("mo", "\N{N-ARY SUMMATION}")] if summed else []
        parts.append(printer._print(_rounded(expression)))
    except (AttributeError, NotImplementedError, TypeError) as error:
        raise DistilleryError(f"formula: {text} cannot be typeset ({error})") from None
    row = printer.element("mrow", *parts)
    # Numbers next to each other would read as one.
    source = re.sub(f"{_PRODUCT}(?=(<mrow>|<msup>)*<mn>)", "<mo>·</mo>", row.toxml())
    source = source.replace(_PRODUCT, '<mspace width="0.2em"/>')
    source = re.sub(r"(?<=<mo>)-(?=</mo>)|(?<=<mn>)-", "\N{MINUS SIGN}", source)
    return Markup(f'<math display="block">{source}</math>')


def _rounded(expression: Any) -> Any:
    """Return an expression without factors that round to one, and with simple exponents as exact fractions."""
    ones = {f: sympy.Integer(round(f)) for f in expression.atoms(sympy.Float) if f"{abs(f):.{_DIGITS}g}" == "1"}
    powers = {
        power: sympy.Pow(power.base, sympy.Rational(round(2 * power.exp), 2))
        for power in expression.atoms(sympy.Pow)
        if power.exp.is_Float and (2 * power.exp).is_integer
    }
    return expression.xreplace(powers).xreplace(ones)


class _Printer(MathMLPresentationPrinter):
    """SymPy's printer with short numbers, indexed names, and cases."""

    def element(self, tag: str, *content: Any) -> Element:
        """Return an element that holds texts and other elements."""
        made = self.dom.createElement(tag)
        for part in content:
            made.appendChild(self.dom.createTextNode(part) if isinstance(part, str) else part)
        return made

    def _print_Symbol(self, sym: sympy.Symbol, style: str = "plain") -> Element:
        name = str(sym.name)
        base, index = name, ""
        if match := _DIFFERENCE.fullmatch(name):
            base, index = f"Δ{match[1]}", match[2]
        elif match := _INDEXED.fullmatch(name):
            base, index = match[1] or match[3], match[2] or match[4]
        made = self.element("mi", base)
        return self.element("msub", made, self.element("mn" if index.isdigit() else "mi", index)) if index else made

    def _print_Float(self, number: Any) -> Element:
        mantissa, _, exponent = f"{float(number):.{_DIGITS}g}".replace("-", "\N{MINUS SIGN}").partition("e")
        if not exponent:
            return self.element("mn", mantissa)
        power = re.sub(r"^(\D?)\D*0*", r"\1", exponent).replace("+", "")
        ten = self.element("msup", self.element("mn", "10"), self.element("mn", power))
        return self.element("mrow", self.element("mn", mantissa), self.element("mo", "·"), ten)

    def _print_exp(self, node: Any) -> Element:
        return self.element("msup", self.element("mi", "e"), self._print(node.args[0]))

    def _print_Piecewise(self, node: Any) -> Element:
        rows = []
        for value, condition in node.args:
            when: list[Any] = [self.element("mtext", "otherwise" if condition == sympy.true else "if ")]
            when += [] if condition == sympy.true else [self._print(condition)]
            rows.append(self.element("mtr", self.element("mtd", self._print(value)), self.element("mtd", *when)))
        brace = self.element("mo", "{")
        brace.setAttribute("stretchy", "true")
        table = self.element("mtable", *rows)
        table.setAttribute("columnalign", "left")
        return self.element("mrow", brace, table)
