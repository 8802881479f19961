"""Replace the numbers of an expression by symbols, so that they can be fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy

from distillery.symbolic.forms import each_branch


def replace_numbers(node: Any, constant: Callable[[Any], sympy.Expr], *, exponents: bool) -> Any:
    """Return an expression with symbols in place of its numbers, except integers and thresholds.

    Args:
        node: The expression.
        constant: Returns the symbol of a number; it is called once for each number, from left to right.
        exponents: Whether fractional exponents are replaced too.
    """
    if node.is_Float or (node.is_Rational and not node.is_Integer):
        return constant(node)

    def replaced(part: Any) -> Any:
        return replace_numbers(part, constant, exponents=exponents)

    if isinstance(node, sympy.Piecewise):
        return each_branch(node, replaced)
    if not node.args:
        return node
    if isinstance(node, sympy.Pow) and (node.exp.is_Rational or not exponents):
        return node.func(replaced(node.base), node.exp)
    return node.func(*map(replaced, node.args))
