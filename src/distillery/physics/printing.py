"""Print expressions: text that ``formula.parse`` reads, in full or short, text for SymPy, and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy


def plain(expression: sympy.Expr) -> str:
    """Return an expression as text that ``formula.parse`` reads, with four digits of its constants."""
    return str(_Rounded({"full_prec": False}).doprint(expression))


def for_sympy(expression: sympy.Expr) -> str:
    """Return an expression as SymPy writes it, with all digits."""
    return str(_Exact().doprint(expression))


def in_latex(expression: sympy.Expr, special: Mapping[str, str]) -> str:
    """Return an expression in LaTeX, with four digits of its constants.

    Args:
        expression: Any expression.
        special: LaTeX of names that SymPy would not print correctly by itself.
    """
    names = {sympy.Symbol(name, real=True): text for name, text in special.items()}
    short = {number: sympy.Float(rounded(float(number)), 4) for number in expression.atoms(sympy.Float)}
    return str(sympy.latex(expression.xreplace(short), symbol_names=names))


def rounded(value: float) -> str:
    """Return a number with four significant digits, including trailing zeros."""
    return f"{value:#.4g}".rstrip(".")


class _Exact(sympy.printing.str.StrPrinter):
    """SymPy's printer, with all digits."""

    def _print_Float(self, number: Any) -> str:
        return repr(float(number))


class Printer(_Exact):
    """Prints piecewise expressions so that ``formula.parse`` reads them back."""

    def _print_Piecewise(self, expression: Any) -> str:
        *branches, (last, _) = expression.args
        text = self._print(last)
        for value, condition in reversed(branches):
            text = f"(({self._print(value)}) if {self._print(condition)} else ({text}))"
        return str(text)


class _Rounded(Printer):
    """Prints fitted numbers with four digits; exact numbers stay exact."""

    def _print_Float(self, number: Any) -> str:
        return rounded(float(number))
