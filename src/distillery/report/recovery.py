"""Table 5 of the paper and of a study: whether the law was found, in which form, and by which engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from distillery.report import paper
from distillery.report.cells import Found, RowName
from distillery.report.document import Block, Grid, Heading, Paragraph, code, plain
from distillery.report.pooled import DASH, Pooled, loss_text, pool, share_text, with_paper
from distillery.report.study import Study
from distillery.results.table import readable

_TOGETHER = "recovered_together"
_OF_PAPER = "; in brackets whether the paper's authors found the law"


def table_5(study: Study) -> list[Block]:
    """Return table 5: seeds whose law was recovered by row and model, and details of each model."""
    parts: list[Block] = [
        Heading(2, "Table 5: is the law recovered?"),
        Paragraph(
            "Seeds of which the chosen expressions are, in all components, the true law up to its gauge, as "
            "`distillery verify` decides it" + (_OF_PAPER if study.in_paper else "") + "."
        ),
        _by_row(study, lambda row, model: _verdict(study, row, model), lambda cells: _share(cells, with_form=False)),
    ]
    parts += [
        Heading(3, "All components together"),
        Paragraph(
            "The same of the form that the components have in common. The paper's rule chooses from the front of each "
            "component alone, where noise misleads one or another; here it is applied once, to the forms that stand on "
            "all fronts, each with the geometric mean of its errors."
        ),
        _by_row(study, lambda row, model: _common(study.at(row, model)), _common),
    ]
    for model in study.models:
        parts.append(Heading(3, f"Table 5, {_heading(study, model)}"))
        if model in study.controls:
            text = (
                "Every row is the control experiment: symbolic regression on the accelerations of the raw system, "
                "without a network's factorisation. The paper reports that it finds nothing useful."
            )
            parts.append(Paragraph(text))
        parts.append(_details(study, model))
    return parts


def _heading(study: Study, model: str) -> str:
    return f"{plain(model)} (control)" if model in study.controls and model != "control" else plain(model)


def _flags(cells: Sequence[Found], name: str) -> Pooled:
    return pool((found.number(name), found.status) for found in cells)


def _share(cells: Sequence[Found], with_form: bool = True) -> str:
    forms = Counter(str(found.values["form"]) for found in cells if found.number("recovered") == 1.0)
    parts = [name if len(forms) == 1 else f"{name} {count}" for name, count in forms.items() if name]
    return share_text(_flags(cells, "recovered"), plain(" + ".join(parts)) if with_form else "")


def _verdict(study: Study, row: RowName, model: str) -> str:
    known = study.of_paper(paper.TABLE_5, row, model)
    return with_paper(_share(study.at(row, model)), None if known is None else "yes" if known else "no")


def _by_row(study: Study, entry: Callable[[RowName, str], str], of_all: Callable[[Sequence[Found]], str]) -> Grid:
    """Return an entry for each row and model, and one for all cells of each model."""
    rows = [[plain(str(row)), *(entry(row, model) for model in study.models)] for row in study.rows]
    by_model = [[found for found in study.cells if found.cell.model == model] for model in study.models]
    headings = ("", *(_heading(study, model) for model in study.models))
    return Grid(headings, [*rows, ["all", *(of_all(cells) for cells in by_model)]])


def _common(cells: Sequence[Found]) -> str:
    return share_text(_flags(cells, _TOGETHER))


def _details(study: Study, model: str) -> Grid:
    compared = ["paper"] if study.in_paper else []
    headings = ["", "recovered", *compared, "together", "on front", "by engine", "node function", "composed error"]
    headings += ["its median", "chosen expressions"]
    lines = []
    for row in study.rows:
        cells = study.at(row, model)
        if not cells:
            continue
        known = study.of_paper(paper.TABLE_5, row, model)
        shown = _example(cells)
        name = plain(f"{row}, control" if model in study.controls else str(row))
        line = [name, _share(cells)]
        line += [DASH if known is None else "yes" if known else "no"] if study.in_paper else []
        line += [_common(cells), _on_front(cells), _by_engine(cells), _node(cells, shown)]
        line += [loss_text(_flags(cells, column)) for column in ("composed_mae", "composed_medae")]
        line.append(DASH if shown is None else f"{_seed(shown)}: {_expressions(shown, 'equation')}")
        lines.append(line)
    return Grid(headings, lines)


def _on_front(cells: Sequence[Found]) -> str:
    """Return in how many cells the fronts of all components have the law."""
    return share_text(pool((_all_on_front(found), found.status) for found in cells))


def _all_on_front(found: Found) -> float:
    """Return 1 if all components that were distilled have the law on their front, 0 if not, NaN if not judged."""
    flags = [flag for flag in found.values.get("on_front", []) if flag == flag]  # noqa: PLR0124 (NaN)
    return float(all(flags)) if flags else float("nan")


def _by_engine(cells: Sequence[Found]) -> str:
    engines = dict.fromkeys(name for found in cells for name in sorted(found.engines))
    shares = [
        f"{plain(name)} {share_text(pool((found.engines.get(name, float('nan')), found.status) for found in cells))}"
        for name in engines
    ]
    return "; ".join(shares) or DASH


def _node(cells: Sequence[Found], shown: Found | None) -> str:
    share = share_text(_flags(cells, "node_recovered"))
    expressions = "" if shown is None else _expressions(shown, "node_equation")
    return f"{share}: {expressions}" if expressions not in ("", DASH) else share


def _example(cells: Sequence[Found]) -> Found | None:
    """Return the cell whose expressions are shown: the first recovered one, else the first that has any."""
    having = [found for found in cells if found.texts("equation")]
    return min(having, key=lambda found: found.number("recovered") != 1.0, default=None)


def _seed(found: Found) -> str:
    data_seed = found.cell.experiment.seed
    return f"seed {found.cell.seed}" + (f" of data {data_seed}" if data_seed else "")


def _expressions(found: Found, name: str) -> str:
    return "; ".join(code(readable(text)) for text in found.texts(name)) or DASH
