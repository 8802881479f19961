"""Provenance of the numbers of a study, and the cells that are missing."""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from distillery.report import paper
from distillery.report.cells import Found
from distillery.report.document import Block, Bullets, Grid, Heading, Paragraph, code, plain
from distillery.report.selected import selected_note
from distillery.report.study import Store, Study
from distillery.util.provenance import commit
from distillery.util.text import counted

_SHOWN = 5
# Settings of the distillation that are in another line.
_NAMED = ("engine", "compare")
_EVERYWHERE = "all stages"


def header(study: Study, today: datetime.date) -> list[Block]:
    """Return the provenance of the tables: date, commits, configurations, devices, engines, versions, counts.

    Args:
        study: The study.
        today: The date.
    """
    title = Heading(1, "The paper's tables, and ours")
    return [title, run_summary(study, today, "tables"), *origin(study), *selected_note(study)]


def run_summary(study: Study, today: datetime.date, command: str) -> Paragraph:
    """Return date, command and commit of a report on a study, and its number of cells.

    Args:
        study: The study.
        today: The date.
        command: The command of ``distillery``.
    """
    arguments = " ".join(f"--results {shlex.quote(str(store.results))}" for store in study.stores)
    cells = len(study.cells)
    ok = sum(found.status == "ok" for found in study.cells)
    return Paragraph(
        f"Made on {today.isoformat()} by {code(f'distillery {command} {arguments}')} at commit {commit()}: "
        f"{counted(cells, 'cell')}, {ok:,} finished, {cells - ok:,} not. "
        "The paper is [arXiv:2006.11287](https://arxiv.org/abs/2006.11287)."
    )


def origin(study: Study) -> list[Block]:
    """Return the provenance of each store, and the rows and models of the paper that no store has.

    Args:
        study: The study.
    """
    blocks = [block for store in study.stores for block in _of_store(study, store)]
    if study.repeated:
        text = (
            f"{counted(len(study.repeated), 'cell')} in several folders ({_few(str(c) for c in study.repeated)}): "
            "of each the first that went well counts, in the order of the folders."
        )
        blocks.append(Paragraph(text))
    if not study.bodies.in_paper:
        return blocks
    there = {study.paper_row(row) for row in study.rows}
    models = [name for name in paper.LOSS_MODELS if name not in study.models]
    rows = [f"{system}-{dim}" for system, dim in paper.ROWS if (system, dim) not in there]
    lacking = [f"{kind} {', '.join(names)}" for kind, names in (("models", models), ("rows", rows)) if names]
    if lacking:
        blocks.append(Paragraph(f"Of the paper's, no store has the {', nor the '.join(lacking)}."))
    return blocks


def missing_part(study: Study) -> list[Block]:
    """Return the cells that are not finished, with the reasons."""
    heading = Heading(2, "What is missing")
    groups: dict[tuple[str, str], list[Found]] = {}
    for found in study.cells:
        if found.status != "ok":
            groups.setdefault((found.status, str(found.values["reason"])), []).append(found)
    if not groups:
        return [heading, Paragraph("Nothing: every cell of the sweeps is finished.")]
    lines = [
        [
            plain(status),
            f"{len(cells):,}",
            plain(reason) or "no reason was given",
            _few(str(found.cell) for found in cells),
        ]
        for (status, reason), cells in sorted(groups.items(), key=lambda entry: (entry[0][0], -len(entry[1])))
    ]
    return [heading, Grid(("status", "cells", "reason", "which"), lines)]


def _of_store(study: Study, store: Store) -> list[Block]:
    own = [found for found in study.cells if found.source == store.results]
    config = store.config
    distillation = config.get("distillation", {})
    compared = distillation.get("compare") or ()
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(store.counts.items()))
    engine = str(distillation.get("engine", "unknown"))
    summary = f"{counted(sum(store.counts.values()), 'cell')} ({plain(counts)})"
    lines = [
        f"command: {_command(store)}",
        f"configuration {plain(store.config_hash)}; collected at commit {plain(store.commit)}, "
        f"cells made at {_commits(found.values.get('commit') for found in own)}",
        plain(
            f"seeds {', '.join(str(seed) for seed in config.get('seeds', ()))}; "
            f"engine {engine}" + (f", compared with {', '.join(compared)}" if compared else "")
        ),
        f"trained on {_few(_distinct(found.values.get('device') for found in own))}",
        *([plain(f"training: {_settings(config.get('training', {}))}")] if config.get("experiments") else []),
        plain(_budget(config)),
        *(plain(line) for line in _own_settings(config)),
        *(
            plain(f"training of {entry.get('name', 'halos')}: {_settings(entry.get('training', {}))}")
            for entry in config.get("halos", ())
        ),
        plain(f"versions: {_versions(own)}"),
    ]
    return [Paragraph(f"**{code(str(store.results))}**: {summary}"), Bullets((*lines, *map(plain, store.notes)))]


