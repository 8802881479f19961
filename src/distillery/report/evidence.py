"""Evidence for a law, as tables: its forms and constants, its errors, and where it holds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from distillery.laws import text
from distillery.laws.law import Law, sums
from distillery.physics.printing import plain as in_words
from distillery.report.cells import Details, Found, Shown
from distillery.report.document import Block, Grid, Heading, Paragraph, code, plain
from distillery.report.pooled import DASH
from distillery.report.style import typeset
from distillery.results.columns import ERRORS
from distillery.util.text import show
from distillery.validation.generalisation import LONG, PREDICTORS

WORDS = {
    "network": "network",
    "raw": "as distilled",
    "refitted": "constants refitted",
    "clean": "simple numbers",
    "expressions_then_network": "expressions, then network",
    "network_then_expressions": "network, then expressions",
}
MIXED = tuple(name for name in ERRORS if name not in PREDICTORS)
# Columns of simulations that are followed over long times.
LONG_TIMES = {
    "horizon": "useful until time",
    "doubling_time": "distance doubles in",
    "distance": "distance at the end",
    "energy_drift": "change of the energy",
}
_AVERAGES = (("held out, mean", "mae"), ("held out, median", "medae"))
_DECIMALS = 12


class Constant(NamedTuple):
    """A constant of a law: name, value (dimensionless), standard error, and state such as ``ok`` or ``runs away``."""

    name: str
    value: float
    error: float | None
    state: str


@dataclasses.dataclass(frozen=True)
class Origin:
    """Forms of the law of a cell, as far as its files are there.

    Attributes:
        raw: The law as distilled, on one line; empty if it is not known.
        refitted: The law with refitted constants.
        named: The expressions of the refitted law with the names of its constants.
        constants: The constants of the law.
        form: The form that has these constants.
    """

    raw: str
    refitted: str
    named: tuple[str, ...]
    constants: tuple[Constant, ...]
    form: str


def origin_of(found: Found, details: Details) -> Origin:
    """Return the forms of a law and its constants.

    Args:
        found: Values of the cell.
        details: Its further data.
    """
    constants, form = _constants(details.constants), "refitted"
    if not constants:
        constants, form = _constants(_parsed(found.text("law_constants"))), found.text("law_form")
    return Origin(
        text.line(details.raw) if details.raw else "",
        found.text("law_refitted"),
        _with_names(details.refitted) if details.refitted else (),
        constants,
        form,
    )


def constants_grid(origin: Origin) -> Grid:
    """Return the constants of a law with their standard errors.

    Args:
        origin: The forms of the law.
    """
    rows = [[code(constant.name), _stated(constant)] for constant in origin.constants]
    return Grid(("constant", "value ± standard error"), rows)


def errors_grid(found: Found) -> Grid:
    """Return errors of network and law on held-out data, and under other conditions.

    Args:
        found: Values of the cell.
    """
    rows = [[word, *(_number(found.number(f"error_{name}_{kind}")) for name in PREDICTORS)] for word, kind in _AVERAGES]
    rows += [
        [plain(condition), *(judged(own.get(name, {})) for name in PREDICTORS)]
        for condition, own in found.beyond.items()
        if condition != LONG
    ]
    return Grid(("", *(WORDS[name] for name in PREDICTORS)), rows)


def mixed_grid(found: Found) -> Grid | None:
    """Return errors of mixtures of network and expressions; None if there are none.

    Args:
        found: Values of the cell.
    """
    rows = [[word, *(_number(found.number(f"error_{name}_{kind}")) for name in MIXED)] for word, kind in _AVERAGES]
    known = any(entry != DASH for row in rows for entry in row[1:])
    return Grid(("", *(WORDS[name] for name in MIXED)), rows) if known else None


def long_grid(found: Found) -> Grid | None:
    """Return how well network and law follow bodies over long times; None if they were not integrated.

    Args:
        found: Values of the cell.
    """
    by = _long_rows(found)
    rows = [[words, *(row[place + 1] for row in by)] for place, words in enumerate(LONG_TIMES.values())]
    return Grid(("", *(row[0] for row in by)), rows) if by else None


def evidence_markdown(shown: Sequence[Shown]) -> list[Block]:
    """Return the evidence of several cells, one line each; nothing if none has a law.

    Args:
        shown: The cells.
    """
    cells = [(plain(str(one.found.cell)), one) for one in shown if one.found.text("law")]
    if not cells:
        return []
    laws = []
    for name, one in cells:
        origin = origin_of(one.found, one.read())
        constants = "; ".join(f"{code(constant.name)} {_stated(constant)}" for constant in origin.constants)
        forms = (one.found.text("law"), origin.raw, origin.refitted)
        laws.append([name, *(code(typeset(line)) if line else DASH for line in forms), constants or DASH])
    found = [(name, one.found) for name, one in cells]
    errors = [
        [name, *(_pair(own.number(f"error_{part}_medae"), own.number(f"error_{part}_mae")) for part in ERRORS)]
        for name, own in found
    ]
    parts: list[Block] = [
        Heading(3, "Laws of the cells"),
        Grid(("", "law", WORDS["raw"], WORDS["refitted"], "constants ± standard error"), laws),
        Heading(3, "Errors of the cells"),
        Paragraph("Median, and in brackets mean, over held-out bodies of Σ|a - â|."),
        Grid(("", *(WORDS[part] for part in ERRORS)), errors),
    ]
    names = list(dict.fromkeys(name for _, own in found for name in own.beyond if name != LONG))
    beyond = [
        [name, WORDS[part], *(judged(own.beyond.get(condition, {}).get(part, {})) for condition in names)]
        for name, own in found
        for part in PREDICTORS
        if any(part in own.beyond.get(condition, {}) for condition in names)
    ]
    if beyond:
        parts += [
            Heading(3, "Cells under other conditions"),
            Paragraph("Errors as above; ✓ where it is right within the limits of verification."),
            Grid(("", "by", *map(plain, names)), beyond),
        ]
    long = [[name, *row] for name, own in found for row in _long_rows(own)]
    if long:
        parts += [Heading(3, "Cells over long times"), Grid(("", "by", *LONG_TIMES.values()), long)]
    return parts


def judged(own: Mapping[str, float | str]) -> str:
    """Return whether a prediction holds under a condition, with its median error and, in brackets, its mean error.

    Args:
        own: Values of the prediction by column.
    """
    median = number(own, "medae")
    if math.isnan(median):
        return DASH
    return f"{'✓' if own.get('holds') == 1.0 else '✗'} {_pair(median, number(own, 'mae'))}"


def measured(value: float, error: float | None) -> str:
    """Return a value with its standard error, rounded to the first digit of the error.

    Args:
        value: The value.
        error: Its standard error, if there is one.
    """
    if error is None or not math.isfinite(error) or error <= 0:
        return show(value)
    decimals = -math.floor(math.log10(error))
    if decimals > _DECIMALS:
        # More digits than a float has.
        return f"{value:.{_DECIMALS}g} ± {error:.1g}"
    if abs(value) < 1e-3 or abs(value) >= 1e7:
        digits = math.floor(math.log10(abs(value))) + decimals if value else 0
        return f"{value:.{min(max(digits, 0), _DECIMALS)}e} ± {error:.0e}"
    return f"{value:.{max(decimals, 0)}f} ± {error:.1g}"


def number(own: Mapping[str, float | str], name: str) -> float:
    """Return a number of a prediction; NaN if it is absent.

    Args:
        own: Values of the prediction by column.
        name: The column.
    """
    value = own.get(name, math.nan)
    return value if isinstance(value, float) else math.nan


def _stated(constant: Constant) -> str:
    return measured(constant.value, constant.error) + ("" if constant.state == "ok" else f", {plain(constant.state)}")


def _long_rows(found: Found) -> list[list[str]]:
    long = found.beyond.get(LONG, {})
    return [
        [WORDS[part], *(_number(number(long[part], name)) for name in LONG_TIMES)]
        for part in PREDICTORS
        if not math.isnan(number(long.get(part, {}), "horizon"))
    ]


def _pair(median: float, mean: float) -> str:
    return f"{show(median)} ({_number(mean)})" if not math.isnan(median) else DASH


def _number(value: float) -> str:
    return DASH if math.isnan(value) else show(value)


def _with_names(law: Law) -> tuple[str, ...]:
    """Return the expressions of a law that have constants, one line each."""
    alone = sums(len(law.messages))
    # The rest of a Hamiltonian law follows from its energies; nodes that only sum messages have no constants.
    own = {name: expression for name, expression in text.named(law).items() if expression not in alone}
    kept = {name: e for name, e in own.items() if name.startswith("energy_")} if law.energies else own
    return tuple(f"{name} = {in_words(expression)}" for name, expression in kept.items())


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
