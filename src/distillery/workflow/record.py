"""What one cell has to tell: its outcomes as one flat record."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from typing import Any

from distillery.messages.fits import DISTILLED
from distillery.networks.functions import Function
from distillery.results.columns import READINGS
from distillery.validation.generalisation import FOLLOWED, LONG, PREDICTORS
from distillery.workflow.cell import STAGES, Cell, Experiment, Split, Stage
from distillery.workflow.origin import origin
from distillery.workflow.outcome import Outcome
from distillery.workflow.state import StageState, cell_states
from distillery.workflow.sweep import Sweep

Values = dict[str, Any]
Fronts = dict[Function, list[list[Values]]]
_NOTHING: Values = {"components": ()}
_CONCERN: dict[str, str] = {"running": "is running", "queued": "waits for its turn", "interrupted": "was interrupted"}


@dataclasses.dataclass(frozen=True)
class Record:
    """A row of the result store.

    Attributes:
        cell: Whose it is.
        values: By column of ``columns.CELLS``, a value, or a list along the column's own dimension.
        fronts: By engine, the cell's own first, and function, for each component its Pareto front, each entry by
            column of ``columns.EQUATIONS``.
        beyond: By condition and predictor, by column of ``columns.CONDITIONS``.
    """

    cell: Cell
    values: Values
    fronts: dict[str, Fronts]
    beyond: dict[str, dict[str, Values]] = dataclasses.field(default_factory=dict)


def read_record(sweep: Sweep, cell: Cell, trajectories: dict[Split, StageState]) -> Record:
    """Read all outcomes of a cell; nothing that is missing or damaged is an error here.

    Args:
        sweep: The sweep.
        cell: One of its cells.
        trajectories: Where the trajectories of its experiment stand.
    """
    states = cell_states(sweep, cell)
    values: Values = {}
    fronts: dict[str, Fronts] = {}
    beyond: dict[str, dict[str, Values]] = {}
    outcomes: dict[Stage, Outcome] = {}
    for stage in STAGES:
        state = states[stage]
        if state.outcome is None or state.state not in ("done", "running"):
            continue
        try:
            found = _READERS[stage](state.outcome.result)
            if stage == "distill":
                fronts = {
                    name: {of: [_front(c) for c in components] for of, components in _by_function(result).items()}
                    for name, result in _by_engine(sweep, state.outcome.result).items()
                }
            if stage == "generalise":
                beyond = _beyond(state.outcome.result)
                _without_false_drift(sweep, cell, beyond)
            if stage == "verify":
                for name, result in _by_engine(sweep, state.outcome.result).items():
                    verdicts = {"message": _ordered(result), "node": _ordered(result.get("node", _NOTHING))}
                    for of, found_fronts in fronts.get(name, {}).items():
                        _mark_passing(found_fronts, verdicts[of])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            problem = f"{stage}.json lacks what it should hold ({error!r}); delete it and run the sweep again"
            states[stage] = StageState("failed", problem)
            continue
        values |= {name: value for name, value in found.items() if value is not None}
        outcomes[stage] = state.outcome
    _choose_reading(values)
    for stage in STAGES:
        outcome = states[stage].outcome
        if outcome is not None:
            values[f"{stage}_seconds"] = _number(outcome.seconds)
    values |= origin({stage: state.outcome for stage, state in states.items() if state.outcome is not None})
    for split, simulated in trajectories.items():
        if simulated.redraws is not None:
            values[f"redraws_{split}"] = float(simulated.redraws)
    status, reason = _verdict(states, trajectories)
    values |= {"status": status, "reason": reason}
    return Record(cell, values, fronts, beyond)


def _verdict(states: dict[Stage, StageState], trajectories: dict[Split, StageState]) -> tuple[str, str]:
    for stage in STAGES:
        state = states[stage]
        match state.state:
            case "done":
                continue
            case "diverged" | "failed":
                return state.state, f"{stage}: {state.reason}"
            case "missing":
                for split, simulated in trajectories.items():
                    if stage == "train" and simulated.state == "failed":
                        return "missing", f"simulate ({split}): {simulated.reason}"
                return "missing", f"{stage}: {state.reason or 'has not run'}"
            case "stale":
                return "missing", f"{stage}: {state.reason}"
            case other:
                return "missing", f"{stage}: {_CONCERN[other]}"
    return "ok", ""


def _read_train(result: Values) -> Values:
    return {"parameters": _number(result["parameters"]), "final_loss": _number(result["final_loss"])}


def _read_interpret(result: Values) -> Values:
    found: Values = {name: _number(result[name]) for name in ("test_mae", "test_medae", "label_std")}
    found["message_std"] = [_number(value) for value in result["message_std"]]
    found["reading"] = _text(result["reading"])
    found |= _kept(result)
    for reading, fits in result["fits"].items():
        for against in ("force", "acceleration"):
            for kind in ("r2", "r2_robust", "r2_gauge_free"):
                found[f"{reading}:{against}_{kind}"] = [_number(value) for value in fits[against][kind]]
    return found


def _kept(result: Values) -> Values:
    """Return the errors of halos with few components, as far as they were measured; those of bodies are not."""
    kept = result.get("kept") or ()
    if not kept:
        return {}
    # Before both readings were written, only that of what is distilled was.
    own = {result["reading"]: [entry["mae"] for entry in kept[:-1]]}
    both = {name: result.get(f"kept_{name}", own.get(name, ())) for name in READINGS}
    lists: Values = {f"kept_{name}": [_number(error) for error in errors] for name, errors in both.items() if errors}
    return lists | {"kept_all": _number(kept[-1]["mae"])}


def _choose_reading(values: Values) -> None:
    """Give the fits of both readings their names, and plain ones to those of the components that are distilled."""
    for name in [name for name in values if ":" in name]:
        reading, plain = name.split(":")
        fits = values.pop(name)
        if plain == "acceleration_r2_gauge_free":
            continue
        if reading == DISTILLED:
            values[plain] = fits
        else:
            values[f"{reading}_{plain.removeprefix('force_') if plain.endswith('gauge_free') else plain}"] = fits


def _read_distill(result: Values) -> Values:
    found: Values = {"engine": _text(result["engine"]), "reading": _text(result["reading"])}
    for function, components in _by_function(result).items():
        prefix = "node_" if function == "node" else ""
        chosen = [_chosen(component) for component in components]
        found[f"{prefix}equation"] = ["" if entry is None else _text(entry["expression"]) for entry in chosen]
        found[f"{prefix}complexity"] = [math.nan if entry is None else _number(entry["complexity"]) for entry in chosen]
    found["fit"] = [_text(component["status"]) for component in _ordered(result)]
    return found


def _by_function(result: Values) -> dict[Function, list[Values]]:
    """Return the components of each function that was distilled."""
    found: dict[Function, list[Values]] = {"message": _ordered(result)}
    return found | ({"node": _ordered({"components": result["node"]})} if "node" in result else {})


def _by_engine(sweep: Sweep, result: Values) -> dict[str, Values]:
    """Return the result of the cell's engine, and those of engines that were compared with it."""
    return {
        sweep.config.distillation.engine: result,
        **{_text(entry["engine"]): entry for entry in result.get("compared", ())},
    }


