"""The report of a sweep: one page of HTML that loads nothing, and the same as Markdown."""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from distillery.report.card import card, verdict
from distillery.report.cells import CellName, Experiment, Found, Shown, Simulations
from distillery.report.document import Block, Bullets, Grid, Heading, Paragraph, code, markdown, plain
from distillery.report.evidence import evidence_markdown
from distillery.report.halo import halo_card, halo_laws, halo_tables
from distillery.report.html import identifier, render
from distillery.report.laws import NOTATION, laws_blocks, laws_html, why_not
from distillery.report.origin import missing_part, origin, run_summary
from distillery.report.selected import selected_note
from distillery.report.study import Study
from distillery.report.style import look
from distillery.report.svg import drawing
from distillery.report.tables import paper_tables
from distillery.report.trajectories import draw_paths
from distillery.results.table import readable
from distillery.util.text import counted, show

# Largest number of seeds of a system and a model in one entry of the overview.
_SEEDS = 12
# Sign and words for the verdict on a cell, by the class of its colour.
_MARKS = {
    "yes": ("✓", "law recovered"),
    "near": ("○", "on the front, not chosen"),
    "no": ("✗", "not recovered"),
}
_SECTIONS = {
    "laws": "Laws",
    "cells": "Cells",
    "paper": "Tables",
    "halos": "Halos",
    "missing": "What is missing",
    "origin": "Where it is from",
}


