"""A law with fitted constants as one object: evaluated, rolled out, printed, stored, and turned into PyTorch."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from distillery import files
from distillery.data.graph import edges_of
from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError
from distillery.laws import text
from distillery.laws.composed import HeldOut, all_snapshots, draw_snapshots, through_nodes
from distillery.laws.law import Law, as_content, from_content
from distillery.laws.motion import moved
from distillery.laws.problem import Data
from distillery.laws.refit import Fit
from distillery.laws.replace import DistilledFunction, replace
from distillery.laws.rollout import rolled_out
from distillery.laws.settings import ReplacementSettings
from distillery.networks.functions import Function
from distillery.physics import formula
from distillery.randomness import stream
from distillery.simulate.initial import Bodies
from distillery.symbolic.fronts import Fronts
from distillery.symbolic.shared_form import Candidate
from distillery.util.display import figure, html_table, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from distillery.laws.module import LawModule

_COLUMNS = ("constant", "value", "standard error", "state")
# Share of the data on which the error of forms is measured, and the largest number of its snapshots.
_HELD_OUT, _MOST = 0.2, 2000
# Steps of a rollout between two times, if none are given.
_STEPS = 10


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FittedLaw:
    """A law with the values and standard errors of its constants.

    Attributes:
        law: The expressions and the values of their constants.
        errors: Standard errors of the constants; constants without one keep a simple number or the distilled value.
        states: State of each constant: ``ok``, ``exact`` (a simple number), ``as distilled``, ``not determined``,
            ``runs away``.
        graph: The kind of graph.
        units: Units of the columns of the data.
        form: ``raw`` (as distilled), ``refitted`` or ``clean`` (with simple numbers).
        source: Origin of the form: ``messages`` (the paper's choice), ``fronts`` or ``neighbours``.
        remarks: Remarks on the fit, such as limits that ended it.
        data: The trajectories to which it was fitted; None after it was loaded.
    """

    law: Law
    errors: dict[str, float]
    states: dict[str, str]
    graph: str = "complete"
    units: dict[str, str] = dataclasses.field(default_factory=dict)
    form: str = ""
    source: str = ""
    remarks: tuple[str, ...] = ()
    data: Trajectories | None = None

    @property
    def constants(self) -> dict[str, float]:
        """The values of the constants, by name."""
        return dict(self.law.constants)

    def snapshot_acceleration(self, graphs: HeldOut) -> Float[np.ndarray, "graph body dim"]:
        """Return the accelerations of bodies in snapshots, in the units of the data."""
        return through_nodes(graphs, self.law.filled(self.law.messages), self.law.filled(moved(self.law)))

    def evaluate(self, data: Trajectories) -> Float[np.ndarray, "simulation time particle space"]:
        """Return the accelerations that the law gives in all snapshots.

        Args:
            data: Trajectories of any number of particles, in the units of the data to which the law was fitted.
        """
        found = self.snapshot_acceleration(all_snapshots(dataclasses.replace(data, graph=self.graph)))
        return found.reshape(data.position.shape)

    def rollout(
        self, start: Trajectories, times: Float[np.ndarray, "time"] | None = None, *, steps: int = _STEPS
    ) -> Trajectories:
        """Return the motion that follows from the first snapshots of trajectories (Runge-Kutta of fourth order).

        Args:
            start: Trajectories; only their first snapshots are used.
            times: Evenly spaced times; those of ``start`` by default.
            steps: Integration steps between two times.

        Raises:
            DistilleryError: Times are not evenly spaced.
        """
        when = start.time if times is None else np.asarray(times, dtype=np.float64)
        gaps = np.diff(when)
        if len(when) < 2 or not np.allclose(gaps, gaps[0], rtol=1e-6):
            raise DistilleryError("rollout: times are not evenly spaced; give times=numpy.linspace(…)")
        senders, receivers = edges_of(self.graph, start.particles)
        first = Bodies(start.mass, start.charge, start.position[:, 0], start.velocity[:, 0])
        position, velocity = rolled_out(self.snapshot_acceleration, first, np.stack([senders, receivers]), when, steps)
        return Trajectories(
            np.swapaxes(position, 0, 1),
            when,
            np.swapaxes(velocity, 0, 1),
            mass=start.mass,
            charge=start.charge,
            units=start.units,
            graph=self.graph,
        )

    def latex(self) -> str:
        """Return the equations in LaTeX, for an ``align*`` environment."""
        return text.latex(self.law)

    def to_torch(self) -> LawModule:
        """Return a PyTorch module whose constants can be trained."""
        from distillery.laws.module import LawModule

        return LawModule(self.law, self.graph)

    def save(self, path: str | Path) -> None:
        """Write the law to a JSON file; an existing file of that name is replaced only if it is a law."""
        target = Path(path)
        if target.exists():
            FittedLaw.load(target)
        states = {name: {"error": self.errors.get(name), "state": self.states.get(name, "")} for name in self.constants}
        files.write_json(
            target,
            {
                "graph": self.graph,
                "law": as_content(self.law),
                "constants": states,
                "units": self.units,
                "form": self.form,
                "source": self.source,
                "remarks": list(self.remarks),
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> FittedLaw:
        """Read a law that ``save`` or the stage ``replace`` has written; nothing in the file is executed.

        Raises:
            DistilleryError: The file is missing, damaged or no law.
        """
        source = Path(path)
        content = files.read_json(source, "give a file that Law.save or the stage replace has written")
        if not isinstance(content, dict) or "law" not in content:
            raise DistilleryError(f"{source}: holds no law; give a file that Law.save has written")
        law = from_content(content["law"], str(source))
        described = content.get("constants") or {}
        errors = {n: float(d["error"]) for n, d in described.items() if d.get("error") is not None}
        return cls(
            law,
            errors,
            {name: str(d.get("state", "")) for name, d in described.items()},
            graph=str(content.get("graph", "complete")),
            units=dict(content.get("units") or {}),
            form=str(content.get("form", "")),
            source=str(content.get("source", "")),
            remarks=tuple(content.get("remarks") or ()),
        )

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the constants as rows: name, value, standard error, state."""
        return [(n, float(v), self.errors.get(n), self.states.get(n, "")) for n, v in self.law.constants.items()]

    def __repr__(self) -> str:
        parts = [text.line(self.law)]
        if self.law.constants:
            parts.append(text_table(_COLUMNS, self.rows()))
        return "\n".join([*parts, *(f"note: {remark}" for remark in self.remarks)])

    def _repr_html_(self) -> str:
        return html_table(text.line(self.law), _COLUMNS, self.rows())

    def _repr_latex_(self) -> str:
        return rf"$$\begin{{aligned}}{self.latex()}\end{{aligned}}$$"

    def plot(self) -> Figure:
        """Return a figure of the acceleration by one other body against their distance, for unit masses and charges."""
        drawn, (ax,) = figure(width=4.5)
        r = np.geomspace(0.1, 10.0, 400) if self.data is None else _distances(self.data)
        position = np.zeros((len(r), 2, self.law.dim))
        position[:, 0, 0] = r
        ones, still = np.ones((len(r), 2)), np.zeros_like(position)
        pair = HeldOut(position, still, ones, ones, still, *reversed(edges_of("complete", 2)))
        ax.plot(r, self.snapshot_acceleration(pair)[:, 0, 0])
        ax.axhline(0.0, color="grey", linewidth=0.5)
        ax.set(xlabel="distance", ylabel="acceleration of body 1, away from body 2", title=text.line(self.law))
        ax.title.set_fontsize(8)
        return drawn


def fit_law(front: Fronts, data: Trajectories, *, seed: int = 0, relative: bool = False, **settings: Any) -> FittedLaw:
    """Return the law that fronts and data give, with fitted constants and their standard errors.

    The expressions are composed to a law, the data choose among the forms of the fronts and their neighbours, and the
    constants are fitted to the accelerations.

    Args:
        front: Fronts of messages and nodes.
        data: Trajectories with accelerations; the last fifth is held out to compare forms.
        seed: Seed of snapshots and starts.
        relative: Whether errors are relative to the size of each acceleration.
        **settings: Fields of `ReplacementSettings`, such as ``seconds=60``.

    Raises:
        DistilleryError: There is no front of nodes, or no law is finite on the data.
    """
    if not front.of("node"):
        raise DistilleryError("fit_law: the fronts lack the function node; distil message and node")
    chosen = ReplacementSettings.model_validate({"seed": seed, **settings})
    seen, test = data.split(last=_HELD_OUT)
    draws = stream(seed, "fit law", "snapshots")
    snapshots, simulation = draw_snapshots(seen, chosen.samples, draws)
    held_out, _ = draw_snapshots(test, _MOST, draws)
    problem = Data(snapshots, simulation, relative if chosen.relative is None else chosen.relative)
    functions = {name: _function(front, name, unit_charges=problem.unit_charges) for name in _FUNCTIONS}
    found = replace(
        functions["message"],
        functions["node"],
        problem,
        held_out,
        chosen,
        hamiltonian=front.kind == "hamiltonian",
        draws=stream(seed, "fit law", "starts"),
        label="fit_law",
    )
    if found.shown is None:
        raise DistilleryError(f"fit_law: {text.line(found.raw.law)}: {found.singular}")
    remarks = tuple(note for note in (*found.remarks, found.cut) if note)
    return _as_fitted(found.shown, found.form, found.source, remarks, data)


_FUNCTIONS: tuple[Function, ...] = ("message", "node")


def _as_fitted(fit: Fit, form: str, source: str, remarks: tuple[str, ...], data: Trajectories) -> FittedLaw:
    def state(name: str) -> str:
        if not fit.errors:
            return "as distilled"
        if name in fit.running_away:
            return "runs away"
        if name in fit.undetermined:
            return "not determined"
        return "ok" if name in fit.errors else "exact"

    return FittedLaw(
        fit.law,
        {name: float(error) for name, error in fit.errors.items() if math.isfinite(error)},
        {name: state(name) for name in fit.law.constants},
        graph=data.graph,
        units=dict(data.units),
        form=form,
        source=source,
        remarks=remarks,
        data=data,
    )


def _function(front: Fronts, name: Function, *, unit_charges: bool) -> DistilledFunction:
    components = front.of(name)
    fronts = [
        [Candidate(formula.parse(p.expression, front.names[name]), p.complexity, p.mae) for p in own.points]
        for own in components
    ]
    axes = len(components) == front.dim and front.kind != "hamiltonian"
    return DistilledFunction.of_fronts(fronts, [own.chosen for own in components], axes=axes, unit_charges=unit_charges)


def _distances(data: Trajectories) -> Float[np.ndarray, " distance"]:
    first, other = np.triu_indices(data.particles, 1)
    apart = np.linalg.norm(data.position[:, :, first] - data.position[:, :, other], axis=-1)
    low, high = np.quantile(apart[np.isfinite(apart)], [0.01, 0.99])
    return np.linspace(float(low), float(high), 400)
