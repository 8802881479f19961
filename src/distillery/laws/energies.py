"""Which energies take a Hamiltonian network's place is decided by the data, as the form of messages is (``by_data``).

What stands on the front of each is tried, and energies of bodies also with p²/2m in place of all that depends on
momenta: these are m·v, so that no other H has ∂H/∂p = v. Constants are fitted to accelerations and velocities, and the
paper's rule chooses once more, by the errors on other simulations: of velocities ∂H/∂p, and of the accelerations of
bodies that have p²/2m, so that neither energy hides what the other one is worth. Energies that are right but for
rounding stay as they are.
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
from distillery.laws.prefit import Screen, rows_checked, tried_on
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
    """Return the Hamiltonian law that the data choose among those that what was distilled makes possible.

    Args:
        own: The paper's choice of the energy of a pair, and of that of a body.
        fronts: The front of each.
        data: Training snapshots.
        settings: Loss.
        draws: Source of starts.
    """
    once, some = settings.model_copy(update={"starts": 1}), tried_on(data)
    dim, checked = some.graphs.position.shape[-1], rows_checked(some)

    def law_of(energies: _Energies) -> Law:
        return composed_energies(*energies, dim, data.unit_charges)

    if checked.all() or not checked.any():
        return Chosen(law_of(own), "messages", math.nan, math.nan)
    screen, part = Screen(some), some.part(~checked)

    def error_of(energies: _Energies) -> float:
        if budget.is_spent():
            return math.inf
        try:
            fit = softened(
                fitted(law_of(energies), part, once, draws, tuning.COMPARISON_EVALUATIONS), part, once, draws
            )
            return error_of_law(fit.law)
        except (DistilleryError, OutOfBudget, RecursionError, TypeError):
            # Not finite on the data; or SymPy loses itself in what an engine wrote.
            return math.inf

    def error_of_law(law: Law) -> float:
        given = through_nodes(some.graphs, law.filled(law.messages), law.filled(law.nodes))
        moving = through_nodes(some.graphs, (), law.filled(law.velocities))
        return screen.error(given) + _error(moving, some.graphs.velocity, checked)

    still = np.zeros_like(some.graphs.velocity)
    nothing = screen.error(still) + _error(still, some.graphs.velocity, checked)
    chosen, source, own_error = own, "messages", error_of(own)
    error = own_error
    for place, where in _candidates(own, fronts, dim):
        if error <= tuning.EXACT * nothing or budget.is_spent():
            break
        tried = {one: error_of((one, chosen[1]) if place == 0 else (chosen[0], one)) for one in where}
        found = _choice(tried, nothing)
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
    """Return the mean error of what was checked, relative to each size and the typical one, as in ``Screen``."""
    size = np.abs(true).sum(axis=-1)
    off = np.abs(found - true) / ((float(np.median(size)) or 1.0) + size)[..., None]
    return float(np.mean(off[checked])) if np.all(np.isfinite(off[checked])) else math.inf


def _candidates(
    own: _Energies, fronts: tuple[Sequence[Candidate], Sequence[Candidate]], dim: int
) -> list[tuple[int, dict[sympy.Expr, str]]]:
    """Return which energy is tried, in their order, and of each what, with where it is from: fronts come first."""
    pair, body = ({one.expression: "fronts" for one in front} for front in fronts)
    moving = {moved: "neighbours" for one in (own[1], *body) if (moved := newtonian(one, dim)) is not None}
    return [(0, pair), (1, body), (1, moving)]


def newtonian(body: sympy.Expr, dim: int) -> sympy.Expr | None:
    """Return an energy of a body with p²/2m in place of all that depends on momenta, or None where it has none at rest.

    Args:
        body: The energy, in px, py (pz) and others.
        dim: Dimensions of space.
    """
    own = momenta(dim)
    try:
        at_rest = body.xreplace(dict.fromkeys(own, sympy.Integer(0)))
    except TypeError:
        # SymPy's answer to a condition on what has no value at rest.
        return None
    if at_rest.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo):
        return None
    _, acting = cheapest(at_rest).as_coeff_Add()
    return acting + sympy.Add(*(p**2 for p in own)) / (2 * formula.symbol("m"))


def _choice(tried: dict[sympy.Expr, float], nothing: float) -> sympy.Expr | None:
    """Return the paper's choice among energies, that of no force at all being the point before the first."""
    energies = list(tried)
    least: dict[int, tuple[float, str]] = {1: (nothing, "")}
    for number, energy in enumerate(energies):
        if math.isfinite(tried[energy]):
            cost = complexity(energy)
            least[cost] = min(least.get(cost, (math.inf, "")), (tried[energy], str(number)))
    front = scored(least, nothing)
    place = choose(front)
    return None if place is None or not front[place].expression else energies[int(front[place].expression)]
