"""Read all outcomes of a cell into one record of the result store."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from typing import Any

from distillery.messages.fits import DISTILLED
from distillery.networks.functions import Function
from distillery.results.columns import READINGS
from distillery.results.record import Record
from distillery.validation.generalisation import FOLLOWED, LONG, PREDICTORS
from distillery.workflow.cell import STAGES, Cell, Experiment, Split, Stage
from distillery.workflow.origin import origin
from distillery.workflow.outcome import Outcome
from distillery.workflow.state import StageState, cell_states
from distillery.workflow.sweep import Sweep

Values = dict[str, Any]
_NOTHING: Values = {"components": ()}
_UNFINISHED: dict[str, str] = {
    "running": "is running",
    "queued": "waits for its turn",
    "interrupted": "was interrupted",
}


def read_record(sweep: Sweep, cell: Cell, trajectories: dict[Split, StageState]) -> Record:
    """Read all outcomes of a cell; a missing or damaged one is no error, but the reason in the record.

    Args:
        sweep: The sweep.
        cell: One of its cells.
        trajectories: State of the trajectories of its experiment, by split.
    """
    states = cell_states(sweep, cell)
    values: Values = {}
    fronts: dict[str, dict[Function, list[list[Values]]]] = {}
    conditions: dict[str, dict[str, Values]] = {}
    outcomes: dict[Stage, Outcome] = {}
    for stage in STAGES:
        state = states[stage]
        if state.outcome is None or state.state not in ("done", "running"):
            continue
        try:
            found = _READERS[stage](state.outcome.result)
            if stage == "distill":
                fronts = {
                    name: {
                        function: [_front(component) for component in components]
                        for function, components in _by_function(result).items()
                    }
                    for name, result in _by_engine(sweep, state.outcome.result).items()
                }
            if stage == "generalise":
                conditions = _conditions(state.outcome.result)
                _remove_false_drift(sweep, cell, conditions)
            if stage == "verify":
                for name, result in _by_engine(sweep, state.outcome.result).items():
                    verdicts = {"message": _ordered(result), "node": _ordered(result.get("node", _NOTHING))}
                    for function, own in fronts.get(name, {}).items():
                        _mark_passing(own, verdicts[function])
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
    return Record(str(cell), str(cell.experiment), cell.coordinates, values, fronts, conditions)


def _verdict(states: dict[Stage, StageState], trajectories: dict[Split, StageState]) -> tuple[str, str]:
    """Return the status of a cell and the reason for it, by its first stage that is not done."""
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
                return "missing", f"{stage}: {_UNFINISHED[other]}"
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
    """Return the errors of a halo network with few components; empty for bodies, whose errors are not measured so."""
    kept = result.get("kept") or ()
    if not kept:
        return {}
    # Earlier versions wrote these errors for one reading only.
    own = {result["reading"]: [entry["mae"] for entry in kept[:-1]]}
    both = {name: result.get(f"kept_{name}", own.get(name, ())) for name in READINGS}
    lists: Values = {f"kept_{name}": [_number(error) for error in errors] for name, errors in both.items() if errors}
    return lists | {"kept_all": _number(kept[-1]["mae"])}


def _choose_reading(values: Values) -> None:
    """Rename the fits of both readings by prefix, and those of the distilled components without one."""
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
    """Return the components of each distilled function."""
    found: dict[Function, list[Values]] = {"message": _ordered(result)}
    return found | ({"node": _ordered({"components": result["node"]})} if "node" in result else {})


def _by_engine(sweep: Sweep, result: Values) -> dict[str, Values]:
    """Return the results of the cell's own engine and of the engines compared with it."""
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
    """Mark the expressions on each front that are the true law."""
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
    # Halos have no true law and no verdict; a control is judged by accelerations alone.
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


def _conditions(result: Values) -> dict[str, dict[str, Values]]:
    """Return values by condition and predictor; if a condition has none, the network's row gives the reason."""
    found: dict[str, dict[str, Values]] = {}
    for name, condition in result["conditions"].items():
        found[name] = {
            predictor: {"mae": _number(own["mae"]), "medae": _number(own["medae"]), "holds": _flag(own["holds"])}
            for predictor, own in condition["predictors"].items()
        }
        if condition["reason"]:
            found[name] = {PREDICTORS[0]: {"reason": _text(condition["reason"])}}
    rollouts = result.get("rollouts")
    if rollouts is None:
        return found
    found[LONG] = {
        predictor: {
            "horizon": _number(own["horizon"]),
            # Results of earlier versions have no doubling times.
            "doubling_time": _number(own.get("doubling_time")),
            "distance": _number(own["distance"][-1]),
            "energy_drift": math.nan if own["energy_drift"] is None else _number(own["energy_drift"][-1]),
        }
        for predictor, own in rollouts["predictors"].items()
    }
    if rollouts["reason"]:
        # The predictor whose rollout was aborted, and those after it, have no numbers.
        aborted = next((name for name in FOLLOWED if name not in found[LONG]), PREDICTORS[0])
        found[LONG][aborted] = {"reason": _text(rollouts["reason"])}
    return found


def _remove_false_drift(sweep: Sweep, cell: Cell, conditions: dict[str, dict[str, Values]]) -> None:
    """Remove energy drifts of systems that do not conserve the energy, which earlier versions wrote."""
    drifts = [own for own in conditions.get(LONG, {}).values() if not math.isnan(own.get("energy_drift", math.nan))]
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
