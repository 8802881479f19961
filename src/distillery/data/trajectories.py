"""Trajectories of interacting particles: the one container from simulation or measurement to a law."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from distillery.errors import DistilleryError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

AccelerationSource = Literal["formula", "given", "none"]
_AXES = ("x", "y", "z")
_PATH = ("simulation", "time", "particle", "space")
_BODY = ("simulation", "particle")
# Simulations from which on a split takes whole simulations; with fewer it cuts along time.
_FEWEST_SIMULATIONS = 5
# Simulations that a plot shows.
_PLOTTED = 4


@dataclasses.dataclass(frozen=True, eq=False, init=False, repr=False)
class Trajectories:
    """Positions and motion of particles over time, of one simulation or many of equal length.

    Arrays keep the precision of their source (float32 or float64). Fields that are left out are computed or filled:
    masses with 1, charges with 0, velocities by central differences of second order. Accelerations that are left out
    stay unknown (NaN).

    Attributes:
        position: Positions, in ``units["position"]``. Two- or three-dimensional input (time, particle, space) is taken
            as one simulation.
        time: Times of the snapshots, strictly increasing, in ``units["time"]``.
        velocity: Velocities.
        acceleration: Accelerations.
        mass: Masses.
        charge: Charges.
        mask: Whether a particle is present at a time. None means that all are.
        units: Units by column; columns that are not named are dimensionless.
        acceleration_source: Origin of the accelerations: the system's formula, given values, or none.
        graph: Which particles interact: ``complete``, or ``chain`` where each is tied to the next.

    Raises:
        DistilleryError: Shapes do not fit each other, times do not increase, or there are not 1, 2 or 3 dimensions.
    """

    position: Float[np.ndarray, "simulation time particle space"]
    time: Float[np.ndarray, "time"]
    velocity: Float[np.ndarray, "simulation time particle space"]
    acceleration: Float[np.ndarray, "simulation time particle space"]
    mass: Float[np.ndarray, "simulation particle"]
    charge: Float[np.ndarray, "simulation particle"]
    mask: Bool[np.ndarray, "simulation time particle"] | None
    units: Mapping[str, str]
    acceleration_source: AccelerationSource
    graph: str

    def __init__(
        self,
        position: Any,
        time: Any,
        velocity: Any = None,
        acceleration: Any = None,
        mass: Any = None,
        charge: Any = None,
        *,
        mask: Any = None,
        units: Mapping[str, str] | None = None,
        acceleration_source: AccelerationSource | None = None,
        graph: str = "complete",
    ) -> None:
        """Check arrays against each other and fill what was left out; see the class."""
        place = _floating("position", position)
        if place.ndim == len(_PATH) - 1:
            place = place[None]
        if place.ndim != len(_PATH) or place.shape[-1] not in (1, 2, 3):
            raise DistilleryError(
                f"position: has shape {np.shape(position)}; give (simulation, time, particle, space) or (time, "
                "particle, space) with 1, 2 or 3 dimensions of space"
            )
        simulations, times, particles, _ = place.shape
        when = _floating("time", time)
        if when.shape != (times,) or not np.all(np.diff(when) > 0):
            raise DistilleryError(f"time: has shape {when.shape}; give {times} times that increase")
        moving = _differences(place, when) if velocity is None else _shaped("velocity", velocity, place.shape)
        pulled = (
            np.full_like(place, np.nan) if acceleration is None else _shaped("acceleration", acceleration, place.shape)
        )
        present = None if mask is None else np.broadcast_to(np.asarray(mask, bool), place.shape[:3])
        source: AccelerationSource = "none" if acceleration is None else acceleration_source or "given"
        bodies = (simulations, particles)
        fields = {
            "position": place,
            "time": when,
            "velocity": moving,
            "acceleration": pulled,
            "mass": np.ones(bodies) if mass is None else _per_body("mass", mass, bodies),
            "charge": np.zeros(bodies) if charge is None else _per_body("charge", charge, bodies),
            "mask": present,
            "units": dict(units or {}),
            "acceleration_source": source,
            "graph": graph,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def dim(self) -> int:
        """Dimensions of space."""
        return int(self.position.shape[-1])

    @property
    def particles(self) -> int:
        """Number of particles."""
        return int(self.position.shape[2])

    @property
    def simulations(self) -> int:
        """Number of simulations."""
        return int(self.position.shape[0])

    def __len__(self) -> int:
        """Return the number of snapshots of all simulations."""
        return self.simulations * len(self.time)

    def select(self, simulations: slice | Sequence[int] = slice(None), times: slice = slice(None)) -> Trajectories:
        """Return some simulations and a stretch of time.

        Args:
            simulations: Which simulations.
            times: Which snapshots.
        """
        which = simulations if isinstance(simulations, slice) else list(simulations)
        return Trajectories(
            self.position[which, times],
            self.time[times],
            self.velocity[which, times],
            None if self.acceleration_source == "none" else self.acceleration[which, times],
            self.mass[which],
            self.charge[which],
            mask=None if self.mask is None else self.mask[which, times],
            units=self.units,
            acceleration_source=None if self.acceleration_source == "none" else self.acceleration_source,
            graph=self.graph,
        )

    def split(self, last: float = 0.2) -> tuple[Trajectories, Trajectories]:
        """Return data to learn from and data to test on; snapshots are never mixed at random.

        Five or more simulations are split between simulations; fewer are cut along time.

        Args:
            last: Share of the simulations, or of the time, that is kept for tests.

        Raises:
            DistilleryError: The share leaves nothing on one side.
        """
        whole = self.simulations >= _FEWEST_SIMULATIONS
        total = self.simulations if whole else len(self.time)
        kept = total - round(last * total)
        if not 0 < kept < total:
            raise DistilleryError(f"last: {last:g} of {total} leaves one side empty; choose a share between 0 and 1")
        if whole:
            return self.select(slice(kept)), self.select(slice(kept, None))
        return self.select(times=slice(kept)), self.select(times=slice(kept, None))

    def to_dataset(self) -> xr.Dataset:
        """Return the same as an ``xarray.Dataset``, with columns by name and units as attributes."""
        import xarray as xr

        columns: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
            "position": (_PATH, self.position),
            "velocity": (_PATH, self.velocity),
            "acceleration": (_PATH, self.acceleration),
            "mass": (_BODY, self.mass),
            "charge": (_BODY, self.charge),
        }
        if self.mask is not None:
            columns["mask"] = (_PATH[:3], self.mask)
        dataset = xr.Dataset(
            columns,
            coords={"time": self.time, "space": list(_AXES[: self.dim])},
            attrs={"acceleration_source": self.acceleration_source, "graph": self.graph},
        )
        for name in dataset.variables:
            if np.issubdtype(dataset[name].dtype, np.floating):
                dataset[name].attrs["units"] = self.units.get(str(name), "dimensionless")
        return dataset

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Trajectories:
        """Return the trajectories of a dataset that has at least ``position`` and ``time``.

        Args:
            dataset: Variables named as the attributes of this class; dimensions may stand in any order.

        Raises:
            DistilleryError: A variable is missing or has other dimensions.
        """
        for name in ("position", "time"):
            if name not in dataset.variables:
                raise DistilleryError(f"{name}: missing; the dataset has {', '.join(map(str, dataset.variables))}")

        def column(name: str, dimensions: tuple[str, ...]) -> np.ndarray | None:
            if name not in dataset.variables:
                return None
            found = dataset[name]
            missing = [d for d in dimensions if d not in found.dims and d != "simulation"]
            surplus = [str(d) for d in found.dims if d not in dimensions]
            if missing or surplus:
                raise DistilleryError(f"{name}: has dimensions {found.dims}; give {', '.join(dimensions)}")
            if "simulation" not in found.dims:
                found = found.expand_dims("simulation")
            return np.asarray(found.transpose(*dimensions).values)

        units = {str(name): str(v.attrs["units"]) for name, v in dataset.variables.items() if "units" in v.attrs}
        place = column("position", _PATH)
        assert place is not None
        return cls(
            place,
            np.asarray(dataset["time"].values, dtype=np.float64),
            column("velocity", _PATH),
            None if dataset.attrs.get("acceleration_source") == "none" else column("acceleration", _PATH),
            column("mass", _BODY),
            column("charge", _BODY),
            mask=column("mask", _PATH[:3]),
            units={name: unit for name, unit in units.items() if unit != "dimensionless"},
            acceleration_source=dataset.attrs.get("acceleration_source"),
            graph=str(dataset.attrs.get("graph", "complete")),
        )

    def summary(self) -> list[tuple[str, str]]:
        """Return what the trajectories hold, as pairs of a name and a text."""
        return [
            ("simulations", f"{self.simulations:,}"),
            ("times", f"{len(self.time):,} from {self.time[0]:.4g} to {self.time[-1]:.4g}"),
            ("particles", f"{self.particles} in {self.dim}D"),
            ("masses", f"{self.mass.min():.3g} to {self.mass.max():.3g}"),
            ("charges", f"{self.charge.min():.3g} to {self.charge.max():.3g}"),
            ("accelerations", {"none": "unknown"}.get(self.acceleration_source, self.acceleration_source)),
            ("precision", str(self.position.dtype)),
            ("units", ", ".join(f"{name} in {unit}" for name, unit in self.units.items()) or "dimensionless"),
        ]

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self.summary())
        return "\n".join(["Trajectories", *(f"  {name:<{width}}  {value}" for name, value in self.summary())])

    def _repr_html_(self) -> str:
        from distillery.util.display import html_table

        return html_table("Trajectories", ("", ""), self.summary())

    def plot(self, simulations: int = _PLOTTED) -> Figure:
        """Return a figure of the paths of the first simulations, in the plane of the first two axes.

        Args:
            simulations: Number of simulations that are drawn.
        """
        from distillery.util.display import figure

        count = min(simulations, self.simulations)
        drawn, axes = figure(count)
        for number, ax in enumerate(axes):
            for body in range(self.particles):
                path = self.position[number, :, body]
                across = path[:, 1] if self.dim > 1 else self.time
                ax.plot(path[:, 0], across, linewidth=1)
                ax.plot(path[-1:, 0], across[-1:], "o", color=ax.lines[-1].get_color(), markersize=4)
            ax.set(title=f"simulation {number}", xlabel="x", ylabel="y" if self.dim > 1 else "time")
        return drawn


def _floating(name: str, values: Any) -> np.ndarray:
    try:
        found = np.asarray(values)
        return found if found.dtype in (np.float32, np.float64) else found.astype(np.float64)
    except (TypeError, ValueError):
        raise DistilleryError(f"{name}: is no array of numbers; give one") from None


def _shaped(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    found = _floating(name, values)
    found = found[None] if found.ndim == len(shape) - 1 else found
    if found.shape != shape:
        raise DistilleryError(f"{name}: has shape {np.shape(values)}, and positions have {shape}; give both alike")
    return found


def _per_body(name: str, values: Any, shape: tuple[int, int]) -> np.ndarray:
    found = _floating(name, values)
    try:
        return np.array(np.broadcast_to(found, shape))
    except ValueError:
        raise DistilleryError(
            f"{name}: has shape {found.shape}; give one value for each of {shape[1]} particles"
        ) from None


def _differences(
    position: Float[np.ndarray, "simulation time particle space"], time: Float[np.ndarray, "time"]
) -> Float[np.ndarray, "simulation time particle space"]:
    if len(time) < 2:
        return np.zeros_like(position)
    return np.gradient(position, time, axis=1).astype(position.dtype)
