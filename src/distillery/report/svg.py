"""Matplotlib figures as small inline SVG: text stays text, and colours follow the light or dark page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, LogFormatter, LogLocator, MaxNLocator, NullLocator, ScalarFormatter

from distillery.report.style import BODIES, FAINT, GREEN, INK, ORANGE, QUIET

WIDTH, HEIGHT = 340, 260
# Margins around the panel, in units of the drawing: left, right, top, bottom.
_MARGINS = (58, 10, 10, 40)
# Variables of page.css by colour of the pictures.
_VARIABLES = {
    INK: "ink",
    QUIET: "quiet",
    FAINT: "rule",
    ORANGE: "orange",
    GREEN: "green",
    **{colour: f"b{k}" for k, colour in enumerate(BODIES) if colour not in (ORANGE, GREEN)},
}
_SVG = "{http://www.w3.org/2000/svg}"
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")
# Properties that are kept, and their values by default.
_KEPT = {
    "fill": "none",
    "stroke": "",
    "stroke-width": "1",
    "stroke-linecap": "square",
    "stroke-dasharray": "",
    "opacity": "1",
    "text-anchor": "start",
    "font-size": "12.5px",
}
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
Attributes = Mapping[str, Mapping[str, str]]


def drawing(
    title: str,
    draw: Callable[[Any], Attributes | None],
    *,
    height: int = HEIGHT,
    margins: tuple[int, int, int, int] = _MARGINS,
) -> Markup:
    """Return a figure of one panel as inline SVG; call it inside ``style.look()``.

    Args:
        title: Description of the figure for screen readers.
        draw: Draws on the axes it is given, and may return attributes by the gid of an artist; the attribute
            ``title`` becomes the text shown under the pointer.
        height: Height of the drawing, of which ``WIDTH`` is the width.
        margins: Space left, right, above and below the panel.
    """
    left, right, top, bottom = margins
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor="none")
    FigureCanvasSVG(figure)
    axes = figure.add_axes(
        (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height),
        facecolor="none",
    )
    axes.tick_params(bottom=False, left=False, which="both", labelsize=11, pad=4, labelcolor=QUIET)
    attributes = draw(axes) or {}
    for axis, centre in (
        (axes.xaxis, ((left + WIDTH - right) / 2, 8)),
        (axes.yaxis, (12, (bottom + height - top) / 2)),
    ):
        axis.label.set_fontsize(12.5)
        axis.set_label_coords(centre[0] / WIDTH, centre[1] / height, transform=figure.transFigure)
        axis.label.set_verticalalignment("baseline")
        # Labels that are names stay where they are.
        if axis.get_scale() == "log":
            _set_decades(axis)
        elif isinstance(axis.get_major_locator(), AutoLocator) and isinstance(
            formatter := axis.get_major_formatter(), ScalarFormatter
        ):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            formatter.set_useOffset(False)
    if legend := axes.get_legend():
        for text in legend.get_texts():
            text.set(fontsize=11, color=QUIET)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _compact(buffer.getvalue(), title, height, attributes)


def pixels(axes: Any, x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> tuple[str, str]:
    """Return where points are drawn, as the page's script reads it.

    Args:
        axes: A panel whose limits are final.
        x: Horizontal coordinates.
        y: Vertical coordinates.

    Returns:
        Two digits of base 36 for each horizontal and each vertical position in units of the drawing, or two points
        for what is not finite or lies outside of the panel.
    """
    x, y = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
    limits = (x, axes.get_xlim()), (y, axes.get_ylim())
    with np.errstate(invalid="ignore", divide="ignore"):
        placed = axes.transData.transform(np.column_stack([x, y]))
        inside = [(low <= v) & (v <= high) & np.isfinite(placed).all(axis=1) for v, (low, high) in limits]
    return _written(placed[:, 0], inside[0]), _written(axes.figure.bbox.height - placed[:, 1], inside[1])


def _written(places: Float[np.ndarray, " point"], inside: Any) -> str:
    known = (round(place) if ok else None for place, ok in zip(places.tolist(), inside.tolist(), strict=True))
    return "".join(".." if place is None else _DIGITS[place // 36] + _DIGITS[place % 36] for place in known)


def _set_decades(axis: Any) -> None:
    low, high = axis.get_view_interval()
    few = high < 30 * low
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(_Plain())


class _Plain(LogFormatter):
    """Powers of ten as plain text, for SVG has no superscripts."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        del pos
        mantissa, _, exponent = (f"{x:.0e}" if x < 1e-3 or x >= 1e6 else f"{x:g}").partition("e")
        return (f"{mantissa}e{int(exponent)}" if exponent else mantissa).replace("-", "\N{MINUS SIGN}")


