"""Trajectories by a law: from the same initial conditions, the true law gives the true ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zarr

from distillery import files
from distillery.errors import DistilleryError
from distillery.laws.law import Law, as_content
from distillery.laws.potential import entry_of
from distillery.laws.softening import with_softening
from distillery.workflow.cell import Cell
from distillery.workflow.law_trajectories import simulate_law, system_of
from distillery.workflow.outcome import write_outcome
from distillery.workflow.stages.simulate import simulate
from distillery.workflow.stored_law import file_of_law
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import read_trajectories
from support.laws import law

SMALL = {"simulations": 4, "test_simulations": 4, "snapshots": 10, "steps": 100}


def write(sweep: Sweep, cell: Cell, found: Law | None, key: str | None = None, **outcome: Any) -> None:
    """Write the outcome of the stage replace, and a law with it."""
    file = cell.law(sweep.results, "json")
    if found is not None:
        files.write_json(file, {"law": as_content(found)})
    write_outcome(
        cell.outcome(sweep.results, "replace"),
        key=key or sweep.key("replace", cell),
        started=time.monotonic(),
        belongings=(file,) if found is not None else (),
        **{"result": {}, **outcome},
    )


@pytest.fixture
def charged(make_sweep: Callable[..., Sweep]) -> Sweep:
    pytest.importorskip("heyoka")
    return make_sweep(experiments=[{"system": "charge", **SMALL}])


def test_the_true_law_gives_the_true_trajectories_and_another_does_not(charged: Sweep) -> None:
    (experiment,) = charged.experiments
    simulate(charged, experiment, "test", 1)
    true = read_trajectories(charged, experiment, "test")
    found = simulate_law(charged, experiment, "test", "q1*q2/(r + 0.01)")
    assert found.distance.max() < 1e-5
    position = zarr.open_array(str(found.folder / "test.zarr" / "position"), mode="r")[...]
    np.testing.assert_allclose(np.asarray(position)[:, 0], true.position[:, 0])
    marker = json.loads((found.folder / "test.json").read_text())
    assert marker["median_distance"] == found.distance.tolist()
    other = simulate_law(charged, experiment, "test", "-q1*q2/r")
    assert other.folder != found.folder
    assert other.distance[-1] > 1e-3 > other.distance[0]


def test_the_law_of_a_cell_is_simulated(charged: Sweep) -> None:
    (cell,) = charged.cells
    simulate(charged, cell.experiment, "test", 1)
    soft = with_softening(law(("dx*q1*q2/(m1*r^3)", "dy*q1*q2/(m1*r^3)"), ("s1", "s2")))
    assert soft is not None
    found = soft.having({list(soft.constants)[-1]: 0.01})
    write(charged, cell, found)
    assert simulate_law(charged, cell.experiment, "test", str(cell)).distance.max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "message", "nodes"),
    [
        ("damped", "{}*(-2 + 1.98/r)/m1", ("s1 - 0.75*vx/m", "s2 - 0.75*vy/m")),
        ("discontinuous", "{}*(-2 + 1.98/r)/m1 if r > 1.99 else 0", ("s1", "s2")),
        ("string", "{}*(-2 + 1.98/r)/m1", ("s1", "s2 - 1")),
        ("r^-1", "-{}*m2/(r^2 + 0.01*r)", ("s1", "s2")),
    ],
)
def test_laws_with_drag_with_cases_and_with_forces_from_outside_are_simulated(
    make_sweep: Callable[..., Sweep], system: str, message: str, nodes: tuple[str, str]
) -> None:
    pytest.importorskip("heyoka")
    sweep = make_sweep(experiments=[{"system": system, **SMALL}])
    (cell,) = sweep.cells
    simulate(sweep, cell.experiment, "test", 1)
    right = law((message.format("dx"), message.format("dy")), nodes)
    wrong = law((message.format("1.1*dx"), message.format("1.1*dy")), nodes)
    write(sweep, cell, right)
    assert simulate_law(sweep, cell.experiment, "test", str(cell)).distance.max() < 1e-5
    write(sweep, cell, wrong)
    assert simulate_law(sweep, cell.experiment, "test", str(cell)).distance[-1] > 1e-4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("m1/r", "another for bodies 1 and 2 exchanged"),
        ("mass/r", "unknown symbol 'mass'"),
        ("tan(r)", "pair .formula 'tan.r.': 'tan.r.' is not allowed; .*exp, log, max, min, sqrt.; write it"),
        ("charge-2d-4b-s0/l1-s0", "is not in this configuration"),
    ],
)
def test_what_is_no_potential_is_refused_in_one_line(make_sweep: Any, text: str, reason: str) -> None:
    sweep = make_sweep(experiments=[{"system": "charge", **SMALL}])
    with pytest.raises(DistilleryError, match=reason) as refused:
        system_of(sweep, sweep.experiments[0], text)
    assert "\n" not in str(refused.value)
    assert "input_value" not in str(refused.value)


@pytest.mark.parametrize(
    "message",
    [
        # Yukawa, and the softened force of two masses multiplied out: the potential of neither is derived.
        "m2*{}*exp(-0.5*r)*(1/r^3 + 0.5/r^2)",
        "-m2*{}/(r^3 + 0.02*r^2 + 0.0001*r)",
    ],
)
def test_a_force_without_a_known_potential_is_simulated(make_sweep: Callable[..., Sweep], message: str) -> None:
    pytest.importorskip("heyoka")
    sweep = make_sweep(experiments=[{"system": "r^-2", **SMALL}])
    (cell,) = sweep.cells
    simulate(sweep, cell.experiment, "test", 1)
    write(sweep, cell, law((message.format("dx"), message.format("dy")), ("s1", "s2")))
    found = simulate_law(sweep, cell.experiment, "test", str(cell))
    potential = "m1*m2*exp(-0.5*r)/r" if "exp" in message else "-m1*m2/(r + 0.01)"
    same = simulate_law(sweep, cell.experiment, "test", potential)
    np.testing.assert_allclose(found.distance, same.distance, rtol=1e-3, atol=1e-5)
    assert json.loads((found.folder / "test.json").read_text())["system"]["force"]
    with pytest.raises(DistilleryError, match="no entry of a configuration"):
        entry_of(system_of(sweep, cell.experiment, str(cell))[1])


def test_a_law_that_its_outcome_does_not_answer_for_is_not_served(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(experiments=[{"system": "charge", **SMALL}])
    (cell,) = sweep.cells
    right = law(("dx*q1*q2/(m1*r^3)", "dy*q1*q2/(m1*r^3)"), ("s1", "s2"))
    write(sweep, cell, right)
    assert file_of_law(sweep, cell) == cell.law(sweep.results, "json")
    for outcome, reason in (
        ({"key": "another"}, "made with other settings"),
        ({"status": "failed", "reason": "no memory"}, "has no law; it failed: no memory"),
        ({"status": "diverged", "reason": "at step 7"}, "has no law; it diverged: at step 7"),
    ):
        write(sweep, cell, right, **outcome)
        with pytest.raises(DistilleryError, match=reason):
            file_of_law(sweep, cell)
        with pytest.raises(DistilleryError, match=reason):
            system_of(sweep, cell.experiment, str(cell))
    cell.law(sweep.results, "json").unlink()
    write(sweep, cell, None, result={"replacement": "singular", "reason": "a = 1/0 is not finite"})
    with pytest.raises(DistilleryError, match=r"has no law \(singular\): a = 1/0 is not finite"):
        file_of_law(sweep, cell)
    cell.outcome(sweep.results, "replace").unlink()
    with pytest.raises(DistilleryError, match="has no law yet; run the sweep"):
        file_of_law(sweep, cell)
