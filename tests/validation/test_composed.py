"""Composed expressions: exact ones give the true accelerations on held-out graphs, wrong ones do not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from distillery.laws import composed
from distillery.workflow import trajectories
from distillery.workflow.outcome import read_outcome, write_outcome
from distillery.workflow.stages import verify as verify_stage
from distillery.workflow.stages.verify import verify
from distillery.workflow.sweep import Sweep
from support import orbits
from support.fronts import component

RADIAL = "(1 - 0.99/r)"
# The messages are rotated and scaled; the node function inverts this.
MESSAGES = (f"-(dx + 0.5*dy)*{RADIAL}", f"-(dx - 0.5*dy)*{RADIAL}")
NODES = ("(s1 + s2)/m", "2*(s1 - s2)/m")


@pytest.fixture
def verified(make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    orbits.use(monkeypatch)

    def judged(
        model: str, messages: tuple[str, ...], nodes: tuple[str, ...] | None = None, **experiment: Any
    ) -> dict[str, Any]:
        given = {"system": "spring", "simulations": 64, "test_simulations": 16, "snapshots": 10, **experiment}
        sweep = make_sweep(models=[model], experiments=[given])
        (cell,) = sweep.cells
        result: dict[str, Any] = {"engine": "operon", "reading": "std"}
        result["components"] = [component(number, "0", text, chosen=1) for number, text in enumerate(messages)]
        if nodes is not None:
            result["node"] = [component(number, "0", text, chosen=1) for number, text in enumerate(nodes)]
        path = cell.outcome(sweep.results, "distill")
        write_outcome(path, key=sweep.key("distill", cell), started=time.monotonic(), result=result)
        cell.outcome(sweep.results, "verify").unlink(missing_ok=True)
        verify(sweep, cell)
        return read_outcome(cell.outcome(sweep.results, "verify"), key=sweep.key("verify", cell)).result

    return judged


@pytest.mark.slow
@pytest.mark.parametrize(("system", "nodes"), [("spring", NODES), ("string", (NODES[0], f"{NODES[1]} - 1"))])
def test_exact_messages_and_nodes_give_the_true_acceleration(
    verified: Any, system: str, nodes: tuple[str, ...]
) -> None:
    result = verified("bottleneck", MESSAGES, nodes, system=system)
    assert result["recovered"], result["reason"]
    assert result["node"]["recovered"], result["node"]["reason"]
    assert result["node"]["form"] == "acceleration"
    assert result["node"]["median_residual"] < 1e-6
    assert result["composed"]["medae"] < result["composed"]["mae"] < 1e-5
    assert [entry["recovered"] for entry in result["node"]["components"]] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("messages", "nodes"),
    [
        (MESSAGES, ("s1 + s2", "2*(s1 - s2)")),
        (MESSAGES, ("(s1 + s2)/m + 0.5*vx", "2*(s1 - s2)/m")),
        (MESSAGES, ("(s1 + s2)/m", "-2*(s1 - s2)/m")),
        (("-2*dx", "-2*dy"), ("s1/m", "s2/m")),
    ],
)
def test_wrong_nodes_or_messages_do_not_give_the_acceleration(
    verified: Any, messages: tuple[str, ...], nodes: tuple[str, ...]
) -> None:
    result = verified("bottleneck", messages, nodes)
    assert not result["node"]["recovered"]
    assert result["node"]["form"] is None
    assert "residual" in result["node"]["reason"]
    assert result["composed"]["medae"] > 0.02


@pytest.mark.slow
def test_verdict_on_messages_uses_training_data_only(verified: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    splits: list[str] = []

    def read(sweep: Sweep, experiment: Any, split: str) -> Any:
        splits.append(split)
        return orbits.read_trajectories(sweep, experiment, split)

    monkeypatch.setattr(trajectories, "read_trajectories", read)
    monkeypatch.setattr(verify_stage, "read_trajectories", read)
    result = verified("bottleneck", MESSAGES)
    assert result["recovered"]
    assert splits == ["train"]
    assert "node" not in result
    assert "composed" not in result


@pytest.mark.slow
def test_expressions_that_are_not_finite_have_no_error(verified: Any) -> None:
    result = verified("bottleneck", MESSAGES, ("log(s1)", "s2"))
    assert result["composed"]["mae"] is None
    assert "not finite" in result["node"]["reason"]


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_energies_give_accelerations(verified: Any, factor: float) -> None:
    pair = f"{factor}*(r + 0.01 - 1)^2 + 0.4*m1*q2"
    result = verified("flathgn", (pair,), ("(px^2 + py^2)/(2*m) + m",))
    assert (result["recovered"], result["form"]) == ((True, "energy") if factor == 1.0 else (False, None))
    assert (result["node"]["recovered"], result["node"]["form"]) == (True, "energy")
    if factor == 1.0:
        assert result["composed"]["mae"] < 1e-5
    else:
        assert result["composed"]["medae"] > 0.1


def test_a_body_whose_energy_lacks_a_momentum_does_not_move_along_it(verified: Any) -> None:
    pair = "(r + 0.01 - 1)^2"
    whole, lame = (verified("flathgn", (pair,), (body,)) for body in ("(px^2 + py^2)/(2*m)", "px^2/(2*m)"))
    assert (lame["recovered"], lame["node"]["recovered"]) == (True, False)
    assert whole["composed"]["mae"] < 1e-5
    assert lame["composed"]["medae"] > 0.1


def test_energies_of_absolute_values_and_missing_ones(verified: Any) -> None:
    pair = "(r + 0.01 - 1)^2"
    assert verified("flathgn", (pair,), ("((px^2)^1.0 + py^2)/(2*m)",))["composed"]["mae"] < 1e-5


def test_an_energy_with_directions_and_no_symmetry_acts_on_both_bodies() -> None:
    """Compare with the gradient of E_12 = (dx·m1 + r)/2 plus the same with the bodies exchanged."""
    import numpy as np

    from distillery.physics import formula

    graphs = composed.HeldOut(
        position=np.array([[[0.0, 0.0], [3.0, 4.0]]]),
        velocity=np.zeros((1, 2, 2)),
        mass=np.array([[2.0, 5.0]]),
        charge=np.ones((1, 2)),
        acceleration=np.zeros((1, 2, 2)),
        receivers=np.array([0, 1]),
        senders=np.array([1, 0]),
    )
    energy = formula.parse("dx*m1 + r", composed.feature_names(2))
    found = composed.through_energies(graphs, energy, None)[0]
    # H = ½[(x1-x2)·m1 + (x2-x1)·m2] + r, so ∂H/∂x1 = ½(m1 - m2) + (x1 - x2)/r.
    slope = np.array([0.5 * (2 - 5) - 3 / 5, -4 / 5])
    np.testing.assert_allclose(found, [-slope / 2, slope / 5])


CONTROL = " + ".join(f"2*(1/(r{k} + 0.01) - 1)*d{{axis}}{k}*(r{k} + 0.01)/r{k}" for k in (2, 3, 4))


def test_the_control_is_judged_by_the_acceleration_it_gives(verified: Any) -> None:
    exact = tuple(f"({CONTROL.format(axis=axis)})/m1" for axis in "xy")
    result = verified("control", exact)
    assert (result["recovered"], result["form"]) == (True, "acceleration"), result["reason"]
    assert result["composed"]["mae"] < 1e-5
    assert "node" not in result
    result = verified("control", (exact[0], "0.3*dy2/m1"))
    assert not result["recovered"]
    assert [entry["recovered"] for entry in result["components"]] == [True, False]
    assert "component 1" in result["reason"]