def _command(store: Store) -> str:
    """Return the command that makes a store."""
    if store.configuration is None:
        return "not known; its configuration stands in the store"
    return code(f"snakemake --profile profiles/local --configfile {shlex.quote(str(store.configuration))}")


def _budget(config: Mapping[str, Any]) -> str:
    """Return the settings of fits: samples, the budget of each engine, the interpretation of messages."""
    section = config.get("distillation", {})
    parts = {"distillation": {name: value for name, value in section.items() if name not in _NAMED}}
    parts |= {name: section[name] for name in (section.get("engine"), *section.get("compare", ())) if name in section}
    # Halos have another interpretation.
    parts |= {"interpretation": config.get("interpretation", {})} if config.get("experiments") else {}
    return "; ".join(f"{name}: {_settings(own)}" for name, own in parts.items())


def _own_settings(config: Mapping[str, Any]) -> list[str]:
    """Return settings of single experiments that replace those of the sweep, equal ones together."""
    named = [(f"{entry['system']}-{entry['dim']}", entry) for entry in config.get("experiments", ())]
    named += [(entry.get("name", "halos"), {"operators": entry.get("operators")}) for entry in config.get("halos", ())]
    alike: dict[str, list[str]] = {}
    for name, entry in named:
        own = {setting: entry[setting] for setting in ("loss", "share", "operators") if entry.get(setting) is not None}
        if own:
            alike.setdefault(_settings(own), []).append(name)
    return [f"instead in {', '.join(names)}: {own}" for own, names in alike.items()]


def _settings(section: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {' '.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"
        for name, value in section.items()
        # Frames do not change a training; nested sections have lines of their own.
        if name not in ("frames", "filmed") and not isinstance(value, Mapping)
    ]
    return ", ".join(parts) or "unknown"


def _versions(cells: Iterable[Found]) -> str:
    """Return the versions of each library, with their stages if these differ."""
    known: dict[str, dict[str, dict[str, None]]] = {}
    for text in _distinct(found.values.get("versions") for found in cells):
        for name, version in json.loads(text).items():
            of_stages = version if isinstance(version, dict) else {_EVERYWHERE: version}
            for stage, own in of_stages.items():
                known.setdefault(name, {}).setdefault(str(own), {})[stage] = None
    return ", ".join(f"{name} {_of_stages(versions)}" for name, versions in sorted(known.items())) or "unknown"


def _of_stages(versions: Mapping[str, Iterable[str]]) -> str:
    if all(_EVERYWHERE in stages for stages in versions.values()):
        return " or ".join(versions)
    return " or ".join(
        f"{version} ({_EVERYWHERE if _EVERYWHERE in stages else ', '.join(stages)})"
        for version, stages in versions.items()
    )


def _distinct(texts: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(text) for text in texts if text))


def _commits(texts: Iterable[Any]) -> str:
    """Return the commits of each stage, or one commit without stages if all have the same."""
    of_stages: dict[str, list[str]] = {}
    for text in _distinct(texts):
        for part in text.split(", "):
            stage, _, commit = part.rpartition(" ")
            of_stages.setdefault(stage or _EVERYWHERE, []).append(commit)
    if list(of_stages) == [_EVERYWHERE]:
        return _few(of_stages[_EVERYWHERE])
    parts = [f"{plain(stage)} {_few(_distinct(own))}" for stage, own in of_stages.items()]
    return "; ".join(parts) if parts else "unknown"


def _few(texts: Iterable[str]) -> str:
    names = list(texts)
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(plain, names[:_SHOWN])) + more if names else "unknown"
