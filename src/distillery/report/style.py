"""How all pictures look, and how they are written: whole, and the same bytes for the same data."""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from distillery.errors import DistilleryError
from distillery.files import replacing
from distillery.results.table import readable

INK = "#22272e"
QUIET = "#8b949e"
FAINT = "#e4e7eb"
BLUE = "#2f6db3"
ORANGE = "#d9772b"
GREEN = "#2e8b57"
RED = "#b8433b"
BODIES = (BLUE, ORANGE, GREEN, "#8a5fae", "#b59a2a", "#3fa7b5", RED, "#6b7280")

_FORMATS: dict[str, dict[str, Any]] = {
    # Nothing in the file may depend on when or by which version it was drawn.
    ".svg": {"metadata": {"Date": None, "Creator": None}},
    ".png": {"metadata": {"Software": None}, "dpi": 160},
}
_STYLE: dict[str, Any] = {
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "svg.fonttype": "none",
    "svg.hashsalt": "distillery",
    "text.color": INK,
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}


@contextlib.contextmanager
def picture(
    path: Path, width: float, height: float, layout: Literal["constrained", "none"] = "constrained"
) -> Iterator[Figure]:
    """Yield an empty figure in the house style; it is written to ``path`` when the block ends without error.

    Args:
        path: A file ending in ``.svg`` or ``.png``.
        width: In inches.
        height: In inches.
        layout: Whether panels are placed by matplotlib or by hand.

    Raises:
        DistilleryError: The ending is another.
    """
    options = _FORMATS.get(path.suffix)
    if options is None:
        raise DistilleryError(f"{path}: is no picture this draws; let it end in {' or '.join(_FORMATS)}")
    look: Any = {**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"}
    with matplotlib.rc_context(look):
        figure = Figure(figsize=(width, height), layout=None if layout == "none" else layout)
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], **options)


def say(path: Path, title: str, text: str) -> None:
    """Write a picture that holds only words, for what has nothing to show.

    Args:
        path: A file ending in ``.svg`` or ``.png``.
        title: What it would have shown.
        text: Why there is nothing.
    """
    with picture(path, 6.4, 1.6) as figure:
        figure.text(0.04, 0.78, title, fontsize=11)
        figure.text(0.04, 0.64, "\n".join(textwrap.wrap(text, 88)[:7]), fontsize=9, color=RED, va="top")


def typeset(expression: str) -> str:
    """Return an expression as it stands in a picture: rounded, with Δ for differences and dots for products.

    Args:
        expression: Text of an expression.
    """
    return re.sub(r"\bd([xyz])\b", r"Δ\1", readable(expression)).replace("*", "·").replace("-", "−")
