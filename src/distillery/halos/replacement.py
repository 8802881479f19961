"""The formula that replaces a halo network: composed from two fronts, refitted on overdensities, and chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from distillery.errors import DistilleryError
from distillery.halos.features import HaloGraph
from distillery.halos.forms import form
from distillery.halos.found import laws
from distillery.halos.law import HaloLaw
from distillery.halos.refit import refit
from distillery.halos.regions import Regions
from distillery.halos.text import line
from distillery.halos.training import Trained

# Largest complexity of a formula; the paper's best has 22.
_MOST = 36


@dataclasses.dataclass(frozen=True)
class Fronts:
    """Distilled expressions of a network's two functions.

    Attributes:
        messages: Expressions of the message, in the names of ``names.message_names``.
        nodes: Expressions of the node function, in the names of ``names.node_names``.
        reason: Why there is no expression of the node function; empty if there are some.
    """

    messages: Sequence[str]
    nodes: Sequence[str]
    reason: str = ""


def replace_formula(law: HaloLaw, graph: HaloGraph, regions: Regions) -> dict[str, Any]:
    """Describe a formula that was fitted in training and needs no replacement.

    Args:
        law: The formula.
        graph: The halos.
        regions: Their division in space.

    Returns:
        Results as JSON has them.
    """
    return _described(law, {}, graph, regions)


def replace_network(
    network: Trained, fronts: Fronts, graph: HaloGraph, regions: Regions, seed: int
) -> tuple[dict[str, Any], HaloLaw | None]:
    """Choose the formula that replaces a network.

    Args:
        network: The network.
        fronts: Its distilled functions.
        graph: The halos.
        regions: Their division in space.
        seed: Seed of the halos on which constants are fitted.

    Returns:
        Results as JSON has them, and the formula; None if no formula was found.
    """
    errors = {"network": _errors(network.predict(graph, regions.test), graph, regions)}
    try:
        found = laws(fronts.messages, fronts.nodes, graph, regions.train, regions.validation, seed=seed, most=_MOST)
    except DistilleryError as error:
        return {"reason": str(error), "errors": errors}, None
    paper = refit(form("with mass", graph.smoothing), graph, regions.train, seed=seed).law
    # The paper's rule stops at the first steep drop, far from the error of the network (docs/halos.md).
    short = found.at(paper.complexity)
    chosen = short or found.candidates[found.chosen]
    front = [
        {
            "complexity": candidate.law.complexity,
            "mae": candidate.point.mae,
            "test": _test_error(candidate.law, graph, regions),
            "text": line(candidate.law),
        }
        for candidate in found.candidates
    ]
    by_rule = found.candidates[found.chosen].law
    what = "the best with no more than" if short else "as the paper's rule chooses, for none is as short as"
    reason = (
        f"of complexity {chosen.law.complexity}, {what} the paper's form with mass, which has {paper.complexity} and "
        f"an error in held-out space of {_shown(_test_error(paper, graph, regions))}; the paper's rule chooses "
        f"complexity {by_rule.complexity}, error {_shown(_test_error(by_rule, graph, regions))}"
    )
    if not fronts.nodes:
        reason += f"; nothing was found for nodes ({fronts.reason or 'none was fitted'}), so all are linear in s"
    return _described(chosen.law, errors, graph, regions) | {"front": front, "reason": reason}, chosen.law


def _described(law: HaloLaw, errors: dict[str, Any], graph: HaloGraph, regions: Regions) -> dict[str, Any]:
    return {
        "replacement": "whole",
        "text": line(law),
        "refitted_text": line(law),
        "form": "refitted",
        "constants": [{"name": n, "value": v, "error": None, "state": "ok"} for n, v in law.constants.items()],
        "errors": errors | {"refitted": _errors(law.predict(graph, regions.test), graph, regions)},
        "complexity": law.complexity,
    }


def _errors(predicted: np.ndarray, graph: HaloGraph, regions: Regions) -> dict[str, float | None]:
    error = np.abs(predicted - graph.overdensity[regions.test])
    if not np.isfinite(error).all():
        return {"mae": None, "medae": None}
    return {"mae": float(error.mean()), "medae": float(np.median(error))}


def _test_error(law: HaloLaw, graph: HaloGraph, regions: Regions) -> float | None:
    return _errors(law.predict(graph, regions.test), graph, regions)["mae"]


def _shown(error: float | None) -> str:
    return "not finite" if error is None else f"{error:.4f}"
