"""The stage generalise: true laws hold under all conditions, an untrained network under none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from distillery import files
from distillery.errors import DistilleryError
from distillery.laws.law import Law, as_content
from distillery.laws.settings import VerificationSettings
from distillery.networks.functions import feature_names
from distillery.physics import formula
from distillery.randomness import stream
from distillery.validation.generalisation import LONG, PREDICTORS
from distillery.validation.predictors import of_law
from distillery.workflow.cell import Cell
from distillery.workflow.networks import build
from distillery.workflow.outcome import read_outcome
from distillery.workflow.record import read_record
from distillery.workflow.stages.generalise import generalise
from distillery.workflow.sweep import Sweep
from support.fabricate import fabricate
from support.laws import KINETIC, graphs, hamiltonian

CONDITIONS = {"as trained": {}, "many": {"bodies": 6}, "wider": {"positions": 3.0}}


def law(rest: float) -> Law:
    """The spring law with a rest length of 0.99 = 1 - 0.01, the softening."""
    names = feature_names(2)
    messages = tuple(formula.parse(f"-2*d{axis}*(1 - {rest}/r)/m1", names) for axis in "xy")
    return Law(2, messages, tuple(formula.parse(s, ("s1", "s2")) for s in ("s1", "s2")), {})


@pytest.fixture
def prepared(make_sweep: Callable[..., Sweep]) -> Callable[..., tuple[Sweep, Cell]]:
    def make(model: str = "bottleneck", **settings: Any) -> tuple[Sweep, Cell]:
        given = {"conditions": CONDITIONS, "simulations": 6, "snapshots": 4, "rollouts": 3, "length": 0.2, **settings}
        sweep = make_sweep(models=[model], training={"hidden": 8}, generalisation=given)
        (cell,) = sweep.cells
        fabricate(sweep, cell, until="replace")
        laws = {"raw": law(0.9), "refitted": law(0.99), "clean": law(0.99)}
        if model != "control":
            network = build(sweep, cell, 1)
            network.initialise(0, stream(0, "test weights"))
            save_file({n: t[0] for n, t in network.state_dict().items()}, cell.weights(sweep.results))
            content = {name: as_content(own) for name, own in laws.items()}
            files.write_json(cell.law(sweep.results, "json"), {"law": content["clean"], **content})
        return sweep, cell

    return make


def found(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    generalise(sweep, cell)
    return read_outcome(cell.outcome(sweep.results, "generalise"), key=sweep.key("generalise", cell)).result


@pytest.mark.slow
def test_the_true_law_holds_under_every_condition_and_an_untrained_network_under_none(prepared: Any) -> None:
    sweep, cell = prepared()
    result = found(sweep, cell)
    assert list(result["conditions"]) == list(CONDITIONS)
    for under in result["conditions"].values():
        assert list(under["predictors"]) == list(PREDICTORS)
        assert [own["holds"] for own in under["predictors"].values()] == [False, False, True, True]
        # Trajectories are integrated and saved in float64.
        assert under["predictors"]["clean"]["mae"] < 1e-9
        assert under["predictors"]["raw"]["mae"] > 0.01
    network, refitted = (result["rollouts"]["predictors"][name] for name in ("network", "refitted"))
    assert refitted["distance"][-1] < 1e-4 < network["distance"][-1]
    paths = result["rollouts"]["paths"]
    assert list(paths) == ["true", "network", "refitted"]
    assert np.shape(paths["refitted"]) == np.shape(paths["true"]) == (101, 4, 2)
    np.testing.assert_allclose(paths["refitted"], paths["true"], atol=2e-3)
    assert refitted["horizon"] == result["rollouts"]["times"][-1]
    assert refitted["energy_drift"][-1] < 1e-3
    assert 0 < network["doubling_time"] < network["horizon"]
    path = cell.outcome(sweep.results, "generalise")
    before = path.read_bytes()
    generalise(sweep, cell)
    assert path.read_bytes() == before


def test_a_law_holds_only_if_it_is_right_in_every_direction() -> None:
    data, settings = graphs().graphs, VerificationSettings()
    for body, holds in ((KINETIC, True), ("py^2/(2*m)", False), (f"{KINETIC} + 0.3*m*px", False)):
        predictor = of_law(hamiltonian(body))
        assert predictor.holds(data, predictor.acceleration(data), settings) is holds


@pytest.mark.slow
def test_two_cells_of_an_experiment_are_tested_on_the_same_states(prepared: Any) -> None:
    one, other = (found(*prepared()) for _ in range(2))
    assert one == other


def test_a_control_is_not_tested(prepared: Any) -> None:
    result = found(*prepared("control"))
    assert all(not under["predictors"] for under in result["conditions"].values())
    assert result["rollouts"]["predictors"] == {}


def test_rollouts_may_be_left_out(prepared: Any) -> None:
    assert found(*prepared(rollouts=0))["rollouts"]["predictors"] == {}


@pytest.mark.slow
def test_condition_without_trajectories_has_a_reason_and_others_continue(prepared: Any) -> None:
    conditions = {"too heavy": {"masses": 4.0}, **CONDITIONS}
    result = found(*prepared(conditions=conditions))["conditions"]
    assert "masses: 4 times" in result["too heavy"]["reason"]
    assert result["many"]["predictors"]["clean"]["holds"]


@pytest.mark.slow
def test_conditions_left_out_at_a_limit_have_it_as_reason(prepared: Any) -> None:
    sweep, cell = prepared(evaluations=50)
    result = found(sweep, cell)
    assert result["conditions"]["many"]["predictors"]["clean"]["holds"]
    limit = "the search was cut at its limit of 50 evaluations (generalisation.evaluations)"
    assert result["rollouts"]["reason"] == f"network: {limit}"
    assert result["rollouts"]["predictors"] == {}
    beyond = read_record(sweep, cell, {}).conditions[LONG]
    assert beyond["network"]["reason"] == f"network: {limit}"
    late = found(*prepared(seconds=1e-9))
    reasons = {under["reason"] for under in late["conditions"].values()} | {late["rollouts"]["reason"]}
    assert reasons == {"the search was cut at its limit of 1e-09 s (generalisation.seconds)"}


def test_damaged_law_is_refused_with_its_file(prepared: Any) -> None:
    sweep, cell = prepared()
    content = files.read_json(cell.law(sweep.results, "json"), "")
    content["raw"]["messages"][0] = "__import__('os')"
    files.write_json(cell.law(sweep.results, "json"), content)
    with pytest.raises(DistilleryError, match=r"law\.json"):
        generalise(sweep, cell)


def test_the_name_of_rollouts_is_refused_as_a_condition(make_sweep: Callable[..., Sweep]) -> None:
    with pytest.raises(DistilleryError, match=LONG):
        make_sweep(generalisation={"conditions": {LONG: {}}})
