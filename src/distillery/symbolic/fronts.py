"""Pareto fronts of all functions of a network, and their search as one call on a dataset of messages."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy
from pydantic import ValidationError

from distillery.errors import DistilleryError
from distillery.networks.functions import FUNCTIONS, Function
from distillery.physics import formula
from distillery.progress import progress
from distillery.symbolic.engine import require
from distillery.symbolic.fits import fit_expression
from distillery.symbolic.front import Point
from distillery.symbolic.problems import Samples, problems
from distillery.symbolic.settings import DistillationSettings
from distillery.util.display import figure, html_table, text_table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, repr=False)
class ComponentFront:
    """The Pareto front of one component of a function.

    Attributes:
        function: ``message`` or ``node``.
        component: Number of the component.
        points: Expressions, simplest first.
        chosen: Index of the paper's choice, the largest -Δlog(MAE)/Δcomplexity.
    """

    function: Function
    component: int
    points: tuple[Point, ...]
    chosen: int


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Fronts:
    """Pareto fronts of messages and nodes.

    Attributes:
        kind: Kind of the model: ``graph`` or ``hamiltonian``.
        dim: Dimensions of space.
        engine: The symbolic regression engine.
        names: Names that expressions of each function may use.
        components: The front of every component.
    """

    kind: str
    dim: int
    engine: str
    names: dict[Function, tuple[str, ...]]
    components: tuple[ComponentFront, ...]

    def of(self, function: Function) -> list[ComponentFront]:
        """Return the fronts of a function, in the order of its components."""
        return [front for front in self.components if front.function == function]

    def chosen(self, function: Function) -> list[sympy.Expr]:
        """Return the chosen expression of every component of a function."""
        return [
            formula.parse(front.points[front.chosen].expression, self.names[function]) for front in self.of(function)
        ]

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the points as rows; ``*`` marks the chosen ones."""
        return [
            (
                front.function,
                front.component,
                "*" if index == front.chosen else "",
                point.complexity,
                point.mae,
                point.score,
                point.expression,
            )
            for front in self.components
            for index, point in enumerate(front.points)
        ]

    def __repr__(self) -> str:
        return text_table(_COLUMNS, self.rows())

    def _repr_html_(self) -> str:
        return html_table("Pareto fronts", _COLUMNS, self.rows())

    def plot(self) -> Figure:
        """Return a figure of error against complexity for every component; the chosen expressions are marked."""
        drawn, axes = figure(len(self.components))
        for ax, front in zip(axes, self.components, strict=True):
            complexity = [point.complexity for point in front.points]
            errors = [point.mae for point in front.points]
            ax.step(complexity, errors, where="post", linewidth=1)
            ax.plot(complexity, errors, "o", markersize=4)
            best = front.points[front.chosen]
            ax.plot([best.complexity], [best.mae], "o", markersize=9, fillstyle="none", color="black")
            ax.set(
                xlabel="complexity",
                ylabel="mean absolute error",
                yscale="log",
                title=f"{front.function} {front.component}\n{best.expression}",
            )
            ax.title.set_fontsize(8)
        return drawn


_COLUMNS = ("function", "component", "", "complexity", "mae", "score", "expression")


def distill(
    messages: xr.Dataset,
    engine: str = "operon",
    *,
    seed: int = 0,
    operators: Sequence[str] | None = None,
    show_progress: bool = True,
    **settings: Any,
) -> Fronts:
    """Fit expressions to the functions of a network, one component after the other.

    Args:
        messages: Dataset of ``distillery.messages``.
        engine: ``operon``, or ``pysr`` (needs Julia).
        seed: Seed of the engine.
        operators: Operators of expressions; + - * / by default.
        show_progress: Whether progress is shown.
        **settings: Other fields of `DistillationSettings`, such as ``seconds=60``.

    Returns:
        The Pareto fronts.

    Raises:
        DistilleryError: The engine cannot run here, a setting is not valid, or a fit finds nothing.
    """
    given = dict(settings) if operators is None else {**settings, "operators": tuple(operators)}
    try:
        chosen = DistillationSettings.model_validate({"engine": engine, "seed": seed, **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise DistilleryError(f"distill: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    require(chosen)
    samples: dict[Function, Samples] = {
        "message": _samples(messages, "message", "features", "feature", "held_out"),
        "node": _samples(messages, "node_target", "node_features", "node_feature", "node_held_out"),
    }
    wanted = problems({name: samples[name] for name in FUNCTIONS if name in chosen.functions}, chosen)
    show = progress("distill", len(wanted), "fits") if show_progress else None
    fronts = []
    for done, ((function, component), problem) in enumerate(wanted.items(), start=1):
        if engine == "pysr":
            # Julia and torch cannot share a process.
            from distillery.symbolic.child import fit_here

            found = fit_here(problem)
        else:
            found = fit_expression(problem)
        if found.chosen is None:
            raise DistilleryError(f"distill: {function} {component}: {found.reason}")
        fronts.append(ComponentFront(function, component, found.front, found.chosen))
        if show:
            show(done, f"in {found.seconds:.0f} s")
    return Fronts(
        kind=str(messages.attrs["kind"]),
        dim=int(messages.attrs["dim"]),
        engine=engine,
        names={name: own.names for name, own in samples.items()},
        components=tuple(fronts),
    )


def _samples(messages: xr.Dataset, target: str, features: str, names: str, held_out: str) -> Samples:
    missing = [name for name in (target, features, names, held_out) if name not in messages.variables]
    if missing:
        raise DistilleryError(f"distill: {', '.join(missing)}: missing; give a dataset of distillery.messages")
    return Samples(
        tuple(str(name) for name in messages[names].values),
        np.asarray(messages[features].values, dtype=np.float64),
        np.asarray(messages[target].values, dtype=np.float64),
        np.asarray(messages[held_out].values, dtype=bool),
    )
