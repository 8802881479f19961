"""The strength of accelerations: systems without or with extreme accelerations are reported before a simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distillery.errors import DistilleryError
from distillery.physics.systems import SYSTEMS
from distillery.simulate.initial import draw
from distillery.simulate.integrator import Integrator
from distillery.simulate.strength import remarks_on, starting_accelerations
from distillery.workflow.cell import Experiment
from distillery.workflow.plan import plan_text, require_room
from distillery.workflow.sweep import Sweep


def alone(make_sweep: Callable[..., Sweep], **system: Any) -> Sweep:
    experiment = {"system": "mine", "simulations": 64, "test_simulations": 16, "snapshots": 10}
    return make_sweep(systems={"mine": {"time_step": 0.01, **system}}, experiments=[experiment])


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_accelerations_equal_those_of_the_integrator_and_cause_no_warning(name: str) -> None:
    system, experiment = SYSTEMS[name], Experiment(name, 3, 4, 5)
    states = draw(system, experiment.dim, experiment.bodies, experiment.seed, "train", range(64), [0] * 64)
    true = Integrator(system, 3, 4, 1e-6).acceleration(states)
    np.testing.assert_allclose(
        starting_accelerations(system, experiment.dim, experiment.bodies, experiment.seed), true, rtol=1e-9, atol=1e-12
    )
    assert remarks_on(experiment.system, system, experiment.dim, experiment.bodies, experiment.seed) == []


@pytest.mark.parametrize(
    ("system", "remedy"),
    [
        ({"potential": "0*r"}, "change its potential"),
        ({"potential": "m1*m2"}, "change its potential"),
        ({"potential": "k*r**2", "constants": {"k": 0.0}}, "set constants.k to another value than 0"),
        (
            {"potential": "k*r", "body_potential": "g*m*y", "constants": {"k": 0.0, "g": 0.0}},
            "set constants.k or constants.g to another value than 0",
        ),
        ({"potential": "q1*q2/r", "charges": [0.0]}, "change its potential"),
    ],
)
def test_a_system_without_accelerations_is_refused(
    make_sweep: Callable[..., Sweep], system: dict[str, Any], remedy: str
) -> None:
    sweep = alone(make_sweep, **system)
    line = f"systems.mine: accelerations are 0 everywhere, there is no law to find; {remedy}"
    with pytest.raises(DistilleryError, match=line):
        require_room(sweep)
    assert plan_text(sweep).splitlines()[-1] == line


@pytest.mark.parametrize(
    ("system", "remark"),
    [
        ({"potential": "-G*m1*m2/r", "constants": {"G": 6.674e-11}}, "accelerations of bodies are about 1e-10 where"),
        ({"potential": "1e9*r**2", "time_step": 1e-6}, "accelerations of bodies are about 9e+09 where"),
        ({"potential": "(r - 50)**2 if r > 50 else 0"}, "no body is accelerated where it starts; change its potential"),
        ({"potential": "0*r", "damping": 1.0}, None),
        ({"potential": "0*r", "body_potential": "9.81*m*y"}, None),
        ({"potential": "100*(r - 0.005)**2", "position_scale": 0.005}, None),
    ],
)
def test_accelerations_far_from_one_cause_a_warning(
    make_sweep: Callable[..., Sweep], system: dict[str, Any], remark: str | None
) -> None:
    sweep = alone(make_sweep, **system)
    require_room(sweep)
    lines = [line for line in plan_text(sweep).splitlines() if line.startswith("systems.mine: ")]
    assert [remark in line for line in lines if "acceler" in line] == ([True] if remark else [])
