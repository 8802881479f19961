"""The paper's complexity: operators, constants and variables count 1; ``^``, exp, log and IF count 3.

The complexity of an expression is that of its cheapest notation with the paper's operators (arXiv:2006.11287, section
4; ``+ - * / > < ^ exp log IF``):

- a sum of n terms has n - 1 operators; a term with a minus is subtracted, and the minus is free if another term has
  none (``a - b`` is 3); a lone minus is one operator (``-a`` is 2);
- a constant is 1 for any sign and value, and so is a number like 2 or 1/3;
- a product of n factors, in numerator or denominator, has n - 1 operators (``a*b/c`` is 5); an empty numerator is the
  constant 1 (``1/a`` is 3);
- a comparison is 1, also if its value, 1 or 0, is used as a number; ``IF(condition, A, B)`` counts all three arguments
  (``dx if r > 2 else 0`` is 8);
- an integer power is the cheaper of a product and a power (``x^2`` is x*x, 3; ``x^4`` is a power, 5, because the
  product of four is 7); a root is a power with a constant exponent.
"""

from __future__ import annotations

from typing import Any

import sympy

_POWER = _EXP = _LOG = _IF = 3
_UNARY = {sympy.exp: _EXP, sympy.log: _LOG}


def complexity(expression: sympy.Expr) -> int:
    """Return the complexity of an expression, at least 1.

    Args:
        expression: An expression as ``formula.parse`` returns it.
    """
    return _cost(expression)


def _cost(node: Any) -> int:
    if node.is_Symbol or node.is_number:
        return 1
    if isinstance(node, sympy.Add):
        terms = [_positive(term) for term in node.args]
        unsigned = sum(_cost(term) for term, _ in terms) + len(terms) - 1
        return unsigned + (1 if all(minus for _, minus in terms) else 0)
    if isinstance(node, sympy.Mul):
        return _product(node)
    if isinstance(node, sympy.Pow):
        return _product(node) if _exponent(node) < 0 else _power(node.base, node.exp)
    if isinstance(node, sympy.Piecewise):
        *cases, (last, _) = node.args
        if len(cases) == 1 and cases[0][0] == 1 and last == 0:
            # A comparison used as a value, 1 or 0, is the operator > or < alone.
            return _cost(cases[0][1])
        return _cost(last) + sum(_IF + _cost(value) + _cost(condition) for value, condition in cases)
    own = _UNARY.get(type(node), max(len(node.args) - 1, 1))
    return own + sum(_cost(argument) for argument in node.args)


def _positive(term: Any) -> tuple[Any, bool]:
    """Split a term with factor -1 into the term without it, and whether it had one."""
    coefficient, rest = term.as_coeff_Mul()
    if coefficient == -1 and rest != 1:
        return rest, True
    return term, False


def _product(node: Any) -> int:
    minus = 0
    above, below, factors = 0, 0, 0
    for factor in sympy.Mul.make_args(node):
        if factor == -1:
            minus = 1
            continue
        factors += 1
        if isinstance(factor, sympy.Pow) and _exponent(factor) < 0:
            below += _power(factor.base, -factor.exp)
        else:
            above += _cost(factor)
    if above == 0:
        # The numerator is the constant 1, or -1, whose minus is free.
        return below + factors + 1
    return above + below + factors - 1 + minus


def _exponent(node: Any) -> float:
    return float(node.exp) if node.exp.is_number else 1.0


def _power(base: Any, exponent: Any) -> int:
    if exponent == 1:
        return _cost(base)
    as_power = _cost(base) + _POWER + _cost(exponent)
    if exponent.is_Integer and exponent > 1:
        times = int(exponent)
        return min(times * _cost(base) + times - 1, as_power)
    return as_power
