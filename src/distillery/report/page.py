"""The report of a sweep: one page of HTML that needs nothing beside it, and the same in Markdown."""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from urllib.parse import quote

from distillery.errors import DistilleryError
from distillery.report.card import card, verdict
from distillery.report.cells import Shown
from distillery.report.document import Block, Bullets, Grid, Heading, Paragraph, code, markdown, plain
from distillery.report.evidence import evidence_markdown
from distillery.report.halo import halo_experiment, halo_tables
from distillery.report.html import blocks_html, escape, folded, identifier, inline
from distillery.report.laws import laws_blocks, laws_html, why_not
from distillery.report.origin import made, missing_part, origin
from distillery.report.plot import paths
from distillery.report.selected import selected_note
from distillery.report.study import Found, Study
from distillery.report.tables import paper_tables
from distillery.results.table import readable
from distillery.util.text import counted, show
from distillery.workflow.cell import PICTURES, Experiment
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import read_trajectories

_SIMULATIONS = 3
_SNAPSHOTS = 120
# So many seeds of a system and a model stand in one entry of the overview.
_SEEDS = 12
# Words for the state of a cell, by the class of its colour.
_MARKS = {"yes": "✓", "near": "○", "no": "✗"}
_WORDS = {"yes": "law recovered", "near": "on the front, not chosen", "no": "not recovered"}
_PARTS = (
    ("laws", "Laws"),
    ("cells", "Cells"),
    ("paper", "Tables"),
    ("halos", "Halos"),
    ("missing", "What is missing"),
    ("origin", "Where it is from"),
)


def page(sweep: Sweep, study: Study, shown: Sequence[Shown], today: datetime.date) -> str:
    """Return the report of a sweep as one HTML page; it loads nothing and runs no script but its own.

    Args:
        sweep: The sweep.
        study: Its result store.
        shown: The cells that are shown in full.
        today: The date.
    """
    folder = resources.files("distillery.report")
    style, script = (folder.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src '{_hash(script)}'; base-uri 'none'"
    title = _title(study)
    of_bodies = [found for found in shown if found.cell.experiment.bodies]
    of_halos = [found for found in shown if not found.cell.experiment.bodies]
    told = [name for name, _ in _PARTS if name not in _left_out(study)]
    navigation = "".join(f'<a href="#{name}">{dict(_PARTS)[name]}</a>' for name in told)
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{style}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        blocks_html([made(study, today, "report")]),
        f"<nav>{navigation}</nav>",
        _tiles(study),
        blocks_html(selected_note(study)),
        *_of_bodies(sweep, study.bodies, of_bodies),
        *_of_halos(sweep, study.halos, of_halos),
        _headed("missing"),
        blocks_html(missing_part(study)[1:]),
        _headed("origin"),
        blocks_html(origin(study)),
        f"<script>{script}</script></body></html>\n",
    ]
    return "\n".join(parts)


def _left_out(study: Study) -> tuple[str, ...]:
    """Return the parts that a page goes without."""
    return (*(() if study.bodies.cells else ("laws", "cells", "paper")), *(() if study.halos.cells else ("halos",)))


def _of_bodies(sweep: Sweep, study: Study, shown: Sequence[Shown]) -> list[str]:
    if not study.cells:
        return []
    return [
        _headed("laws"),
        laws_html(study, frozenset(str(found.cell) for found in shown)),
        _headed("cells"),
        _overview(study, {found.cell for found in shown}),
        blocks_html(_limit_note(study, shown)),
        "\n".join(_experiment(sweep, study, experiment, cells) for experiment, cells in _by_experiment(shown)),
        _headed("paper"),
        _sections(paper_tables(study)),
    ]


def _of_halos(sweep: Sweep, study: Study, shown: Sequence[Shown]) -> list[str]:
    if not study.cells:
        return []
    return [
        _headed("halos"),
        _sections(halo_tables(study)[1:]),
        blocks_html(_limit_note(study, shown)),
        "\n".join(halo_experiment(sweep, experiment, cells) for experiment, cells in _by_experiment(shown)),
    ]


