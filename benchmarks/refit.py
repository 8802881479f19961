"""Fit of the constants of a law to 100,000 graphs, against SciPy's least squares: ``python benchmarks/refit.py``.

Two laws with known constants, started 10 to 30 % away: that of a spring with drag and gravity, linear in its ten
constants, and that of softened charges, nonlinear in two of its six constants. Graphs are random states of four bodies
in 2D with the true accelerations and noise of 1 % of the typical one.

The reference is ``scipy.optimize.least_squares`` on the same residuals with the same loss, one start, and derivatives
by finite differences. The package uses exact derivatives, the starts of the stage ``replace`` (one where the law is
linear, else three) and computes standard errors. Times are CPU seconds of one thread. The result must be within
five standard errors of the true constants.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import scipy.optimize

from distillery.data.graph import edges_of
from distillery.laws.composed import HeldOut, through_nodes
from distillery.laws.law import Law, own_names, sums
from distillery.laws.problem import Data, Problem
from distillery.laws.refit import _scale, refit
from distillery.laws.settings import ReplacementSettings
from distillery.laws.tuning import EVALUATIONS
from distillery.networks.functions import feature_names
from distillery.physics import formula

BODIES, DIM, PER_SIMULATION = 4, 2, 10
NOISE = 0.01

# Messages along x (y likewise), terms of nodes for each axis, and the true constants.
LAWS = {
    "linear": (
        "(c1 + c2/r + c3*r)*dx/m1 + c4*m2*dx/r",
        ("c5*vx/m + c6*x + c7", "c8*vy/m + c9*y + c10"),
        [-2.0, 1.98, 0.1, 0.3, -0.75, 0.2, 0.1, -0.75, 0.2, -1.0],
    ),
    "not linear": (
        "c1*q1*q2*dx/(m1*r*(r + c2)^c3) + c4*m2*dx/r",
        ("c5*vx/m", "c5*vy/m + c6"),
        [1.0, 0.05, 2.0, 0.3, -0.75, -1.0],
    ),
}


def law_of(message: str, own: tuple[str, ...], constants: list[float]) -> Law:
    """Return the law with its constants."""
    known = {f"c{k + 1}": value for k, value in enumerate(constants)}
    along_y = message.replace("dx", "dy")
    return Law(
        DIM,
        tuple(formula.parse(text, (*feature_names(DIM), *known)) for text in (message, along_y)),
        tuple(s + formula.parse(text, (*own_names(DIM), *known)) for s, text in zip(sums(DIM), own, strict=True)),
        known,
    )


def data_of(law: Law, count: int) -> Data:
    """Return random states with noisy accelerations of a law."""
    draws = np.random.default_rng(0)
    simulation = np.arange(count) // PER_SIMULATION
    many = int(simulation[-1]) + 1
    mass = np.exp(draws.normal(size=(many, BODIES)))[simulation]
    charge = draws.choice([-1.0, 1.0], (many, BODIES))[simulation]
    position, velocity = draws.normal(size=(2, count, BODIES, DIM))
    senders, receivers = edges_of("complete", BODIES)
    still = HeldOut(position, velocity, mass, charge, np.zeros_like(position), receivers, senders)
    true = through_nodes(still, law.filled(law.messages), law.filled(law.nodes))
    noisy = true + NOISE * np.median(np.abs(true)) * draws.normal(size=true.shape)
    return Data(HeldOut(position, velocity, mass, charge, noisy, receivers, senders), simulation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--graphs", type=int, default=100_000)
    count = parser.parse_args().graphs
    settings = ReplacementSettings()
    for name, (message, own, constants) in LAWS.items():
        law = law_of(message, own, constants)
        data, true = data_of(law, count), np.array(constants)
        start = true * np.random.default_rng(1).uniform(1.1, 1.3, true.shape)
        begun = time.process_time()
        fit = refit(
            law.having(dict(zip(law.constants, start.tolist(), strict=True))), data, settings, np.random.default_rng(2)
        )
        ours = time.process_time() - begun
        begun = time.process_time()
        problem = Problem(law, data, tuple(law.constants))
        answer = scipy.optimize.least_squares(
            problem.residual,
            start,
            x_scale="jac",
            loss="soft_l1",
            f_scale=_scale(problem.residual(start)),
            ftol=1e-14,
            xtol=1e-14,
            gtol=1e-14,
            max_nfev=EVALUATIONS,
        )
        plain = time.process_time() - begun
        found = np.array(list(fit.law.constants.values()))
        errors = np.array(list(fit.errors.values()))
        off, off_plain = (float(np.max(np.abs(values - true) / errors)) for values in (found, answer.x))
        if not off < 5:
            raise SystemExit(f"{name}: a constant is {off:.1f} standard errors off")
        print(
            f"{name}, {len(true)} constants, {count:,} graphs: {ours:.1f} s with standard errors, plain least squares "
            f"{plain:.1f} s: {plain / ours:.2f} times as fast (off by {off:.1f} and {off_plain:.1f} standard errors)",
            flush=True,
        )


if __name__ == "__main__":
    main()
