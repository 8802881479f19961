"""Compare many laws quickly: the coefficients of the terms of a vector law are a linear regression.

Each term is a column that is computed once, so a law costs a few milliseconds. Numbers within terms stay fixed here;
the best laws are fitted with all their constants afterwards (``laws.refit``).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from distillery.laws import tuning
from distillery.laws.problem import Data
from distillery.laws.vector import Term, Terms, ordered
from distillery.networks.functions import AXES
from distillery.physics import formula
from distillery.util import budget
from distillery.util.budget import OutOfBudget


class Prefit:
    """Linear regression of vector laws: coefficients are fitted to some simulations, errors measured on others.

    Errors are relative to the sum of a body's own and the typical acceleration, whatever the loss of the network: a few
    close encounters would decide otherwise.
    """

    def __init__(self, data: Data) -> None:
        """Prepare the target.

        Args:
            data: The snapshots.
        """
        graphs = self._graphs = data.graphs
        size = np.abs(graphs.acceleration).sum(axis=-1)
        self._weight = 1 / ((float(np.median(size)) or 1.0) + size)
        self._edges, self._nodes = graphs.edges, graphs.nodes
        dim = graphs.position.shape[-1]
        delta = graphs.position[:, graphs.receivers] - graphs.position[:, graphs.senders]
        velocity, place = (np.stack([self._nodes[f"{kind}{a}"] for a in AXES[:dim]], -1) for kind in ("v", ""))
        self._vectors = {"d": delta, "v": velocity, "": place}
        self._target = self._rows(graphs.acceleration)
        self.checked = validation_rows(data)
        self._fitted = np.repeat(~self.checked, self._target.size // len(self.checked))
        self._columns: dict[Term, Float[np.ndarray, " row"] | None] = {}

    def fit(self, terms: Terms) -> tuple[float, list[float]]:
        """Return the mean error of a law on validation simulations, and the coefficients of its terms.

        Args:
            terms: The terms; without terms the error is that of no force at all.

        Returns:
            The error, infinite if the law is not finite or the budget is spent, and coefficients in the order of
                ``vector.ordered``.
        """
        try:
            budget.spend()
        except OutOfBudget:
            return np.inf, []
        found = [self._column(term) for term in ordered(terms)]
        columns = [column for column in found if column is not None]
        if len(columns) < len(found):
            return np.inf, []
        matrix = np.stack(columns, axis=-1) if columns else np.zeros((len(self._target), 0))
        values = _least_deviations(matrix[self._fitted], self._target[self._fitted])
        error = float(np.mean(np.abs(self._target - matrix @ values)[~self._fitted]))
        return error, values.tolist()

    def error(self, accelerations: Float[np.ndarray, "graph body dim"]) -> float:
        """Return the mean error of accelerations on validation simulations; it may be infinite."""
        with np.errstate(all="ignore"):
            off = np.abs(self._rows(accelerations) - self._target)[~self._fitted]
        return float(np.mean(off)) if np.all(np.isfinite(off)) else np.inf

    def _rows(self, values: Float[np.ndarray, "graph body dim"]) -> Float[np.ndarray, " row"]:
        return np.asarray(values * self._weight[..., None]).ravel()

    def _column(self, term: Term) -> Float[np.ndarray, " row"] | None:
        if term not in self._columns:
            with np.errstate(all="ignore"):
                column = self._rows(self._summed(term))
            self._columns[term] = column if np.all(np.isfinite(column)) else None
        return self._columns[term]

    def _summed(self, term: Term) -> Float[np.ndarray, "graph body dim"]:
        vectors = self._vectors[term.along]
        if term.along != "d":
            return np.asarray(formula.evaluate(term.value, self._nodes)[..., None] * vectors)
        sent = formula.evaluate(term.value, self._edges)[..., None] * vectors
        along = [self._graphs.summed(sent[..., k], self._graphs.receivers) for k in range(sent.shape[-1])]
        return np.stack(along, axis=-1)


def prefit_data(data: Data) -> Data:
    """Return the snapshots on which forms are compared, evenly spread."""
    chosen = np.zeros(len(data.simulation), dtype=bool)
    chosen[np.unique(np.linspace(0, len(chosen) - 1, tuning.PREFIT_SNAPSHOTS).astype(int))] = True
    return data.part(chosen)


def validation_rows(data: Data) -> Bool[np.ndarray, " graph"]:
    """Return which snapshots give errors and are not fitted: those of every second simulation."""
    _, number = np.unique(data.simulation, return_inverse=True)
    return np.asarray(number % 2 == 1)


def _least_deviations(matrix: Float[np.ndarray, "row column"], target: Float[np.ndarray, " row"]) -> np.ndarray:
    """Return coefficients that minimise absolute errors, by iteratively reweighted least squares."""
    size = np.sqrt(np.mean(matrix**2, axis=0)) if matrix.size else np.ones(matrix.shape[1])
    scaled = matrix / np.where(size > 0, size, 1.0)
    weight, values = np.ones_like(target), np.zeros(matrix.shape[1])
    for _ in range(tuning.PREFIT_REWEIGHTINGS if matrix.shape[1] else 0):
        weighted = scaled * weight[:, None]
        values = np.linalg.lstsq(weighted.T @ scaled, weighted.T @ target, rcond=tuning.PREFIT_RANK)[0]
        off = np.abs(target - scaled @ values)
        weight = 1 / np.maximum(off, max(float(np.median(off)), 1e-300))
        weight /= weight.max()
    return values / np.where(size > 0, size, 1.0)
