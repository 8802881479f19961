"""Bookkeeping of the distillation of one cell: its lock, its problems, its finished fits, and its outcome."""

from __future__ import annotations

import dataclasses
from typing import Any

from distillery.errors import DistilleryError
from distillery.networks.functions import FUNCTIONS, Function
from distillery.symbolic.engine import Problem
from distillery.symbolic.fits import FitResult
from distillery.symbolic.settings import DistillationSettings, EngineName
from distillery.workflow.cell import Cell
from distillery.workflow.cell_problems import cell_problems
from distillery.workflow.outcome import finished, read_outcome, running, write_outcome
from distillery.workflow.stored_fits import fit_key
from distillery.workflow.sweep import Sweep

# Key of the outcome that holds the results of a function.
_RESULTS: dict[Function, str] = {"message": "components", "node": "node"}
# A fit of a cell: engine, function, component.
Fit = tuple[EngineName, Function, int]


class CellDistillation:
    """Distillation of one cell.

    Attributes:
        cell: The cell.
        problems: Problems by engine, function and component; empty if nothing is left to fit.
    """

    def __init__(self, sweep: Sweep, cell: Cell, *, alone: bool) -> None:
        """Lock the outcome of a cell and write its running note.

        Args:
            sweep: The sweep.
            cell: The cell.
            alone: Whether it is the only cell of its job.
        """
        self.cell = cell
        self.problems: dict[Fit, Problem] = {}
        self._sweep, self._alone = sweep, alone
        self._path, self._key = cell.outcome(sweep.results, "distill"), sweep.key("distill", cell)
        self._results: dict[Fit, FitResult] = {}
        self._reading = ""
        self._note = running(self._path)
        self._started = self._note.__enter__()
        self._open = True

    def close(self, error: BaseException | None = None) -> None:
        """Release the lock, and record the error that ended the work, if any; a second call does nothing."""
        if not self._open:
            return
        self._open = False
        try:
            self._note.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
        except BaseException as raised:
            if raised is not error:
                raise

    def read(self) -> None:
        """Read the samples; close at once if the cell is finished, or has no messages, whose status is passed on."""
        sweep, cell = self._sweep, self.cell
        if finished(self._path, self._key):
            self.close()
            return
        try:
            interpreted = read_outcome(cell.outcome(sweep.results, "interpret"), key=sweep.key("interpret", cell))
            if interpreted.status == "ok":
                self._reading = str(interpreted.result.get("reading", ""))
                self.problems = {
                    (name, function, component): dataclasses.replace(
                        problem, settings=_of_engine(problem.settings, name)
                    )
                    for (function, component), problem in cell_problems(sweep, cell).items()
                    for name in sweep.config.distillation.engines
                }
                if not self.problems:
                    self._write()
                return
            status, reason = interpreted.status, interpreted.reason
        except DistilleryError as error:
            # A job of one cell may fail as a whole and be repeated: a shared file system may show the messages later.
            if self._alone:
                raise
            status, reason = "failed", str(error)
        write_outcome(self._path, key=self._key, started=self._started, result={}, status=status, reason=reason)
        self.close()

    def add(self, fit: Fit, result: FitResult) -> None:
        """Add the result of a fit; write the outcome after the last one."""
        self._results[fit] = result
        if len(self._results) == len(self.problems):
            self._write()

    def _write(self) -> None:
        settings = self._sweep.config.distillation
        # The model `control` with a given formula sends no messages, and nothing is fitted.
        found = {name: {"components": [], **self._functions(name)} for name in settings.engines}
        own = found[settings.engine]
        compared = [{"engine": name, **found[name]} for name in settings.compare]
        # Without any message there is no law; the stages that use a node function report a missing one.
        failed = [entry for entry in own["components"] if entry["status"] == "failed"]
        reasons = [f"component {entry['component']}: {entry['reason']}" for entry in failed]
        lost = self._lost()
        result = {"engine": settings.engine, "reading": self._reading, **own}
        write_outcome(
            self._path,
            key=self._key,
            started=self._started,
            result={**result, **({"compared": compared} if compared else {})},
            # An outcome that counts as done would prevent another try of a lost fit.
            status="failed" if lost or (failed and len(failed) == len(own["components"])) else "ok",
            reason="; ".join([*lost, *reasons]),
        )
        self.close()

    def _lost(self) -> list[str]:
        """Return the reasons of fits that the machine or a limit left without a front, equal ones once."""
        by_reason: dict[str, list[str]] = {}
        for (name, function, number), fitted in sorted(self._results.items()):
            if fitted.status == "lost":
                by_reason.setdefault(fitted.reason, []).append(f"{function} {number} by {name}")
        return [f"not fitted ({', '.join(fits)}): {reason}" for reason, fits in by_reason.items()]

    def _functions(self, engine_name: EngineName) -> dict[str, list[dict[str, Any]]]:
        """Return the results of an engine: ``components`` of messages and, if nodes are distilled, ``node``."""
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
            for (name, of, number), fitted in sorted(self._results.items())
            if (name, of) == (engine_name, function)
        ]


def _of_engine(settings: DistillationSettings, name: EngineName) -> DistillationSettings:
    """Return the settings of the same fit by another engine."""
    return settings.model_copy(update={"engine": name, "compare": ()})
