"""How few components of a network's messages are enough: by their standard deviation, and by principal axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.report.html import figure
from distillery.report.plot import axis, drawing, legend, line
from distillery.results.columns import READINGS
from distillery.util.text import show

# By reading: class of its line, its name there, and what is left when one is kept.
_KINDS = {
    "std": ("line", "by std", "the component of largest std alone"),
    "principal": ("paper", "principal axes", "the strongest principal axis alone"),
}


def kept_errors(findings: Mapping[str, Any]) -> dict[str, Float[np.ndarray, " count"]]:
    """Return by reading the errors with 1, 2, 3 … components; results of before both were kept have one reading.

    Args:
        findings: What interpreting a network found.
    """
    known = {name: findings.get(f"kept_{name}") for name in READINGS}
    if not any(known.values()) and findings["kept"]:
        known[findings["reading"]] = [entry["mae"] for entry in findings["kept"][:-1]]
    return {name: np.array(errors, dtype=float) for name, errors in known.items() if errors}


def kept_sketch(findings: Mapping[str, Any]) -> str:
    """Return the errors on validation halos with few components as a figure; nothing where none were measured.

    Args:
        findings: What interpreting a network found.
    """
    errors = kept_errors(findings)
    if not findings["kept"]:
        return ""
    count, whole = findings["kept"][-1]["components"], float(findings["kept"][-1]["mae"])
    drawn = {
        name: (np.append(np.arange(1.0, len(own) + 1), float(count)), np.append(own, whole))
        for name, own in errors.items()
    }
    x = np.concatenate([[float(count)], *(own for own, _ in drawn.values())])
    y = np.concatenate([[whole], *(own for _, own in drawn.values())])
    across, up = axis("components that are kept", x), axis("mean |δ − δ̂|", y)
    marks = [line(across, up, *own, _KINDS[name][0]) for name, own in drawn.items()]
    marks.append(legend({_KINDS[name][0]: _KINDS[name][1] for name in drawn}))
    parts = [f"{_KINDS[name][2]} {show(own[0])}" for name, own in errors.items()]
    distilled = "the strongest axis" if findings["reading"] == "principal" else "the component of largest std"
    return figure(
        drawing("error when few components are kept", across, up, marks),
        f"error on validation halos with {', '.join([*parts, f'all {count} {show(whole)}'])}; distilled is {distilled}",
    )
