"""Small drawings as inline SVG: a few kilobytes each, in the colours of the page they stand in.

Pictures of matplotlib are files of their own with a white ground, ten times as large; a page of hundreds takes these.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from distillery.report.html import escape

WIDTH, HEIGHT = 340, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 10, 40
_TICKS = 5
# Height of a letter of a name that stands at an angle, and how many are shown of one.
_LETTER, _LONGEST = 5.4, 18
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclasses.dataclass(frozen=True)
class Axis:
    """A direction of a drawing.

    Attributes:
        label: What is drawn, with its units.
        low: Where it begins.
        high: Where it ends; beyond ``low``.
        log: Whether it counts powers of ten; ``low`` is positive then.
    """

    label: str
    low: float
    high: float
    log: bool = False

    def part(self, values: Float[np.ndarray, " value"]) -> Float[np.ndarray, " value"]:
        """Return where values stand between the ends, from 0 to 1 inside."""
        low, high = (math.log10(end) if self.log else end for end in (self.low, self.high))
        placed = np.log10(values) if self.log else values
        return (placed - low) / (high - low)

    def ticks(self) -> list[float]:
        """Return round values between the ends."""
        # Less than a decade has too few powers of ten to label.
        if self.log and self.high > 10 * self.low:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            if len(powers) > 2:
                return [10.0**power for power in powers][:: -(-len(powers) // _TICKS)]
            parts = [k * 10.0**power for power in range(powers[0] - 1, powers[-1] + 1) for k in (1, 2, 5)]
            return [part for part in parts if self.low <= part <= self.high]
        rough = (self.high - self.low) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(k * power for k in (1, 2, 5, 10) if k * power >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def axis(label: str, values: Float[np.ndarray, " value"], *, log: bool = False) -> Axis:
    """Return an axis that holds all values, with a little room.

    Args:
        label: What is drawn, with its units.
        values: Finite values; positive ones where the axis counts powers of ten.
        log: Whether it counts powers of ten.
    """
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.5, 1.0)
    if log:
        room = max((high / low) ** 0.07, 1.1)
        return Axis(label, low / room, high * room, log)
    room = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    return Axis(label, low - room, high + room)


def drawing(
    title: str, x: Axis, y: Axis, marks: Sequence[str], *, bare_x: bool = False, names_x: Sequence[str] = ()
) -> str:
    """Return a drawing as SVG.

    Args:
        title: What it shows, for those who cannot see it.
        x: The horizontal axis.
        y: The vertical axis.
        marks: What is drawn, as the other functions return it, from back to front.
        bare_x: Whether the horizontal axis goes without numbers.
        names_x: What stands at 1, 2, 3 … of the horizontal axis, in place of numbers; the drawing grows downwards by
            what they take.
    """
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    named = [_shortened(name) for name in names_x]
    height = HEIGHT + (max(round(_LETTER * max(map(len, named))) - _BOTTOM + 16, 0) if named else 0)
    parts = []
    for tick, level in _placed(y, _vertical):
        parts.append(f'<path class="grid" d="M{_LEFT} {level}H{right}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{level + 4}" text-anchor="end">{_text(tick)}</text>')
    for name, part in zip(named, x.part(np.arange(1.0, len(named) + 1)).tolist(), strict=True):
        turned = f"translate({_horizontal(part) + 3} {bottom + 8}) rotate(-60)"
        parts.append(f'<text class="tick" transform="{turned}" text-anchor="end">{escape(name)}</text>')
    for tick, place in _placed(x, _horizontal) if not (bare_x or named) else ():
        parts.append(f'<path class="grid" d="M{place} {_TOP}V{bottom}"/>')
        parts.append(f'<text class="tick" x="{place}" y="{bottom + 15}" text-anchor="middle">{_text(tick)}</text>')
    middle = (_TOP + bottom) // 2
    parts.append(
        f'<text x="{(_LEFT + right) // 2}" y="{height - 8}" text-anchor="middle">{escape(x.label)}</text>'
        f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(y.label)}</text>'
        f'<path class="frame" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>'
    )
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img"><title>{escape(title)}</title>'
        + "".join([*parts, *marks])
        + "</svg>"
    )


def dots(
    x: Axis, y: Axis, across: Float[np.ndarray, " point"], up: Float[np.ndarray, " point"], kind: str = "dots"
) -> str:
    """Return points as one path; what lies outside of the axes is left out.

    Args:
        x: The horizontal axis.
        y: The vertical axis.
        across: Where the points stand horizontally.
        up: Where they stand vertically.
        kind: Class of the path.
    """
    places = _places(x, y, across, up)
    inside = ((places >= 0) & (places <= 1)).all(axis=1)
    return f'<path class="{kind}" d="{"".join(f"M{a} {b}h0" for a, b in _pixels(places[inside]))}"/>'


def moving(
    x: Axis,
    y: Axis,
    across: Float[np.ndarray, "places point"],
    up: Float[np.ndarray, "frame point"],
    kind: str = "dots",
) -> str:
    """Return points that move as one path: drawn as they are in the last frame, with the data of all.

    What the page's script reads is two digits of base 36 for each pixel, and two points for what lies outside of the
    axes or is not finite; frames are apart by spaces, and places that never change stand there once.

    Args:
        x: The horizontal axis.
        y: The vertical axis.
        across: Where the points stand horizontally; one row if that never changes.
        up: Where they stand vertically.
        kind: Class of the path.
    """
    horizontal = [_written(x.part(frame), _horizontal) for frame in across]
    vertical = [_written(y.part(frame), _vertical) for frame in up]
    return dots(x, y, across[-1], up[-1], kind).replace(
        "/>", f' data-x="{" ".join(horizontal)}" data-y="{" ".join(vertical)}"/>'
    )


def line(
    x: Axis, y: Axis, across: Float[np.ndarray, " point"], up: Float[np.ndarray, " point"], kind: str = "line"
) -> str:
    """Return a line through points.

    Args:
        x: The horizontal axis.
        y: The vertical axis.
        across: Where the points stand horizontally.
        up: Where they stand vertically.
        kind: Class of the path.
    """
    return f'<path class="{kind}" d="{_path(_pixels(_places(x, y, across, up)))}"/>'


def legend(names: Mapping[str, str]) -> str:
    """Return what lines stand for, in the upper right corner of a drawing.

    Args:
        names: By class of the line, what it is.
    """
    right, parts = WIDTH - _RIGHT, []
    for row, (kind, name) in enumerate(names.items()):
        height = _TOP + 10 + 15 * row
        parts.append(f'<path class="{kind}" d="M{right - 24} {height}H{right - 2}"/>')
        parts.append(f'<text class="tick" x="{right - 30}" y="{height + 4}" text-anchor="end">{escape(name)}</text>')
    return "".join(parts)


def stairs(x: Axis, y: Axis, across: Float[np.ndarray, " point"], up: Float[np.ndarray, " point"]) -> str:
    """Return steps that go down at each point.

    Args:
        x: The horizontal axis.
        y: The vertical axis.
        across: Where the points stand horizontally.
        up: Where they stand vertically.
    """
    return line(x, y, np.repeat(across, 2)[1:], np.repeat(up, 2)[:-1], "line")


def bars(x: Axis, y: Axis, up: Float[np.ndarray, " bar"], dark: int) -> str:
    """Return bars at 1, 2, 3 …, the first few in a stronger colour.

    Args:
        x: The horizontal axis.
        y: The vertical axis.
        up: Their heights.
        dark: How many of them are strong.
    """
    places = _pixels(_places(x, y, np.arange(1.0, len(up) + 1), np.maximum(up, y.low)))
    bottom = HEIGHT - _BOTTOM
    width = max(1, round(0.75 * (WIDTH - _LEFT - _RIGHT) / max(len(up), 1)))
    paths = ["".join(f"M{a} {bottom}V{b}" for a, b in part) for part in (places[:dark], places[dark:])]
    return "".join(
        f'<path class="{kind}" stroke-width="{width}" d="{path}"/>'
        for kind, path in zip(("bar strong", "bar"), paths, strict=True)
        if path
    )


def paths(bodies: Float[np.ndarray, "time body plane"], title: str, kinds: int = 8) -> str:
    """Return the paths of bodies in a plane, a dot at the end of each, and a bar of some length in the same units.

    Args:
        bodies: Where they are (dimensionless).
        title: What it shows, for those who cannot see it.
        kinds: How many colours there are.
    """
    low, high = bodies.reshape(-1, 2).min(axis=0), bodies.reshape(-1, 2).max(axis=0)
    size = float((high - low).max()) or 1.0
    places = np.rint((bodies - (low + high - size) / 2) / size * 280 + 10).astype(int)
    places[..., 1] = 300 - places[..., 1]
    drawn = []
    for body in range(bodies.shape[1]):
        end = places[-1, body]
        kind = f"body b{body % kinds}"
        drawn.append(f'<path class="{kind}" d="{_path([tuple(place) for place in places[:, body].tolist()])}"/>')
        drawn.append(f'<path class="{kind} end" d="M{end[0]} {end[1]}h0"/>')
    length = _round_length(size / 3)
    right, text = 10 + round(280 * length / size), f"{_text(length)} (dimensionless)"
    drawn.append(
        f'<path class="frame" d="M10 312V318H{right}V312"/><text class="tick" x="{right + 6}" y="320">{text}</text>'
    )
    return (
        f'<svg class="plot" viewBox="0 0 300 326" role="img"><title>{escape(title)}</title>' + "".join(drawn) + "</svg>"
    )


def _round_length(most: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is not above a length."""
    power = 10.0 ** math.floor(math.log10(most))
    return next((k * power for k in (5, 2) if k * power <= most), power)


