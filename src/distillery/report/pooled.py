"""Numbers of several seeds in one entry of a table, with what is missing said."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable

from distillery.report.document import plain

DASH = "–"
NOT_RUN = "not run"
# R² of a heavy tail can be any negative number; how negative tells nobody anything.
_LEAST_R2 = -1.0


@dataclasses.dataclass(frozen=True)
class Pooled:
    """What the cells of one entry have to say.

    Attributes:
        values: Of the cells that have a value.
        planned: The number of cells, with and without.
        absent: Of those without, how many are missing, failed, diverged, or went well and yet have none.
    """

    values: tuple[float, ...]
    planned: int
    absent: tuple[tuple[str, int], ...] = ()

    @property
    def mean(self) -> float:
        """The mean of the values; NaN where there is none."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def spread(self) -> float | None:
        """The sample standard deviation of the values; None where there are fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def pool(entries: Iterable[tuple[float, str]]) -> Pooled:
    """Return the values of some cells together.

    Args:
        entries: Of each cell its value, NaN where it has none, and its status.
    """
    known = list(entries)
    absent = Counter("without a value" if status == "ok" else status for value, status in known if math.isnan(value))
    return Pooled(
        tuple(value for value, _ in known if not math.isnan(value)), len(known), tuple(sorted(absent.items()))
    )


def r2_text(pooled: Pooled) -> str:
    """Return R², mean ± spread, to three decimals, or ``< -1``."""
    return _mean_text(pooled, _r2)


def loss_text(pooled: Pooled) -> str:
    """Return an error, mean ± spread, to three digits."""
    return _mean_text(pooled, lambda value: figures(value, 3))


def share_text(pooled: Pooled, detail: str = "") -> str:
    """Return how many of the planned cells hold, of values that are 1 or 0, such as ``2/3 force, 1 diverged``.

    Args:
        pooled: The values.
        detail: What to say of those that hold.
    """
    if not pooled.planned:
        return NOT_RUN
    share = f"{sum(value == 1.0 for value in pooled.values)}/{pooled.planned}" if pooled.values else DASH
    return f"{share} {detail}".rstrip() + (f", {_absent(pooled)}" if pooled.absent else "")


def figures(value: float, digits: int) -> str:
    """Return a number with so many significant digits, trailing zeros kept, such as 0.30, 1.2 or 49.

    Args:
        value: The number.
        digits: Significant digits.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    if not -4 <= exponent < 7:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(digits - 1 - exponent, 0)}f}"


def beside(ours: str, paper: str | None) -> str:
    """Return our entry with the paper's."""
    return ours if paper is None else f"{ours} (paper {paper})"


def _mean_text(pooled: Pooled, write: Callable[[float], str]) -> str:
    if not pooled.planned:
        return NOT_RUN
    if not pooled.values:
        return f"{DASH} ({_absent(pooled)})"
    text = write(pooled.mean)
    if pooled.spread is not None and not text.startswith("<"):
        text += f" ± {_spread(pooled.spread, text)}"
    return f"{text}, {len(pooled.values)} of {pooled.planned} ({_absent(pooled)})" if pooled.absent else text


def _r2(value: float) -> str:
    return f"{value:.3f}" if value > _LEAST_R2 else "< -1"


def _spread(spread: float, mean: str) -> str:
    """Return a spread with the decimals of its mean."""
    if "e" in mean:
        return f"{spread:.1e}"
    return f"{spread:.{len(mean.partition('.')[2])}f}"


def _absent(pooled: Pooled) -> str:
    return ", ".join(f"{count} {plain(status)}" for status, count in pooled.absent)
