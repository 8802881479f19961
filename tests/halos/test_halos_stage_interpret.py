"""Interpret: which components carry the messages, and errors on test halos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from torch import Tensor

from distillery.workflow.cell_problems import cell_problems
from distillery.workflow.stages.halos.inputs import outcome_of, read_formula, read_network, regions_of
from distillery.workflow.sweep import Sweep
from support import toyhalos
from support.halo_stages import (
    CONSTANT,
    FORMULA,
    MESSAGES,
    NETWORK,
    by_hand,
    carry_out,
    cell_of,
    halos_of,
    with_weights,
)


def _one_speaks(tensors: dict[str, Tensor]) -> None:
    """Let the third component alone say something."""
    for number in (0, 1, 3):
        tensors["edge.last"][..., number] = 0.0
        tensors["edge.last_bias"][..., number] = 0.0


def _three_say_the_same(tensors: dict[str, Tensor]) -> None:
    """Share what the third component says among three, and let the node hear their sum."""
    _one_speaks(tensors)
    for name in ("edge.last", "edge.last_bias"):
        tensors[name][..., :3] = tensors[name][..., 2:3] / 3
    tensors["node.first.1"][:, :3] = tensors["node.first.1"][:, 2:3]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "reading"), [(_one_speaks, "std"), (_three_say_the_same, "principal")])
def test_interpretation_tells_what_components_carry(
    sweep: Sweep, change: Callable[[dict[str, Tensor]], None], reading: str
) -> None:
    cell = cell_of(sweep, NETWORK)
    with_weights(sweep, cell, change)
    result = carry_out(sweep, cell, "interpret").result
    messages, whole = by_hand(sweep, cell)
    assert result["reading"] == reading
    # In the order of components, not by size.
    assert np.array(result["message_std"]) == pytest.approx(messages.std(axis=0), rel=1e-3, abs=1e-6)
    assert [entry["components"] for entry in result["kept"]] == [1, 2, 3, 4]
    assert result["kept"][-1]["mae"] == pytest.approx(whole, rel=1e-4)
    # One component, or one axis, says all that there is.
    _, vectors = np.linalg.eigh(messages.T @ messages)
    first = vectors[:, -1] if reading == "principal" else np.eye(MESSAGES)[2]
    _, alone = by_hand(sweep, cell, np.outer(first, first))
    assert result["kept"][0]["mae"] == pytest.approx(alone, rel=1e-4)
    assert alone == pytest.approx(whole, rel=1e-3)
    assert result["enough"] == 1
    _, third = by_hand(sweep, cell, np.diag([0.0, 0.0, 1.0, 0.0]))
    assert result[f"kept_{reading}"] == [entry["mae"] for entry in result["kept"][:-1]]
    largest = np.zeros(MESSAGES)
    largest[np.argmax(result["message_std"])] = 1.0
    assert result["kept_std"][0] == pytest.approx(by_hand(sweep, cell, np.diag(largest))[1], rel=1e-4)
    assert result["kept_principal"][0] == pytest.approx(
        by_hand(sweep, cell, np.outer(*2 * (vectors[:, -1],)))[1], rel=1e-4
    )
    assert (third > 1.05 * whole) is (reading == "principal")


def test_interpretation_measures_errors_where_nothing_was_trained_or_chosen(sweep: Sweep) -> None:
    cell = cell_of(sweep, NETWORK)
    result = carry_out(sweep, cell, "interpret").result
    graph = halos_of(sweep)
    regions, trained = regions_of(sweep, cell, graph), read_network(sweep, cell, outcome_of(sweep, cell))
    apart = np.abs(trained.predict(graph, regions.test) - graph.overdensity[regions.test])
    assert result["test_mae"] == pytest.approx(apart.mean(), rel=1e-6)
    assert result["test_medae"] == pytest.approx(np.median(apart), rel=1e-6)
    assert result["label_std"] == pytest.approx(graph.overdensity[regions.test].std(), rel=1e-9)
    assert result["halos"] == {
        "train": len(regions.train),
        "validation": len(regions.validation),
        "test": len(regions.test),
    }
    r, value = np.array(result["kernel"]["r"]), np.array(result["kernel"]["value"])
    assert np.all(np.diff(r) > 0)
    assert 0 < r[0] < r[-1] < toyhalos.RADIUS
    assert np.abs(value).max() == pytest.approx(1.0)
    with np.load(cell.messages(sweep.results)) as arrays:
        assert np.array_equal(arrays["true"], graph.overdensity[regions.test])
        assert np.abs(arrays["predicted"] - arrays["true"]).mean() == pytest.approx(apart.mean())
    fits = cell_problems(sweep, cell)
    assert sorted(fits) == [("message", 0), ("node", 0)]
    assert fits["node", 0].names == ("s", "m", "v")
    # Gauge: the message increases its sum.
    assert fits["message", 0].target.mean() > 0


def test_the_kernel_of_a_formula_is_its_message_by_distance(sweep: Sweep) -> None:
    cell = cell_of(sweep, FORMULA)
    result = carry_out(sweep, cell, "interpret").result
    r, value = np.array(result["kernel"]["r"]), np.array(result["kernel"]["value"])
    constants = read_formula(cell, outcome_of(sweep, cell)).constants
    shape = 1 / (1 + (constants["c6"] * r) ** constants["c7"])
    assert value == pytest.approx(shape / shape.max(), rel=1e-9)
    assert (result["kept"], result["message_std"], result["reading"]) == ([], [], "")
    assert carry_out(sweep, cell, "distill").result["components"] == []
    # Constants have no neighbours.
    constant = carry_out(sweep, cell_of(sweep, CONSTANT), "interpret").result
    assert constant["kernel"] == {"r": [], "value": []}
    assert constant["test_mae"] > 10 * result["test_mae"]
