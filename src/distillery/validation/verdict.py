"""Verdicts on distilled expressions: on each function, and on the accelerations that they give together."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from distillery.data.graph import edges_of
from distillery.data.trajectories import Trajectories
from distillery.laws.composed import (
    HeldOut,
    arriving,
    draw_snapshots,
    errors,
    judge_acceleration,
    through_energies,
    through_nodes,
)
from distillery.laws.limits import Extent, Verdict, refused
from distillery.laws.settings import VerificationSettings
from distillery.networks.functions import message_names, node_names
from distillery.networks.models import Model
from distillery.physics import formula
from distillery.physics.systems import System
from distillery.randomness import stream
from distillery.symbolic.shared_form import Candidate, common_choice
from distillery.validation.body import States, judge_body, states_of
from distillery.validation.force import judge_message, judge_pair
from distillery.validation.probe import DataProbe, pairs_of, probe

# Components whose a_k all but coincide say the same thing twice: some direction of the force is not in them.
_LEAST_INDEPENDENCE = 0.05
# Pairs of the training data among which those are drawn that a law is judged by.
_MOST_PAIRS = 200_000

_Components = list[dict[str, Any]]
_Judge = Callable[[int, sympy.Expr], Verdict]


@dataclasses.dataclass(frozen=True)
class _Judged:
    """A component of a function, and what there is to say of it.

    Attributes:
        entry: What the stage's outcome says of it.
        points: Its front, as it was distilled.
        front: The expressions on it.
        verdicts: Of each the verdict.
        chosen: The place of the paper's choice; None where there is none.
    """

    entry: dict[str, Any]
    points: list[dict[str, Any]]
    front: list[Candidate]
    verdicts: list[Verdict]
    chosen: int | None

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on the choice."""
        return None if self.chosen is None else self.verdicts[self.chosen]


