"""Print a law: one line of text, a file of expressions that SymPy reads, and LaTeX."""

from __future__ import annotations

from typing import Any

import sympy

from distillery.laws.law import Law, sums
from distillery.laws.terms import terms_of
from distillery.networks.functions import AXES
from distillery.physics import formula
from distillery.physics.printing import for_sympy, in_latex, plain
from distillery.symbolic.forms import collected

_LATEX = {f"d{axis}": rf"\Delta {axis}" for axis in AXES} | {f"v{axis}": f"v_{axis}" for axis in AXES}
_LATEX |= {f"{kind}{k}": f"{kind}_{k}" for kind in "mqs" for k in (1, 2, 3)} | {
    f"p{axis}": f"p_{axis}" for axis in AXES
}
_VECTOR = "Δ"
_LATEX[_VECTOR] = r"\boldsymbol{\Delta}"


def line(law: Law) -> str:
    """Return a law on one line: the acceleration of a body, or the energy of all.

    Sums are over the bodies 2 that act on body 1; Δ is the vector from 2 to 1, of length r.

    Args:
        law: The law with its constants.
    """
    return "; ".join(f"{left} = {right}" for left, right in _equations(law, plain, "Σ {}"))


def latex(law: Law) -> str:
    """Return the equations of a law in LaTeX, one line each, for an ``align*`` environment."""
    names = {"a": r"\mathbf{a}_1", "H": "H"} | {f"a{axis}": f"a_{{{axis}}}" for axis in AXES}
    lines = [f"{names.get(left, left)} &= {right}" for left, right in _equations(law, _in_latex, r"\sum_{{2}} {}")]
    return " \\\\\n".join(lines) + "\n"


def listing(law: Law, title: str) -> str:
    """Return a law as lines ``name = expression`` that SymPy's parser reads, with all digits.

    Piecewise expressions are written as SymPy's ``Piecewise``; this package reads the file of ``law.as_content``
    instead.

    Args:
        law: The law.
        title: Title for the first line.
    """
    constants = [f"{name} = {value!r}" for name, value in law.constants.items()]
    expressions = [f"{name} = {for_sympy(expression)}" for name, expression in named(law).items()]
    return "\n".join([f"# {title}", f"# {line(law)}", *constants, *expressions]) + "\n"


def named(law: Law) -> dict[str, sympy.Expr]:
    """Return the expressions of a law by their names in its files and on its page."""
    parts = {"message": law.messages, "acceleration": law.nodes, "velocity": law.velocities}
    found = {f"{name}_{k + 1}": e for name, expressions in parts.items() for k, e in enumerate(expressions)}
    return found | dict(zip(("energy_pair", "energy_body"), law.energies, strict=False))


def _in_latex(expression: sympy.Expr) -> str:
    return in_latex(expression, _LATEX)


def _equations(law: Law, show: Any, total: str) -> list[tuple[str, str]]:
    if law.energies:
        pair, body = (collected(energy) for energy in law.filled(law.energies))
        parts = [total.format(_bracketed(pair, show)) if pair != 0 else "", show(body) if body != 0 else ""]
        return [("H", " + ".join(part for part in parts if part) or "0")]
    messages, nodes = law.filled(law.messages), law.filled(law.nodes)
    if not law.added:
        return [
            *((f"s{k + 1}", total.format(_bracketed(collected(m), show))) for k, m in enumerate(messages)),
            *((f"a{axis}", show(node)) for axis, node in zip(AXES, nodes, strict=False)),
        ]
    own = [collected(node - s) for node, s in zip(nodes, sums(law.dim), strict=True)]
    radial = radial_part(law)
    if radial is not None and not any(own):
        vector = formula.symbol(_VECTOR)
        return [("a", total.format(show(_times(vector, collected(radial)))))]
    return [
        (
            f"a{axis}",
            " + ".join([total.format(_bracketed(collected(m), show))] * (m != 0) + [show(o)] * (o != 0)).replace(
                "+ -", "- "
            )
            or "0",
        )
        for axis, m, o in zip(AXES, messages, own, strict=False)
    ]


def radial_part(law: Law) -> sympy.Expr | None:
    """Return f with constants filled in, if a pair's acceleration is f·Δ along all axes; else None."""
    if not law.added or len(law.messages) != law.dim:
        return None
    deltas = [formula.symbol(f"d{axis}") for axis in AXES[: law.dim]]
    messages = zip(law.filled(law.messages), deltas, strict=True)
    found = [_without_factor(message, delta) for message, delta in messages]
    alike = all(part == found[0] for part in found[1:])
    return found[0] if alike and not found[0].free_symbols & set(deltas) else None


def _without_factor(expression: sympy.Expr, factor: sympy.Symbol) -> sympy.Expr:
    """Return an expression divided by a factor, in each of its branches."""
    if isinstance(expression, sympy.Piecewise):
        return sympy.Piecewise(*((_without_factor(value, factor), where) for value, where in expression.args))
    return sympy.Add(
        *(_without_factor(t, factor) if isinstance(t, sympy.Piecewise) else t / factor for t in terms_of(expression))
    )


def _times(vector: sympy.Symbol, factor: sympy.Expr) -> sympy.Expr:
    return sympy.Mul(vector, factor, evaluate=False) if factor.is_number else vector * factor


def _bracketed(expression: sympy.Expr, show: Any) -> str:
    shown = show(expression)
    return f"({shown})" if isinstance(expression, sympy.Add) else shown
