"""Layout of the store of an experiment's trajectories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from distillery import __version__
from distillery.data.store import Layout
from distillery.physics.systems import System
from distillery.workflow.cell import Experiment, Split
from distillery.workflow.settings import ExperimentSettings
from distillery.workflow.sources.body_experiments import FORMATS


@runtime_checkable
class Simulated(Protocol):
    """Experiments with simulated trajectories: a sweep, or its source of bodies."""

    @property
    def config(self) -> Any:
        """The configuration."""

    @property
    def settings(self) -> Mapping[Experiment, ExperimentSettings]:
        """The settings of each experiment."""

    def system(self, experiment: Experiment) -> System:
        """Return the system of an experiment."""

    def simulations(self, experiment: Experiment, split: Split) -> int:
        """Return the number of trajectories of a split."""

    def data_key(self, experiment: Experiment, split: Split) -> str:
        """Return the key of a split."""


def layout(sweep: Simulated, experiment: Experiment, split: Split) -> Layout:
    """Return the layout of a split's store."""
    settings, system = sweep.settings[experiment], sweep.system(experiment)
    simulations = sweep.simulations(experiment, split)
    usual: dict[str, Any] = {"body_potential": None, "mass_spread": 1.0, "charges": (-1.0, 1.0)}
    given = {name: getattr(system, name) for name in usual}
    # Properties that a system lacks are left out: stores that were begun before they existed stay valid.
    body = {name: list(value) if name == "charges" else value for name, value in given.items() if value != usual[name]}
    return Layout(
        sizes={
            "simulation": simulations,
            "time": settings.snapshots,
            "particle": experiment.bodies,
            "space": experiment.dim,
        },
        stride=settings.steps // settings.snapshots,
        block=min(sweep.config.simulation.block, simulations),
        attributes={
            "title": f"trajectories of {experiment} ({split})",
            "system": experiment.system,
            "formula": system.potential,
            **body,
            # As text, because NetCDF has no attributes with attributes.
            "constants": json.dumps(dict(system.constants)),
            "softening": system.softening,
            "damping": system.damping,
            "graph": system.graph,
            "dt": system.time_step,
            "tolerance": sweep.config.simulation.tolerance,
            "seed": experiment.seed,
            "split": split,
            "units": "dimensionless",
            "version": __version__,
            "format": FORMATS["simulate"],
            "key": sweep.data_key(experiment, split),
        },
    )
