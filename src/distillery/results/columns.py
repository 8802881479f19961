"""Columns of the result store: one entry per variable of the Zarr groups and per column of the tables."""

from __future__ import annotations

import dataclasses
from typing import Literal

Kind = Literal["text", "number", "flag", "integer"]
Rows = Literal["cells", "equations", "conditions"]

DIMS = ("system", "dim", "bodies", "data_seed", "model", "seed")
TEXT_DIMS = ("system", "model")
UNPLANNED = "unplanned"


@dataclasses.dataclass(frozen=True)
class Column:
    """One variable.

    Attributes:
        name: Name in the store and in queries.
        kind: Text (absent: empty), a number (absent: NaN in Zarr, NULL in tables), a flag (1, 0 or NaN in Zarr, a
            Boolean in tables) or an integer (never absent).
        description: Meaning of the values.
        dims: Dimensions after those of the cells or equations. A column that has one is a list in tables.
        units: Units of the values.
    """

    name: str
    kind: Kind
    description: str
    dims: tuple[str, ...] = ()
    units: str = "dimensionless"

    @property
    def sql_type(self) -> str:
        """Return the type of this column in DuckDB."""
        types = {"text": "VARCHAR", "number": "DOUBLE", "flag": "BOOLEAN", "integer": "BIGINT"}
        return types[self.kind] + ("[]" if self.dims else "")


_R2 = "R² of the message component against a linear combination of the components of"
_PER_COMPONENT = ("component",)

READINGS = ("std", "principal")


def _fits(prefix: str, reading: str) -> tuple[Column, ...]:
    """Return the columns of the fits of one reading of the messages."""
    return (
        Column(f"{prefix}force_r2", "number", f"{_R2} the true force{reading}", _PER_COMPONENT),
        Column(f"{prefix}force_r2_robust", "number", f"{_R2} the true force, best 90 %{reading}", _PER_COMPONENT),
        Column(f"{prefix}acceleration_r2", "number", f"{_R2} force / receiver mass{reading}", _PER_COMPONENT),
        Column(
            f"{prefix}acceleration_r2_robust",
            "number",
            f"{_R2} force / receiver mass, best 90 %{reading}",
            _PER_COMPONENT,
        ),
        Column(f"{prefix}r2_gauge_free", "number", f"{_R2} the true force, per bin of mass{reading}", _PER_COMPONENT),
    )


# The models whose errors are measured on the same held-out graphs.
ERRORS = {
    "network": "the network",
    "raw": "the distilled expressions",
    "refitted": "the expressions with refitted constants",
    "clean": "the expressions with simple numbers for constants that agree with them",
    "expressions_then_network": "expressions for messages and the network's nodes",
    "network_then_expressions": "the network's messages and expressions for nodes",
}

