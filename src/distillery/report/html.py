"""HTML of a report: Jinja2 templates that escape every value, so nothing from a store can become markup."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from distillery.report.document import Block
from distillery.util.text import counted, show

# Marks within a text: code, strong text, a link, an escaped mark.
_INLINE = re.compile(
    r"`(?P<code>[^`]*)`|\*\*(?P<strong>.+?)\*\*|\[(?P<label>[^\[\]]*)\]\((?P<to>https://[^\s()]*)\)|\\(?P<mark>[\\`*<\[\]&])"
)


def render(template: str, **values: Any) -> Markup:
    """Return a template with its values; each is escaped unless it is HTML of a template or a drawing.

    Args:
        template: Name of a file in ``templates``.
        **values: The values by name.
    """
    # The environment escapes.
    return Markup(_environment().get_template(template).render(values))


def identifier(name: object) -> str:
    """Return a name as the value of an attribute ``id``, and of a link to it after ``#``.

    Args:
        name: Anything with a unique text form, such as the name of a cell.
    """
    # Browsers would decode percent signs in a link but not in an id.
    return quote(str(name), safe="/^+").replace("%", ".")


def inline(text: str) -> Markup:
    """Return a text with the marks of ``document`` as HTML.

    Args:
        text: The text.
    """
    parts, end = [Markup()], 0
    for match in _INLINE.finditer(text):
        parts += [Markup.escape(text[end : match.start()]), _marked(match)]
        end = match.end()
    return Markup().join([*parts, Markup.escape(text[end:])])


def blocks_html(blocks: Iterable[Block]) -> Markup:
    """Return blocks as HTML.

    Args:
        blocks: The blocks.
    """
    return render("blocks.html", blocks=list(blocks))


def _marked(match: re.Match[str]) -> Markup:
    if match["code"] is not None:
        return Markup("<code>{}</code>").format(match["code"])
    if match["strong"] is not None:
        return Markup("<strong>{}</strong>").format(inline(match["strong"]))
    if match["label"] is not None:
        return Markup('<a href="{}">{}</a>').format(match["to"], match["label"])
    return Markup.escape(match["mark"])


@functools.cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("distillery.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"inline": inline, "identifier": identifier, "show": show, "counted": counted}
    made.tests["heading"] = lambda block: hasattr(block, "level")
    made.tests["grid"] = lambda block: hasattr(block, "headings")
    made.tests["bullets"] = lambda block: hasattr(block, "items") and not isinstance(block, str)
    return made
