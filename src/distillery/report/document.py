"""Headings, paragraphs, lists and tables as data, from which Markdown and HTML are written.

Their texts may have three marks of Markdown: `code`, **strong** and [links](https://…). Pass text from a store through
``plain`` or ``code`` first, so that it cannot be a mark or HTML.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

_MARKS = re.compile(r"[\\`*<\[\]]|&(?=#?\w+;)")


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading.

    Attributes:
        level: 1 for the title.
        text: The text.
    """

    level: int
    text: str


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """A paragraph.

    Attributes:
        text: The text.
    """

    text: str


@dataclasses.dataclass(frozen=True)
class Bullets:
    """A list.

    Attributes:
        items: The texts.
    """

    items: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        headings: Names of the columns.
        rows: The entries of each row, of which the first is its name.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Heading | Paragraph | Bullets | Grid


def plain(text: str) -> str:
    """Return a text on one line, with all marks escaped.

    Args:
        text: Any text, such as a reason from a store.
    """
    return _MARKS.sub(lambda match: "\\" + match[0], " ".join(text.split()))


def code(text: str) -> str:
    """Return a text marked as code.

    Args:
        text: Any text, such as an expression from a store.
    """
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def markdown(blocks: Iterable[Block]) -> str:
    """Return blocks as Markdown that ends without a newline.

    Args:
        blocks: The blocks.
    """
    return "\n\n".join(_written(block) for block in blocks)


def _written(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Grid(headings, rows):
            return _table(headings, rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are aligned in the source, except the last."""
    lines = [[text.replace("\n", " ").replace("|", "\\|") for text in row] for row in (headings, *rows)]
    sizes = [max(3, *(len(line[i]) for line in lines)) for i in range(len(headings) - 1)] + [3]
    padded = ["| " + " | ".join(text.ljust(n) for text, n in zip(line, sizes, strict=True)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (size + 2) for size in sizes) + "|"
    return "\n".join([padded[0], rule, *padded[1:]])
