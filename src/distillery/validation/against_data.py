"""Validation of a law or a network by data that it has not seen: errors of accelerations, and of rollouts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from distillery.data.graph import edges_of
from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError
from distillery.laws.composed import HeldOut, all_snapshots, errors, judge_acceleration
from distillery.laws.fitted_law import FittedLaw
from distillery.laws.motion import flaw_of_velocities
from distillery.laws.rollout import rolled_out
from distillery.laws.settings import VerificationSettings
from distillery.networks.trained import TrainedNetwork
from distillery.simulate.initial import Bodies
from distillery.util.display import figure, html_table, text_table
from distillery.validation.rollout import distance, horizon
from distillery.validation.settings import GeneralisationSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Simulations that are rolled out, and integration steps between two snapshots.
_ROLLED, _STEPS = 32, 10
_COLUMNS = ("quantity", "value")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Validation:
    """Errors of a law or a network on data.

    Attributes:
        mae: Mean over bodies of Σ|a - â|, in units of acceleration; None if it is not finite.
        medae: Median of the same.
        label_std: Standard deviation of the true accelerations.
        holds: Whether the accelerations are the true ones within the limits of `VerificationSettings`.
        horizon: Median time up to which rollouts stay close to the data; None without rollouts.
        duration: Duration of the data.
        times: Times of the rollouts.
        distance: Median distance of rollouts from the data, in sizes of the system.
        predicted: Predicted accelerations.
        true: Accelerations of the data.
    """

    mae: float | None
    medae: float | None
    label_std: float
    holds: bool
    horizon: float | None
    duration: float
    times: Float[np.ndarray, "time"]
    distance: Float[np.ndarray, "time"]
    predicted: Float[np.ndarray, "graph body dim"]
    true: Float[np.ndarray, "graph body dim"]

    def rows(self) -> list[tuple[str, Any]]:
        """Return the results as pairs of a name and a value."""
        until = None if self.horizon is None else f"{self.horizon:.4g} of {self.duration:.4g}"
        return [
            ("mean error of accelerations", self.mae),
            ("median error of accelerations", self.medae),
            ("standard deviation of accelerations", self.label_std),
            ("holds", "yes" if self.holds else "no"),
            ("rollouts close to the data until", until),
        ]

    def __repr__(self) -> str:
        return text_table(_COLUMNS, self.rows())

    def _repr_html_(self) -> str:
        return html_table("Validation", _COLUMNS, self.rows())

    def plot(self) -> Figure:
        """Return a figure of predicted against true accelerations, and of the distance of rollouts over time."""
        panels = 2 if len(self.times) else 1
        drawn, axes = figure(panels)
        axes[0].plot(self.true.ravel(), self.predicted.ravel(), ".", markersize=1)
        axes[0].axline((0.0, 0.0), slope=1.0, color="grey", linewidth=0.5)
        axes[0].set(xlabel="true acceleration", ylabel="predicted acceleration")
        if panels == 2:
            axes[1].plot(self.times, self.distance)
            axes[1].set(xlabel="time", ylabel="distance from the data", yscale="log")
        return drawn


def validate(
    law: FittedLaw | TrainedNetwork, data: Trajectories, *, rollouts: int = _ROLLED, steps: int = _STEPS
) -> Validation:
    """Compare a law or a network with data that it has not seen; no true law is needed.

    Args:
        law: A law or a trained network.
        data: Trajectories with accelerations.
        rollouts: Number of simulations that are followed from their first snapshot; 0 for none.
        steps: Integration steps of a rollout between two snapshots.

    Raises:
        DistilleryError: The data have no accelerations.
    """
    if data.acceleration_source == "none":
        raise DistilleryError("validate: the trajectories have no accelerations; give acceleration=…")
    graphs, limits = all_snapshots(data), VerificationSettings()
    found = _accelerations(law, graphs)
    size = errors(graphs, found)
    flaw = flaw_of_velocities(law.law, graphs, limits) if isinstance(law, FittedLaw) else ""
    holds = judge_acceleration(graphs, found, limits).recovered and not flaw
    times, off, limit = np.empty(0), np.empty((0, 0)), GeneralisationSettings().horizon
    if rollouts and len(data.time) > 1 and np.allclose(np.diff(data.time), data.time[1] - data.time[0], rtol=1e-6):
        times = data.time
        off = _distances(law, data.select(slice(rollouts)), steps)
    return Validation(
        mae=size["mae"],
        medae=size["medae"],
        label_std=float(graphs.acceleration.std()),
        holds=holds,
        horizon=horizon(off, times, limit) if len(times) else None,
        duration=float(data.time[-1] - data.time[0]),
        times=times,
        distance=np.median(off, axis=1) if len(times) else np.empty(0),
        predicted=found,
        true=graphs.acceleration,
    )


def _accelerations(law: FittedLaw | TrainedNetwork, graphs: HeldOut) -> Float[np.ndarray, "graph body dim"]:
    if isinstance(law, FittedLaw):
        return law.snapshot_acceleration(graphs)
    one = np.zeros(1)
    data = Trajectories(
        graphs.position[:, None],
        one,
        graphs.velocity[:, None],
        graphs.acceleration[:, None],
        graphs.mass,
        graphs.charge,
    )
    return np.asarray(law.acceleration(data)[:, 0])


def _distances(law: FittedLaw | TrainedNetwork, data: Trajectories, steps: int) -> Float[np.ndarray, "time simulation"]:
    senders, receivers = edges_of(data.graph, data.particles)
    first = Bodies(
        data.mass.astype(np.float64),
        data.charge.astype(np.float64),
        data.position[:, 0].astype(np.float64),
        data.velocity[:, 0].astype(np.float64),
    )
    position, _ = rolled_out(
        lambda graphs: _accelerations(law, graphs), first, np.stack([senders, receivers]), data.time, steps
    )
    return distance(position, np.swapaxes(data.position, 0, 1).astype(np.float64))