def _ordered(result: Values) -> list[Values]:
    return sorted(result["components"], key=lambda component: component["component"])


def _chosen(component: Values) -> Values | None:
    index = component["chosen"]
    return None if index is None else component["front"][index]


def _front(component: Values) -> list[Values]:
    return [
        {
            "expression": _text(entry["expression"]),
            "complexity": _number(entry["complexity"]),
            "mae": _number(entry["mae"]),
            "score": _number(entry["score"]),
            "chosen": float(index == component["chosen"]),
            "fit": _text(component["status"]),
            "fit_seconds": _number(component["seconds"]),
        }
        for index, entry in enumerate(component["front"])
    ]


def _mark_passing(fronts: list[list[Values]], verdicts: list[Values]) -> None:
    for front, verdict in zip(fronts, verdicts, strict=False):
        passing = set(verdict["others"])
        for index, entry in enumerate(front):
            entry["passes"] = float(index in passing or bool(entry["chosen"] and verdict["recovered"]))


def _read_verify(result: Values) -> Values:
    components = _ordered(result)
    node, composed = result.get("node"), result.get("composed")
    found: Values = {}
    if node is not None:
        found["node_recovered"] = float(bool(node["recovered"]))
        found["node_reason"] = _text(node["reason"])
        found |= {f"node_{name}": _number(node[name]) for name in ("median_residual", "p90_residual")}
    if composed is not None:
        found |= {f"composed_{name}": _number(composed[name]) for name in ("mae", "medae")}
    # There is no true law of halos, and no verdict; a control is judged by accelerations alone.
    found["verdict_reason"] = _text(result.get("reason", ""))
    found["extent"] = _text(result.get("extent", ""))
    found |= {name: _number(value) for name, value in (result.get("range") or {}).items()}
    together = result.get("together")
    if together is not None:
        found["recovered_together"] = float(bool(together["recovered"]))
        found["equation_together"] = [_text(expression) for expression in together["expressions"]]
    return found | {
        "recovered": _flag(result["recovered"]),
        "form": "" if result["form"] is None else _text(result["form"]),
        "component_recovered": [_flag(component["recovered"]) for component in components],
        "on_front": [
            math.nan if component["recovered"] is None else float(bool(component["recovered"] or component["others"]))
            for component in components
        ],
        "median_residual": [_number(component["median_residual"]) for component in components],
        "p90_residual": [_number(component["p90_residual"]) for component in components],
        "constants": [_json(component["constants"]) for component in components],
    }


