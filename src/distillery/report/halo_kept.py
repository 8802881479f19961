"""Errors of networks of halos when few components of their messages are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.report.style import BLUE, ORANGE
from distillery.results.columns import READINGS
from distillery.util.text import show

# By reading: its name, the component that is kept if there is one, its colour and line style.
_NAMES = {
    "std": ("by std", "the component of largest std alone", BLUE, "-"),
    "principal": ("principal axes", "the strongest principal axis alone", ORANGE, "--"),
}


def kept_errors(findings: Mapping[str, Any]) -> dict[str, Float[np.ndarray, " count"]]:
    """Return by reading the errors with 1, 2, 3 … components; older results have one reading.

    Args:
        findings: Result of interpreting a network.
    """
    known = {name: findings.get(f"kept_{name}") for name in READINGS}
    if not any(known.values()) and findings["kept"]:
        known[findings["reading"]] = [entry["mae"] for entry in findings["kept"][:-1]]
    return {name: np.array(errors, dtype=float) for name, errors in known.items() if errors}


def draw_kept(axes: Any, findings: Mapping[str, Any]) -> None:
    """Draw the errors on validation halos by the number of components that are kept.

    Args:
        axes: The panel.
        findings: Result of interpreting a network.
    """
    count, whole = _whole(findings)
    for name, own in kept_errors(findings).items():
        label, _, colour, style = _NAMES[name]
        places = np.append(np.arange(1.0, len(own) + 1), float(count))
        axes.plot(places, np.append(own, whole), color=colour, ls=style, lw=1.4, label=label)
    axes.grid()
    axes.legend(loc="upper right")
    axes.set_xlabel("components that are kept")
    axes.set_ylabel("mean |δ − δ̂|")


def kept_caption(findings: Mapping[str, Any]) -> str:
    """Return the errors with one component and with all, and which component is distilled.

    Args:
        findings: Result of interpreting a network.
    """
    count, whole = _whole(findings)
    parts = [f"{_NAMES[name][1]} {show(own[0])}" for name, own in kept_errors(findings).items()]
    distilled = "the strongest axis" if findings["reading"] == "principal" else "the component of largest std"
    return (
        f"error on validation halos with {', '.join([*parts, f'all {count} {show(whole)}'])}; distilled is {distilled}"
    )


def _whole(findings: Mapping[str, Any]) -> tuple[int, float]:
    last = findings["kept"][-1]
    return int(last["components"]), float(last["mae"])
