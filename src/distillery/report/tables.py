"""The paper's tables 1, 3 and 5, with the numbers of a study."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence

from distillery.networks.models import MODELS
from distillery.report import paper
from distillery.report.beyond import beyond_tables
from distillery.report.cells import Found, RowName
from distillery.report.document import Block, Grid, Heading, Paragraph, markdown, plain
from distillery.report.halo import halo_tables
from distillery.report.origin import header, missing_part
from distillery.report.pooled import DASH, Pooled, figures, loss_text, pool, r2_text, with_paper
from distillery.report.recovery import table_5
from distillery.report.study import Study
from distillery.results.columns import READINGS

FITS = ("force_r2", "force_r2_robust", "acceleration_r2", "acceleration_r2_robust", "r2_gauge_free")
_FIT_HEADINGS = ("F", "F robust", "F/m", "F/m robust", "gauge-free")
_TARGETS = (("F", "force_r2_robust"), ("F/m", "acceleration_r2_robust"))


def study_text(study: Study, today: datetime.date) -> str:
    """Return the tables of a study, as Markdown that ends without a newline.

    Args:
        study: The study.
        today: The date in the header.
    """
    tables = [
        *(paper_tables(study.bodies) if study.bodies.cells else ()),
        *(halo_tables(study.halos) if study.halos.cells else ()),
    ]
    return markdown([*header(study, today), *tables, *missing_part(study)])


def paper_tables(study: Study) -> list[Block]:
    """Return the three tables and those of laws, after an explanation of their entries.

    Args:
        study: The study.
    """
    return [Paragraph(_marks(study)), *table_1(study), *table_3(study), *table_5(study), *beyond_tables(study)]


def _marks(study: Study) -> str:
    """Return an explanation of the entries; the paper's numbers are explained if they are shown."""
    marks = "Entries are the mean over seeds ± its sample standard deviation"
    marks += ", and in brackets what the paper reports. " if study.in_paper else ". "
    marks += (
        "`2 of 3 (1 diverged)`: the mean is over two of three seeds, and why. `–`: no seed has a value. "
        "`not run`: the sweeps have no such cell."
    )
    if study.in_paper and "kl" in study.models:
        marks += f" The paper's kl has a weight of 1, the built-in kl one of {MODELS['kl'].weight:g}."
    return marks


def table_1(study: Study) -> list[Block]:
    """Return table 1: R² of the messages against the true force."""
    models = [name for name in study.models if name not in study.controls]
    parts: list[Block] = [
        Heading(2, "Table 1: do messages carry the force?"),
        Paragraph(
            "R² of the message components"
            + (" (of FlatHGN: of the force that its pair energy gives)" if "flathgn" in models else "")
            + " by a linear combination of the true forces, mean over as many components as space has dimensions."
        ),
        Heading(3, "Best of F and F/m, robust, by the reading that was distilled"),
        _matrix(study, models, lambda row, model: _best_text(study, row, model)),
    ]
    parts.append(Heading(3, "As in the paper: F, robust, by the largest deviation"))
    parts.append(_matrix(study, models, lambda row, model: _as_in_paper(study, row, model)))
    parts += _without(study, models, "a control experiment has no messages")
    for model in models:
        parts += [Heading(3, f"Table 1, {plain(model)}"), _details(study, model)]
    return parts


def table_3(study: Study) -> list[Block]:
    """Return table 3: the error of predicted accelerations on held-out simulations."""
    with_loss = {found.cell.model for found in study.cells if not math.isnan(found.number("test_mae"))}
    models = [name for name in study.models if name not in study.controls or name in with_loss]
    parts: list[Block] = [
        Heading(2, "Table 3: test loss"),
        Paragraph("Mean over bodies of held-out simulations of Σ|a - â|."),
        _matrix(study, models, lambda row, model: _loss(study, row, model, "test_mae", compared=True)),
        Heading(3, "Median error"),
        Paragraph("The median over bodies of the same, which close encounters do not move."),
    ]
    parts.append(_matrix(study, models, lambda row, model: _loss(study, row, model, "test_medae")))
    parts += [
        *_ratios(study, models),
        *_without(study, models, "a control experiment trains no network"),
    ]
    return parts


