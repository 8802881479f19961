"""True against predicted paths of one simulation, as the stage generalise followed them."""

from __future__ import annotations

from typing import Any

import numpy as np

from distillery.errors import DistilleryError
from distillery.report.cells import Shown
from distillery.report.html import escape
from distillery.report.plot import paths
from distillery.workflow.outcome import read_outcome
from distillery.workflow.sweep import Sweep

_WORDS = {"true": "true", "network": "by the network", "refitted": "by the law"}
# Beyond this many times the extent of the true paths, predicted ones are cut off.
_FRAME = 1.5


def predicted_paths(sweep: Sweep, shown: Shown) -> list[str]:
    """Return drawings of how bodies move, truly, by the network and by the law; none where nothing was followed.

    Args:
        sweep: The sweep, whose results folder has the outcomes of its cells.
        shown: The cell.
    """
    try:
        outcome = read_outcome(shown.cell.outcome(sweep.results, "generalise"))
        rollouts = outcome.result["rollouts"]
        drawn = {name: _array(rollouts["paths"][name]) for name in _WORDS if name in rollouts["paths"]}
        end = float(rollouts["times"][-1]) if drawn else 0.0
    except (DistilleryError, KeyError, TypeError, ValueError, IndexError):
        return []
    if "true" not in drawn or not all(path.ndim == 3 and len(path) for path in drawn.values()):
        return []
    low, high = drawn["true"].min(axis=(0, 1)), drawn["true"].max(axis=(0, 1))
    room = (high - low).max() * (_FRAME - 1) / 2
    return [
        f"<figure>{paths(np.clip(path, low - room, high + room), _WORDS[name])}"
        f"<figcaption>paths until time {escape(f'{end:.3g}')}, {_WORDS[name]}</figcaption></figure>"
        for name, path in drawn.items()
    ]


def _array(values: Any) -> np.ndarray:
    return np.array(values, dtype=float)
