"""Equivalent forms of an expression with least complexity, and nearby forms with fewer constants."""

from __future__ import annotations

import collections
import contextlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy

from distillery.physics import formula
from distillery.symbolic import tuning
from distillery.symbolic.complexity import complexity


def cheapest(expression: sympy.Expr) -> sympy.Expr:
    """Return the form of least complexity among some equivalent ones.

    Constants are merged; a small expression is also expanded and common factors of its terms are collected again.
    Branches of piecewise expressions are simplified separately; thresholds stay.

    Args:
        expression: Any expression with numeric constants.
    """
    smooth, cases = _without_piecewise(expression)
    if cases:
        return cheapest(smooth).xreplace({name: each_branch(case, cheapest) for name, case in cases.items()})
    forms = [normal(expression)]
    expanded = multiplied_out(expression)
    if expanded is not None:
        # SymPy's recursion fails when it divides some powers with fractional exponents; then there is no such form.
        with contextlib.suppress(RecursionError):
            forms.append(normal(collected(expanded)))
    return min(forms, key=complexity)


def each_branch(piecewise: sympy.Expr, change: Callable[[sympy.Expr], sympy.Expr]) -> sympy.Expr:
    """Return a piecewise expression with every branch changed and every condition kept.

    Args:
        piecewise: The piecewise expression.
        change: Function of a branch.
    """
    return sympy.Piecewise(*((change(value), condition) for value, condition in piecewise.args))


def _without_piecewise(expression: sympy.Expr) -> tuple[sympy.Expr, dict[Any, Any]]:
    """Replace each outermost piecewise part by a symbol; return the expression and the parts by symbol."""
    cases: dict[Any, Any] = {}

    def walk(node: Any) -> Any:
        if isinstance(node, sympy.Piecewise):
            return cases.setdefault(node, formula.symbol(f"case_{len(cases)}"))
        return node.func(*map(walk, node.args)) if node.has(sympy.Piecewise) else node

    smooth = walk(expression)
    return smooth, {name: case for case, name in cases.items()}


def multiplied_out(expression: sympy.Expr, most: int = tuning.MOST_EXPANDED_TERMS) -> sympy.Expr | None:
    """Expand an expression, or return None if it could have too many terms (it may have millions).

    Args:
        expression: Any expression.
        most: Terms at most.
    """
    return sympy.expand_mul(sympy.expand_multinomial(expression)) if _terms(expression) <= most else None


def _terms(node: Any) -> int:
    """Return an upper limit of the number of terms after expansion."""
    if isinstance(node, sympy.Add):
        return sum(_terms(argument) for argument in node.args)
    if isinstance(node, sympy.Mul):
        return math.prod(_terms(argument) for argument in node.args)
    if isinstance(node, sympy.Pow) and node.exp.is_Integer and node.exp > 0:
        return int(_terms(node.base) ** min(int(node.exp), 9))
    return 1


def normal(node: Any) -> Any:
    """Merge constants: each sum that is a factor or a base gets one coefficient 1, the rest moves outside."""
    if isinstance(node, sympy.Piecewise):
        return each_branch(node, normal)
    if node.is_number:
        return _number(node)
    if not node.args:
        return node
    if isinstance(node, sympy.Pow) and node.exp.is_number:
        coefficient, base = _unit(normal(node.base))
        outside = coefficient**node.exp if node.exp.is_Integer or coefficient > 0 else None
        if outside is None:
            return normal(node.base) ** node.exp
        return _number(outside) * base**node.exp
    if isinstance(node, sympy.Mul):
        total: Any = sympy.Integer(1)
        factors = []
        for argument in node.args:
            coefficient, rest = _unit(normal(argument))
            total *= coefficient
            factors.append(rest)
        return _multiplied(total, factors)
    rebuilt = node.func(*(normal(argument) for argument in node.args))
    return _flattened(rebuilt) if isinstance(rebuilt, sympy.Add) else rebuilt


def _multiplied(coefficient: Any, factors: list[Any]) -> Any:
    """Multiply, with the coefficient inside a sum if that is cheaper: (1.2 - 1.1/r)·x, not 1.1·(1.09 - 1/r)·x."""
    if abs(float(coefficient)) == 1.0 and float(coefficient) > 0:
        return sympy.Mul(*factors)
    forms = [sympy.Mul(_number(coefficient), *factors)]
    for index, factor in enumerate(factors):
        if isinstance(factor, sympy.Add):
            scaled = sympy.Add(*(_scaled(term, 1 / coefficient) for term in factor.args))
            forms.append(sympy.Mul(*factors[:index], scaled, *factors[index + 1 :]))
    return min(forms, key=complexity)


def _number(value: Any) -> Any:
    """Return 0 and ±1 as Integer (structure), other values as Float (a constant to fit)."""
    plain = float(value)
    return sympy.Integer(int(plain)) if abs(plain) in {0.0, 1.0} else sympy.Float(plain)


