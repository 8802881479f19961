"""The variables of the result store, as data: one entry per variable."""

from __future__ import annotations

import dataclasses
from typing import Literal

Kind = Literal["text", "number", "flag"]

DIMS = ("system", "dim", "bodies", "data_seed", "model", "seed")
TEXT_DIMS = ("system", "model")
UNPLANNED = "unplanned"


@dataclasses.dataclass(frozen=True)
class Column:
    """A variable.

    Attributes:
        name: Its name in the store and in queries.
        kind: Text (absent: empty), a number (absent: NaN), or a flag (stored as 1, 0 or NaN).
        description: What it is.
        dims: Dimensions after those of the cells (or of the equations).
        units: Its units.
    """

    name: str
    kind: Kind
    description: str
    dims: tuple[str, ...] = ()
    units: str = "dimensionless"


_R2 = "R² of the message component against a linear combination of the components of"
_PER_COMPONENT = ("component",)

READINGS = ("std", "principal")


def _fits(prefix: str, read: str) -> tuple[Column, ...]:
    """Return the columns of the fits of a reading."""
    return (
        Column(f"{prefix}force_r2", "number", f"{_R2} the true force{read}", _PER_COMPONENT),
        Column(f"{prefix}force_r2_robust", "number", f"{_R2} the true force, best 90 %{read}", _PER_COMPONENT),
        Column(f"{prefix}acceleration_r2", "number", f"{_R2} force / receiver mass{read}", _PER_COMPONENT),
        Column(
            f"{prefix}acceleration_r2_robust", "number", f"{_R2} force / receiver mass, best 90 %{read}", _PER_COMPONENT
        ),
        Column(f"{prefix}r2_gauge_free", "number", f"{_R2} the true force, per bin of mass{read}", _PER_COMPONENT),
    )


# Whose errors are measured on the same held-out graphs.
ERRORS = {
    "network": "the network",
    "raw": "the distilled expressions",
    "refitted": "these with refitted constants",
    "clean": "these with simple numbers for constants that agree with them",
    "expressions_then_network": "expressions for messages and the network's nodes",
    "network_then_expressions": "the network's messages and expressions for nodes",
}