def page(
    study: Study, shown: Sequence[Shown], simulations: Mapping[Experiment, Simulations], today: datetime.date
) -> str:
    """Return the report of a sweep as one HTML page that loads nothing and runs no script but its own.

    Args:
        study: The result store.
        shown: The cells that are shown in full.
        simulations: A few held-out simulations of each experiment, as far as they are there.
        today: The date.
    """
    folder = resources.files("distillery.report")
    style, script = (folder.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    bodies, halos = study.bodies, study.halos
    absent = {*(() if bodies.cells else ("cells", "paper")), *(() if halos.cells else ("halos",))}
    by_name = {one.found.cell: one for one in shown}
    of_bodies = [one for one in shown if one.found.cell.experiment.bodies]
    of_halos = [one for one in shown if not one.found.cell.experiment.bodies]
    with look():
        text = render(
            "page.html",
            title=_title(study),
            # Style and script are files of this package.
            style=Markup(style),
            script=Markup(script),
            script_hash=_hash(script),
            counts=_counts(study),
            sections={name: words for name, words in _SECTIONS.items() if name not in absent},
            selected=selected_note(study),
            notation=NOTATION if bodies.cells else "",
            laws=[*laws_html(bodies, by_name), *halo_laws(halos, by_name)],
            overview=_overview(bodies, by_name),
            limit_note=_limit_note(bodies, of_bodies),
            cells=[_group(bodies, experiment, own, simulations) for experiment, own in _by_experiment(of_bodies)],
            paper=_parts(paper_tables(bodies)) if bodies.cells else [],
            halo_tables=_parts(halo_tables(halos)[1:]),
            halo_limit_note=_limit_note(halos, of_halos),
            halo_cells=[
                {
                    "name": experiment,
                    "summary": counted(len(own), "cell"),
                    "paths": [],
                    "cards": [halo_card(one) for one in own],
                }
                for experiment, own in _by_experiment(of_halos)
            ],
            missing=missing_part(study)[1:],
            origin=[run_summary(study, today, "report"), *origin(study)],
        )
    return str(text) + "\n"


def page_markdown(study: Study, shown: Sequence[Shown], today: datetime.date) -> str:
    """Return the report of a sweep as Markdown, with links to picture files.

    Args:
        study: The result store.
        shown: The cells whose equations are shown.
        today: The date.
    """
    blocks: list[Block] = [
        Heading(1, plain(_title(study))),
        Bullets(tuple(f"{number} {plain(words)}" for number, words in _counts(study))),
        *selected_note(study),
    ]
    if study.bodies.cells:
        of_bodies = [one for one in shown if one.found.cell.experiment.bodies]
        blocks += [
            *laws_blocks(study.bodies),
            Heading(2, "Cells"),
            *_limit_note(study.bodies, of_bodies),
            Grid(("", "verdict", "test error (median)", "equations", "pictures"), [_line(one) for one in of_bodies]),
            *evidence_markdown(of_bodies),
            *paper_tables(study.bodies),
        ]
    if study.halos.cells:
        blocks += halo_tables(study.halos)
    blocks += [
        *missing_part(study),
        Heading(2, "Where it is from"),
        run_summary(study, today, "report"),
        *origin(study),
    ]
    return markdown(blocks) + "\n"


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _title(study: Study) -> str:
    systems = list(dict.fromkeys(row.system for row in study.rows))
    few = ", ".join(systems[:4]) + (" …" if len(systems) > 4 else "")
    return f"Laws distilled: {few}"


def _counts(study: Study) -> list[tuple[str, str]]:
    """Return the number of cells by status, and of those whose law is recovered."""
    statuses = Counter(found.status for found in study.cells)
    of_bodies = study.bodies.cells
    recovered = sum(found.number("recovered") == 1.0 for found in of_bodies)
    others = [(f"{count:,}", status) for status, count in sorted(statuses.items()) if status != "ok"]
    return [
        (f"{len(study.cells):,}", "cell" if len(study.cells) == 1 else "cells"),
        (f"{statuses['ok']:,}", "finished"),
        *([(f"{recovered:,} of {len(of_bodies):,}", "recovered")] if of_bodies else []),
        *others,
    ]


def _limit_note(study: Study, shown: Sequence[Shown]) -> list[Block]:
    finished = sum(found.status == "ok" for found in study.cells)
    if len(shown) == finished:
        return []
    return [
        Paragraph(
            f"{counted(len(shown), 'cell')} of the {finished:,} that are finished are shown in full, the first seeds "
            f"of every system and model; `distillery report --cells {finished}` shows all."
        )
    ]


def _overview(study: Study, shown: Mapping[CellName, Shown]) -> Markup:
    """Return a table of systems and models with a mark for each seed, coloured by its verdict."""
    rows = [
        (
            row,
            [
                ([_seed(found, found.cell in shown) for found in cells[:_SEEDS]], max(len(cells) - _SEEDS, 0))
                for cells in (study.at(row, model) for model in study.models)
            ],
        )
        for row in study.rows
    ]
    marks = [(kind, *words) for kind, words in _MARKS.items()]
    return render("seeds.html", marks=marks, models=study.models, rows=rows)


def _seed(found: Found, linked: bool) -> dict[str, str]:
    data = f", data {found.cell.experiment.seed}" if found.cell.experiment.seed else ""
    name = f"seed {found.cell.seed}{data}"
    if found.status != "ok":
        return {"kind": "", "mark": f"{found.status}, {name}", "title": found.text("reason"), "link": ""}
    kind, _ = verdict(found.number("recovered"), found.values_of("on_front"))
    reason = why_not(found.values) if kind != "yes" else ""
    return {
        "kind": kind,
        "mark": f"{_MARKS[kind][0]} {name}",
        "title": f"{found.cell}: {reason}" if reason else str(found.cell),
        "link": identifier(found.cell) if linked else "",
    }


def _by_experiment(shown: Sequence[Shown]) -> list[tuple[Experiment, list[Shown]]]:
    groups: dict[Experiment, list[Shown]] = {}
    for one in shown:
        groups.setdefault(one.found.cell.experiment, []).append(one)
    return list(groups.items())


def _group(
    study: Study, experiment: Experiment, shown: Sequence[Shown], simulations: Mapping[Experiment, Simulations]
) -> dict[str, Any]:
    """Return an experiment with its cells, and the paths of a few held-out simulations."""
    every = [found for found in study.cells if found.cell.experiment == experiment]
    recovered = sum(found.number("recovered") == 1.0 for found in every)
    part = f", {len(shown):,} shown" if len(shown) < len(every) else ""
    known = simulations.get(experiment)
    paths = []
    for k, (position, mass) in enumerate(zip(known.position, known.mass, strict=True) if known else ()):
        draw = functools.partial(draw_paths, position=position, mass=mass)
        paths.append((drawing(f"held-out simulation {k}", draw), f"held-out simulation {k}"))
    projection = ", seen along z" if experiment.dim == 3 else ""
    return {
        "name": experiment,
        "summary": f"{recovered:,} of {counted(len(every), 'cell')} recovered{part}",
        "paths": paths,
        "duration": f"{known.duration:.3g} units of time{projection}" if known else "",
        "cards": [card(one) for one in shown],
    }


def _parts(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """Return tables in parts, one for each heading; small parts are folded, but the first with a table is open."""
    parts: list[dict[str, Any]] = []
    opened = True
    for block in blocks:
        if isinstance(block, Heading) or not parts:
            heading = block if isinstance(block, Heading) else None
            folded = heading is not None and heading.level > 2
            opened = opened if folded else True
            parts.append({"heading": heading.text if heading else "", "folded": folded, "opened": opened, "blocks": []})
        if not isinstance(block, Heading):
            parts[-1]["blocks"].append(block)
        if isinstance(block, Grid):
            opened = False
    return parts


def _line(shown: Shown) -> list[str]:
    found = shown.found
    _, word = verdict(found.number("recovered"), found.values_of("on_front"), found.text("form"))
    equations = "; ".join(code(readable(text)) for text in found.values_of("equation") if text) or "no expression"
    pictures = ", ".join(f"[{name}]({quote(address)})" for name, address in shown.read().pictures.items())
    error = f"{show(found.number('test_mae'))} ({show(found.number('test_medae'))})"
    return [plain(str(found.cell)), plain(word), error, equations, pictures]
