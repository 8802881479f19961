"""A law of halos as one line of text, as LaTeX, and as a file of expressions with all digits."""

from __future__ import annotations

import sympy

from distillery.halos.law import HaloLaw
from distillery.halos.names import MESSAGE_UNITS, NODE_UNITS
from distillery.physics import formula
from distillery.physics.printing import in_latex, plain, rounded

_LATEX = {
    "r": "r_{ij}",
    "dv": r"|\mathbf{v}_i - \mathbf{v}_j|",
    "v1": r"|\mathbf{v}_i|",
    "v2": r"|\mathbf{v}_j|",
    "m1": "M_i",
    "m2": "M_j",
    "s": "e_i",
    "m": "M_i",
    "v": r"|\mathbf{v}_i|",
}


def line(law: HaloLaw) -> str:
    """Return a law in one line; sums run over the neighbours 2 of halo 1.

    Terms with a constant at its bound 0 are omitted; constants at bounds are named.

    Args:
        law: The law with its constants.
    """
    message, node = _shown(law)
    heard = f", s = Σ {_bracketed(plain(message))}" if law.has_messages else ""
    bounds = ", ".join(f"{name} = {bound:g}" for name, bound in law.at_bound.items())
    return f"δ = {plain(node)}{heard}" + (f" ({bounds}: at a bound)" if bounds else "")


def latex(law: HaloLaw) -> str:
    """Return the equations of a law in LaTeX, one line each, for an ``align*`` environment."""
    message, node = _shown(law)
    numbers = {text: text for text in map(_digits, law.constants.values())}
    lines = [rf"\hat{{\delta}}_i &= {in_latex(node, _LATEX | numbers)}"]
    if law.has_messages:
        lines.append(rf"e_i &= \sum_{{j}} {in_latex(message, _LATEX | numbers)}")
    return " \\\\\n".join(lines) + "\n"


def listing(law: HaloLaw, title: str) -> str:
    """Return a law as lines ``name = expression`` that SymPy's parser and ``formula.parse`` read, all digits kept.

    Args:
        law: The law.
        title: What it is, for the first line.
    """
    used = {symbol.name for part in (law.message, law.node) for symbol in part.free_symbols}
    units = {**MESSAGE_UNITS, **NODE_UNITS}
    lines = [f"# {title}", f"# {line(law)}"]
    lines += [f"# {name} in {unit}" for name, unit in units.items() if name in used and name != "s"]
    lines += [f"{name} = {value!r}" for name, value in law.constants.items()]
    lines += [f"message = {formula.to_text(law.message)}", f"overdensity = {formula.to_text(law.node)}"]
    return "\n".join(lines) + "\n"


def _shown(law: HaloLaw) -> tuple[sympy.Expr, sympy.Expr]:
    """Return message and node with rounded constants as names, so that (0.05 r)^13 keeps its form."""
    values = {
        formula.symbol(name): formula.symbol(_digits(value)) * (-1 if value < 0 else 1)
        for name, value in law.constants.items()
    }
    gone = {formula.symbol(name): sympy.Integer(0) for name, bound in law.at_bound.items() if bound == 0}
    message, node = (_where_finite(part, gone).xreplace(values) for part in (law.message, law.node))
    return message, node


def _where_finite(expression: sympy.Expr, values: dict[sympy.Symbol, sympy.Expr]) -> sympy.Expr:
    found = expression.xreplace(values)
    return expression if found.has(sympy.zoo, sympy.nan, sympy.oo) else found


def _digits(value: float) -> str:
    return rounded(abs(value))


def _bracketed(text: str) -> str:
    return f"({text})" if " " in text else text
