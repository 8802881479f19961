"""Comparison of a law with the known law of a system: the verdict of the stage ``verify``, for a fitted law."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sympy

from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError
from distillery.laws.composed import all_snapshots
from distillery.laws.fitted_law import FittedLaw
from distillery.laws.motion import moved
from distillery.laws.settings import VerificationSettings
from distillery.networks.models import MODELS
from distillery.physics import formula
from distillery.physics.systems import System
from distillery.simulate.simulations import simulate
from distillery.symbolic.complexity import complexity
from distillery.util import budget
from distillery.util.display import figure, html_table, text_table
from distillery.validation.against_data import validate
from distillery.validation.verdict import Judge, KnownData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("quantity", "value")
# Simulations that stand for the data where there are none.
_SIMULATIONS, _BODIES = 200, 4


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Verdict on a law against a known law.

    Attributes:
        recovered: Whether the law is the known one where the data are, to the tolerance of `VerificationSettings`.
        form: Form of the messages: ``force``, ``acceleration``, ``gauge``, ``mixed`` or ``energy``; None if the law is
            not recovered.
        reason: Reason why it is not recovered.
        extent: Distances up to which the laws agree, in words.
        mae: Mean error of the accelerations on the data.
        law: The law.
        data: The data where the laws are compared.
    """

    recovered: bool
    form: str | None
    reason: str
    extent: str
    mae: float | None
    law: FittedLaw
    data: Trajectories

    def rows(self) -> list[tuple[str, Any]]:
        """Return the verdict as pairs of a name and a value."""
        verdict = f"yes, as {self.form}" if self.recovered else "no"
        rows: list[tuple[str, Any]] = [("recovered", verdict)]
        rows += [("reason", self.reason)] if self.reason else []
        rows += [("extent", self.extent)] if self.extent else []
        return [*rows, ("mean error of accelerations", self.mae)]

    def __repr__(self) -> str:
        return text_table(_COLUMNS, self.rows())

    def _repr_html_(self) -> str:
        return html_table("Comparison with the known law", _COLUMNS, self.rows())

    def plot(self) -> Figure:
        """Return a figure of the accelerations of the law against the true ones."""
        drawn, (ax,) = figure(width=4.0)
        found = validate(self.law, self.data, rollouts=0)
        ax.plot(found.true.ravel(), found.predicted.ravel(), ".", markersize=1)
        ax.axline((0.0, 0.0), slope=1.0, color="grey", linewidth=0.5)
        ax.set(xlabel="true acceleration", ylabel="acceleration of the law")
        return drawn


def compare(law: FittedLaw, system: System, data: Trajectories | None = None) -> Comparison:
    """Decide whether a law is the known law of a system; constants and offsets that physics leaves free do not count.

    Args:
        law: The law.
        system: The system with the known law.
        data: Trajectories whose distances, masses and charges count; by default those to which the law was fitted, or
            new simulations.

    Raises:
        DistilleryError: The law and the system differ in their graph.
    """
    if law.graph != system.graph:
        raise DistilleryError(f"compare: the law is of a {law.graph} graph, the system of a {system.graph} one")
    if data is None:
        data = law.data
    if data is None:
        data = simulate(
            system, dim=law.law.dim, bodies=_BODIES, simulations=_SIMULATIONS, show_progress=False, snapshots=20
        )
    settings, known = VerificationSettings(), data
    hamiltonian = bool(law.law.energies)
    judge = Judge(
        MODELS["flathgn" if hamiltonian else "bottleneck"],
        system,
        settings,
        dim=law.law.dim,
        bodies=data.particles,
        held_out=lambda: all_snapshots(known.select(times=slice(0, None, max(len(known) // 2000, 1)))),
        data=lambda: shared,
    )
    shared = KnownData(system, lambda: known, settings)
    if hamiltonian:
        messages, nodes = (law.law.filled((energy,)) for energy in law.law.energies)
    else:
        messages, nodes = law.law.filled(law.law.messages), law.law.filled(moved(law.law))
    with budget.within("compare", settings.evaluations, settings.seconds, "verification") as limit:
        found = judge.verdict({"components": _components(messages), "node": _components(nodes)})
    composed = found["node"]
    recovered = bool(found["recovered"]) and bool(composed["recovered"])
    reasons = [found["reason"], "" if composed["recovered"] else f"accelerations: {composed['reason']}", limit.note]
    return Comparison(
        recovered=recovered,
        form=found["form"] if recovered else None,
        reason="" if recovered else "; ".join(reason for reason in reasons if reason),
        extent=str(found["extent"]),
        mae=found["composed"]["mae"],
        law=law,
        data=data,
    )


def _components(expressions: list[sympy.Expr]) -> list[dict[str, Any]]:
    """Return expressions in the form of an outcome of ``distill``, each as a front of one point."""
    return [
        {
            "component": number,
            "reason": "",
            "chosen": 0,
            "front": [{"expression": formula.to_text(expression), "complexity": complexity(expression), "mae": 0.0}],
        }
        for number, expression in enumerate(expressions)
    ]
