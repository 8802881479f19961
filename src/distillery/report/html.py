"""Blocks of text as HTML; every text is escaped here, so nothing from a store can become markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from urllib.parse import quote

from distillery.report.document import Block, Bullets, Grid, Heading, Paragraph

# What a text may be made of: code, strong text, a link, an escaped mark; the rest stands as it is.
_INLINE = re.compile(
    r"`(?P<code>[^`]*)`|\*\*(?P<strong>.+?)\*\*|\[(?P<label>[^\[\]]*)\]\((?P<to>https://[^\s()]*)\)|\\(?P<mark>[\\`*<\[\]&])"
)


def escape(text: object) -> str:
    """Return a text that is no markup, inside of elements and of attributes.

    Args:
        text: Anything.
    """
    return html.escape(str(text), quote=True)


def identifier(name: str) -> str:
    """Return a name as the value of an attribute ``id``, escaped, and of a link to it after ``#``.

    Args:
        name: Any name, such as that of a cell.
    """
    # Percent signs would be decoded in a link but not in an id.
    return quote(name, safe="/^+").replace("%", ".")


def inline(text: str) -> str:
    """Return a text with the marks that ``document`` knows as HTML.

    Args:
        text: The text.
    """
    parts, end = [], 0
    for match in _INLINE.finditer(text):
        parts += [escape(text[end : match.start()]), _marked(match)]
        end = match.end()
    return "".join([*parts, escape(text[end:])])


def blocks_html(blocks: Iterable[Block]) -> str:
    """Return blocks as HTML; tables stand in boxes that scroll sideways on their own.

    Args:
        blocks: The blocks.
    """
    return "\n".join(_element(block) for block in blocks)


def folded(summary: str, content: str, *, kind: str = "", opened: bool = False) -> str:
    """Return content that unfolds below its summary.

    Args:
        summary: HTML that always shows.
        content: HTML that is folded away.
        kind: Class of the element.
        opened: Whether it begins unfolded.
    """
    attributes = (f' class="{escape(kind)}"' if kind else "") + (" open" if opened else "")
    return f"<details{attributes}><summary>{summary}</summary>{content}</details>"


def figure(drawn: str, caption: str) -> str:
    """Return a drawing with its caption.

    Args:
        drawn: HTML of the drawing.
        caption: HTML of the caption.
    """
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>"


def _marked(match: re.Match[str]) -> str:
    if match["code"] is not None:
        return f"<code>{escape(match['code'])}</code>"
    if match["strong"] is not None:
        return f"<strong>{inline(match['strong'])}</strong>"
    if match["label"] is not None:
        return f'<a href="{escape(match["to"])}">{escape(match["label"])}</a>'
    return escape(match["mark"])


def _element(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{inline(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{inline(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{inline(item)}</li>" for item in items) + "</ul>"
        case Grid():
            return _table(block)


def _table(grid: Grid) -> str:
    head = "".join(f'<th scope="col">{inline(text)}</th>' for text in grid.headings)
    rows = (
        f'<tr><th scope="row">{inline(row[0])}</th>' + "".join(f"<td>{inline(text)}</td>" for text in row[1:]) + "</tr>"
        for row in grid.rows
    )
    # A box that scrolls must be reachable by keyboard.
    return (
        '<div class="scroll" tabindex="0"><table><thead><tr>'
        + head
        + "</tr></thead><tbody>"
        + "\n".join(rows)
        + "</tbody></table></div>"
    )
