"""Which form of a law is shown: the clean one where it is as good, and none that is worse than what was distilled.

Constants are fitted to all errors, not to the median alone; so a fit may cost a law what was good in it, as where a
term is missing and the others come to make up for it. It is decided on the graphs that constants are fitted to: errors
on held-out graphs say then how good the law is that is shown.
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
    """Return which of the forms ``raw``, ``refitted`` and ``clean`` of a law is shown, and why if it is the first.

    Args:
        laws: The three, by name.
        graphs: Training graphs.
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
    """Return the accelerations that a law gives to all bodies of some graphs (dimensionless)."""
    return through_nodes(graphs, law.filled(law.messages), law.filled(moved(law)))


def _median(law: Law, graphs: HeldOut) -> float:
    found = errors(graphs, accelerations(law, graphs))["medae"]
    return np.inf if found is None else found
