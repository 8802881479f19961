"""A stage's turn at a cell, after the stage before it: what every stage does around its own work."""

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
class Turn:
    """What a stage goes on from, and where its findings go.

    Attributes:
        before: The outcome of the stage before, which went well.
        path: The outcome that is to be written.
        key: Its key.
        started: ``time.monotonic()`` when the turn began.
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
            result: The findings.
            belongings: Files in the same folder whose checksums are recorded.
            status: How it went.
            reason: Why, where the status is not ``ok``.
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
def turn(sweep: Sweep, stage: Stage, cell: Cell) -> Iterator[Turn | None]:
    """Hold a stage's lock on a cell, and say what there is to do.

    Args:
        sweep: The sweep.
        stage: A stage that comes after another one.
        cell: The cell.

    Yields:
        The turn; None where there is nothing to do: the stage is done, or the one before did not go well, whose status
        and reason are passed on.

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
        yield Turn(before, path, key, started)
