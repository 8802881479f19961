"""Find the law that replaces a network: from distilled expressions and data to fitted constants with standard errors.

The expressions of messages and nodes are composed to a law, the data choose its form, constants are refitted and
brought to a clean form, and a force confined to a region is added if the residuals show one. The form that is shown is
the clean one, unless its error is larger.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import sympy

from distillery.errors import DistilleryError
from distillery.laws import text, tuning
from distillery.laws.choose import chosen_by_data
from distillery.laws.clean import cleaned, fitted
from distillery.laws.compose import composed, composed_energies
from distillery.laws.composed import HeldOut, errors
from distillery.laws.energies import energies_by_data
from distillery.laws.law import Law
from distillery.laws.problem import Data
from distillery.laws.refit import Fit
from distillery.laws.residual_region import find_region, with_region, without_region
from distillery.laws.settings import ReplacementSettings
from distillery.laws.shown import accelerations, shown_form
from distillery.laws.softening import softened
from distillery.randomness import stream
from distillery.symbolic.shared_form import Candidate, common_choice
from distillery.util import budget
from distillery.util.budget import OutOfBudget

Errors = dict[str, float | None]


@dataclasses.dataclass(frozen=True)
class DistilledFunction:
    """Fronts of all components of a function, in their order.

    Attributes:
        fronts: The front of each component.
        chosen: Index on each front of the expression that represents the component.
        axes: Whether component k belongs to axis k.
    """

    fronts: Sequence[Sequence[Candidate]]
    chosen: tuple[int, ...]
    axes: bool

    @classmethod
    def of_fronts(
        cls, fronts: Sequence[Sequence[Candidate]], chosen: Sequence[int], *, axes: bool, unit_charges: bool
    ) -> DistilledFunction:
        """Return a function whose components use their common form, if they have one that is as good as their own.

        Args:
            fronts: The front of each component.
            chosen: Index of the paper's choice on each front.
            axes: Whether component k belongs to axis k.
            unit_charges: Whether all charges are 1 or -1.
        """
        common = common_choice(fronts, chosen, unit_charges) if axes else None
        return cls(fronts, common or tuple(chosen), axes)

    @property
    def expressions(self) -> list[sympy.Expr]:
        """The expression of each component."""
        return [front[index].expression for front, index in zip(self.fronts, self.chosen, strict=True)]


@dataclasses.dataclass(frozen=True)
class Replacement:
    """A law that replaces a network.

    Attributes:
        raw: The law as distilled.
        refitted: The law with refitted constants; None if no law is finite on the data.
        clean: Its clean form, with simple numbers where constants agree with them.
        form: Name of the form that is shown: ``raw``, ``refitted`` or ``clean``; empty if there is none.
        source: Origin of the form: ``messages`` (the paper's choice), ``fronts`` or ``neighbours``.
        errors: Mean and median absolute error of each form on held-out snapshots (dimensionless).
        remarks: Reasons why the shown form is not the clean one, and of constants that diverge.
        singular: Reason why no law is finite on the data; empty if one is.
        cut: Limit that ended the search early; empty if none did.
        evaluations: Evaluations of laws and derivatives.
    """

    raw: Fit
    refitted: Fit | None
    clean: Fit | None
    form: str
    source: str
    errors: dict[str, Errors]
    remarks: tuple[str, ...]
    singular: str
    cut: str
    evaluations: int

    @property
    def shown(self) -> Fit | None:
        """The law that is shown, with its standard errors; None if no law is finite on the data."""
        return {"raw": self.raw, "refitted": self.refitted, "clean": self.clean}.get(self.form)


def replace(
    messages: DistilledFunction,
    nodes: DistilledFunction,
    data: Data,
    held_out: HeldOut,
    settings: ReplacementSettings,
    *,
    hamiltonian: bool = False,
    draws: np.random.Generator | None = None,
    label: str = "replace",
) -> Replacement:
    """Return the law that distilled expressions and data give, with fitted constants and their standard errors.

    Args:
        messages: Fronts of messages or, of a Hamiltonian network, of the energy of a pair.
        nodes: Fronts of the node model or of the energy of a body.
        data: Training snapshots.
        held_out: Held-out snapshots, for errors.
        settings: Loss, starts and limits of the search.
        hamiltonian: Whether the functions are energies.
        draws: Source of the starts of fits; None for one from the seed of the settings.
        label: Name of the search in the log.
    """
    draws = stream(settings.seed, "replace", "starts") if draws is None else draws
    with budget.within(label, settings.evaluations, settings.seconds, "replacement") as limit:
        found = _searched(messages, nodes, data, held_out, settings, hamiltonian, draws, limit)
    return dataclasses.replace(found, cut=limit.note, evaluations=limit.spent)


def _searched(
    messages: DistilledFunction,
    nodes: DistilledFunction,
    data: Data,
    held_out: HeldOut,
    settings: ReplacementSettings,
    hamiltonian: bool,
    draws: np.random.Generator,
    limit: budget.Budget,
) -> Replacement:
    dim = data.graphs.position.shape[-1]
    energies = (messages.expressions[0], nodes.expressions[0]) if hamiltonian else None
    if energies:
        law = composed_energies(*energies, dim, data.unit_charges)
    else:
        law = composed(messages.expressions, nodes.expressions, data.arriving, data.unit_charges)
    raw = as_distilled(law)
    known = {"raw": _errors(law, held_out)}
    try:
        with limit.part(tuning.SEARCH_SHARE):
            if energies:
                own_fronts = (messages.fronts[0], nodes.fronts[0])
                chosen = energies_by_data(energies, own_fronts, data, settings, draws)
            else:
                fronts = (messages.fronts, nodes.fronts) if messages.axes and nodes.axes else None
                chosen = chosen_by_data(law, fronts, data, settings, draws)
        refitted, clean = _fits(chosen.law, data, settings, draws)
    except DistilleryError as error:
        return Replacement(raw, None, None, "", "", known, (), f"{text.line(law)}: {error}", "", 0)
    source = chosen.source
    region = find_region(clean.law, data)
    if region is not None and not budget.is_spent():
        # Constants that were fitted without the region's force may be less accurate, or not finite at all.
        with contextlib.suppress(DistilleryError):
            fits = _fits(chosen.law, without_region(data, region), settings, draws)
            refitted, clean = (dataclasses.replace(fit, law=with_region(fit.law, region)) for fit in fits)
            source = "neighbours"
    form, worse = shown_form({"raw": law, "refitted": refitted.law, "clean": clean.law}, data.graphs)
    away = sorted({*refitted.running_away, *clean.running_away})
    remarks = tuple(remark for remark in (worse, f"{', '.join(away)} grew without bound" if away else "") if remark)
    known |= {"refitted": _errors(refitted.law, held_out), "clean": _errors(clean.law, held_out)}
    return Replacement(raw, refitted, clean, form, "messages" if form == "raw" else source, known, remarks, "", "", 0)


def _fits(law: Law, data: Data, settings: ReplacementSettings, draws: np.random.Generator) -> tuple[Fit, Fit]:
    """Return a law with refitted constants, and its clean form.

    Raises:
        SingularError: The law is not finite on the data.
    """
    try:
        refitted = softened(fitted(law, data, settings, draws), data, settings, draws)
    except OutOfBudget:
        return as_distilled(law), as_distilled(law)
    try:
        return refitted, cleaned(refitted, data, settings, draws)
    except DistilleryError:
        # A constant that agrees with zero may be in a denominator: then there is no cleaner form.
        return refitted, refitted


def as_distilled(law: Law) -> Fit:
    """Return a law whose constants were not refitted."""
    return Fit(law, {}, {}, (), (), math.nan)


def _errors(law: Law, graphs: HeldOut) -> Errors:
    return errors(graphs, accelerations(law, graphs))