def _unit(node: Any) -> tuple[Any, Any]:
    """Split off a coefficient, so that the rest needs one constant less."""
    coefficient, rest = node.as_coeff_Mul()
    if not isinstance(rest, sympy.Add):
        return coefficient, rest
    inner = [term.as_coeff_Mul()[0] for term in rest.args if not term.is_number]
    if any(abs(float(c)) == 1.0 for c in inner):
        return coefficient, rest
    # The term of largest coefficient gets 1: it is the least likely to vanish later.
    largest = max(inner, key=lambda c: abs(float(c)))
    scaled = [_scaled(term, largest) for term in rest.args]
    return coefficient * largest, sympy.Add(*scaled)


def _scaled(term: Any, divisor: Any) -> Any:
    coefficient, rest = term.as_coeff_Mul()
    return _number(coefficient / divisor) * rest


def _flattened(node: Any) -> Any:
    """Expand constants before sums inside a sum, so that like terms merge."""
    terms = []
    for term in node.args:
        coefficient, rest = term.as_coeff_Mul()
        if isinstance(rest, sympy.Add):
            terms += [coefficient * inner for inner in rest.args]
        else:
            terms.append(term)
    return sympy.Add(*terms)


def collected(node: Any) -> Any:
    """Collect common factors of a sum, or of each branch, greedily, the most frequent first."""
    if isinstance(node, sympy.Piecewise):
        return each_branch(node, collected)
    if not isinstance(node, sympy.Add):
        return node
    factors = [_factors(term) for term in node.args]
    counts = collections.Counter(factor for found in factors for factor in found)
    if not counts or max(counts.values()) < 2:
        return node
    factor = min(counts, key=lambda f: (-counts[f], str(f)))
    inside = [term / factor for term, found in zip(node.args, factors, strict=True) if factor in found]
    outside = [term for term, found in zip(node.args, factors, strict=True) if factor not in found]
    before = sum(complexity(term) for term, found in zip(node.args, factors, strict=True) if factor in found)
    # Powers of numbers, 0.2^(3·x), do not always cancel; repeated division by them would not end.
    if sum(complexity(term) for term in inside) >= before:
        return node
    return sympy.Mul(factor, collected(sympy.Add(*inside))) + collected(sympy.Add(*outside))


def products(expression: sympy.Expr) -> sympy.Expr | None:
    """Return a nearby expression that is a product of two sums, (Σ aᵢ·uᵢ)(Σ bₖ·vₖ) + rest, or None.

    Messages are rotated forces, such as (a·dx + b·dy)(1 - 1/r). An engine often finds the same terms with free
    coefficients, a·dx + b·dy + c·dx/r + d·dy/r; the nearest product has fewer constants. It only approximates the given
    expression, so its constants must be refitted.

    Args:
        expression: Any expression with numeric constants.
    """
    smooth, cases = _without_piecewise(expression)
    if cases:
        changed = {name: each_branch(case, lambda branch: products(branch) or branch) for name, case in cases.items()}
        return smooth.xreplace(changed) if changed != cases else None
    expanded = multiplied_out(expression)
    if not isinstance(expanded, sympy.Add):
        return None
    terms = {rest: float(coefficient) for coefficient, rest in (term.as_coeff_Mul() for term in expanded.args)}
    cofactors: dict[Any, set[Any]] = collections.defaultdict(set)
    for term in terms:
        for factor in set(_factors(term)):
            cofactors[factor].add(term / factor)
    found: list[tuple[list[Any], list[Any]]] = []
    for first, second in itertools.combinations(sorted(cofactors, key=str), 2):
        shared = cofactors[first] & cofactors[second]
        if len(shared) > 1:
            found.append(([u for u in sorted(cofactors, key=str) if shared <= cofactors[u]], sorted(shared, key=str)))
    if not found:
        return None
    rows, columns = max(found, key=lambda pair: (len(pair[0]) * len(pair[1]), -len(pair[0])))
    grid = np.array([[terms[u * v] for v in columns] for u in rows])
    left, size, right = np.linalg.svd(grid)
    product = sympy.Add(*(_number(a) * u for a, u in zip(left[:, 0] * size[0], rows, strict=True)))
    product *= sympy.Add(*(_number(b) * v for b, v in zip(right[0], columns, strict=True)))
    used = {u * v for u in rows for v in columns}
    rest = [_number(c) * term for term, c in terms.items() if term not in used]
    return normal(product + collected(sympy.Add(*rest)))


def _factors(term: Any) -> list[Any]:
    """Return the factors that can be collected from a term: symbols, their inverses, sums."""
    factors: list[Any] = []
    for factor in sympy.Mul.make_args(term):
        if factor.is_number:
            continue
        if isinstance(factor, sympy.Pow) and factor.exp.is_Integer:
            factors.append(factor.base if factor.exp > 0 else 1 / factor.base)
        else:
            factors.append(factor)
    return factors
