"""Numbers of several seeds in one entry of a table, with the number of seeds that have none."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable

from distillery.report.document import plain

DASH = "–"
NOT_RUN = "not run"
# R² of heavy tails can be any negative number, whose size has no meaning.
_LEAST_R2 = -1.0


@dataclasses.dataclass(frozen=True)
class Pooled:
    """The values of the cells of one entry.

    Attributes:
        values: The values of the cells that have one.
        planned: The number of cells, with and without a value.
        absent: The number of cells without a value by reason: their status, or ``without a value`` if it is ok.
    """

    values: tuple[float, ...]
    planned: int
    absent: tuple[tuple[str, int], ...] = ()

    @property
    def mean(self) -> float:
        """The mean of the values; NaN if there are none."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def spread(self) -> float | None:
        """The sample standard deviation of the values; None if there are fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def pool(entries: Iterable[tuple[float, str]]) -> Pooled:
    """Pool the values of some cells.

    Args:
        entries: Value, or NaN, and status of each cell.
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
    """Return how many of the planned cells have the value 1, such as ``2/3 force, 1 diverged``.

    Args:
        pooled: The values, 1 or 0.
        detail: Description of those that are 1.
    """
    if not pooled.planned:
        return NOT_RUN
    share = f"{sum(value == 1.0 for value in pooled.values)}/{pooled.planned}" if pooled.values else DASH
    return f"{share} {detail}".rstrip() + (f", {_absent(pooled)}" if pooled.absent else "")


def figures(value: float, digits: int) -> str:
    """Return a number with a number of significant digits, trailing zeros kept, such as 0.30, 1.2 or 49.

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


def with_paper(ours: str, paper: str | None) -> str:
    """Return an entry with the paper's number in brackets."""
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
    """Return a spread with as many decimals as its mean."""
    if "e" in mean:
        return f"{spread:.1e}"
    return f"{spread:.{len(mean.partition('.')[2])}f}"


def _absent(pooled: Pooled) -> str:
    return ", ".join(f"{count} {plain(status)}" for status, count in pooled.absent)
