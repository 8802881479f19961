"""Choose the energies of a Hamiltonian law by the data, as ``choose`` does for messages.

Candidates are the expressions on the front of each energy, and energies of bodies with p²/2m in place of all terms with
momenta: momenta are m·v, so no other H has ∂H/∂p = v. Constants are fitted to accelerations and velocities. The paper's
rule chooses by the errors on other simulations: of velocities ∂H/∂p, and of the accelerations of bodies that have
p²/2m, so that neither energy hides the error of the other. Energies that are exact up to rounding stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import sympy
from jaxtyping import Bool, Float

from distillery.errors import DistilleryError
from distillery.laws import tuning
from distillery.laws.choose import Chosen
from distillery.laws.clean import fitted
from distillery.laws.compose import composed_energies
from distillery.laws.composed import through_nodes
from distillery.laws.hamilton import momenta
from distillery.laws.law import Law
from distillery.laws.prefit import Prefit, prefit_data, validation_rows
from distillery.laws.problem import Data
from distillery.laws.settings import ReplacementSettings
from distillery.laws.softening import softened
from distillery.physics import formula
from distillery.symbolic.complexity import complexity
from distillery.symbolic.forms import cheapest
from distillery.symbolic.front import choose, scored
from distillery.symbolic.shared_form import Candidate
from distillery.util import budget
from distillery.util.budget import OutOfBudget

_Energies = tuple[sympy.Expr, sympy.Expr]


def energies_by_data(
    own: _Energies,
    fronts: tuple[Sequence[Candidate], Sequence[Candidate]],
    data: Data,
    settings: ReplacementSettings,
    draws: np.random.Generator,
) -> Chosen:
    """Choose a Hamiltonian law among those that the distilled expressions make possible.

    Args:
        own: The paper's choice of the energy of a pair, and of that of a body.
        fronts: The front of each.
        data: Training snapshots.
        settings: Loss.
        draws: Source of starts.
    """
    once, some = settings.model_copy(update={"starts": 1}), prefit_data(data)
    dim, checked = some.graphs.position.shape[-1], validation_rows(some)

    def law_of(energies: _Energies) -> Law:
        return composed_energies(*energies, dim, data.unit_charges)

    if checked.all() or not checked.any():
        return Chosen(law_of(own), "messages", math.nan, math.nan)
    prefit, part = Prefit(some), some.part(~checked)

    def error_of(energies: _Energies) -> float:
        if budget.is_spent():
            return math.inf
        try:
            fit = softened(
                fitted(law_of(energies), part, once, draws, tuning.COMPARISON_EVALUATIONS), part, once, draws
            )
            return error_of_law(fit.law)
        except (DistilleryError, OutOfBudget, RecursionError, TypeError):
            # Not finite on the data, or SymPy's recursion failed on an engine's expression.
            return math.inf

    def error_of_law(law: Law) -> float:
        given = through_nodes(some.graphs, law.filled(law.messages), law.filled(law.nodes))
        moving = through_nodes(some.graphs, (), law.filled(law.velocities))
        return prefit.error(given) + _error(moving, some.graphs.velocity, checked)

    still = np.zeros_like(some.graphs.velocity)
    no_force = prefit.error(still) + _error(still, some.graphs.velocity, checked)
    chosen, source, own_error = own, "messages", error_of(own)
    error = own_error
    for place, where in _candidates(own, fronts, dim):
        if error <= tuning.EXACT * no_force or budget.is_spent():
            break
        tried = {one: error_of((one, chosen[1]) if place == 0 else (chosen[0], one)) for one in where}
        found = _choice(tried, no_force)
        if found is not None and tried[found] <= tuning.BETTER * error:
            chosen = (found, chosen[1]) if place == 0 else (chosen[0], found)
            source = "neighbours" if "neighbours" in (source, where[found]) else "fronts"
            error = tried[found]
    return Chosen(law_of(chosen), source, error, own_error)


def _error(
    found: Float[np.ndarray, "graph body dim"],
    true: Float[np.ndarray, "graph body dim"],
    checked: Bool[np.ndarray, " graph"],
) -> float:
    """Return the mean error on validation rows, relative to the sum of each size and the typical one."""
    size = np.abs(true).sum(axis=-1)
    off = np.abs(found - true) / ((float(np.median(size)) or 1.0) + size)[..., None]
    return float(np.mean(off[checked])) if np.all(np.isfinite(off[checked])) else math.inf


def _candidates(
    own: _Energies, fronts: tuple[Sequence[Candidate], Sequence[Candidate]], dim: int
) -> list[tuple[int, dict[sympy.Expr, str]]]:
    """Return pairs of an energy's index and its candidates with their sources, fronts first."""
    pair, body = ({one.expression: "fronts" for one in front} for front in fronts)
    moving = {moved: "neighbours" for one in (own[1], *body) if (moved := newtonian(one, dim)) is not None}
    return [(0, pair), (1, body), (1, moving)]


def newtonian(body: sympy.Expr, dim: int) -> sympy.Expr | None:
    """Return an energy of a body with p²/2m in place of all terms with momenta; None if it is singular at rest.

    Args:
        body: The energy, in px, py (pz) and others.
        dim: Dimensions of space.
    """
    own = momenta(dim)
    try:
        at_rest = body.xreplace(dict.fromkeys(own, sympy.Integer(0)))
    except TypeError:
        # SymPy raises this for a condition on a quantity without a value at rest.
        return None
    if at_rest.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo):
        return None
    _, acting = cheapest(at_rest).as_coeff_Add()
    return acting + sympy.Add(*(p**2 for p in own)) / (2 * formula.symbol("m"))


def _choice(tried: dict[sympy.Expr, float], no_force: float) -> sympy.Expr | None:
    """Return the paper's choice among energies; the point before the first one is no force at all."""
    energies = list(tried)
    least: dict[int, tuple[float, str]] = {1: (no_force, "")}
    for number, energy in enumerate(energies):
        if math.isfinite(tried[energy]):
            cost = complexity(energy)
            least[cost] = min(least.get(cost, (math.inf, "")), (tried[energy], str(number)))
    front = scored(least, no_force)
    place = choose(front)
    return None if place is None or not front[place].expression else energies[int(front[place].expression)]
