"""Compose expressions of messages and nodes to one law in which every constant can be determined.

Messages are known up to a transformation that the node model inverts: the scales of messages and nodes cannot be
determined separately, nor can the offsets. If a node model is linear in the sums of messages, a = α(receiver)·Σ m +
β(receiver), α is multiplied into the messages, and the terms of messages that depend on the receiver alone move to β,
times the number of messages that arrive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import sympy

from distillery.laws import tuning
from distillery.laws.law import Law, sums
from distillery.laws.motion import at_velocities
from distillery.laws.terms import named, terms_of
from distillery.networks.functions import AXES
from distillery.physics import formula
from distillery.symbolic.forms import multiplied_out

_M, _Q, _R = (formula.symbol(name) for name in ("m", "q", "r"))
# Names of the receiver's mass and charge in messages, and in nodes.
RECEIVER = {formula.symbol("m1"): _M, formula.symbol("q1"): _Q}
_CHARGES = tuple(formula.symbol(name) for name in ("q", "q1", "q2"))


def composed(
    messages: Sequence[sympy.Expr], nodes: Sequence[sympy.Expr], arriving: int | None, unit_charges: bool
) -> Law:
    """Compose expressions of messages and of a node model to a law.

    Args:
        messages: One expression for each component.
        nodes: Accelerations in s1 …, m, q and so on, one for each dimension of space.
        arriving: Number of messages that every node receives; None if it differs between nodes.
        unit_charges: Whether all charges of the data are 1 or -1, so that a charge is its own inverse.

    Returns:
        The law with the distilled constants, each of them named.
    """
    dim, inputs = len(nodes), sums(len(messages))
    factors = [[sympy.diff(node, s) for s in inputs] for node in nodes]
    receiver = set(RECEIVER.values())
    if any(factor.free_symbols - receiver for row in factors for factor in row):
        sent = [unit_charged(message, unit_charges) for message in messages]
        return named(Law(dim, tuple(sent), tuple(unit_charged(node, unit_charges) for node in nodes), {}), whole=False)
    to_receiver = {own: name for name, own in RECEIVER.items()}
    own = [node.xreplace(dict.fromkeys(inputs, sympy.Integer(0))) for node in nodes]
    pairs = []
    for component, row in enumerate(factors):
        total = sympy.Add(*(f.xreplace(to_receiver) * m for f, m in zip(row, messages, strict=True)))
        terms = terms_of(unit_charged(total, unit_charges))
        if arriving is not None:
            alone = [term for term in terms if term.free_symbols <= set(RECEIVER)]
            own[component] += arriving * sympy.Add(*alone).xreplace(RECEIVER)
            terms = [term for term in terms if term not in alone]
        pairs.append(sympy.Add(*terms))
    given = [s + sympy.Add(*terms_of(unit_charged(part, unit_charges))) for s, part in zip(sums(dim), own, strict=True)]
    return named(Law(dim, tuple(pairs), tuple(given), {}), whole=True)


def composed_energies(pair: sympy.Expr, body: sympy.Expr, dim: int, unit_charges: bool) -> Law:
    """Compose the energies of pairs and of single bodies to a Hamiltonian law; omit terms that exert no force.

    Args:
        pair: Energy of a pair, in dx, dy (dz), r, m1, m2, q1, q2.
        body: Energy of a single body, in px, py (pz), m, q and, if the network has it, the position.
        dim: Dimensions of space.
        unit_charges: Whether all charges of the data are 1 or -1.

    Returns:
        The law with the distilled constants, each of them named.
    """
    moving = {_R, *(formula.symbol(f"d{axis}") for axis in AXES[:dim])}
    moved = {formula.symbol(name) for axis in AXES[:dim] for name in (axis, f"p{axis}")}
    acting = [
        sympy.Add(*(term for term in terms_of(unit_charged(energy, unit_charges)) if term.free_symbols & of))
        for energy, of in ((pair, moving), (body, moved))
    ]
    law = named(Law(dim, (), (), {}, energies=tuple(acting)), whole=True)
    return by_hamilton(law)


def by_hamilton(law: Law) -> Law:
    """Derive the messages, accelerations and velocities of a Hamiltonian law from its energies.

    The energy of a pair is the mean of its expression in both directions (see ``laws.composed``). Accelerations are
    those of bodies with the kinetic energy p²/2m; ``motion.moved`` takes the actual kinetic energy.
    """
    pair, body = law.energies
    axes = AXES[: law.dim]
    back: dict[Any, Any] = {formula.symbol(f"d{axis}"): -formula.symbol(f"d{axis}") for axis in axes}
    for name in ("m", "q"):
        one, two = formula.symbol(f"{name}1"), formula.symbol(f"{name}2")
        back |= {one: two, two: one}
    messages, nodes, velocities = [], [], []
    for s, axis in zip(sums(law.dim), axes, strict=True):
        delta = formula.symbol(f"d{axis}")
        slope = sympy.diff(pair, delta) + sympy.diff(pair, _R) * delta / _R
        both = -(slope - slope.xreplace(back)) / 2 / formula.symbol("m1")
        messages.append(sympy.Add(*terms_of(both)))
        nodes.append(at_velocities(s - sympy.diff(body, formula.symbol(axis)) / _M, law.dim))
        velocities.append(sympy.diff(body, formula.symbol(f"p{axis}")))
    return dataclasses.replace(law, messages=tuple(messages), nodes=tuple(nodes), velocities=tuple(velocities))


def unit_charged(expression: sympy.Expr, unit_charges: bool) -> sympy.Expr:
    """Multiply an expression out; remove even powers of charges if charges are 1 or -1.

    Args:
        expression: Any expression.
        unit_charges: Whether all charges are 1 or -1.
    """
    found = multiplied_out(expression, tuning.MOST_COMPOSED_TERMS)
    found = expression if found is None else found
    if unit_charges:
        found = found.replace(
            lambda node: isinstance(node, sympy.Pow) and node.base in _CHARGES and node.exp.is_Integer,
            lambda node: node.base ** (int(node.exp) % 2),
        )
    return found
