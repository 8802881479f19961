"""Cases of a law that its data do not ask for: where one of them alone is no worse, it stands for all.

Symbolic regression also puts a case where there is nothing but the noise of a network, around the thousandth of bodies
with the largest masses, say. Accelerations and velocities tell: there, such a case is an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import sympy

from distillery.replace.compose import by_hamilton
from distillery.replace.law import Law, only_used
from distillery.replace.problem import Data
from distillery.replace.refit import Fit, SingularError, refit
from distillery.settings import ReplacementSettings

# Of the cost, and of the typical acceleration (squared): what is smaller is rounding.
_SAME, _ROUNDING = 1e-6, 1e-12


def without_needless_cases(fit: Fit, data: Data, settings: ReplacementSettings, draws: np.random.Generator) -> Fit:
    """Return a fit of the law with as few cases as are no worse.

    Args:
        fit: The fitted law.
        data: What it was fitted to.
        settings: Loss and starts.
        draws: Source of starts.
    """
    for law in one_case_less(fit.law):
        try:
            other = refit(law, data, settings, draws)
        except SingularError:
            continue
        if other.cost <= (1 + _SAME) * fit.cost + _ROUNDING:
            return without_needless_cases(other, data, settings, draws)
    return fit


def one_case_less(law: Law) -> Iterator[Law]:
    """Yield the laws that know one distinction less, each time with another of its cases for all.

    Args:
        law: The law; what its components distinguish by the same conditions is one distinction.
    """
    parts = law.energies or (*law.messages, *law.nodes)
    pieces = sorted({piece for part in parts for piece in part.atoms(sympy.Piecewise)}, key=str)
    alike: dict[tuple[sympy.Basic, ...], list[sympy.Piecewise]] = {}
    for piece in pieces:
        alike.setdefault(tuple(where for _, where in piece.args), []).append(piece)
    for conditions, own in alike.items():
        for number in range(len(conditions)):
            put = {piece: piece.args[number][0] for piece in own}
            if law.energies:
                energies = tuple(energy.xreplace(put) for energy in law.energies)
                yield only_used(by_hamilton(dataclasses.replace(law, energies=energies)))
            else:
                messages, nodes = (tuple(e.xreplace(put) for e in of) for of in (law.messages, law.nodes))
                yield only_used(dataclasses.replace(law, messages=messages, nodes=nodes))
