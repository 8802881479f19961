"""Common look of all pictures, and picture files: the same data give the same bytes."""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from jaxtyping import Float
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
_Values = Float[np.ndarray, " point"] | Sequence[float]
# Errors below this are rounding; they would stretch a logarithmic axis over empty decades.
FLOOR = 1e-9

_FORMATS: dict[str, dict[str, Any]] = {
    # A file must not depend on the date or on the version of Matplotlib.
    ".svg": {"metadata": {"Date": None, "Creator": None}},
    ".png": {"metadata": {"Software": None}, "dpi": 160},
}
_LOOK: Any = {
    **dict[Any, Any](matplotlib.rcParamsDefault),
    "axes.axisbelow": True,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "backend": "agg",
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
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


def look() -> contextlib.AbstractContextManager[None]:
    """Return a context in which Matplotlib has the look of this project, whatever a user's own settings are."""
    return matplotlib.rc_context(_LOOK)


@contextlib.contextmanager
def picture(
    path: Path, width: float, height: float, layout: Literal["constrained", "none"] = "constrained"
) -> Iterator[Figure]:
    """Yield an empty figure, and write it to a file when the block ends without error.

    Args:
        path: A file ending in ``.svg`` or ``.png``.
        width: Width in inches.
        height: Height in inches.
        layout: Whether Matplotlib places the panels, or the caller.

    Raises:
        DistilleryError: The file has another ending.
    """
    options = _FORMATS.get(path.suffix)
    if options is None:
        raise DistilleryError(f"{path}: is no picture format; end it in {' or '.join(_FORMATS)}")
    with look():
        figure = Figure(figsize=(width, height), layout=None if layout == "none" else layout)
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], **options)


def write_message(path: Path, title: str, text: str) -> None:
    """Write a picture that holds only text, in place of one that cannot be drawn.

    Args:
        path: A file ending in ``.svg`` or ``.png``.
        title: Title of the picture that cannot be drawn.
        text: The reason.
    """
    with picture(path, 6.4, 1.6) as figure:
        figure.text(0.04, 0.78, title, fontsize=11)
        figure.text(0.04, 0.64, "\n".join(textwrap.wrap(text, 88)[:7]), fontsize=9, color=RED, va="top")


def add_dots(axes: Any, x: _Values, y: _Values, color: str, size: float, **options: Any) -> None:
    """Add points as round dots.

    Args:
        axes: The panel.
        x: Horizontal coordinates; points that are not finite are left out.
        y: Vertical coordinates.
        color: Colour of the dots.
        size: Their diameter in points.
        **options: Further properties of the dots, such as ``alpha`` and ``gid``.
    """
    places = np.column_stack([x, y]).astype(float)
    x, y = places[np.isfinite(places).all(axis=1)].T
    axes.plot(x, y, "o", color=color, ms=size, mew=0, **{"zorder": 2, **options})


def add_line(axes: Any, x: Sequence[float], y: Sequence[float], **options: Any) -> None:
    """Add a thin grey line, such as one on which two quantities are equal."""
    axes.plot(x, y, **{"color": QUIET, "lw": 1.0, "zorder": 1, **options})


def typeset(expression: str) -> str:
    """Return an expression as text for pictures and tables: rounded, with Δ for differences and dots for products.

    Args:
        expression: Text of an expression.
    """
    return re.sub(r"\bd([xyz])\b", r"Δ\1", readable(expression)).replace("*", "·").replace("-", "−")