class Judge:
    """Compare distilled expressions with a known law, for one engine after the other."""

    def __init__(
        self,
        model: Model,
        system: System,
        settings: VerificationSettings,
        *,
        dim: int,
        bodies: int,
        held_out: Callable[[], HeldOut],
        data: Callable[[], KnownData],
    ) -> None:
        """Take what expressions are compared with.

        Args:
            model: The model whose functions were distilled.
            system: The system with the known law.
            settings: Limits of residuals.
            dim: Dimensions of space.
            bodies: Number of bodies.
            held_out: Returns held-out snapshots; called when they are needed.
            data: Returns the training data; called when they are needed.
        """
        self._model, self._system, self._settings = model, system, settings
        self._dim = dim
        self._held_out, self._data = held_out, data
        place = system.acts_on_bodies
        self._names = {
            "message": message_names(model, dim, bodies, place=place),
            "node": node_names(model, dim, place=place),
        }

    @functools.cached_property
    def _graphs(self) -> HeldOut:
        return self._held_out()

    @functools.cached_property
    def _pairs(self) -> DataProbe | None:
        return self._data().probe

    @functools.cached_property
    def _states(self) -> States:
        return states_of(self._system, self._data().snapshots, self._settings)

    def verdict(self, distilled: Mapping[str, Any]) -> dict[str, Any]:
        """Return the verdict on what an engine found, as it stands in the stage's outcome.

        Args:
            distilled: ``components`` of the messages and, if it was distilled, ``node``.

        Raises:
            DistilleryError: Held-out trajectories are needed, and missing or damaged.
        """
        messages: _Components = distilled["components"]
        nodes: _Components | None = distilled.get("node")
        result = self._of_messages(messages)
        if nodes is not None:
            result["node"] = self._of_nodes(messages, nodes)
        if nodes is not None or self._model.kind != "graph":
            found = self._accelerations(messages, nodes)
            result["composed"] = {"mae": None, "medae": None} if found is None else errors(self._graphs, found)
        return result

    def _of_messages(self, messages: _Components) -> dict[str, Any]:
        judged = [self._component("message", entry, self._judge_of_messages()) for entry in messages]
        found = [own.entry for own in judged]
        wanted = 1 if self._model.kind == "hamiltonian" else self._dim
        reason = _reason(found)
        if len(found) != wanted and not reason:
            reason = f"a force in {wanted} dimensions has {wanted} components, and the messages have {len(found)}"
        whole = len(found) == wanted and all(own.chosen is not None for own in judged)
        places = [own.chosen for own in judged if own.chosen is not None]
        flaw, form = self._together(judged, places) if whole else (reason, None)
        result: dict[str, Any] = {"recovered": not flaw, "form": form, "reason": reason or flaw, "components": found}
        result |= self._extent(judged if not flaw else [])
        nothing = {"recovered": False, "form": None, "expressions": [""] * len(found)}
        return result | {"together": self._by_common_form(judged, places) if whole else nothing}

    def _extent(self, judged: list[_Judged]) -> dict[str, Any]:
        """Return over which distances the law was compared and, where it was recovered, up to which it agrees.

        Args:
            judged: The components of a law that was recovered.
        """
        if self._model.kind == "control" or self._pairs is None:
            return {"range": None, "extent": ""}
        first, last = float(self._pairs.edges[0]), float(self._pairs.edges[-1])
        found = [own.verdict.extent() for own in judged if own.verdict is not None and own.verdict.extent is not None]
        if not found:
            return {
                "range": {"data_from": first, "data_to": last, "agrees_from": None, "agrees_to": None},
                "extent": "",
            }
        whole = Extent.common(found)
        return {
            "range": {name: getattr(whole, name) for name in ("data_from", "data_to", "agrees_from", "agrees_to")},
            "extent": whole.words,
        }

    def _together(self, judged: list[_Judged], places: Sequence[int]) -> tuple[str, str | None]:
        """Return why expressions of all components are not the law, or else the form as which they are."""
        verdicts = [own.verdicts[place] for own, place in zip(judged, places, strict=True)]
        if not all(verdict.recovered for verdict in verdicts):
            return "not every component is the law", None
        if self._model.kind == "graph" and not _independent(verdicts):
            return "the components carry the same direction of the force", None
        forms = {verdict.form for verdict in verdicts}
        return "", forms.pop() if len(forms) == 1 else "mixed"

    def _by_common_form(self, judged: list[_Judged], places: Sequence[int]) -> dict[str, Any]:
        """Return the verdict on the form that all components have in common, by the paper's rule for all together."""
        unit_charges = all(abs(charge) == 1 for charge in self._system.charges)
        common = common_choice([own.front for own in judged], places, unit_charges=unit_charges)
        flaw, form = self._together(judged, common or places)
        expressions = [own.points[place]["expression"] for own, place in zip(judged, common or places, strict=True)]
        return {"recovered": not flaw, "form": form, "expressions": expressions}

    def _judge_of_messages(self) -> _Judge:
        match self._model.kind:
            case "hamiltonian":
                return lambda _, expression: judge_pair(expression, self._system, self._pairs, self._settings)
            case "control":
                return self._judge_of_control
        return lambda _, expression: judge_message(expression, self._system, self._pairs, self._settings)

    def _judge_of_control(self, component: int, expression: sympy.Expr) -> Verdict:
        found = np.broadcast_to(formula.evaluate(expression, self._graphs.raw), self._graphs.mass.shape)
        return judge_acceleration(self._graphs, found, self._settings, component)

    def _of_nodes(self, messages: _Components, nodes: _Components) -> dict[str, Any]:
        if self._model.kind == "hamiltonian":
            judged = self._component("node", nodes[0], self._judge_of_bodies)
            return _summed_up([judged.entry], judged.verdict, judged.entry["reason"])
        sent = self._chosen("message", messages)
        if sent is None:
            nothing = refused("no expression of a message to go with it")
            found = [self._component("node", entry, lambda _, __: nothing).entry for entry in nodes]
            return _summed_up(found, None, _reason(found))
        values = arriving(self._graphs, sent)

        def judge_component(component: int, expression: sympy.Expr) -> Verdict:
            one = np.broadcast_to(formula.evaluate(expression, values), self._graphs.mass.shape)
            return judge_acceleration(self._graphs, one, self._settings, component)

        found = [self._component("node", entry, judge_component).entry for entry in nodes]
        acceleration = self._accelerations(messages, nodes)
        if acceleration is None:
            return _summed_up(found, None, _reason(found))
        verdict = judge_acceleration(self._graphs, acceleration, self._settings)
        return _summed_up(found, verdict, verdict.reason)

    def _judge_of_bodies(self, _: int, expression: sympy.Expr) -> Verdict:
        return judge_body(expression, self._system, self._states, self._settings)

    def _accelerations(self, messages: _Components, nodes: _Components | None) -> np.ndarray | None:
        """Return what the chosen expressions give together, or None where one is missing."""
        sent = self._chosen("message", messages)
        given = None if nodes is None else self._chosen("node", nodes)
        if sent is None:
            return None
        match self._model.kind:
            case "control":
                raw, shape = self._graphs.raw, self._graphs.mass.shape
                return np.stack([np.broadcast_to(formula.evaluate(e, raw), shape) for e in sent], axis=-1)
            case "hamiltonian":
                if given is None and (nodes is not None or self._system.body_potential is not None):
                    return None
                return through_energies(self._graphs, sent[0], None if given is None else given[0])
        return None if given is None else through_nodes(self._graphs, sent, given)

    def _chosen(self, function: str, found: _Components) -> list[sympy.Expr] | None:
        """Return the chosen expression of every component, or None where one has none."""
        if any(entry["chosen"] is None for entry in found):
            return None
        return [formula.parse(e["front"][e["chosen"]]["expression"], self._names[function]) for e in found]

    def _component(self, function: str, component: dict[str, Any], judge_it: _Judge) -> _Judged:
        number, points, chosen = component["component"], component["front"], component["chosen"]
        front = [
            Candidate(formula.parse(p["expression"], self._names[function]), int(p["complexity"]), float(p["mae"]))
            for p in points
        ]
        verdicts = [judge_it(number, candidate.expression) for candidate in front]
        empty = {
            "component": number,
            "recovered": False,
            "form": None,
            "reason": component["reason"] or "nothing was distilled",
            "expression": None,
            "complexity": None,
            "median_residual": None,
            "p90_residual": None,
            "constants": {},
            "others": [],
        }
        if chosen is None:
            return _Judged(empty, points, front, verdicts, None)
        found = verdicts[chosen]
        entry = empty | {
            "recovered": found.recovered,
            "form": found.form,
            "reason": found.reason,
            "expression": points[chosen]["expression"],
            "complexity": points[chosen]["complexity"],
            "median_residual": found.median_residual,
            "p90_residual": found.p90_residual,
            "constants": found.constants,
            "others": [index for index, v in enumerate(verdicts) if v.recovered and index != chosen],
        }
        return _Judged(entry, points, front, verdicts, chosen)