CELLS: tuple[Column, ...] = (
    Column("status", "text", "ok, missing, failed, diverged; unplanned if the sweep has no such cell"),
    Column("reason", "text", "the first stage that is not done, and the reason"),
    *(
        Column(
            f"redraws_{split}",
            "number",
            f"number of initial conditions of {which} simulations that were replaced because the run did not end",
            units="1",
        )
        for split, which in (("train", "training"), ("test", "held-out"))
    ),
    Column("test_mae", "number", "mean over held-out bodies of the summed absolute error of the acceleration"),
    Column("test_medae", "number", "median of the same error"),
    Column("label_std", "number", "standard deviation of the true accelerations"),
    Column("message_std", "number", "standard deviation of each message component", ("message",)),
    *(
        Column(f"kept_{reading}", "number", f"halos: validation error with the first 1, 2, 3 … {which}", ("message",))
        for reading, which in (("std", "components by std"), ("principal", "principal axes"))
    ),
    Column("kept_all", "number", "halos: validation error with all components"),
    Column("reading", "text", "choice of message components: std or principal"),
    Column("force_r2", "number", f"{_R2} the true force", _PER_COMPONENT),
    Column("force_r2_robust", "number", f"{_R2} the true force, best 90 % of samples", _PER_COMPONENT),
    Column("force_r2_gauge_free", "number", f"{_R2} the true force, per bin of receiver mass", _PER_COMPONENT),
    Column("acceleration_r2", "number", f"{_R2} force / receiver mass", _PER_COMPONENT),
    Column("acceleration_r2_robust", "number", f"{_R2} force / receiver mass, best 90 %", _PER_COMPONENT),
    *(column for reading in READINGS for column in _fits(f"{reading}_", f", reading {reading}")),
    Column("recovered", "flag", "whether all components equal the true law up to its gauge over the range of the data"),
    Column("verdict_reason", "text", "reason why the law is not recovered; empty if it is"),
    Column("extent", "text", "range in which a recovered law agrees with the true law, and distances where it differs"),
    Column("data_from", "number", "smallest distance of pairs in the data by which the law was judged"),
    Column("data_to", "number", "largest distance of pairs in these data"),
    Column("agrees_from", "number", "smallest distance down to which a recovered law agrees, data_from/100 at least"),
    Column("agrees_to", "number", "largest distance up to which a recovered law agrees, 100 data_to at most"),
    Column("form", "text", "form in which the law was recovered: force, acceleration, gauge, mixed or energy"),
    Column("recovered_together", "flag", "recovered, judged by the form that all components share"),
    Column("equation_together", "text", "the expression of each message component in that form", _PER_COMPONENT),
    Column("equation", "text", "the chosen expression of each message component", _PER_COMPONENT),
    Column("complexity", "number", "complexity of the chosen expression, by the paper's count", _PER_COMPONENT),
    Column("component_recovered", "flag", "whether this component is the true law up to its gauge", _PER_COMPONENT),
    Column("on_front", "flag", "whether any expression on this component's front is the true law", _PER_COMPONENT),
    Column("median_residual", "number", "median relative residual over pairs of the data", _PER_COMPONENT),
    Column("p90_residual", "number", "90th percentile of the relative residual", _PER_COMPONENT),
    Column("constants", "text", "constants of the law as found, JSON", _PER_COMPONENT),
    Column("fit", "text", "end of the symbolic fit: ok, timed_out, failed", _PER_COMPONENT),
    Column("node_equation", "text", "the chosen expression of each component of the node function", _PER_COMPONENT),
    Column("node_complexity", "number", "complexity of that expression, by the paper's count", _PER_COMPONENT),
    Column("node_recovered", "flag", "whether the node function is right: acceleration with the messages, or energy"),
    Column("node_reason", "text", "reason why the node function is not right; empty if it is"),
    Column("node_median_residual", "number", "median relative residual of that verdict"),
    Column("node_p90_residual", "number", "90th percentile of the relative residual of that verdict"),
    Column("composed_mae", "number", "test_mae of the chosen expressions in place of the network"),
    Column("composed_medae", "number", "test_medae of the chosen expressions in place of the network"),
    Column("replacement", "text", "replacement of the network: whole law, partial, singular on the data, or none"),
    Column("replacement_reason", "text", "reason why there is no whole law, or the defect of the law"),
    Column("law", "text", "the law that replaces the network: clean if that is as good, refitted, or as distilled"),
    Column("law_form", "text", "form of that law: clean, refitted, or raw if a refit increases the median error"),
    Column("law_source", "text", "source of its form: messages, or by the data fronts or neighbours"),
    Column("law_shared", "flag", "whether it is one vector law, or energies, with the same constants for all axes"),
    Column("law_constants", "text", "its constants with their standard errors, JSON"),
    Column("law_cut", "text", "limit of the budget that ended the search for the law; empty if none did"),
    Column("law_refitted", "text", "the law with every constant refitted"),
    *(
        Column(
            f"error_{part}_{kind}",
            "number",
            f"{average} over held-out bodies of the error of the acceleration: {description}",
        )
        for part, description in ERRORS.items()
        for kind, average in (("mae", "mean"), ("medae", "median"))
    ),
    Column("parameters", "number", "weights of the network", units="1"),
    Column("final_loss", "number", "training loss at the last step"),
    *(
        Column(f"{stage}_seconds", "number", f"wall time of {activity}", units="s")
        for stage, activity in (
            ("train", "training"),
            ("interpret", "interpreting"),
            ("distill", "distilling"),
            ("verify", "verifying"),
            ("replace", "replacing the network"),
            ("generalise", "testing under other conditions"),
        )
    ),
    Column("device", "text", "device of the training"),
    Column("engine", "text", "symbolic regression engine"),
    Column("version", "text", "version of distillery; of each stage if they differ"),
    Column("commit", "text", "git commit; of each stage if they differ"),
    Column("versions", "text", "versions of the libraries, JSON; of each stage if they differ"),
)

