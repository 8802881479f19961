"""The replace stage: replace the network of a cell by a law."""

from __future__ import annotations

from typing import Any

from distillery.errors import DistilleryError
from distillery.laws.composed import HeldOut
from distillery.laws.law import as_content
from distillery.laws.motion import flaw_of_velocities
from distillery.laws.problem import Data
from distillery.laws.replace import DistilledFunction, Replacement
from distillery.laws.replace import replace as find_law
from distillery.laws.text import line
from distillery.networks.functions import components, message_names, node_names
from distillery.physics import formula
from distillery.randomness import stream
from distillery.symbolic.shared_form import Candidate
from distillery.workflow.cell import Cell
from distillery.workflow.law_files import described, empty_result, write_law
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import drawn_snapshots, held_out

_NO_ERROR: dict[str, float | None] = {"mae": None, "medae": None}


def replace(sweep: Sweep, cell: Cell) -> None:
    """Compose the chosen expressions of a cell, refit their constants, and write the law.

    Args:
        sweep: The sweep.
        cell: A verified cell.

    Raises:
        DistilleryError: Expressions, weights or trajectories are missing or damaged.
    """
    with stage_lock(sweep, "replace", cell) as now:
        if now is None:
            return
        source = cell.outcome(sweep.results, "distill")
        distilled = read_outcome(source, key=sweep.key("distill", cell))
        try:
            functions = {of: _distilled(sweep, cell, distilled.result, of) for of in ("message", "node")}
        except (KeyError, IndexError, TypeError):
            raise DistilleryError(
                f"{source}: lacks what it should hold; delete it and run the sweep again; "
                "only this stage and what follows it is repeated"
            ) from None
        written = [cell.law(sweep.results, suffix) for suffix in ("json", "txt", "tex")]
        result = _result(sweep, cell, functions)
        now.write(result, tuple(written) if result["law"] is not None else ())
        # The law of an earlier outcome stays until that outcome is replaced.
        for file in written if result["law"] is None else ():
            file.unlink(missing_ok=True)


def _distilled(sweep: Sweep, cell: Cell, distilled: dict[str, Any], of: str) -> DistilledFunction | str:
    """Return the fronts of a function, or the reason why a component has no expression."""
    model, system, experiment = sweep.model(cell), sweep.system(cell.experiment), cell.experiment
    found = distilled["components" if of == "message" else "node"] if of == "message" or "node" in distilled else None
    if found is None:
        return "nodes were not distilled; add node to distillation.functions"
    expected = components(model, experiment.dim).get("message" if of == "message" else "node", 0)
    missing = [str(entry["component"]) for entry in found if entry["chosen"] is None]
    if missing or len(found) != expected:
        return f"component {', '.join(missing) or '?'} of the function {of} has no expression"
    names = {
        "message": message_names(model, experiment.dim, experiment.bodies, place=system.acts_on_bodies),
        "node": node_names(model, experiment.dim, place=system.acts_on_bodies),
    }
    ordered = sorted(found, key=lambda entry: entry["component"])
    fronts = [
        [
            Candidate(formula.parse(p["expression"], names[of]), int(p["complexity"]), float(p["mae"]))
            for p in entry["front"]
        ]
        for entry in ordered
    ]
    return DistilledFunction.of_fronts(
        fronts,
        [int(entry["chosen"]) for entry in ordered],
        axes=expected == experiment.dim and model.kind != "hamiltonian",
        unit_charges=all(abs(charge) == 1 for charge in system.charges),
    )


def _result(sweep: Sweep, cell: Cell, functions: dict[str, DistilledFunction | str]) -> dict[str, Any]:
    """Return the content of the outcome; write the files of the law, if there is one."""
    result = empty_result()
    if sweep.model(cell).kind == "control":
        return result | {"reason": "a control has no network whose place a law could take"}
    graphs = held_out(sweep, cell.experiment)
    messages, nodes = (None if isinstance(own, str) else own for own in functions.values())
    result["errors"] = _mixed_errors(sweep, cell, graphs, messages, nodes)
    if messages is None or nodes is None:
        reason = "; ".join(own for own in functions.values() if isinstance(own, str))
        return result | {"replacement": "partial" if messages or nodes else "none", "reason": reason}
    settings, experiment = sweep.config.replacement, cell.experiment
    draws = stream(settings.seed, "replace", str(experiment), "snapshots")
    seen, simulation = drawn_snapshots(sweep, experiment, "train", settings.samples, draws)
    trained = sweep.training(experiment).loss
    found = find_law(
        messages,
        nodes,
        Data(seen, simulation, trained == "relative" if settings.relative is None else settings.relative),
        graphs,
        settings,
        hamiltonian=sweep.model(cell).kind == "hamiltonian",
        draws=stream(settings.seed, "replace", str(cell), "starts"),
        label=f"replace {cell}",
    )
    result["errors"] |= {"raw": dict(_NO_ERROR), "refitted": dict(_NO_ERROR), "clean": dict(_NO_ERROR), **found.errors}
    result |= {"cut": found.cut, "evaluations": found.evaluations}
    if found.shown is None:
        return result | {"replacement": "singular", "reason": found.singular, "text": line(found.raw.law)}
    write_law(sweep, cell, found)
    flaw = flaw_of_velocities(found.shown.law, seen, sweep.config.verification)
    return result | _of_law(found, [*found.remarks, flaw, found.cut])


def _mixed_errors(
    sweep: Sweep, cell: Cell, graphs: HeldOut, messages: DistilledFunction | None, nodes: DistilledFunction | None
) -> dict[str, dict[str, float | None]]:
    """Return the errors of the network, and of the network with one of its functions replaced by expressions."""
    # Loads torch, which a control does not need.
    from distillery.laws.mixed import network_errors
    from distillery.networks.hamiltonian import HamiltonianNetwork
    from distillery.workflow.networks import load_network
    from distillery.workflow.stages.interpret import reading_of

    network = load_network(sweep, cell)
    found = network_errors(
        network,
        None if isinstance(network, HamiltonianNetwork) else reading_of(sweep, cell, network),
        sweep.system(cell.experiment),
        node_names(sweep.model(cell), cell.experiment.dim, place=sweep.system(cell.experiment).acts_on_bodies),
        graphs,
        *(None if own is None else own.expressions for own in (messages, nodes)),
    )
    names = {"network": "network", "messages": "expressions_then_network", "nodes": "network_then_expressions"}
    return {names[part]: errors for part, errors in found.items()}


def _of_law(found: Replacement, reasons: list[str]) -> dict[str, Any]:
    """Return the part of the outcome that describes a law."""
    shown, refitted, clean = found.shown, found.refitted, found.clean
    assert shown is not None
    assert refitted is not None
    assert clean is not None
    return {
        "replacement": "whole",
        "reason": "; ".join(reason for reason in reasons if reason),
        "law": as_content(shown.law),
        "form": found.form,
        "source": found.source,
        "text": line(shown.law),
        "refitted_text": line(refitted.law),
        "clean_text": line(clean.law),
        "constants": [described(name, shown) for name in shown.law.constants],
        "refitted_constants": [described(name, refitted) for name in refitted.law.constants],
    }
