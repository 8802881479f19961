"""Distil some cells: every component of every function is fitted on the Dask cluster, each in its own process."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distillery.cluster.dask.cluster import RETRIES
from distillery.errors import DistilleryError, explain
from distillery.networks.functions import FUNCTIONS, Function
from distillery.progress import progress
from distillery.symbolic.child import close_children, fit_here
from distillery.symbolic.engine import Problem, engine, require_all
from distillery.symbolic.fits import FitLost, FitResult, earlier_front, fit_file, fit_key, keep_fit, load_fit
from distillery.symbolic.problems import problems
from distillery.symbolic.settings import DistillationSettings, EngineName
from distillery.workflow.cell import Cell
from distillery.workflow.fit_cluster import cluster
from distillery.workflow.outcome import finished, read_outcome, running, write_outcome
from distillery.workflow.sweep import Sweep


def distill(sweep: Sweep, cells: Sequence[Cell]) -> None:
    """Fit expressions to the functions of some cells, on one cluster, and write each cell's outcome.

    Finished fits are kept by content and not repeated. Of several cells, one whose messages are missing or damaged
    fails by itself; its outcome says why.

    Args:
        sweep: The sweep.
        cells: The cells of a job.

    Raises:
        DistilleryError: The engine cannot work here, or the messages of a single cell cannot be read; nothing is
            started then.
    """
    require_all(sweep, sweep.config.execution)
    jobs: list[_Job] = []
    try:
        for cell in cells:
            job = _Job(sweep, cell, alone=len(cells) == 1)
            jobs.append(job)
            job.read()
        _fit_all(sweep, jobs)
    except BaseException as error:
        for job in jobs:
            job.end(error)
        raise


# Where the outcome holds what was found for a function.
_RESULTS: dict[Function, str] = {"message": "components", "node": "node"}
_Fit = tuple[EngineName, Function, int]


class _Job:
    """One cell on its way: its note, its problems, what is finished of it."""

    def __init__(self, sweep: Sweep, cell: Cell, *, alone: bool) -> None:
        self.sweep, self.cell, self.alone = sweep, cell, alone
        self.path = cell.outcome(sweep.results, "distill")
        self.problems: dict[_Fit, Problem] = {}
        self.results: dict[_Fit, FitResult] = {}
        self.reading = ""
        self._note = running(self.path)
        self._started = self._note.__enter__()
        self._open = True

    def end(self, error: BaseException | None = None) -> None:
        """End the note of a job that is done, or that an error stops; a second call does nothing."""
        if not self._open:
            return
        self._open = False
        try:
            self._note.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
        except BaseException as raised:
            if raised is not error:
                raise

    def read(self) -> None:
        """Read the messages, pass on the status of a cell that has none, or leave alone what is finished."""
        sweep, cell = self.sweep, self.cell
        if finished(self.path, sweep.key("distill", cell)):
            self.end()
            return
        try:
            interpreted = read_outcome(cell.outcome(sweep.results, "interpret"), key=sweep.key("interpret", cell))
            if interpreted.status == "ok":
                self.reading = str(interpreted.result.get("reading", ""))
                self.problems = {
                    (name, function, component): dataclasses.replace(
                        problem, settings=_of_engine(problem.settings, name)
                    )
                    for (function, component), problem in problems(sweep, cell).items()
                    for name in sweep.config.distillation.engines
                }
                if not self.problems:
                    self._conclude()
                return
            status, reason = interpreted.status, interpreted.reason
        except DistilleryError as error:
            # Alone, it may as well be tried again: a shared file system may not show the messages yet.
            if self.alone:
                raise
            status, reason = "failed", str(error)
        key = sweep.key("distill", cell)
        write_outcome(self.path, key=key, started=self._started, result={}, status=status, reason=reason)
        self.end()

    def finish(self, fit: _Fit, result: FitResult) -> None:
        """Take a fit of a component by an engine, and write the outcome when it was the last."""
        self.results[fit] = result
        if len(self.results) == len(self.problems):
            self._conclude()

    def _conclude(self) -> None:
        settings = self.sweep.config.distillation
        # The model `control` with a given formula sends no messages, and nothing is fitted.
        found = {name: {"components": [], **self._functions(name)} for name in settings.engines}
        own = found[settings.engine]
        compared = [{"engine": name, **found[name]} for name in settings.compare]
        # Without any message there is no law; a missing node function is reported by the stages that use it.
        failed = [entry for entry in own["components"] if entry["status"] == "failed"]
        reasons = [f"component {entry['component']}: {entry['reason']}" for entry in failed]
        lost = self._lost()
        write_outcome(
            self.path,
            key=self.sweep.key("distill", self.cell),
            started=self._started,
            result={
                "engine": settings.engine,
                "reading": self.reading,
                **own,
                **({"compared": compared} if compared else {}),
            },
            # An outcome that counts as done would keep a lost fit from ever being tried again.
            status="failed" if lost or (failed and len(failed) == len(own["components"])) else "ok",
            reason="; ".join([*lost, *reasons]),
        )
        self.end()

    def _lost(self) -> list[str]:
        """Return the reasons of fits that the machine or a limit left without a front; equal ones once."""
        by_reason: dict[str, list[str]] = {}
        for (name, function, number), fitted in sorted(self.results.items()):
            if fitted.status == "lost":
                by_reason.setdefault(fitted.reason, []).append(f"{function} {number} by {name}")
        return [f"not fitted ({', '.join(fits)}): {reason}" for reason, fits in by_reason.items()]

    def _functions(self, engine_name: EngineName) -> dict[str, list[dict[str, Any]]]:
        """Return what an engine found: ``components`` of the messages and, where it was asked for, ``node``."""
        found = {function: self._components(engine_name, function) for function in FUNCTIONS}
        return {_RESULTS[function]: components for function, components in found.items() if components}

    def _components(self, engine_name: EngineName, function: Function) -> list[dict[str, Any]]:
        return [
            {
                "component": number,
                "status": fitted.status,
                "reason": fitted.reason,
                "fit": fit_key(self.problems[name, of, number]),
                "seconds": fitted.seconds,
                "chosen": fitted.chosen,
                "front": [dataclasses.asdict(point) for point in fitted.front],
            }
            for (name, of, number), fitted in sorted(self.results.items())
            if (name, of) == (engine_name, function)
        ]


def _of_engine(settings: DistillationSettings, name: EngineName) -> DistillationSettings:
    """Return the settings with which another engine fits the same."""
    return settings.model_copy(update={"engine": name, "compare": ()})


def _fit_all(sweep: Sweep, jobs: list[_Job]) -> None:
    """Finish all jobs with kept fits or on the cluster; equal problems are fitted once."""
    settings = sweep.config.distillation
    waiting: dict[str, list[tuple[_Job, _Fit]]] = {}
    for job in jobs:
        for fit, problem in job.problems.items():
            waiting.setdefault(fit_key(problem), []).append((job, fit))
    missing: dict[str, Problem] = {}
    environments = {name: engine(name).environment(settings, sweep.config.execution) for name in settings.engines}
    for key, takers in waiting.items():
        path = fit_file(sweep.results, key)
        kept = load_fit(path, key, settings)
        if kept is None:
            job, fit = takers[0]
            missing[key] = dataclasses.replace(
                job.problems[fit], guesses=earlier_front(path, key), environment=environments[fit[0]]
            )
        else:
            _deliver(takers, kept)
    experiment = jobs[0].cell.experiment
    show = progress(f"distill {experiment}", len(missing), "fits")
    for done, (key, result) in enumerate(_fitted(sweep, missing, str(experiment)), start=1):
        keep_fit(fit_file(sweep.results, key), key, missing[key].settings, result)
        _deliver(waiting[key], result)
        show(done, f"{result.status} in {result.seconds:.0f} s")


def _deliver(takers: list[tuple[_Job, _Fit]], result: FitResult) -> None:
    for job, fit in takers:
        job.finish(fit, result)


def _fitted(sweep: Sweep, missing: Mapping[str, Problem], label: str) -> Iterator[tuple[str, FitResult]]:
    """Fit on the cluster; yields each fit as it ends, in any order."""
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