# Lists with one entry per component of the message function, and of the node function. All other lists over
# components have one entry per dimension of space.
MESSAGE_LISTS = (
    "equation",
    "equation_together",
    "complexity",
    "component_recovered",
    "on_front",
    "median_residual",
    "p90_residual",
    "constants",
    "fit",
)
NODE_LISTS = ("node_equation", "node_complexity")

# Values that a text column may have; a store may have more in other columns.
VOCABULARIES: dict[str, tuple[str, ...]] = {
    "status": ("ok", "missing", "failed", "diverged"),
    "form": ("force", "acceleration", "gauge", "mixed", "energy"),
    "reading": READINGS,
    "fit": ("ok", "timed_out", "failed"),
    "replacement": ("whole", "partial", "singular", "none"),
    "law_form": ("raw", "refitted", "clean"),
    "law_source": ("messages", "fronts", "neighbours"),
    "predictor": ("network", "raw", "refitted", "clean"),
    "function": ("message", "node"),
}

FRONT_DIMS = ("cell", "engine", "function", "component", "rank")

EQUATIONS: tuple[Column, ...] = (
    Column("expression", "text", "an expression on the Pareto front"),
    Column("complexity", "number", "its complexity, by the paper's count"),
    Column("mae", "number", "its mean absolute error on held-out samples"),
    Column("score", "number", "decrease of the log error per unit of complexity"),
    Column("chosen", "flag", "whether it is the paper's choice, with the largest score"),
    Column("passes", "flag", "whether it is the true law up to its gauge, or the right node function"),
    Column("fit", "text", "end of the fit that found it: ok, timed_out"),
    Column("fit_seconds", "number", "wall time of that fit", units="s"),
)

# Errors of networks and laws outside the training conditions; the last four numbers belong to the condition
# ``validation.generalisation.LONG``.
CONDITION_DIMS = ("cell", "condition", "predictor")

CONDITIONS: tuple[Column, ...] = (
    Column("mae", "number", "mean over bodies of the summed absolute error of the acceleration"),
    Column("medae", "number", "median of the same error"),
    Column("holds", "flag", "whether it is right within the limits of verification"),
    Column("horizon", "number", "time until half of the simulations are off by more than generalisation.horizon"),
    Column("doubling_time", "number", "median time in which the distance from the true places doubles while it grows"),
    Column("distance", "number", "median distance of bodies from their true places at the end, in system sizes"),
    Column("energy_drift", "number", "median change of the energy at the end, in kinetic energies of the start"),
    Column("reason", "text", "reason why there are no numbers; empty if there are"),
)

IDENTITY: tuple[Column, ...] = (
    *(Column(name, "text" if name in TEXT_DIMS else "integer", f"coordinate {name} of the cell") for name in DIMS),
    Column("experiment", "text", "name of the experiment"),
    Column("cell", "text", "name of the cell"),
)

# All columns of each table, in order.
TABLES: dict[Rows, tuple[Column, ...]] = {
    "cells": (*IDENTITY, *CELLS),
    "equations": (
        *IDENTITY,
        Column("engine", "text", "engine that fitted the front"),
        Column("function", "text", "function that the front fits: message or node"),
        Column("component", "integer", "component of that function"),
        Column("rank", "integer", "place on the front, by complexity"),
        *EQUATIONS,
    ),
    "conditions": (
        *IDENTITY,
        Column("condition", "text", "name of the condition"),
        Column("predictor", "text", "network, or its law: raw, refitted or clean"),
        *CONDITIONS,
    ),
}
