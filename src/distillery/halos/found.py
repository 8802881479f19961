"""Search for a law of halos: expressions of message and node are composed, refitted on the data, and chosen.

Every message of the front, and its variants of ``edge``, is combined with every node of its front (and with a linear
one). All constants of such a pair are refitted together on overdensities, with bounds that keep the signs of
denominators. Errors on validation halos and complexities make a front of laws, from which the paper's
rule chooses the largest -Δlog(error)/Δcomplexity. A quick refit on few halos decides which pairs are worth a full one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import sympy
from jaxtyping import Int

from distillery.errors import DistilleryError, NotFiniteError
from distillery.halos.edge import edges
from distillery.halos.features import HaloGraph, message_names, node_names
from distillery.halos.generalisation import error_of
from distillery.halos.law import HaloLaw
from distillery.halos.poles import bounded
from distillery.halos.refit import refit
from distillery.halos.settings import MOST_HALOS
from distillery.laws.law import Law
from distillery.laws.terms import named
from distillery.physics import formula
from distillery.progress import progress
from distillery.symbolic.complexity import complexity
from distillery.symbolic.forms import cheapest
from distillery.symbolic.front import Point, choose, scored

# Pairs whose quick errors are within this factor of the best of no higher complexity get a full refit.
_NEAR = 1.1
# Messages whose errors with a linear node are within this factor are combined with every node.
_GOOD = 1.2
_QUICK_HALOS, _QUICK_EVALUATIONS = 500, 15
_LINEAR = "0.1 + 1.1*s"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A law of the front.

    Attributes:
        law: With refitted constants.
        point: Its texts, complexity, validation error and score; see ``distill.front.Point``.
        train_error: Mean |δ - δ̂| on the halos it was fitted to.
    """

    law: HaloLaw
    point: Point
    train_error: float


@dataclasses.dataclass(frozen=True)
class Found:
    """The front of laws.

    Attributes:
        candidates: Simplest first.
        chosen: Index of the paper's choice.
    """

    candidates: tuple[Candidate, ...]
    chosen: int

    def at(self, complexity: int) -> Candidate | None:
        """Return the best law of at most that complexity, if there is one."""
        return next((c for c in reversed(self.candidates) if c.point.complexity <= complexity), None)


def composed(message: sympy.Expr, node: sympy.Expr) -> HaloLaw:
    """Compose two expressions to a law whose fittable numbers are named constants with bounds.

    A factor of the message moves into the node if that does not lengthen the law, because the two are degenerate.

    Args:
        message: In the names of ``features.message_names``.
        node: In those of ``features.node_names``.
    """
    factor, rest = message.as_coeff_Mul()
    if not rest.is_number:
        inside = cheapest(node.xreplace({formula.symbol("s"): factor * formula.symbol("s")}))
        if complexity(rest) + complexity(inside) <= complexity(message) + complexity(node):
            message, node = rest, inside
    law = named(Law(3, (message,), (node,), {}), whole=False)
    constants = dict(law.constants)
    parts = [_scaled_powers(part, constants) for part in (law.messages[0], law.nodes[0])]
    return bounded(HaloLaw(parts[0], parts[1], constants))


def _scaled_powers(node: sympy.Expr, constants: dict[str, float]) -> sympy.Expr:
    """Rewrite c·x^p as (k·x)^p with the constant k instead of c.

    Where the exponent moves, c would have to move by orders of magnitude with it; k stays what it is, a scale of x.
    """
    if not node.args:
        return node
    factors = [_scaled_powers(argument, constants) for argument in node.args]
    powers = [f for f in factors if isinstance(f, sympy.Pow) and f.base.is_Symbol and f.exp.is_Symbol]
    own = [f for f in factors if f.is_Symbol and constants.get(f.name, 0.0) > 0]
    if (
        isinstance(node, sympy.Mul)
        and len(powers) == 1
        and len(own) == 1
        and constants.get(powers[0].exp.name, 0.0) > 0
    ):
        (power,), (factor,) = powers, own
        with np.errstate(all="ignore"):
            scale = float(np.float_power(constants[factor.name], 1 / constants[power.exp.name]))
        if 0 < scale < np.inf:
            constants[factor.name] = scale
            rest = [f for f in factors if f not in (power, factor)]
            return sympy.Mul((factor * power.base) ** power.exp, *rest)
    return node.func(*factors)


