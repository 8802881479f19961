"""The distill stage: fit all components of all functions of some cells on one Dask cluster, each in its own process."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from distillery.cluster.dask.cluster import RETRIES
from distillery.errors import DistilleryError, explain
from distillery.progress import progress
from distillery.symbolic.child import close_children, fit_here
from distillery.symbolic.engine import Problem, engine
from distillery.symbolic.fits import FitLost, FitResult
from distillery.workflow.cell import Cell
from distillery.workflow.cell_distillation import CellDistillation, Fit
from distillery.workflow.engines import depot_of, require_all
from distillery.workflow.fit_cluster import cluster
from distillery.workflow.stored_fits import earlier_front, fit_file, fit_key, keep_fit, load_fit
from distillery.workflow.sweep import Sweep


def distill(sweep: Sweep, cells: Sequence[Cell]) -> None:
    """Fit expressions to the functions of some cells and write each cell's outcome.

    Finished fits are stored by content and not repeated. In a job of several cells, a cell with missing or damaged
    messages fails alone, and its outcome gives the reason.

    Args:
        sweep: The sweep.
        cells: The cells of a job.

    Raises:
        DistilleryError: The engine cannot run here, or the messages of a single cell cannot be read; no fit has started
            then.
    """
    require_all(sweep, sweep.config.execution)
    jobs: list[CellDistillation] = []
    try:
        for cell in cells:
            job = CellDistillation(sweep, cell, alone=len(cells) == 1)
            jobs.append(job)
            job.read()
        _fit_all(sweep, jobs)
    except BaseException as error:
        for job in jobs:
            job.close(error)
        raise


def _fit_all(sweep: Sweep, jobs: list[CellDistillation]) -> None:
    """Add the results of all fits to their cells, from stored fits or from the cluster; fit equal problems once."""
    settings = sweep.config.distillation
    waiting: dict[str, list[tuple[CellDistillation, Fit]]] = {}
    for job in jobs:
        for fit, problem in job.problems.items():
            waiting.setdefault(fit_key(problem), []).append((job, fit))
    missing: dict[str, Problem] = {}
    depot = depot_of(sweep.config.execution)
    environments = {name: engine(name).environment(settings, depot) for name in settings.engines}
    for key, takers in waiting.items():
        path = fit_file(sweep.results, key)
        stored = load_fit(path, key, settings)
        if stored is None:
            job, fit = takers[0]
            missing[key] = dataclasses.replace(
                job.problems[fit], guesses=earlier_front(path, key), environment=environments[fit[0]]
            )
        else:
            _add(takers, stored)
    experiment = jobs[0].cell.experiment
    show = progress(f"distill {experiment}", len(missing), "fits")
    for done, (key, result) in enumerate(_fitted(sweep, missing, str(experiment)), start=1):
        keep_fit(fit_file(sweep.results, key), key, missing[key].settings, result)
        _add(waiting[key], result)
        show(done, f"{result.status} in {result.seconds:.0f} s")


def _add(takers: list[tuple[CellDistillation, Fit]], result: FitResult) -> None:
    for job, fit in takers:
        job.add(fit, result)


def _fitted(sweep: Sweep, missing: Mapping[str, Problem], label: str) -> Iterator[tuple[str, FitResult]]:
    """Fit on the cluster; yield each result as its fit ends, in any order."""
    if not missing:
        return
    with cluster(sweep.config, len(missing), sweep.results / "logs" / "dask", label) as workers:
        try:
            for key, result in workers.results(fit_here, missing):
                if isinstance(result, OSError):
                    # A full disk or a broken connection stops all fits.
                    raise DistilleryError(
                        f"a fit could not be carried out ({explain(result)}); mend that, run it again"
                    )
                if isinstance(result, BaseException):
                    reason = str(result) if isinstance(result, FitLost) else explain(result)
                    yield key, FitResult.lost(f"{reason}, in each of {RETRIES + 1} tries")
                else:
                    yield key, result
        finally:
            workers.everywhere(close_children)
