"""Choose the form of a law that is shown: the clean one, unless its error is larger than that of the distilled law.

Constants are fitted to all errors, not to the median; so a fit may make the median worse, for instance if a term is
missing and the others compensate for it. The choice uses training snapshots, so that errors on held-out snapshots stay
unbiased.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from distillery.laws import tuning
from distillery.laws.composed import HeldOut, errors, through_nodes
from distillery.laws.law import Law
from distillery.laws.motion import moved


def shown_form(laws: Mapping[str, Law], graphs: HeldOut) -> tuple[str, str]:
    """Return which of the forms ``raw``, ``refitted`` and ``clean`` is shown, and the reason if it is ``raw``.

    Args:
        laws: The three forms, by name.
        graphs: Training snapshots.
    """
    median = {name: _median(law, graphs) for name, law in laws.items()}
    rounding = tuning.SHOWN_ROUNDING * float(np.median(np.abs(graphs.acceleration).sum(axis=-1)))
    most = median["raw"] + rounding
    if median["clean"] <= min(tuning.AS_GOOD * median["refitted"] + rounding, most):
        return "clean", ""
    if median["refitted"] <= most:
        return "refitted", ""
    return (
        "raw",
        f"refitted, its median error on training snapshots would be {median['refitted']:.3g} "
        f"instead of {median['raw']:.3g}, so the constants are those that were distilled",
    )


def accelerations(law: Law, graphs: HeldOut) -> Float[np.ndarray, "graph body dim"]:
    """Return the accelerations of all bodies of some snapshots by a law (dimensionless)."""
    return through_nodes(graphs, law.filled(law.messages), law.filled(moved(law)))


def _median(law: Law, graphs: HeldOut) -> float:
    found = errors(graphs, accelerations(law, graphs))["medae"]
    return np.inf if found is None else found