def _compact(source: str, title: str, height: int, attributes: Attributes) -> Markup:
    """Return only what is drawn: paths and texts without groups, identifiers and default properties."""
    out = Element("svg", {"class": "plot", "viewBox": f"0 0 {WIDTH} {height}", "role": "img"})
    ElementTree.SubElement(out, "title").text = title
    _copy(ElementTree.fromstring(source), out, {}, attributes)
    # ElementTree escapes all text.
    return Markup(ElementTree.tostring(out, encoding="unicode"))


def _copy(node: Element, out: Element, own: Mapping[str, str], attributes: Attributes) -> None:
    for child in node:
        tag = child.tag.removeprefix(_SVG)
        if tag == "g":
            inner = attributes.get(child.get("id", ""), own)
            marker = child.find(f"{_SVG}defs/{_SVG}path")
            _copy(child if marker is None else _dots(child, marker), out, inner, attributes)
        elif tag in ("path", "text"):
            style = dict(part.split(": ", 1) for part in child.get("style", "").split("; ") if ": " in part)
            kept = {name: style[name] for name, default in _KEPT.items() if style.get(name, default) != default}
            made = _text(child, kept) if tag == "text" else _path(child, kept)
            if made is not None:
                made.attrib |= {name: value for name, value in own.items() if name != "title"}
                if "title" in own:
                    ElementTree.SubElement(made, "title").text = own["title"]
                out.append(made)


def _dots(node: Element, marker: Element) -> Element:
    """Return round markers as one path of segments without length, ten times shorter than one element for each."""
    uses = node.findall(f".//{_SVG}use")
    # The outline of a round marker starts above its centre.
    radius = float(marker.get("d", "").split()[2])
    style = uses[0].get("style", "").replace("fill: ", "stroke: ").replace("fill-opacity", "opacity") if uses else ""
    d = "".join(f"M {use.get('x')} {use.get('y')} L {use.get('x')} {use.get('y')} " for use in uses)
    group = Element("g")
    style = f"fill: none; {style}; stroke-width: {2 * radius:g}; stroke-linecap: round"
    ElementTree.SubElement(group, "path", {"d": d, "style": style})
    return group


def _path(node: Element, kept: dict[str, str]) -> Element | None:
    """Return a path in whole units of the drawing; None where nothing is seen of it."""
    commands, last = "", ""
    for letter, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", node.get("d", "")):
        point = " ".join(str(round(float(number))) for number in numbers.split())
        commands += "" if letter == "L" and point == last else letter + point
        last = point
    if not commands or ("stroke" not in kept and "fill" not in kept):
        return None
    kept.pop("font-size", None)
    kept = {name: f"var(--{_VARIABLES[value]})" if value in _VARIABLES else value for name, value in kept.items()}
    if kept.get("stroke") == f"var(--{_VARIABLES[FAINT]})":
        kept = {"class": "grid"}
    # A segment without length is a dot.
    return Element("path", {**kept, "d": re.sub(r"M\d+ \d+(?=M|$)", r"\g<0>h0", commands)})


def _text(node: Element, kept: dict[str, str]) -> Element:
    if kept.pop("fill", INK) == QUIET:
        kept["class"] = "tick"
        kept.pop("font-size", None)
    turned = node.get("transform", "")
    places = {name: node.get(name, "") for name in ("x", "y")}
    if turned and not turned.startswith("rotate(-0 "):
        places["transform"] = turned
    made = Element("text", kept | {name: _NUMBER.sub(_shortened, text) for name, text in places.items() if text})
    made.text = node.text
    return made


def _shortened(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
