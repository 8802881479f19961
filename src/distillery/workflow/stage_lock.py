"""The lock of a stage on a cell, with the outcome of the stage before: the frame of every stage's own work."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distillery.workflow.cell import STAGES, Cell, Stage
from distillery.workflow.outcome import Outcome, Status, finished, read_outcome, running, write_outcome
from distillery.workflow.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class StageRun:
    """A run of a stage on a cell, which holds the lock of its outcome.

    Attributes:
        before: The outcome of the stage before, whose status is ``ok``.
        path: The outcome to write.
        key: Its key.
        started: ``time.monotonic()`` at the start.
    """

    before: Outcome
    path: Path
    key: str
    started: float

    def write(
        self,
        result: Mapping[str, Any],
        belongings: tuple[Path, ...] = (),
        *,
        status: Status = "ok",
        reason: str = "",
    ) -> None:
        """Write the outcome of the stage; see ``outcome.write_outcome``.

        Args:
            result: The results.
            belongings: Files in the same folder whose checksums are recorded.
            status: Status of the stage.
            reason: Reason of a status other than ``ok``.
        """
        write_outcome(
            self.path,
            key=self.key,
            started=self.started,
            result=result,
            status=status,
            reason=reason,
            belongings=belongings,
        )


@contextlib.contextmanager
def stage_lock(sweep: Sweep, stage: Stage, cell: Cell) -> Iterator[StageRun | None]:
    """Lock a stage's output for a cell and check its input.

    Args:
        sweep: The sweep.
        stage: A stage that has a stage before it.
        cell: The cell.

    Yields:
        The run; None if there is nothing to do: the stage is done, or the stage before did not succeed, in which case
        its status and reason are passed on.

    Raises:
        DistilleryError: The stage before is not done, or its outcome is damaged or was made with other settings.
    """
    path, key = cell.outcome(sweep.results, stage), sweep.key(stage, cell)
    with running(path) as started:
        if finished(path, key):
            yield None
            return
        earlier = STAGES[STAGES.index(stage) - 1]
        before = read_outcome(cell.outcome(sweep.results, earlier), key=sweep.key(earlier, cell))
        if before.status != "ok":
            write_outcome(path, key=key, started=started, result={}, status=before.status, reason=before.reason)
            yield None
            return
        yield StageRun(before, path, key, started)