def laws(
    messages: Iterable[str],
    nodes: Iterable[str],
    graph: HaloGraph,
    train: Int[np.ndarray, " train"],
    validation: Int[np.ndarray, " validation"],
    *,
    seed: int = 0,
    halos: int = MOST_HALOS,
    most: int = 60,
) -> Found:
    """Return the front of laws composed of fronts of messages and nodes.

    Args:
        messages: Expressions as engines' fronts give them.
        nodes: The same of nodes.
        graph: The halos.
        train: Those that constants are fitted to.
        validation: Those on which laws are compared.
        seed: Seed of refits.
        halos: Most halos of a refit.
        most: Most complex law that is tried.

    Raises:
        DistilleryError: No pair makes a law.
    """
    heard = [formula.parse(text, message_names()) for text in dict.fromkeys(messages)]
    made = [formula.parse(text, node_names()) for text in dict.fromkeys([*nodes, _LINEAR])]
    linear = formula.parse(_LINEAR, node_names())
    show = progress("laws", 2, "passes")
    quick = _Quick(graph, train, seed)
    # A linear node shows the quality of a message; only good messages are combined with all nodes.
    forms = [form for message in heard for form in _forms(message, linear, graph.smoothing, most)]
    good = _near(quick.of(form.law for form in forms), _GOOD)
    show(1, "every message with a linear node")
    promising = [form for form in forms if _identity(form.law) in {_identity(law) for law in good}]
    fits = quick.of(_pairs(promising, made, graph.smoothing, most))
    show(2, "good messages with every node")
    worth = _near(fits, _NEAR)
    show = progress("laws", len(worth), "pairs")
    finished: list[Candidate] = []
    for done, law in enumerate(worth, start=1):
        try:
            fit = refit(law, graph, train, seed=seed, starts=2, halos=halos, polish=100)
        except NotFiniteError:
            # On more halos than in the quick refit.
            continue
        error = error_of(fit.law, graph, validation).mean
        if not fit.poles and np.isfinite(error):
            text = " | ".join(formula.to_text(part) for part in fit.law.filled())
            finished.append(Candidate(fit.law, Point(text, fit.law.complexity, error, 0.0), fit.error))
        show(done, "refitted in full")
    return _front(finished, graph, train)


@dataclasses.dataclass(frozen=True)
class _Form:
    """A message, or its variant of a number, with a node."""

    message: sympy.Expr
    number: int
    law: HaloLaw


def _forms(message: sympy.Expr, node: sympy.Expr, smoothing: float, most: int) -> list[_Form]:
    own = composed(message, node)
    beside = [own, *(bounded(law) for law in edges(own, smoothing))]
    return [_Form(message, number, law) for number, law in enumerate(beside) if law.complexity <= most]


def _pairs(promising: Sequence[_Form], nodes: Sequence[sympy.Expr], smoothing: float, most: int) -> list[HaloLaw]:
    """Return the laws of some messages and all nodes; a node without the sum of messages is a law by itself."""
    found: dict[tuple[sympy.Expr, sympy.Expr], HaloLaw] = {}
    for node in nodes:
        if not node.has(formula.symbol("s")):
            law = composed(sympy.Integer(0), node)
            found.setdefault(_identity(law), law)
            continue
        for form in promising:
            for other in _forms(form.message, node, smoothing, most):
                if other.number == form.number:
                    found.setdefault(_identity(other.law), other.law)
    return sorted(found.values(), key=lambda law: law.complexity)


def _identity(law: HaloLaw) -> tuple[sympy.Expr, sympy.Expr]:
    """Return the form of a law without the values of its constants."""
    return law.message, law.node


class _Quick:
    """Quick refits on few halos: the error of each law, and its constants as the start of a full refit."""

    def __init__(self, graph: HaloGraph, train: np.ndarray, seed: int) -> None:
        self._graph, self._train, self._seed = graph, train, seed
        self._known: dict[tuple[sympy.Expr, sympy.Expr], tuple[float, HaloLaw]] = {}

    def of(self, laws: Iterable[HaloLaw]) -> list[tuple[float, HaloLaw]]:
        found = [self._fit(law) for law in laws]
        return [(error, law) for error, law in found if np.isfinite(error)]

    def _fit(self, law: HaloLaw) -> tuple[float, HaloLaw]:
        known = self._known.get(_identity(law))
        if known is None:
            try:
                fit = refit(
                    law,
                    self._graph,
                    self._train,
                    seed=self._seed,
                    starts=1,
                    halos=_QUICK_HALOS,
                    evaluations=_QUICK_EVALUATIONS,
                    polish=0,
                )
                known = fit.error, fit.law
            except NotFiniteError:
                known = np.inf, law
            self._known[_identity(law)] = known
        return known


def _near(fits: Iterable[tuple[float, HaloLaw]], factor: float) -> list[HaloLaw]:
    """Return the laws whose errors are within a factor of the best of no higher complexity."""
    kept, best = [], np.inf
    for error, law in sorted(fits, key=lambda fit: (fit[1].complexity, fit[0])):
        if error < factor * best:
            kept.append(law)
        best = min(best, error)
    return kept


def _front(finished: Sequence[Candidate], graph: HaloGraph, train: np.ndarray) -> Found:
    if not finished:
        raise DistilleryError("laws: no pair of expressions is finite on the halos; distil with other operators")
    by_text = {candidate.point.expression: candidate for candidate in finished}
    best: dict[int, tuple[float, str]] = {}
    for text, candidate in by_text.items():
        own = (candidate.point.mae, text)
        best[candidate.point.complexity] = min(best.get(candidate.point.complexity, own), own)
    target = graph.overdensity[train]
    front = scored(best, float(np.mean(np.abs(target - np.median(target)))))
    chosen = choose(front)
    assert chosen is not None
    candidates = tuple(dataclasses.replace(by_text[point.expression], point=point) for point in front)
    return Found(candidates, chosen)
