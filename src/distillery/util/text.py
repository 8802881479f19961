"""A small table of values, and its forms: aligned text, CSV, JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

Output = Literal["table", "csv", "json"]
_GAP = "  "
# If fewer characters than this remain for the last column, it is printed below the others, indented at least so far.
_LEAST = 20
_INDENT = 4


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of values with named columns.

    Attributes:
        names: Names of the columns.
        rows: A value per column: text, a number, a truth value, None if absent, or a list.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def render(table: Table, output: Output, width: int | None = None) -> str:
    """Return a table as text that ends without a newline.

    Args:
        table: The table.
        output: Aligned text, CSV (lists joined by ``; ``) or a JSON list of objects.
        width: Characters per line of aligned text; None for no limit.
    """
    match output:
        case "csv":
            buffer = io.StringIO()
            writer = csv.writer(buffer, lineterminator="\n")
            writer.writerow(table.names)
            writer.writerows([[_plain(value) for value in row] for row in table.rows])
            return buffer.getvalue().removesuffix("\n")
        case "json":
            # One object per line: with indentation json would not use its fast encoder.
            rows = [
                json.dumps(
                    {name: _json(value) for name, value in zip(table.names, row, strict=True)}, ensure_ascii=False
                )
                for row in table.rows
            ]
            return "[" + ",".join(f"\n {row}" for row in rows) + "\n]"
        case "table":
            rows_shown = [[show(value) for value in row] for row in table.rows]
            numeric = [all(_is_number(row[i]) for row in table.rows) for i in range(len(table.names))]
            none = "" if table.rows else "\n(no rows)"
            return align(table.names, rows_shown, right=numeric, width=width) + none


def align(
    names: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[bool] = (), width: int | None = None
) -> str:
    """Return rows under names in aligned columns.

    Args:
        names: Headings.
        rows: Texts, one per heading.
        right: Which columns are aligned right.
        width: Characters per line. The last column is wrapped; if the others leave too little room, it is printed on
            separate lines below them. Other columns are cut.
    """
    sizes = [max(len(name), *(len(row[i]) for row in rows), 0) for i, name in enumerate(names)]
    before = sum(sizes[:-1]) + len(_GAP) * (len(sizes) - 1)
    room = sizes[-1] if width is None else width - before
    start, below = before, width is not None and room < min(sizes[-1], _LEAST)
    if width is not None and below:
        start = max(width - sizes[-1], _INDENT)
        room = max(width - start, _LEAST)

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(size) if i < len(right) and right[i] else cell.ljust(size)
            for i, (cell, size) in enumerate(zip(cells, sizes, strict=True))
        ]
        return _cut(_GAP.join(padded).rstrip(), width)

    def shown(cells: Sequence[str]) -> list[str]:
        *others, last = cells
        parts = [last] if len(last) <= room else textwrap.wrap(last, room)
        first, later = ("", parts) if below else (parts[0], parts[1:])
        return [line([*others, first]), *(_cut(" " * start + part, width) for part in later if part)]

    rules = ["─" * size for size in sizes[:-1]]
    rule = line([*rules, "" if below else "─" * min(sizes[-1], room)])
    return "\n".join([*shown(names), rule, *(text for row in rows for text in shown(row))])


def terminal_width() -> int | None:
    """Return the width of the terminal, or None if standard output is not a terminal."""
    return shutil.get_terminal_size((160, 50)).columns if sys.stdout.isatty() else None


def show(value: Any) -> str:
    """Return a value as text: numbers to four digits, yes or no, a dash if absent."""
    match value:
        case None | "":
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return "–" if math.isnan(value) else f"{value:.4g}"
        case list() | tuple():
            return "; ".join(show(entry) for entry in value) if any(e not in (None, "") for e in value) else "–"
    return str(value).replace("\n", " ")


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _cut(line: str, width: int | None) -> str:
    return line if width is None or len(line) <= width else line[: max(width - 1, 1)] + "…"


def _plain(value: Any) -> Any:
    """Return a value for the csv module, which writes text and numbers unchanged and None as nothing."""
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value
    if kind is float:
        return value if value == value else None  # noqa: PLR0124 (NaN)
    if kind is bool:
        return "yes" if value else "no"
    if kind is list or kind is tuple:
        return "; ".join("" if entry is None else str(_plain(entry)) for entry in value)
    return str(value)


def _json(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is list or kind is tuple:
        return [_json(entry) for entry in value]
    if kind is dict:
        return {str(key): _json(entry) for key, entry in value.items()}
    return str(value)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 cell`` or ``3 cells``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
