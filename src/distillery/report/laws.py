"""The laws of a study by system: the true one, the best that was found, its error, its verdict and a picture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from distillery.report.cells import CellName, Found, RowName, Shown
from distillery.report.document import Block, Grid, Heading, Paragraph, code, plain
from distillery.report.drawings import front_picture, label_of, message_picture, sent_name
from distillery.report.html import identifier, render
from distillery.report.law import law_lines, typeset_line
from distillery.report.pooled import DASH
from distillery.report.study import Study
from distillery.report.style import typeset
from distillery.report.truth import Truth, truth
from distillery.util.text import counted
from distillery.validation.generalisation import LONG

# Columns with reasons why a cell's law is not the true one.
WHY = ("verdict_reason", "replacement_reason")
NOTATION = (
    "Body 1 receives and body 2 sends: Δ is the vector from 2 to 1, r its length, m are masses, q charges, v "
    "velocities, a accelerations; all are dimensionless. U is the true potential of a pair, V that of a body, as the "
    "sweep defined them."
)


@dataclasses.dataclass(frozen=True)
class RowLaw:
    """The laws of a system.

    Attributes:
        row: The system.
        true: Its true law, if the store has it.
        best: The cell whose law is shown, if any has one.
        verdict: In how many cells the law was recovered, and by which models.
        others: The finished cells in which it was not.
    """

    row: RowName
    true: Truth | None
    best: Found | None
    verdict: str
    others: tuple[Found, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The equations of the law in the network's place, or else the expressions of the messages."""
        if self.best is None:
            return []
        law = str(self.best.values.get("law") or "")
        if law:
            return law.split("; ")
        return [f"s{k + 1} = {text}" for k, text in enumerate(self.best.values.get("equation", [])) if text]

    @property
    def source(self) -> str:
        """Model and seed of the cell whose law is shown."""
        if self.best is None:
            return ""
        kind = "" if self.best.values.get("law") else ", expressions of its messages"
        return f"{self.best.cell.model}, seed {self.best.cell.seed}{kind}"

    @property
    def extent(self) -> str:
        """The range in which the law agrees with the true one; empty if the store does not have it."""
        return "" if self.best is None else str(self.best.values.get("extent") or "")

    @property
    def error(self) -> str:
        """The median error of the law and of its network; empty if neither is known."""
        if self.best is None:
            return ""
        law, spread = _law_error(self.best), self.best.number("label_std")
        # Compare the law and the network on the same graphs, if both were measured there.
        network = self.best.number("error_network_medae" if self.best.values.get("law") else "test_medae")
        parts = [] if math.isnan(law) else [f"{law:.2g} of the law"]
        parts += [] if math.isnan(network) else [f"{network:.2g} of its network"]
        if not parts:
            return ""
        return ", ".join(parts) + ("" if math.isnan(spread) else f"; standard deviation of a: {spread:.2g}")

    @property
    def conditions(self) -> str:
        """Number of conditions under which the law holds; empty if none was tested."""
        if self.best is None:
            return ""
        form = str(self.best.values.get("law_form") or "")
        tested = [own[form]["holds"] for name, own in self.best.beyond.items() if name != LONG and _judged(own, form)]
        return (
            f"holds under {sum(flag == 1.0 for flag in tested)} of {counted(len(tested), 'condition')}"
            if tested
            else ""
        )


def row_laws(study: Study) -> list[RowLaw]:
    """Return the laws of every system of a study.

    Args:
        study: The study, without halos.
    """
    definitions: dict[str, Any] = {name: entry for store in study.stores for name, entry in store.systems.items()}
    laws = []
    for row in study.rows:
        cells = [found for model in study.models for found in study.at(row, model)]
        entry = definitions.get(row.system)
        true = truth(entry, row.dim, row.bodies) if entry is not None else None
        others = tuple(found for found in cells if found.status == "ok" and found.number("recovered") == 0.0)
        laws.append(RowLaw(row, true, _best(cells), _verdict(cells), others))
    return laws


def why_not(values: Mapping[str, Any]) -> str:
    """Return why a law is not the true one, from all columns with reasons; empty if there are none.

    Args:
        values: The values of a cell, by column.
    """
    return "; ".join(dict.fromkeys(str(values[name]) for name in WHY if values.get(name)))


def laws_html(study: Study, shown: Mapping[CellName, Shown]) -> list[Markup]:
    """Return the laws of every system, typeset, with a picture each.

    Args:
        study: The study, without halos.
        shown: The cells that the page shows in full, by name.
    """
    return [_row_html(law, shown) for law in row_laws(study)]