class KnownData:
    """Training data by which a law is judged; several verdicts may share them."""

    def __init__(self, system: System, trajectories: Callable[[], Trajectories], settings: VerificationSettings):
        """Take the data.

        Args:
            system: The system with the known law.
            trajectories: Returns the training trajectories; called once, when they are needed.
            settings: Seed of the draws.
        """
        self._system, self._trajectories, self._settings = system, trajectories, settings

    @functools.cached_property
    def snapshots(self) -> HeldOut:
        """Snapshots of the training data."""
        trajectories = self._trajectories()
        pairs = len(edges_of(trajectories.graph, trajectories.particles)[0])
        draws = stream(self._settings.seed, "verify", "training graphs")
        return draw_snapshots(trajectories, max(_MOST_PAIRS // pairs, 1), draws)[0]

    @functools.cached_property
    def probe(self) -> DataProbe | None:
        """Pairs by which forces are compared; None where the system has no force of pairs."""
        return probe(self._system, pairs_of(self.snapshots), self._settings)


def _summed_up(found: _Components, verdict: Verdict | None, reason: str) -> dict[str, Any]:
    return {
        "recovered": verdict is not None and verdict.recovered,
        "form": verdict.form if verdict is not None else None,
        "reason": reason,
        "median_residual": verdict.median_residual if verdict is not None else None,
        "p90_residual": verdict.p90_residual if verdict is not None else None,
        "components": found,
    }


def _reason(found: _Components) -> str:
    return "; ".join(f"component {entry['component']}: {entry['reason']}" for entry in found if entry["reason"])


def _independent(verdicts: Sequence[Verdict]) -> bool:
    """Return whether the components' gauge vectors span the force's directions, for the typical receiver."""
    gauges = [v.gauge / np.linalg.norm(v.gauge, axis=-1, keepdims=True) for v in verdicts if v.gauge is not None]
    smallest = np.linalg.svd(np.stack(gauges, axis=1), compute_uv=False)[:, -1]
    return bool(np.median(smallest) > _LEAST_INDEPENDENCE)
