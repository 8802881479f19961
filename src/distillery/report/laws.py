"""The laws of a study, per system: the true one, the best that was found, its error and its verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from distillery.errors import DistilleryError
from distillery.report.document import Block, Grid, Heading, Paragraph, code, plain
from distillery.report.html import escape, folded, identifier
from distillery.report.law import law_lines
from distillery.report.mathml import equation
from distillery.report.pooled import DASH
from distillery.report.study import Found, RowName, Study
from distillery.report.style import typeset
from distillery.report.truth import Truth, truth
from distillery.util.text import counted
from distillery.validation.generalisation import LONG

# Columns that say why a cell's law is not the true one, as far as a store has them.
WHY = ("verdict_reason", "replacement_reason")
_OPEN = 2
_NOTATION = (
    "Body 1 receives and body 2 sends: Δ is the vector from 2 to 1, r its length, m are masses, q charges, v "
    "velocities, a accelerations; all are dimensionless. U is the true potential of a pair, V that of a body, as the "
    "sweep defined them."
)


@dataclasses.dataclass(frozen=True)
class RowLaw:
    """The laws of a system.

    Attributes:
        row: The system.
        true: Its true law; None where the store does not say it.
        best: The cell whose law is shown; None where no cell has found anything.
        verdict: Of how many cells the law was recovered, by which models.
        others: The finished cells of which it was not.
    """

    row: RowName
    true: Truth | None
    best: Found | None
    verdict: str
    others: tuple[Found, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The law that was found, an equation each: in the network's place, or else the messages' expressions."""
        if self.best is None:
            return []
        law = str(self.best.values.get("law") or "")
        if law:
            return law.split("; ")
        return [f"s{k + 1} = {text}" for k, text in enumerate(self.best.values.get("equation", [])) if text]

    @property
    def source(self) -> str:
        """Whose law it is."""
        if self.best is None:
            return ""
        what = "" if self.best.values.get("law") else ", expressions of its messages"
        return f"{self.best.cell.model}, seed {self.best.cell.seed}{what}"

    @property
    def extent(self) -> str:
        """How far the law agrees with the true one; empty where the store does not say it."""
        return "" if self.best is None else str(self.best.values.get("extent") or "")

    @property
    def error(self) -> str:
        """The median error of the law and that of its network; empty where neither is known."""
        if self.best is None:
            return ""
        law, spread = _law_error(self.best), self.best.number("label_std")
        # Compare the law and the network on the same graphs, if both were measured there.
        network = self.best.number("error_network_medae" if self.best.values.get("law") else "test_medae")
        told = [] if math.isnan(law) else [f"{law:.2g} of the law"]
        told += [] if math.isnan(network) else [f"{network:.2g} of its network"]
        if not told:
            return ""
        return ", ".join(told) + ("" if math.isnan(spread) else f"; standard deviation of a: {spread:.2g}")

    @property
    def conditions(self) -> str:
        """Under how many conditions the law holds; empty where none was tested."""
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
    """Return the laws of every system of a study of bodies.

    Args:
        study: The study.
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
    """Return why a law is not the true one, from all columns that say something of it; empty where none does.

    Args:
        values: The values of a cell, by column.
    """
    return "; ".join(dict.fromkeys(str(values[name]) for name in WHY if values.get(name)))


def laws_html(study: Study, linked: frozenset[str]) -> str:
    """Return the laws of every system, typeset.

    Args:
        study: The study, of bodies.
        linked: The cells, by name, that the page has.
    """
    return f"<p>{escape(_NOTATION)}</p>" + "".join(_row_html(law, linked) for law in row_laws(study))


def laws_blocks(study: Study) -> list[Block]:
    """Return the same as text.

    Args:
        study: The study, of bodies.
    """
    rows, reasons = [], []
    for law in row_laws(study):
        true = DASH
        if law.true is not None:
            potentials = [f"{name} = {text}" for name, text in law.true.potentials.items()]
            true = "; ".join([*map(code, potentials), *map(plain, law.true.notes)])
            true += f"; so {code(typeset(law.true.law))}" if law.true.law else ""
        found = "; ".join(code(typeset(line)) for line in law.lines) or DASH
        told = [plain(text) for text in (law.verdict, law.extent, law.conditions) if text]
        rows.append([plain(_name(law.row)), true, found, plain(law.source), law.error or DASH, "; ".join(told)])
        reasons += [[plain(str(found.cell)), plain(why_not(found.values)) or DASH] for found in law.others]
    headings = ("", "true law", "law found", "by", "median error of a, held out", "verdict")
    why: list[Block] = [Heading(3, "Why not"), Grid(("", "not recovered because"), reasons)]
    return [Heading(2, "Laws"), Paragraph(_NOTATION), Grid(headings, rows), *(why if reasons else ())]


def _name(row: RowName) -> str:
    return f"{row.system}, {row.dim}D, {row.bodies:,} bodies"


def _best(cells: Sequence[Found]) -> Found | None:
    """Return the cell whose law is shown: a recovered one, with the least median error."""
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
    """Return of how many cells the law was recovered."""
    recovered = [found for found in cells if found.number("recovered") == 1.0]
    forms = list(dict.fromkeys(str(found.values.get("form") or "") for found in recovered))
    models = list(dict.fromkeys(found.cell.model for found in recovered))
    told = f"recovered in {len(recovered)} of {counted(len(cells), 'cell')}"
    return told + (f" ({', '.join(models)}), as {' or '.join(filter(None, forms))}" if recovered else "")


def _row_html(law: RowLaw, linked: frozenset[str]) -> str:
    dim, parts = law.row.dim, []
    if law.true is None:
        parts.append('<p class="note">the true law is not in this store; collect it again</p>')
    else:
        texts = [f'<div class="scroll" tabindex="0">{_potential(law.true, name)}</div>' for name in law.true.potentials]
        notes = f", {', '.join(law.true.notes)}" if law.true.notes else ""
        parts.append(_labelled(escape(f"true potential{notes}"), "".join(texts)))
        if law.true.law:
            parts.append(_labelled("true acceleration", law_lines(law.true.law.split("; "), dim)))
    if law.best is None:
        parts.append('<p class="note">no law was found</p>')
    else:
        name = str(law.best.cell)
        source = f'<a href="#{identifier(name)}">{escape(law.source)}</a>' if name in linked else escape(law.source)
        kind, sign = ("yes", "✓") if law.best.number("recovered") == 1.0 else ("no", "✗")
        label = f'<span class="{kind}">{sign}</span> found by {source}'
        parts.append(_labelled(label, law_lines(law.lines, dim)))
    told = [law.verdict, law.extent, law.conditions, f"median error of a, held out: {law.error}" if law.error else ""]
    reasons = "".join(
        f"<li>{_cell(found, linked)}: {escape(why_not(found.values) or DASH)}</li>" for found in law.others
    )
    count = counted(len(law.others), "cell")
    # Unfold the reasons of one or two cells; those of many would hide the laws.
    why = folded(f"why not, {count}", f"<ul>{reasons}</ul>", kind="more", opened=len(law.others) <= _OPEN)
    return (
        f'<section class="law"><h3>{escape(_name(law.row))}</h3><div class="facts">{"".join(parts)}</div>'
        f'<p class="note">{escape("; ".join(text for text in told if text))}</p>{why if reasons else ""}</section>'
    )


def _cell(found: Found, linked: frozenset[str]) -> str:
    name = str(found.cell)
    return f'<a href="#{identifier(name)}">{escape(name)}</a>' if name in linked else escape(name)


def _labelled(label: str, lines: str) -> str:
    return f'<div class="equation"><div class="label">{label}</div>{lines}</div>'


def _potential(true: Truth, name: str) -> str:
    try:
        return equation(name, true.potentials[name], true.symbols[name])
    except DistilleryError:
        return f"<code>{escape(name)} = {escape(true.potentials[name])}</code>"
