"""The verdict of a cell: is the law recovered in every message component?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from distillery import formula
from distillery.cell import Cell
from distillery.errors import DistilleryError
from distillery.functions import feature_names
from distillery.outcome import Outcome, finished, read_outcome, running, write_outcome
from distillery.sweep import Sweep
from distillery.verify.gauge import Verdict, judge

# Components whose a_k all but coincide say the same thing twice: some direction of the force is not in them.
_LEAST_INDEPENDENCE = 0.05


def verify(sweep: Sweep, cell: Cell) -> None:
    """Judge the chosen expression of every message component, and the others on its front, and write the outcome.

    Args:
        sweep: The sweep.
        cell: The cell.

    Raises:
        DistilleryError: The distilled expressions are missing or damaged.
    """
    path = cell.outcome(sweep.results, "verify")
    key = sweep.key("verify", cell)
    with running(path) as started:
        if finished(path, key):
            return
        source = cell.outcome(sweep.results, "distill")
        distilled = read_outcome(source, key=sweep.key("distill", cell))
        if distilled.status != "ok":
            write_outcome(path, key=key, started=started, result={}, status=distilled.status, reason=distilled.reason)
            return
        components, compared = _distilled(source, distilled)
        result = verdict(sweep, cell, components)
        if compared:
            result["compared"] = [{"engine": name, **verdict(sweep, cell, found)} for name, found in compared.items()]
        write_outcome(path, key=key, started=started, result=result)


_Components = list[dict[str, Any]]


def _distilled(source: Path, distilled: Outcome) -> tuple[_Components, dict[str, _Components]]:
    """Return the distilled components, and those of engines that were compared, by engine.

    Raises:
        DistilleryError: They are not what they should be.
    """
    try:
        compared = {str(entry["engine"]): entry["components"] for entry in distilled.result.get("compared", ())}
        components: _Components = distilled.result["components"]
        for component in (*components, *(component for found in compared.values() for component in found)):
            front, chosen, _ = component["front"], component["chosen"], (component["component"], component["reason"])
            whole = all(isinstance(point["expression"], str) and "complexity" in point for point in front)
            known = chosen is None or (isinstance(chosen, int) and chosen in range(len(front)))
            if not (whole and known):
                raise ValueError
    except (KeyError, TypeError, ValueError):
        raise DistilleryError(
            f"{source}: lacks what it should hold; delete it and run the sweep again; "
            "only this stage and what follows it is repeated"
        ) from None
    return components, compared


def verdict(sweep: Sweep, cell: Cell, components: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the verdict of a cell as its outcome's result.

    Args:
        sweep: The sweep.
        cell: The cell.
        components: The distilled components, as in the outcome of that stage.
    """
    judged = [_component(sweep, cell, component) for component in components]
    found = [entry for entry, _ in judged]
    recovered = all(entry["recovered"] for entry in found) and len(found) == cell.experiment.dim
    reason = "; ".join(f"component {entry['component']}: {entry['reason']}" for entry in found if entry["reason"])
    if recovered and not _independent([chosen for _, chosen in judged if chosen is not None]):
        recovered, reason = False, "the components carry the same direction of the force"
    forms = {entry["form"] for entry in found}
    form = None if not recovered else forms.pop() if len(forms) == 1 else "mixed"
    return {"recovered": recovered, "form": form, "reason": reason, "components": found}


def _component(sweep: Sweep, cell: Cell, component: dict[str, Any]) -> tuple[dict[str, Any], Verdict | None]:
    front, chosen = component["front"], component["chosen"]
    verdicts = [_judge(sweep, cell, point["expression"]) for point in front]
    empty = {
        "component": component["component"],
        "recovered": False,
        "form": None,
        "reason": component["reason"] or "nothing was distilled",
        "expression": None,
        "complexity": None,
        "median_residual": None,
        "p90_residual": None,
        "constants": {},
        "others": [],
    }
    if chosen is None:
        return empty, None
    found = verdicts[chosen]
    return empty | {
        "recovered": found.recovered,
        "form": found.form,
        "reason": found.reason,
        "expression": front[chosen]["expression"],
        "complexity": front[chosen]["complexity"],
        "median_residual": found.median_residual,
        "p90_residual": found.p90_residual,
        "constants": found.constants,
        "others": [index for index, v in enumerate(verdicts) if v.recovered and index != chosen],
    }, found


def _judge(sweep: Sweep, cell: Cell, text: str) -> Verdict:
    dim = cell.experiment.dim
    expression = formula.parse(text, feature_names(dim))
    return judge(expression, sweep.system(cell.experiment), dim, sweep.config.verification)


def _independent(verdicts: list[Verdict]) -> bool:
    """Return whether the components' gauge vectors span the force's directions, for the typical receiver."""
    gauges = [v.gauge / np.linalg.norm(v.gauge, axis=-1, keepdims=True) for v in verdicts if v.gauge is not None]
    smallest = np.linalg.svd(np.stack(gauges, axis=1), compute_uv=False)[:, -1]
    return bool(np.median(smallest) > _LEAST_INDEPENDENCE)
