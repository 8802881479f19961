"""Choose one functional form shared by all components.

The paper's rule chooses from the front of each component, where noise affects each one separately. If it chooses forms
that differ by more than the axis, while one form stands on all fronts, the rule is applied again to the common forms,
with the geometric mean of their errors. ``verify`` judges the common form besides the paper's own choices, ``replace``
starts with it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from distillery.networks.functions import AXES
from distillery.physics import formula
from distillery.symbolic import tuning
from distillery.symbolic.front import Point, choose

_CHARGES = tuple(formula.symbol(name) for name in ("q", "q1", "q2"))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An expression on the front of a component.

    Attributes:
        expression: The expression.
        complexity: The paper's complexity.
        mae: Mean absolute error on held-out samples (dimensionless).
    """

    expression: sympy.Expr
    complexity: int
    mae: float


def common_choice(
    fronts: Sequence[Sequence[Candidate]], chosen: Sequence[int], unit_charges: bool
) -> tuple[int, ...] | None:
    """Return the index on each front of the form that all components have in common.

    Args:
        fronts: The front of every component; component k belongs to axis k.
        chosen: Index of the paper's choice on each front.
        unit_charges: Whether all charges are 1 or -1, so that a charge is its own inverse.

    Returns:
        The indices; None if the components' own choices have one form already, or no common form is as good.
    """
    forms = [
        _best_of_each([form(one.expression, axis, unit_charges) for one in front], front)
        for axis, front in enumerate(fronts)
    ]
    own = [
        form(front[k].expression, axis, unit_charges)
        for axis, (front, k) in enumerate(zip(fronts, chosen, strict=True))
    ]
    if len(fronts) < 2 or all(one == own[0] for one in own):
        return None
    shared = [name for name in forms[0] if all(name in others for others in forms)]
    points = {name: tuple(places[name] for places in forms) for name in shared}
    best = _chosen({name: _joint(fronts, places) for name, places in points.items()})
    if best is None:
        return None
    _, ours = _joint(fronts, points[best])
    _, theirs = _joint(fronts, chosen)
    return points[best] if ours <= tuning.SHARED_FORM_ERROR * theirs else None


def form(expression: sympy.Expr, axis: int, unit_charges: bool = False) -> str:
    """Return the structure of an expression without its numbers, with its own axis exchanged for x.

    Args:
        expression: An expression.
        axis: Its own axis, from 0 for x.
        unit_charges: Whether all charges are 1 or -1.
    """
    exchanged = expression.xreplace(axis_exchange(axis))
    return _shape(exchanged, unit_charges)


def axis_exchange(axis: int) -> dict[sympy.Symbol, sympy.Symbol]:
    """Return the substitution that exchanges an axis with x, in displacements, velocities, momenta, positions and sums.

    Args:
        axis: The axis, from 0 for x.
    """
    names = [(f"{kind}{AXES[0]}", f"{kind}{AXES[axis]}") for kind in ("d", "v", "p", "")] + [("s1", f"s{axis + 1}")]
    there = {formula.symbol(a): formula.symbol(b) for a, b in names}
    return {**there, **{b: a for a, b in there.items()}}


def _shape(node: Any, unit_charges: bool) -> str:
    if node.is_number:
        return "c"
    if node.is_Symbol:
        return str(node.name)
    if isinstance(node, sympy.Pow):
        if unit_charges and node.base in _CHARGES and node.exp.is_Integer:
            return _shape(node.base, unit_charges) if int(node.exp) % 2 else "c"
        exponent = str(node.exp) if node.exp.is_number else _shape(node.exp, unit_charges)
        return f"({_shape(node.base, unit_charges)})^{exponent}"
    parts = [_shape(part, unit_charges) for part in node.args]
    if isinstance(node, sympy.Mul):
        # A factor of 1 is not written, so all numbers are omitted.
        return "*".join(sorted(part for part in parts if part != "c"))
    if isinstance(node, sympy.Add):
        return "(" + "+".join(sorted(set(parts))) + ")"
    return f"{type(node).__name__}({','.join(parts)})"


def _best_of_each(names: Sequence[str], front: Sequence[Candidate]) -> dict[str, int]:
    best: dict[str, int] = {}
    for place, name in enumerate(names):
        if name not in best or front[place].mae < front[best[name]].mae:
            best[name] = place
    return best


def _joint(fronts: Sequence[Sequence[Candidate]], places: Sequence[int]) -> tuple[int, float]:
    """Return complexity and error of a form: the largest of its components', and the geometric mean."""
    points = [front[place] for front, place in zip(fronts, places, strict=True)]
    errors = np.maximum([point.mae for point in points], 1e-300)
    return max(point.complexity for point in points), float(np.exp(np.mean(np.log(errors))))


def _chosen(forms: Mapping[str, tuple[int, float]]) -> str | None:
    """Return the paper's choice among forms; None if it cannot choose."""
    ordered = sorted(forms, key=lambda name: forms[name])
    front: list[tuple[str, Point]] = []
    for name in ordered:
        complexity, error = forms[name]
        if not front:
            front.append((name, Point("0", complexity, error, 0.0)))
            continue
        before = front[-1][1]
        if error < before.mae and complexity > before.complexity:
            score = math.log(before.mae / error) / (complexity - before.complexity)
            front.append((name, Point("0", complexity, error, score)))
    place = choose([point for _, point in front])
    return None if place is None or len(front) < 2 else front[place][0]