def _places(
    x: Axis, y: Axis, across: Float[np.ndarray, " point"], up: Float[np.ndarray, " point"]
) -> Float[np.ndarray, "point 2"]:
    return np.column_stack([x.part(across), y.part(up)])


def _pixels(places: Float[np.ndarray, "point 2"]) -> list[tuple[int, int]]:
    return [(_horizontal(a), _vertical(b)) for a, b in places.tolist()]


def _horizontal(part: float) -> int:
    return round(_LEFT + part * (WIDTH - _LEFT - _RIGHT))


def _vertical(part: float) -> int:
    return round(HEIGHT - _BOTTOM - part * (HEIGHT - _TOP - _BOTTOM))


def _written(parts: Float[np.ndarray, " point"], place: Callable[[float], int]) -> str:
    inside = (parts >= 0) & (parts <= 1)
    pixels = (place(part) if ok else None for part, ok in zip(parts.tolist(), inside.tolist(), strict=True))
    return "".join(".." if pixel is None else _DIGITS[pixel // 36] + _DIGITS[pixel % 36] for pixel in pixels)


def _placed(of: Axis, place: Callable[[float], int]) -> list[tuple[float, int]]:
    ticks = of.ticks()
    return [(tick, place(part)) for tick, part in zip(ticks, of.part(np.array(ticks)).tolist(), strict=True)]


def _path(pixels: Sequence[tuple[int, int]]) -> str:
    """Return a polyline; a point that is drawn where the one before stands is left out."""
    kept = [pixel for index, pixel in enumerate(pixels) if index == 0 or pixel != pixels[index - 1]]
    return "M" + "L".join(f"{a} {b}" for a, b in kept) if kept else ""


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _text(value: float) -> str:
    # More than two zeros after the point would reach the axis' title.
    mantissa, _, exponent = (f"{value:.5e}" if 0 < abs(value) < 1e-3 else f"{value:g}").partition("e")
    return (
        (f"{float(mantissa):g}e{exponent}" if exponent else mantissa)
        .replace("e-0", "e-")
        .replace("e+0", "e")
        .replace("-", "\N{MINUS SIGN}")
    )