def page_markdown(sweep: Sweep, study: Study, shown: Sequence[Shown], today: datetime.date) -> str:
    """Return the report of a sweep as Markdown, with links to the pictures that lie beside it.

    Args:
        sweep: The sweep.
        study: Its result store.
        shown: The cells whose equations are shown.
        today: The date.
    """
    counts = [f"{number} {plain(words)}" for number, words in _counts(study)]
    blocks: list[Block] = [
        Heading(1, plain(_title(study))),
        made(study, today, "report"),
        Bullets(tuple(counts)),
        *selected_note(study),
    ]
    of_bodies = [found for found in shown if found.cell.experiment.bodies]
    if study.bodies.cells:
        lines = [_line(sweep, found) for found in of_bodies]
        blocks += [
            *laws_blocks(study.bodies),
            Heading(2, "Cells"),
            *_limit_note(study.bodies, of_bodies),
            Grid(("", "verdict", "test error (median)", "equations", "pictures"), lines),
            *evidence_markdown(sweep, of_bodies),
            *paper_tables(study.bodies),
        ]
    if study.halos.cells:
        blocks += halo_tables(study.halos)
    blocks += [
        *missing_part(study),
        Heading(2, "Where it is from"),
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
    """Return how many cells came to what, as the table that a run ends with says it."""
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


def _tiles(study: Study) -> str:
    tiles = "".join(f"<div><b>{number}</b><small>{escape(words)}</small></div>" for number, words in _counts(study))
    return f'<div class="tiles">{tiles}</div>'


def _headed(name: str) -> str:
    return f'<h2 id="{name}">{dict(_PARTS)[name]}</h2>'


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


def _overview(study: Study, shown: Iterable[object]) -> str:
    """Return systems × models with a link per seed, coloured by its verdict."""
    known = frozenset(shown)
    head = "".join(f'<th scope="col">{escape(model)}</th>' for model in study.models)
    rows = []
    for row in study.rows:
        entries = []
        for model in study.models:
            cells = study.at(row, model)
            seeds = "".join(_seed(found, found.cell in known) for found in cells[:_SEEDS])
            more = f" <small>and {len(cells) - _SEEDS:,} more</small>" if len(cells) > _SEEDS else ""
            entries.append(f'<td class="seeds">{seeds}{more}</td>')
        rows.append(f'<tr><th scope="row">{escape(row)}</th>{"".join(entries)}</tr>')
    marks = [f'<span class="{kind}">{_MARKS[kind]} {words}</span>' for kind, words in _WORDS.items()]
    return (
        f"<p>A mark for each seed: {', '.join(marks)}; dashed: not finished, or not shown below.</p>"
        f'<div class="scroll" tabindex="0"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _seed(found: Found, linked: bool) -> str:
    """Return the mark of a cell: what came of it, and its seeds, which are no counts."""
    data = f", data {found.cell.experiment.seed}" if found.cell.experiment.seed else ""
    name = f"seed {found.cell.seed}{data}"
    if found.status != "ok":
        return f'<span title="{escape(found.values["reason"])}">{escape(found.status)}, {name}</span>'
    kind, _ = verdict(found.number("recovered"), found.values.get("on_front", []))
    mark = f"{_MARKS[kind]} {name}"
    if not linked:
        return f'<span class="{kind}">{mark}</span>'
    reason = why_not(found.values) if kind != "yes" else ""
    title = f"{found.cell}: {reason}" if reason else str(found.cell)
    return f'<a class="{kind}" href="#{identifier(str(found.cell))}" title="{escape(title)}">{mark}</a>'


def _by_experiment(shown: Sequence[Shown]) -> list[tuple[Experiment, list[Shown]]]:
    groups: dict[Experiment, list[Shown]] = {}
    for found in shown:
        groups.setdefault(found.cell.experiment, []).append(found)
    return list(groups.items())


def _experiment(sweep: Sweep, study: Study, experiment: Experiment, cells: Sequence[Shown]) -> str:
    every = [found for found in study.cells if found.cell.experiment == experiment]
    recovered = sum(found.number("recovered") == 1.0 for found in every)
    part = f", {len(cells):,} shown" if len(cells) < len(every) else ""
    told = f"{recovered:,} of {counted(len(every), 'cell')} recovered{part}"
    summary = f"{escape(experiment)} <small>{told}</small>"
    content = _trajectories(sweep, experiment) + "".join(card(sweep, found) for found in cells)
    return folded(summary, content, kind="experiment")


def _trajectories(sweep: Sweep, experiment: Experiment) -> str:
    """Return the paths of a few held-out simulations, folded; nothing where they are not there."""
    try:
        found = read_trajectories(sweep, experiment, "test")
    except DistilleryError:
        return ""
    every = max(1, len(found.time) // _SNAPSHOTS)
    drawn = [
        f"<figure>{paths(found.position[k, ::every, :, :2], f'held-out simulation {k}')}"
        f"<figcaption>held-out simulation {k}</figcaption></figure>"
        for k in range(min(_SIMULATIONS, len(found.position)))
    ]
    duration = f"{found.time[-1] - found.time[0]:.3g} units of time"
    seen = ", seen along z" if experiment.dim == 3 else ""
    return folded(f"its simulations <small>{duration}{seen}</small>", f'<div class="plots">{"".join(drawn)}</div>')


def _sections(blocks: Sequence[Block]) -> str:
    """Return the paper's tables as HTML a level lower; a small section is folded, unless it has the first table."""
    parts: list[str] = []
    tabled = False
    for head, content in _split(blocks):
        if head is not None and head.level <= 2:
            parts.append(blocks_html([Heading(3, head.text), *content]))
            tabled = False
        elif head is not None:
            parts.append(folded(inline(head.text), blocks_html(content), kind="part", opened=not tabled))
        else:
            parts.append(blocks_html(content))
        tabled = tabled or any(isinstance(block, Grid) for block in content)
    return "\n".join(parts)


def _split(blocks: Sequence[Block]) -> list[tuple[Heading | None, list[Block]]]:
    sections: list[tuple[Heading | None, list[Block]]] = [(None, [])]
    for block in blocks:
        if isinstance(block, Heading):
            sections.append((block, []))
        else:
            sections[-1][1].append(block)
    return sections


def _line(sweep: Sweep, found: Shown) -> list[str]:
    cell = found.cell
    _, word = verdict(found.number("recovered"), found.list("on_front"), found.text("form"))
    equations = "; ".join(code(readable(text)) for text in found.list("equation") if text) or "no expression"
    drawn = [(name, cell.picture(sweep.results, name)) for name in PICTURES]
    there = [f"[{name}]({quote(str(path.relative_to(sweep.results)))})" for name, path in drawn if path.is_file()]
    error = f"{show(found.number('test_mae'))} ({show(found.number('test_medae'))})"
    return [plain(str(cell)), plain(word), error, equations, ", ".join(there)]