def laws_blocks(study: Study) -> list[Block]:
    """Return the laws of every system as blocks.

    Args:
        study: The study, without halos.
    """
    rows, reasons = [], []
    for law in row_laws(study):
        true = DASH
        if law.true is not None:
            potentials = [f"{name} = {text}" for name, text in law.true.potentials.items()]
            true = "; ".join([*map(code, potentials), *map(plain, law.true.notes)])
            true += f"; so {code(typeset(law.true.law))}" if law.true.law else ""
        found = "; ".join(code(typeset(line)) for line in law.lines) or DASH
        verdict = [plain(text) for text in (law.verdict, law.extent, law.conditions) if text]
        rows.append([plain(_name(law.row)), true, found, plain(law.source), law.error or DASH, "; ".join(verdict)])
        reasons += [[plain(str(found.cell)), plain(why_not(found.values)) or DASH] for found in law.others]
    headings = ("", "true law", "law found", "by", "median error of a, held out", "verdict")
    why: list[Block] = [Heading(3, "Why not"), Grid(("", "not recovered because"), reasons)]
    return [Heading(2, "Laws"), Paragraph(NOTATION), Grid(headings, rows), *(why if reasons else ())]


def _name(row: RowName) -> str:
    return f"{row.system}, {row.dim}D, {row.bodies:,} bodies"


def _best(cells: Sequence[Found]) -> Found | None:
    """Return the cell whose law is shown: a recovered one if there is any, with the smallest median error."""
    having = [found for found in cells if found.status == "ok" and (found.values.get("law") or found.texts("equation"))]

    def rank(found: Found) -> tuple[bool, float]:
        error = _law_error(found)
        return found.number("recovered") != 1.0, math.inf if math.isnan(error) else error

    return min(having, key=rank, default=None)


def _law_error(found: Found) -> float:
    form = found.values.get("law_form")
    return found.number(f"error_{form}_medae") if form else found.number("composed_medae")


def _judged(own: Mapping[str, Mapping[str, Any]], form: str) -> bool:
    return isinstance(own.get(form, {}).get("holds"), float)


def _verdict(cells: Sequence[Found]) -> str:
    """Return in how many cells the law was recovered, by which models and in which forms."""
    recovered = [found for found in cells if found.number("recovered") == 1.0]
    forms = list(dict.fromkeys(str(found.values.get("form") or "") for found in recovered))
    models = list(dict.fromkeys(found.cell.model for found in recovered))
    text = f"recovered in {len(recovered)} of {counted(len(cells), 'cell')}"
    return text + (f" ({', '.join(models)}), as {' or '.join(filter(None, forms))}" if recovered else "")


def _row_html(law: RowLaw, shown: Mapping[CellName, Shown]) -> Markup:
    dim, best, true = law.row.dim, law.best, []
    if law.true is not None:
        notes = f", {', '.join(law.true.notes)}" if law.true.notes else ""
        potentials = [
            typeset_line(f"{name} = {text}", law.true.symbols[name]) for name, text in law.true.potentials.items()
        ]
        true.append((f"true potential{notes}", potentials))
        if law.true.law:
            true.append(("true acceleration", law_lines(law.true.law.split("; "), dim)))
    error = f"median error of a, held out: {law.error}" if law.error else ""
    return render(
        "law.html",
        name=_name(law.row),
        found=law_lines(law.lines, dim),
        source=law.source,
        mark="yes" if best is not None and best.number("recovered") == 1.0 else "no",
        link=identifier(best.cell) if best is not None and best.cell in shown else "",
        truth=true,
        truth_note="" if true else "the true law is not in this store; collect it again",
        verdict="; ".join(text for text in (law.verdict, law.extent, law.conditions, error) if text),
        pictures=_pictures(shown[best.cell]) if best is not None and best.cell in shown else [],
        reasons=[
            (found.cell, identifier(found.cell) if found.cell in shown else "", why_not(found.values) or DASH)
            for found in law.others
        ],
    )


def _pictures(shown: Shown) -> list[tuple[Markup, str]]:
    """Return the message component that fits best, or else the first Pareto front."""
    fits = [fit for fit in shown.read().fits if np.isfinite([fit.r2_robust, *fit.message]).all()]
    if fits:
        return [message_picture(sent_name(shown.kind), max(fits, key=lambda fit: fit.r2_robust))]
    fronts = [
        front_picture(label_of(shown.kind, function, 0)[0], own[0])
        for function, own in shown.found.fronts.items()
        if own
    ]
    return [picture for picture in fronts if picture][:1]