CELLS: tuple[Column, ...] = (
    Column("status", "text", "ok, missing, failed, diverged; unplanned where the sweep has no such cell"),
    Column("reason", "text", "the stage that is not done, and why"),
    *(
        Column(
            f"redraws_{split}",
            "number",
            f"initial conditions of {what} simulations that were given up, their end out of reach, and drawn again",
            units="1",
        )
        for split, what in (("train", "training"), ("test", "held-out"))
    ),
    Column("test_mae", "number", "mean over held-out bodies of the summed absolute error of the acceleration"),
    Column("test_medae", "number", "median of the same"),
    Column("label_std", "number", "standard deviation of the true accelerations"),
    Column("message_std", "number", "standard deviation of each message component", ("message",)),
    *(
        Column(
            f"kept_{reading}", "number", f"halos: validation error with the first 1, 2, 3 … {what} alone", ("message",)
        )
        for reading, what in (("std", "components by std"), ("principal", "principal axes"))
    ),
    Column("kept_all", "number", "halos: the same error with all components"),
    Column("reading", "text", "how message components were read: std or principal"),
    Column("force_r2", "number", f"{_R2} the true force", _PER_COMPONENT),
    Column("force_r2_robust", "number", f"{_R2} the true force, best 90 % of samples", _PER_COMPONENT),
    Column("force_r2_gauge_free", "number", f"{_R2} the true force, per bin of receiver mass", _PER_COMPONENT),
    Column("acceleration_r2", "number", f"{_R2} force / receiver mass", _PER_COMPONENT),
    Column("acceleration_r2_robust", "number", f"{_R2} force / receiver mass, best 90 %", _PER_COMPONENT),
    *(column for reading in READINGS for column in _fits(f"{reading}_", f", if read as {reading}")),
    Column("recovered", "flag", "whether all components are the true law up to its gauge, where the data are"),
    Column("verdict_reason", "text", "why the law is not recovered; empty where it is"),
    Column("extent", "text", "where a recovered law agrees with the true one, and from which distance on it differs"),
    Column("data_from", "number", "smallest distance of pairs in the data by which the law was judged"),
    Column("data_to", "number", "largest distance of pairs in these data"),
    Column("agrees_from", "number", "smallest distance down to which a recovered law agrees, data_from/100 at least"),
    Column("agrees_to", "number", "largest distance up to which a recovered law agrees, 100 data_to at most"),
    Column("form", "text", "what the law was recovered as: force, acceleration, gauge, mixed or energy"),
    Column("recovered_together", "flag", "the same of the form that all components have in common"),
    Column("equation_together", "text", "the expression of each message component in that form", _PER_COMPONENT),
    Column("equation", "text", "the chosen expression of each message component", _PER_COMPONENT),
    Column("complexity", "number", "complexity of the chosen expression, by the paper's count", _PER_COMPONENT),
    Column("component_recovered", "flag", "whether this component is the true law up to its gauge", _PER_COMPONENT),
    Column("on_front", "flag", "whether any expression on this component's front is the true law", _PER_COMPONENT),
    Column("median_residual", "number", "median relative residual over pairs of the data", _PER_COMPONENT),
    Column("p90_residual", "number", "90th percentile of the relative residual", _PER_COMPONENT),
    Column("constants", "text", "constants of the law as found, JSON", _PER_COMPONENT),
    Column("fit", "text", "how the symbolic fit ended: ok, timed_out, failed", _PER_COMPONENT),
    Column("node_equation", "text", "the chosen expression of each component of the node function", _PER_COMPONENT),
    Column("node_complexity", "number", "complexity of that expression, by the paper's count", _PER_COMPONENT),
    Column("node_recovered", "flag", "whether the node function is right: acceleration with the messages, or energy"),
    Column("node_reason", "text", "why the node function is not right; empty where it is"),
    Column("node_median_residual", "number", "median relative residual of that verdict"),
    Column("node_p90_residual", "number", "90th percentile of the relative residual of that verdict"),
    Column("composed_mae", "number", "test_mae of the chosen expressions in place of the network"),
    Column("composed_medae", "number", "test_medae of the chosen expressions in place of the network"),
    Column("replacement", "text", "what replaced the network: whole law, partial, singular on the data, or none"),
    Column("replacement_reason", "text", "why there is no whole law, or what is wrong with it"),
    Column("law", "text", "the law in the network's place: clean where that is as good, refitted, or as distilled"),
    Column("law_form", "text", "which one that is: clean, refitted, or raw where a refit makes its median error worse"),
    Column("law_source", "text", "where its form is from: messages, or by the data fronts, or neighbours"),
    Column("law_shared", "flag", "whether it is one vector law, or energies, with the same constants for all axes"),
    Column("law_constants", "text", "its constants with their standard errors, JSON"),
    Column("law_cut", "text", "why the search for the law was cut at a limit of its budget; empty where it was not"),
    Column("law_refitted", "text", "the law with every constant refitted"),
    *(
        Column(
            f"error_{part}_{kind}", "number", f"{middle} over held-out bodies of the error of the acceleration: {what}"
        )
        for part, what in ERRORS.items()
        for kind, middle in (("mae", "mean"), ("medae", "median"))
    ),
    Column("parameters", "number", "weights of the network", units="1"),
    Column("final_loss", "number", "training loss at the last step"),
    Column("train_seconds", "number", "wall time of training", units="s"),
    Column("interpret_seconds", "number", "wall time of interpreting", units="s"),
    Column("distill_seconds", "number", "wall time of distilling", units="s"),
    Column("verify_seconds", "number", "wall time of verifying", units="s"),
    Column("replace_seconds", "number", "wall time of replacing the network", units="s"),
    Column("generalise_seconds", "number", "wall time of testing under other conditions", units="s"),
    Column("device", "text", "what the network trained on"),
    Column("engine", "text", "symbolic regression engine"),
    Column("version", "text", "version of distillery, of each stage where they differ"),
    Column("commit", "text", "git commit, of each stage where they differ"),
    Column("versions", "text", "versions of the libraries, of each stage where they differ, JSON"),
)

# A cell has as many of these as its function has components, the others as many as space has dimensions.
OF_MESSAGES = (
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
OF_NODES = ("node_equation", "node_complexity")

# Values that a text column may have; what a store has beyond these is known from the store itself.
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

# Networks and laws where the networks never were; the last four numbers are those of the condition ``generalise.LONG``.
CONDITION_DIMS = ("cell", "condition", "predictor")

CONDITIONS: tuple[Column, ...] = (
    Column("mae", "number", "mean over bodies of the summed absolute error of the acceleration"),
    Column("medae", "number", "median of the same"),
    Column("holds", "flag", "whether it is right within the limits of verification"),
    Column("horizon", "number", "time until half of the simulations are off by more than generalisation.horizon"),
    Column("doubling_time", "number", "median time in which the distance from the true places doubles while it grows"),
    Column("distance", "number", "median distance of bodies from their true places at the end, in system sizes"),
    Column("energy_drift", "number", "median change of the energy at the end, in kinetic energies of the start"),
    Column("reason", "text", "why there is nothing, where there is nothing"),
)

# What stores of earlier versions do not have; it is absent there.
LATER = ("doubling_time",)

EQUATIONS: tuple[Column, ...] = (
    Column("expression", "text", "an expression on the Pareto front"),
    Column("complexity", "number", "its complexity, by the paper's count"),
    Column("mae", "number", "its mean absolute error on held-out samples"),
    Column("score", "number", "drop of log error per unit of complexity"),
    Column("chosen", "flag", "whether it is the paper's choice, with the largest score"),
    Column("passes", "flag", "whether it is the true law up to its gauge, or the right node function"),
    Column("fit", "text", "how the fit that found it ended: ok, timed_out"),
    Column("fit_seconds", "number", "wall time of that fit", units="s"),
)