def _ratios(study: Study, models: Sequence[str]) -> list[Block]:
    known = [(row, study.least_loss_of_paper(row, models)) for row in study.rows]
    rows = [
        [
            plain(str(row)),
            *(_ratio(study, row, model, best[1]) for model in models),
            f"{figures(best[1], 2)} ({best[0]})",
        ]
        for row, best in known
        if best is not None
    ]
    if not rows:
        return []
    return [
        Heading(3, "Ratio to the paper's best"),
        Paragraph("Our mean over the smallest loss that the paper has in that row, of the models here."),
        Grid(("", *map(plain, models), "paper's best"), rows),
    ]


def _without(study: Study, models: Sequence[str], why: str) -> list[Block]:
    left = [plain(name) for name in study.models if name not in models]
    return [Paragraph(f"Without {', '.join(left)}: {why}.")] if left else []


def _matrix(study: Study, models: Sequence[str], text: Callable[[RowName, str], str]) -> Grid:
    return Grid(
        ("", *map(plain, models)),
        [[plain(str(row)), *(text(row, model) for model in models)] for row in study.rows],
    )


def _pooled(cells: Sequence[Found], value: Callable[[Found], float]) -> Pooled:
    return pool((value(found), found.status) for found in cells)


def _paper_r2(study: Study, row: RowName, model: str) -> str | None:
    known = study.of_paper(paper.TABLE_1, row, model)
    return None if known is None else f"{known:.3f}"


def _best_text(study: Study, row: RowName, model: str) -> str:
    cells = study.at(row, model)
    best = {found.cell: _best(found) for found in cells}
    pooled = _pooled(cells, lambda found: best[found.cell][1])
    targets = [name for name, _ in _TARGETS if name in {target for target, value in best.values() if value == value}]  # noqa: PLR0124 (NaN)
    prefix = f"{' or '.join(targets)}: " if targets else ""
    return with_paper(prefix + r2_text(pooled), _paper_r2(study, row, model))


def _best(found: Found) -> tuple[str, float]:
    """Return whether force or acceleration fits the messages of a cell better, and its R²."""
    known = [(target, found.mean(name)) for target, name in _TARGETS]
    if any(math.isnan(value) for _, value in known):
        return "", math.nan
    return max(known, key=lambda entry: entry[1])


def _as_in_paper(study: Study, row: RowName, model: str) -> str:
    pooled = _pooled(study.at(row, model), lambda found: found.mean("std_force_r2_robust"))
    return with_paper(r2_text(pooled), _paper_r2(study, row, model))


def _details(study: Study, model: str) -> Grid:
    """Return all fits of a model, one line for each row and reading."""
    lines = []
    for row in study.rows:
        cells = study.at(row, model)
        if not cells:
            continue
        known = _paper_r2(study, row, model) or DASH
        for reading in READINGS:
            names = [f"{reading}_{name}" for name in FITS]
            fits = [r2_text(_pooled(cells, lambda found, name=name: found.mean(name))) for name in names]  # type: ignore[misc]
            of_paper = [known if reading != "principal" else ""] if study.in_paper else []
            lines.append([plain(str(row)), reading, *fits, *of_paper, _distilled(cells, reading)])
    return Grid(("", "reading", *_FIT_HEADINGS, *(["paper"] if study.in_paper else []), "distilled"), lines)


def _distilled(cells: Sequence[Found], reading: str) -> str:
    """Return in how many cells this reading was distilled."""
    chosen = [str(found.values.get("reading", "")) for found in cells]
    return f"{chosen.count(reading)}/{len(cells)}" if any(chosen) else DASH


def _loss(study: Study, row: RowName, model: str, name: str, compared: bool = False) -> str:
    known = study.of_paper(paper.TABLE_3, row, model) if compared else None
    pooled = _pooled(study.at(row, model), lambda found: found.number(name))
    return with_paper(loss_text(pooled), None if known is None else figures(known, 2))


def _ratio(study: Study, row: RowName, model: str, best: float) -> str:
    pooled = _pooled(study.at(row, model), lambda found: found.number("test_mae"))
    return figures(pooled.mean / best, 3) if pooled.values else DASH
