"""What stands behind a law, as blocks: its forms and constants, where errors are from, how far it leads."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from distillery.errors import DistilleryError
from distillery.laws import text
from distillery.laws.law import Law, read_law, sums
from distillery.physics import printing
from distillery.report.cells import Shown
from distillery.report.document import Block, Grid, Heading, Paragraph, code, plain
from distillery.report.pooled import DASH
from distillery.report.style import typeset
from distillery.results.columns import ERRORS
from distillery.util.text import show
from distillery.validation.generalisation import LONG, PREDICTORS
from distillery.workflow.outcome import read_outcome
from distillery.workflow.sweep import Sweep

WORDS = {
    "network": "network",
    "raw": "as distilled",
    "refitted": "constants refitted",
    "clean": "simple numbers",
    "expressions_then_network": "expressions, then network",
    "network_then_expressions": "network, then expressions",
}
MIXED = tuple(name for name in ERRORS if name not in PREDICTORS)
# Columns of what is followed over long times.
LONG_TIMES = {
    "horizon": "useful until time",
    "doubling_time": "distance doubles in",
    "distance": "distance at the end",
    "energy_drift": "change of the energy",
}
_MIDDLES = (("held out, mean", "mae"), ("held out, median", "medae"))
_DECIMALS = 12


class Constant(NamedTuple):
    """A constant of a law: its name, its value (dimensionless), its standard error, and what else is to be said."""

    name: str
    value: float
    error: float | None
    state: str


@dataclasses.dataclass(frozen=True)
class Origin:
    """How the law of a cell came to be, as far as its files say.

    Attributes:
        raw: The law as distilled, on one line; nothing where it is not known.
        refitted: The law with refitted constants.
        named: The expressions of the refitted law, with the names of its constants.
        constants: Its constants.
        form: Whose constants they are.
    """

    raw: str
    refitted: str
    named: tuple[str, ...]
    constants: tuple[Constant, ...]
    form: str


def origin_of(sweep: Sweep, shown: Shown) -> Origin:
    """Return how a law came to be; what its files beside the store do not say is left out.

    Args:
        sweep: The sweep, whose results folder has the files of its cells.
        shown: The cell.
    """
    raw, refitted = _law(sweep, shown, "raw"), _law(sweep, shown, "refitted")
    constants, form = _constants_beside(sweep, shown), "refitted"
    if not constants:
        constants, form = _constants(_parsed(shown.text("law_constants"))), shown.text("law_form")
    return Origin(
        text.line(raw) if raw else "",
        shown.text("law_refitted"),
        _with_names(refitted) if refitted else (),
        constants,
        form,
    )


def constants_grid(origin: Origin) -> Grid:
    """Return the constants of a law with their standard errors; one that runs away says so.

    Args:
        origin: How the law came to be.
    """
    rows = [[code(constant.name), _stated(constant)] for constant in origin.constants]
    return Grid(("constant", "value ± standard error"), rows)


def mixed_grid(shown: Shown) -> Grid | None:
    """Return the errors of the mixtures of network and expressions, which say where an error comes from.

    Args:
        shown: The cell.
    """
    rows = [[middle, *(_number(shown.number(f"error_{name}_{kind}")) for name in MIXED)] for middle, kind in _MIDDLES]
    known = any(entry != DASH for row in rows for entry in row[1:])
    return Grid(("", *(WORDS[name] for name in MIXED)), rows) if known else None


def long_grid(shown: Shown) -> Grid | None:
    """Return how network and law follow bodies over long times; nothing where they did not.

    Args:
        shown: The cell.
    """
    by = _long_rows(shown)
    rows = [[words, *(row[place + 1] for row in by)] for place, words in enumerate(LONG_TIMES.values())]
    return Grid(("", *(row[0] for row in by)), rows) if by else None


def evidence_markdown(sweep: Sweep, shown: Sequence[Shown]) -> list[Block]:
    """Return the evidence of several cells, a line each; nothing where none has a law.

    Args:
        sweep: The sweep.
        shown: The cells.
    """
    cells = [(plain(str(found.cell)), found) for found in shown if found.text("law")]
    if not cells:
        return []
    laws = []
    for name, found in cells:
        origin = origin_of(sweep, found)
        constants = "; ".join(f"{code(constant.name)} {_stated(constant)}" for constant in origin.constants)
        forms = [code(typeset(line)) if line else DASH for line in (found.text("law"), origin.raw, origin.refitted)]
        laws.append([name, *forms, constants or DASH])
    errors = [
        [name, *(_pair(found.number(f"error_{part}_medae"), found.number(f"error_{part}_mae")) for part in ERRORS)]
        for name, found in cells
    ]
    parts: list[Block] = [
        Heading(3, "Laws of the cells"),
        Grid(("", "law", WORDS["raw"], WORDS["refitted"], "constants ± standard error"), laws),
        Heading(3, "Errors of the cells"),
        Paragraph("Median, and in brackets mean, over held-out bodies of Σ|a - â|."),
        Grid(("", *(WORDS[part] for part in ERRORS)), errors),
    ]
    names = list(dict.fromkeys(name for _, found in cells for name in found.beyond if name != LONG))
    beyond = [
        [name, WORDS[part], *(judged(found.beyond.get(condition, {}).get(part, {})) for condition in names)]
        for name, found in cells
        for part in PREDICTORS
        if any(part in found.beyond.get(condition, {}) for condition in names)
    ]
    if beyond:
        parts += [
            Heading(3, "Cells under other conditions"),
            Paragraph("Errors as above; ✓ where it is right within the limits of verification."),
            Grid(("", "by", *map(plain, names)), beyond),
        ]
    long = [[name, *row] for name, found in cells for row in _long_rows(found)]
    if long:
        parts += [Heading(3, "Cells over long times"), Grid(("", "by", *LONG_TIMES.values()), long)]
    return parts


def judged(own: Mapping[str, float | str]) -> str:
    """Return whether a prediction holds under a condition, with its median error and, in brackets, the mean.

    Args:
        own: What was found, by column.
    """
    median = number(own, "medae")
    if math.isnan(median):
        return DASH
    return f"{'✓' if own.get('holds') == 1.0 else '✗'} {_pair(median, number(own, 'mae'))}"


def measured(value: float, error: float | None) -> str:
    """Return a value with its standard error, to the place of that error's first digit.

    Args:
        value: The value.
        error: Its standard error; None where there is none.
    """
    if error is None or not math.isfinite(error) or error <= 0:
        return show(value)
    decimals = -math.floor(math.log10(error))
    if decimals > _DECIMALS:
        # Past the digits that a number has.
        return f"{value:.{_DECIMALS}g} ± {error:.1g}"
    if abs(value) < 1e-3 or abs(value) >= 1e7:
        digits = math.floor(math.log10(abs(value))) + decimals if value else 0
        return f"{value:.{min(max(digits, 0), _DECIMALS)}e} ± {error:.0e}"
    return f"{value:.{max(decimals, 0)}f} ± {error:.1g}"


def number(own: Mapping[str, float | str], name: str) -> float:
    """Return a number of what was found; NaN where it is absent.

    Args:
        own: What was found, by column.
        name: The column.
    """
    value = own.get(name, math.nan)
    return value if isinstance(value, float) else math.nan


def _stated(constant: Constant) -> str:
    return measured(constant.value, constant.error) + ("" if constant.state == "ok" else f", {plain(constant.state)}")


def _long_rows(shown: Shown) -> list[list[str]]:
    long = shown.beyond.get(LONG, {})
    return [
        [WORDS[part], *(_number(number(long[part], name)) for name in LONG_TIMES)]
        for part in PREDICTORS
        if not math.isnan(number(long.get(part, {}), "horizon"))
    ]


def _pair(median: float, mean: float) -> str:
    return f"{show(median)} ({_number(mean)})" if not math.isnan(median) else DASH


def _number(value: float) -> str:
    return DASH if math.isnan(value) else show(value)


def _law(sweep: Sweep, shown: Shown, form: str) -> Law | None:
    """Return a form of a cell's law; None where its file is not there or not readable."""
    try:
        return read_law(shown.cell.law(sweep.results, "json"), form)
    except DistilleryError:
        return None


def _with_names(law: Law) -> tuple[str, ...]:
    """Return the expressions of a law that its constants stand in, one line each."""
    alone = sums(len(law.messages))
    # The rest of a Hamiltonian law follows from its energies, and nodes that only add up have no constants.
    own = {name: expression for name, expression in text.named(law).items() if expression not in alone}
    kept = {name: e for name, e in own.items() if name.startswith("energy_")} if law.energies else own
    return tuple(f"{name} = {printing.plain(expression)}" for name, expression in kept.items())


def _constants_beside(sweep: Sweep, shown: Shown) -> tuple[Constant, ...]:
    try:
        return _constants(
            read_outcome(shown.cell.outcome(sweep.results, "replace")).result.get("refitted_constants", [])
        )
    except DistilleryError:
        return ()


def _parsed(stored: str) -> Any:
    try:
        return json.loads(stored) if stored else []
    except ValueError:
        return []


def _constants(entries: Any) -> tuple[Constant, ...]:
    try:
        return tuple(
            Constant(
                str(entry["name"]),
                float(entry["value"]),
                None if entry["error"] is None else float(entry["error"]),
                str(entry["state"]),
            )
            for entry in entries
        )
    except (KeyError, TypeError, ValueError):
        return ()
