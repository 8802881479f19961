"""Tables and figures by which objects show themselves in a terminal and in a notebook."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def text_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as aligned text under a line of column names.

    Args:
        columns: Names of the columns.
        rows: Values; floats are shown with four digits.
    """
    cells = [[shown(value) for value in row] for row in rows]
    widths = [max(len(line[k]) for line in [list(columns), *cells]) for k in range(len(columns))]
    lines = [list(columns), *cells]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def html_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as an HTML table for notebooks; all text is escaped."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns) if any(columns) else ""
    body = "".join("<tr>" + "".join(f"<td>{html.escape(shown(v))}</td>" for v in row) + "</tr>" for row in rows)
    return f"<b>{html.escape(title)}</b><table><tr>{head}</tr>{body}</table>"


def shown(value: Any) -> str:
    """Return a value as text: floats with four digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def figure(panels: int = 1, *, width: float = 3.2, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """Return a Matplotlib figure with panels side by side, and their axes; no window is opened.

    Args:
        panels: Number of panels.
        width: Width of a panel in inches.
        height: Height in inches.
    """
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A figure that notebooks show without pyplot."""

        def _repr_png_(self) -> bytes:
            data = io.BytesIO()
            self.savefig(data, format="png", dpi=120)
            return data.getvalue()

    drawn = Shown(figsize=(max(panels, 1) * width, height), layout="constrained")
    return drawn, list(drawn.subplots(1, max(panels, 1), squeeze=False)[0])
