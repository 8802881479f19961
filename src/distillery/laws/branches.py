"""Remove piecewise branches that do not significantly reduce the error.

Symbolic regression also finds branches that only fit the noise of a network, such as that of the heaviest thousandth of
the bodies. On accelerations and velocities such a branch is an error. A branch stays if its removal raises the mean
error by more than the standard error of the mean over simulations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy
from jaxtyping import Float

from distillery.errors import DistilleryError
from distillery.laws import tuning
from distillery.laws.compose import composed, composed_energies
from distillery.laws.law import Law
from distillery.laws.problem import Data, Problem
from distillery.laws.refit import Fit, refit
from distillery.laws.settings import ReplacementSettings
from distillery.util.budget import OutOfBudget


def without_needless_branches(fit: Fit, data: Data, settings: ReplacementSettings, draws: np.random.Generator) -> Fit:
    """Return a fit of the law without the branches whose removal does not raise the error significantly.

    Args:
        fit: The fitted law.
        data: Snapshots that it was fitted to.
        settings: Loss and starts.
        draws: Source of starts.
    """
    known = by_simulation(fit.law, data)
    found: list[tuple[float, Fit]] = []
    for law in one_branch_less(fit.law, data):
        try:
            other = refit(law, data, settings, draws)
        except DistilleryError:
            continue
        except OutOfBudget:
            break
        lost = by_simulation(other.law, data) - known
        if lost.mean() <= max(tuning.SIGNIFICANT * lost.std() / np.sqrt(len(lost)), tuning.ERROR_ROUNDING):
            found.append((float(lost.mean()), other))
    if not found:
        return fit
    _, best = min(found, key=lambda one: one[0])
    return without_needless_branches(best, data, settings, draws)


def by_simulation(law: Law, data: Data) -> Float[np.ndarray, " simulation"]:
    """Return the mean absolute error of a law in each simulation, in typical accelerations (and velocities)."""
    problem = Problem(law, data, ())
    off = np.abs(problem.residual(np.zeros(0))).reshape(problem.shape).mean(axis=(0, 2))
    _, number = np.unique(data.simulation, return_inverse=True)
    return np.asarray(np.bincount(number, weights=off) / np.bincount(number))


def one_branch_less(law: Law, data: Data) -> Iterator[Law]:
    """Yield the laws in which one distinction is removed, once for each branch that replaces all others.

    Args:
        law: The law; branches of its components with the same conditions are one distinction.
        data: Snapshots that it was fitted to.
    """
    messages, nodes, energies = (law.filled(part) for part in (law.messages, law.nodes, law.energies))
    parts = {piecewise for part in energies or (*messages, *nodes) for piecewise in part.atoms(sympy.Piecewise)}
    alike: dict[tuple[sympy.Basic, ...], list[sympy.Piecewise]] = {}
    for piecewise in sorted(parts, key=str):
        alike.setdefault(tuple(where for _, where in piecewise.args), []).append(piecewise)
    for conditions, own in alike.items():
        for number in range(len(conditions)):
            put = {piecewise: piecewise.args[number][0] for piecewise in own}
            if energies:
                pair, body = (energy.xreplace(put) for energy in energies)
                yield composed_energies(pair, body, law.dim, data.unit_charges)
            else:
                sent, given = ([e.xreplace(put) for e in part] for part in (messages, nodes))
                yield composed(sent, given, data.arriving, data.unit_charges)