def _read_replace(result: Values) -> Values:
    found: Values = {
        "replacement": _text(result["replacement"]),
        "replacement_reason": _text(result["reason"]),
        "law": _text(result["text"]),
        "law_form": _text(result["form"]),
        "law_source": _text(result["source"]),
        "law_cut": _text(result["cut"]),
        "law_refitted": _text(result["refitted_text"]),
        "law_constants": _json(result["constants"]) if result["constants"] else "",
    }
    if result["law"] is not None:
        found["law_shared"] = float(bool(result["law"]["shared"] or result["law"]["energies"]))
    for part, own in result["errors"].items():
        found |= {f"error_{part}_{kind}": _number(own[kind]) for kind in ("mae", "medae")}
    return found


def _read_generalise(result: Values) -> Values:
    return {}


def _beyond(result: Values) -> dict[str, dict[str, Values]]:
    """Return what every condition came to for every predictor; where there is none, the network's row says why."""
    found: dict[str, dict[str, Values]] = {}
    for condition, under in result["conditions"].items():
        found[condition] = {
            predictor: {"mae": _number(own["mae"]), "medae": _number(own["medae"]), "holds": _flag(own["holds"])}
            for predictor, own in under["predictors"].items()
        }
        if under["reason"]:
            found[condition] = {PREDICTORS[0]: {"reason": _text(under["reason"])}}
    rollouts = result.get("rollouts")
    if rollouts is None:
        return found
    found[LONG] = {
        predictor: {
            "horizon": _number(own["horizon"]),
            # Results of earlier versions do not have it.
            "doubling_time": _number(own.get("doubling_time")),
            "distance": _number(own["distance"][-1]),
            "energy_drift": math.nan if own["energy_drift"] is None else _number(own["energy_drift"][-1]),
        }
        for predictor, own in rollouts["predictors"].items()
    }
    if rollouts["reason"]:
        # A rollout that was cut has no numbers; those before it have.
        missing = next((name for name in FOLLOWED if name not in found[LONG]), PREDICTORS[0])
        found[LONG][missing] = {"reason": _text(rollouts["reason"])}
    return found


def _without_false_drift(sweep: Sweep, cell: Cell, beyond: dict[str, dict[str, Values]]) -> None:
    """Take the drift out of what an earlier version found of energies that the true motion does not keep."""
    drifts = [own for own in beyond.get(LONG, {}).values() if not math.isnan(own.get("energy_drift", math.nan))]
    if drifts and not _conserves_energy(sweep, cell.experiment):
        for own in drifts:
            own["energy_drift"] = math.nan


@functools.lru_cache(maxsize=256)
def _conserves_energy(sweep: Sweep, experiment: Experiment) -> bool:
    return sweep.system(experiment).conserves_energy


_READERS: dict[Stage, Callable[[Values], Values]] = {
    "train": _read_train,
    "interpret": _read_interpret,
    "distill": _read_distill,
    "verify": _read_verify,
    "replace": _read_replace,
    "generalise": _read_generalise,
}


def _flag(value: Any) -> float:
    return math.nan if value is None else float(bool(value))


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
