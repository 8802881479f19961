"""Bring a law to its clean form: replace constants by the simple numbers that they agree with within their errors.

Branches that the data do not support are removed first (``branches``), then constants that agree with zero, one after
the other: two constants that can replace each other may both agree with zero while the other is present. The remaining
components may have become one law for all axes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from fractions import Fraction

import numpy as np
import sympy

from distillery.laws import tuning
from distillery.laws.branches import without_needless_branches
from distillery.laws.compose import composed
from distillery.laws.law import Law, sums
from distillery.laws.problem import Data
from distillery.laws.refit import Fit, refit
from distillery.laws.settings import ReplacementSettings
from distillery.laws.sharing import as_vector
from distillery.laws.threshold import with_thresholds
from distillery.physics import formula
from distillery.util.budget import OutOfBudget


def simple_number(value: float, error: float) -> Fraction | None:
    """Return the simple number, other than 0, that a constant agrees with; None if there is none.

    Args:
        value: The constant.
        error: Its standard error.
    """
    within = max(tuning.AGREEING * error, tuning.CONSTANT_ROUNDING * abs(value))
    if within > tuning.SHARP * abs(value):
        return None
    agreeing = [number for number in tuning.SIMPLE_NUMBERS if abs(abs(value) - float(number)) <= within]
    return (agreeing[0] if value > 0 else -agreeing[0]) if agreeing else None


def fitted(
    law: Law,
    data: Data,
    settings: ReplacementSettings,
    draws: np.random.Generator,
    evaluations: int = tuning.EVALUATIONS,
) -> Fit:
    """Fit the constants of a law; share them between axes if the components have one form and the loss stays the same.

    Args:
        law: The law with its starting constants.
        data: The snapshots.
        settings: Loss and starts.
        draws: Source of starts.
        evaluations: Evaluations of the law from each start, at most.

    Raises:
        SingularError: The law is not finite on the data.
        OutOfBudget: The budget was spent before.
    """

    def fit(form: Law) -> Fit:
        return with_thresholds(refit(form, data, settings, draws, evaluations), data, settings, draws)

    separate = fit(law)
    vector = as_vector(separate.law)
    if vector is None:
        return separate
    try:
        shared = fit(vector)
    except OutOfBudget:
        return separate
    return shared if shared.cost <= tuning.SHARED_LOSS * separate.cost + tuning.CONSTANT_ROUNDING**2 else separate


def cleaned(fit: Fit, data: Data, settings: ReplacementSettings, draws: np.random.Generator) -> Fit:
    """Return the clean form of a fitted law, with its remaining constants fitted again.

    If the budget ends, the last fitted form is returned.

    Args:
        fit: The fitted law.
        data: Snapshots that it was fitted to.
        settings: Loss and starts.
        draws: Source of starts.
    """
    once = settings.model_copy(update={"starts": 1})
    fit = _without_zeros(without_needless_branches(fit, data, once, draws), data, once, draws)
    try:
        whole = recomposed(fit.law, data)
        if whole is not None:
            fit = _without_zeros(fitted(whole, data, once, draws), data, once, draws)
        fit = fit if fit.law.shared else fitted(fit.law, data, once, draws)
        return _with_simple_numbers(fit, data, once, draws)
    except OutOfBudget:
        return fit


def _with_simple_numbers(fit: Fit, data: Data, settings: ReplacementSettings, draws: np.random.Generator) -> Fit:
    numbers = {name: simple_number(fit.law.constants[name], error) for name, error in fit.errors.items()}
    found = {name: number for name, number in numbers.items() if number is not None}
    return refit(_with_number(fit.law, found), data, settings, draws) if found else fit


def recomposed(law: Law, data: Data) -> Law | None:
    """Compose messages and nodes again, for nodes that have become linear in the sums of messages.

    Args:
        law: A law with nodes of its own; they may be simpler without some of its constants.
        data: Snapshots that it is fitted to.

    Returns:
        The law with new constants; None if it is composed already, or nodes are not linear.
    """
    if law.energies or law.added:
        return None
    without_messages = {
        s: sympy.Integer(0) for s, m in zip(sums(len(law.messages)), law.messages, strict=True) if m == 0
    }
    nodes = [node.xreplace(without_messages) for node in law.filled(law.nodes)]
    found = composed(law.filled(law.messages), nodes, data.arriving, data.unit_charges)
    return found if found.added else None


def _without_zeros(fit: Fit, data: Data, settings: ReplacementSettings, draws: np.random.Generator) -> Fit:
    with contextlib.suppress(OutOfBudget):
        while (name := _least(fit)) is not None:
            fit = refit(_with_number(fit.law, {name: Fraction(0)}), data, settings, draws)
    return fit


def _least(fit: Fit) -> str | None:
    """Return the constant that agrees best with zero; None if none does or it is the last one."""
    agree = {
        name: abs(fit.law.constants[name]) / max(error, 1e-300)
        for name, error in fit.errors.items()
        if abs(fit.law.constants[name]) <= tuning.AGREEING * error or fit.shares[name] <= tuning.CONSTANT_ROUNDING
    }
    return min(agree, key=lambda name: agree[name]) if agree and len(fit.law.constants) > 1 else None


def _with_number(law: Law, numbers: dict[str, Fraction]) -> Law:
    """Return a law with exact numbers in place of constants."""
    put = {formula.symbol(name): sympy.Rational(n.numerator, n.denominator) for name, n in numbers.items()}

    def of(expressions: tuple[sympy.Expr, ...]) -> tuple[sympy.Expr, ...]:
        return tuple(expression.xreplace(put) for expression in expressions)

    found = dataclasses.replace(
        law,
        messages=of(law.messages),
        nodes=of(law.nodes),
        velocities=of(law.velocities),
        energies=of(law.energies),
        constants={name: value for name, value in law.constants.items() if name not in numbers},
    )
    used = {s.name for e in (*found.messages, *found.nodes, *found.velocities) for s in e.free_symbols}
    # A part of an energy without a force, such as a constant branch, is arbitrary: zero is the simplest.
    idle = {formula.symbol(name): sympy.Float(value) for name, value in found.constants.items() if name not in used}
    zeros = dict.fromkeys(idle, sympy.Integer(0))
    energies = [(energy.xreplace(zeros), energy.xreplace(idle)) for energy in found.energies]
    return dataclasses.replace(
        found,
        # Zero may be no valid value, for instance within a logarithm.
        energies=tuple(own if empty.has(sympy.nan, sympy.zoo, sympy.oo) else empty for empty, own in energies),
        constants={name: value for name, value in found.constants.items() if name in used},
    )
