"""Units of networks: learning does not depend on the units of the data, and data of order one are unchanged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from distillery.data.trajectories import Trajectories
from distillery.messages.reading import errors_on
from distillery.networks.batches import graphs_of
from distillery.networks.units import Units
from distillery.workflow.networks import build, load_network
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stages import train as run
from distillery.workflow.stages.train import train
from distillery.workflow.sweep import Sweep
from support import orbits

# Like the Solar System in metres and seconds, with charges of electrons; and like a spring of micrometres.
LARGE = Units(2.0**37, 2.0**14, 2.0**-62, 2.0**-9)
SMALL = Units(2.0**-20, 2.0**-9, 2.0**40, 2.0**2)
TRAINING = {"hidden": 16, "batch": 16, "steps": 600, "learning_rate": 1e-2, "frames": 3}


def in_units(units: Units) -> Callable[..., Trajectories]:
    def read(sweep: Sweep, experiment: Any, split: str) -> Trajectories:
        found = orbits.read_trajectories(sweep, experiment, split)
        return dataclasses.replace(
            found,
            position=found.position * units.position,
            velocity=found.velocity * units.velocity,
            charge=found.charge * units.charge,
            acceleration=found.acceleration * units.acceleration,
        )

    return read


@pytest.mark.parametrize("kind", ["graph", "hamiltonian"])
def test_ordinary_data_have_units_of_one(make_sweep: Callable[..., Sweep], kind: str) -> None:
    sweep = make_sweep(models=["bottleneck"])
    graphs = graphs_of(orbits.read_trajectories(sweep, sweep.experiments[0], "train"))
    units = Units.of(graphs, kind)
    assert units == Units()
    assert units.applied(graphs) is graphs
    tensors = {"edge.first.0": torch.rand(6, 8), "node.last": torch.rand(8, 2)}
    assert all(torch.equal(units.undone(tensors, kind, 2)[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("scale", [0.0, math.nan, math.inf])
def test_data_without_a_size_keep_their_unit(make_sweep: Callable[..., Sweep], scale: float) -> None:
    sweep = make_sweep()
    graphs = graphs_of(orbits.read_trajectories(sweep, sweep.experiments[0], "train"))
    with np.errstate(invalid="ignore"):
        graphs = dataclasses.replace(graphs, acceleration=graphs.acceleration * scale)
    assert Units.of(graphs, "graph").acceleration == 1


@pytest.mark.parametrize("model", ["standard", "kl", "newton", "flathgn", "pruning"])
def test_parameters_in_units_of_the_data_give_the_same_function(make_sweep: Callable[..., Sweep], model: str) -> None:
    sweep = make_sweep(models=[model])
    (cell,) = sweep.cells
    kind, dim = sweep.model(cell).kind, cell.experiment.dim
    graphs = graphs_of(in_units(LARGE)(sweep, cell.experiment, "test"))
    units = Units.of(graphs, kind)
    inner = build(sweep, cell, 1)
    inner.initialise(0, np.random.default_rng(0))
    outer = build(sweep, cell, 1)
    own = {name: tensor[0] for name, tensor in inner.state_dict().items()}
    outer.load_state_dict({name: tensor[None] for name, tensor in units.undone(own, kind, dim).items()})
    nodes, scaled = (torch.from_numpy(each.nodes.astype(np.float32))[None] for each in (graphs, units.applied(graphs)))
    expected, found = inner(scaled, None), outer(nodes, None)
    assert torch.equal(found.acceleration, units.acceleration * expected.acceleration)
    force = units.acceleration if kind == "hamiltonian" else 1.0
    assert torch.equal(outer.messages(nodes), force * inner.messages(scaled))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["l1", "flathgn"])
def test_learning_does_not_depend_on_units(
    make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    errors, losses = [], []
    for name, own in (("ordinary", Units()), ("large", LARGE), ("small", SMALL)):
        monkeypatch.setattr(run, "read_trajectories", in_units(own))
        sweep = make_sweep(models=[model], training=TRAINING, execution={"device": "cpu"})
        sweep = Sweep(sweep.config, sweep.results / name)
        (cell,) = sweep.cells
        train(sweep, sweep.cells)
        outcome = read_outcome(cell.outcome(sweep.results, "train"), key=sweep.key("train", cell))
        held_out = graphs_of(in_units(own)(sweep, cell.experiment, "test"))
        errors.append(float(np.median(errors_on(load_network(sweep, cell), held_out))) / own.acceleration)
        losses.append(outcome.result["final_loss"] / own.acceleration)
    assert errors[1] == errors[2] < 1.2 * errors[0]
    assert losses[1] == losses[2] < 1.2 * losses[0]
