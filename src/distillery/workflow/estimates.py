"""Estimates that are the same for all kinds of experiments: seconds of one core, to an order of magnitude."""

from __future__ import annotations

from distillery.workflow.config import Config

# Rates of one core of a small machine.
COMPILING = 3.5  # seconds in which a rank starts and compiles its integrator
INTERPRETING = 3.0  # seconds per cell, besides evaluations of its network
OPERON = 1.8e7  # individuals × samples × passes per second
PYSR = 0.5  # seconds per iteration and population
TIDYING = 2.0  # seconds in which a front is refitted and judged after a fit
VERIFYING = 0.5  # seconds per component of a function
REPLACING = 3.0  # seconds per cell, besides its fits: networks are evaluated again
DRAWING = 1.0  # seconds per job that draws
COLLECTING = 1.5e-3  # seconds per cell
REPORTING = 0.6  # seconds per cell that the report shows in full
SHOWN = 200  # cells that the report shows in full by default
JOB = 2.0  # seconds in which a job starts


def fitting(config: Config, engine: str) -> float:
    """Return the seconds that an engine takes for one component."""
    settings = config.distillation
    if engine == "operon":
        operon = settings.operon
        passes = 1 + operon.local_iterations
        samples = min(operon.samples, settings.samples)
        wanted = operon.population * operon.generations * samples * passes / OPERON
    else:
        wanted = settings.pysr.iterations * settings.pysr.populations * PYSR
    return min(wanted, settings.seconds) + TIDYING
