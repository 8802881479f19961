"""Where every cell of a sweep is: done, running, missing, failed with its reason."""

from __future__ import annotations

import dataclasses
from collections import Counter

from distillery.cell import STAGES, Cell, Experiment, Split, Stage
from distillery.collect.state import STATES, StageState, State, cell_states, experiment_states
from distillery.collect.text import align, counted
from distillery.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class SweepStatus:
    """Where everything of a sweep stands.

    Attributes:
        trajectories: By experiment and split.
        cells: By cell and stage.
    """

    trajectories: dict[Experiment, dict[Split, StageState]]
    cells: dict[Cell, dict[Stage, StageState]]

    def cell_state(self, cell: Cell) -> State:
        """Return the state of a cell: that of its first stage that is not done, a running one first."""
        states = [state.state for state in self.cells[cell].values()]
        if "running" in states:
            return "running"
        return next((state for state in states if state != "done"), "done")

    @property
    def counts(self) -> dict[State, int]:
        """The number of cells in each state that occurs."""
        counted_states = Counter(self.cell_state(cell) for cell in self.cells)
        return {state: counted_states[state] for state in STATES if counted_states[state]}


def status(sweep: Sweep) -> SweepStatus:
    """Look where every experiment and cell of a sweep stands; reads small files only.

    Args:
        sweep: The sweep.
    """
    return SweepStatus(
        {experiment: experiment_states(sweep, experiment) for experiment in sweep.experiments},
        {cell: cell_states(sweep, cell, results=False) for cell in sweep.cells},
    )


def status_text(found: SweepStatus, *, everything: bool = False, width: int | None = None) -> str:
    """Return a sweep's status for the eye: counts first, then what is not done.

    Args:
        found: The status.
        everything: Show what is done too.
        width: Characters per line; None for as many as it takes.
    """
    counts = ", ".join(f"{count:,} {state}" for state, count in found.counts.items())
    blocks = [f"{counted(len(found.cells), 'cell')}: {counts}"]
    trajectories = [
        [str(experiment), split, state.state, state.reason]
        for experiment, splits in found.trajectories.items()
        for split, state in splits.items()
        if everything or state.state != "done"
    ]
    if trajectories:
        blocks.append(align(("experiment", "trajectories", "state", "note"), trajectories, width=width))
    cells = [
        [str(cell), *(state.state for state in stages.values()), _note(stages)]
        for cell, stages in found.cells.items()
        if everything or found.cell_state(cell) != "done"
    ]
    if cells:
        blocks.append(align(("cell", *STAGES, "note"), cells, width=width))
    return "\n\n".join(blocks)


def _note(stages: dict[Stage, StageState]) -> str:
    """Return why the first stage that is not done is not, and where another one runs."""
    notes: list[str] = []
    for stage, state in stages.items():
        if state.reason and (state.state == "running" or not notes):
            notes.append(f"{stage}: {state.reason}")
        if state.state in ("diverged", "failed"):
            break
    return "; ".join(notes)
